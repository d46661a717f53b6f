-- Tasks of A2A: started with their runs, read as one, listed by change; the messages to them.

-- name: insert_task
-- The newest entry of the journal is the one that has told of the run's start.
INSERT INTO tasks (task, run, state_at, state, asker, target, context_id, task_id)
VALUES (:run, :run, :at, 'submitted', :asker, :target, :context_id, :task_id);

-- name: insert_task_message
INSERT INTO task_messages (task, place, at, id, once, digest, content)
SELECT :task, coalesce(max(journal.id), 0), :at, :id, :once, :digest, :content FROM journal;

-- name: find_task_message
-- The message that was stored under a key of those that count once, and the id of its task.
SELECT task_messages.digest, tasks.task_id
  FROM task_messages
 CROSS JOIN tasks ON tasks.task = task_messages.task
 WHERE task_messages.once = ? AND task_messages.once IS NOT NULL;

-- name: get_task_state
-- What `find_state` tells of the run, then the task's number, caller, target, how many messages it
-- has, and how many bytes they have.
SELECT runs.number, runs.id, runs.status, runs.hold, runs.snapshot_id,
       tasks.task, tasks.asker, tasks.target,
       (SELECT count(*) FROM task_messages WHERE task_messages.task = tasks.task),
       (SELECT sum(CASE typeof(said.content)
                   WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = said.content)
                   ELSE length(said.content) END)
          FROM task_messages AS said WHERE said.task = tasks.task)
  FROM runs AS first
 CROSS JOIN tasks ON tasks.task = first.number
 CROSS JOIN runs ON runs.number = tasks.run
 WHERE first.id = ?;

-- name: takes_messages
-- One row if the run waits or has waited for the event of that name to itself.
SELECT 1 FROM waits INDEXED BY waits_key
 WHERE run = :run AND kind = 'event' AND name = :name AND target = '' LIMIT 1;

-- name: find_approval_of_wait
SELECT number, id FROM approvals WHERE wait = ?;

-- name: hand_over_task
-- Whoever speaks to a run that has continued as another speaks to that one.
UPDATE tasks SET run = :successor, state = 'working', state_at = :now WHERE run = :run;

-- name: get_tasks
-- Those of the given ids that there are, in no order, each as it was in one moment: the run, what
-- is kept beside it, messages and questions.
SELECT {detail_columns},
       tasks.task_id, tasks.task, tasks.target, tasks.context_id, tasks.asker, tasks.state_at,
       (SELECT coalesce(max(journal.id), 0) FROM journal),
       (SELECT coalesce(max(entry.id), 0) FROM journal AS entry INDEXED BY journal_key
         WHERE entry.run = runs.number AND entry.key >= '!!' AND entry.key < '!!a'),
       EXISTS (SELECT 1 FROM journal AS entry INDEXED BY journal_key
                WHERE entry.run = runs.number
                  AND entry.key >= 'content/' AND entry.key < 'content0'),
       (SELECT json_group_array(json_array(
               said.number, said.id, said.at, said.place,
               CAST(CASE typeof(said.content)
                    WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = said.content)
                    ELSE said.content END AS TEXT)))
          FROM task_messages AS said WHERE said.task = tasks.task),
       (SELECT json_group_array(json_array({wait_values}, coalesce((
               SELECT entry.id FROM journal AS entry
                WHERE entry.run = waits.run AND entry.key = waits.key), 0)))
          FROM waits
         WHERE waits.run = runs.number AND NOT waits.superseded
           AND (waits.kind IN ('input', 'approval')
            OR (waits.kind = 'event' AND waits.name = 'message' AND waits.target = '')))
  FROM tasks CROSS JOIN runs ON runs.number = tasks.run
 WHERE tasks.task IN (
       SELECT first.number FROM runs AS first
        WHERE first.id IN (SELECT value FROM json_each(?)));

-- fragment: task_bytes
-- What of a task is read when it is listed with all that belongs to it.
coalesce((SELECT sum(CASE typeof(said.content)
                     WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = said.content)
                     ELSE length(said.content) END)
            FROM task_messages AS said WHERE said.task = tasks.task), 0)
+ coalesce((SELECT sum(CASE typeof(piece.body)
                       WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = piece.body)
                       ELSE length(piece.body) END)
              FROM journal AS piece INDEXED BY journal_key
             WHERE piece.run = tasks.run
               AND piece.key >= 'content/' AND piece.key < 'content0'), 0)
+ (SELECT CASE typeof(run.input)
          WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = run.input)
          ELSE length(run.input) END
        + CASE typeof(run.output) WHEN 'null' THEN 0
          WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = run.output)
          ELSE length(run.output) END
     FROM runs AS run WHERE run.number = tasks.run)

-- fragment: task_place
-- Of those that changed in one moment the newest come first.
tasks.asker = :asker AND tasks.target = :target
   AND tasks.state_at >= :since
   AND (tasks.state_at, tasks.task) < (:before, :before_task)

-- name: page_tasks
SELECT tasks.task_id, tasks.state_at, tasks.task, {task_bytes}
  FROM tasks INDEXED BY tasks_changed
 WHERE {task_place}
   AND (:state IS NULL OR tasks.state = :state)
 ORDER BY tasks.state_at DESC, tasks.task DESC LIMIT :limit;

-- name: page_tasks_of_context
SELECT tasks.task_id, tasks.state_at, tasks.task, {task_bytes}
  FROM tasks INDEXED BY tasks_by_context
 WHERE {task_place} AND tasks.context_id = :context_id
   AND (:state IS NULL OR tasks.state = :state)
 ORDER BY tasks.state_at DESC, tasks.task DESC LIMIT :limit;

-- name: page_tasks_of_state
SELECT tasks.task_id, tasks.state_at, tasks.task, {task_bytes}
  FROM tasks INDEXED BY tasks_by_state
 WHERE {task_place} AND tasks.state = :state AND tasks.state <> 'completed'
 ORDER BY tasks.state_at DESC, tasks.task DESC LIMIT :limit;

-- name: count_tasks
SELECT count(*) FROM tasks INDEXED BY tasks_changed
 WHERE tasks.asker = :asker AND tasks.target = :target AND tasks.state_at >= :since
   AND (:state IS NULL OR tasks.state = :state);

-- name: count_tasks_of_context
SELECT count(*) FROM tasks INDEXED BY tasks_by_context
 WHERE tasks.asker = :asker AND tasks.target = :target AND tasks.context_id = :context_id
   AND tasks.state_at >= :since AND (:state IS NULL OR tasks.state = :state);

-- name: count_tasks_of_state
SELECT count(*) FROM tasks INDEXED BY tasks_by_state
 WHERE tasks.asker = :asker AND tasks.target = :target AND tasks.state = :state
   AND tasks.state <> 'completed' AND tasks.state_at >= :since;

-- name: page_contents
-- What a run has handed out, in its order; beyond so many bytes without the bodies.
WITH piece (id, key, body, bytes) AS (
     SELECT id, key, body,
            CASE typeof(body)
            WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = body)
            ELSE length(body) END
       FROM journal INDEXED BY journal_key
      WHERE run = :run AND key >= 'content/' AND key < 'content0'
        AND id > :after AND id <= :through AND NOT superseded),
     summed (id, key, body, total, place) AS (
     SELECT id, key, body, sum(bytes) OVER (ORDER BY id), row_number() OVER (ORDER BY id)
       FROM piece)
SELECT id, key,
       CASE WHEN total > :bytes_max AND place > 1 THEN NULL
            WHEN typeof(body) = 'text' THEN (SELECT data FROM blobs WHERE hash = body)
            ELSE body END
  FROM summed
 ORDER BY id;
