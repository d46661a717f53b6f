-- Retention: what has ended and expired is deleted, in bounded transactions.

-- name: nth_newest
-- The number of the run before which there are as many newer ones as given; by index only.
WITH ended (number) AS (
     SELECT number FROM runs WHERE status = :first
     UNION ALL
     SELECT number FROM runs WHERE status = :second
     UNION ALL
     SELECT number FROM runs WHERE status = :third
     UNION ALL
     SELECT number FROM runs WHERE status = :fourth
      ORDER BY 1 DESC
      LIMIT 1 OFFSET :newer)
SELECT number FROM ended;

-- name: page_sizes
-- The newest runs of a status below a number; the size is NULL when it was not measured since.
SELECT runs.number,
       CASE WHEN run_sizes.ended_at = runs.ended_at THEN run_sizes.bytes END
  FROM runs INDEXED BY runs_by_status
  LEFT JOIN run_sizes ON run_sizes.run = runs.number
 WHERE runs.status = :status AND runs.number < :before
 ORDER BY runs.number DESC LIMIT :limit;

-- name: measure_runs
-- 64 bytes stand for what a row needs beside what it says.
SELECT runs.number, runs.ended_at,
       256 + length(CAST(coalesce(runs.error, '') AS BLOB))
     + CASE typeof(runs.input) WHEN 'text'
       THEN (SELECT length(data) FROM blobs WHERE hash = runs.input) ELSE length(runs.input) END
     + CASE typeof(runs.output) WHEN 'null' THEN 0 WHEN 'text'
       THEN (SELECT length(data) FROM blobs WHERE hash = runs.output) ELSE length(runs.output) END
     + (SELECT coalesce(sum(64 + length(entry.key) + CASE typeof(entry.body) WHEN 'text'
                 THEN (SELECT length(data) FROM blobs WHERE hash = entry.body)
                 ELSE length(entry.body) END), 0)
          FROM journal AS entry INDEXED BY journal_key WHERE entry.run = runs.number)
     + (SELECT coalesce(sum(64 + CASE typeof(waits.payload) WHEN 'null' THEN 0 WHEN 'text'
                 THEN (SELECT length(data) FROM blobs WHERE hash = waits.payload)
                 ELSE length(waits.payload) END), 0)
          FROM waits INDEXED BY waits_key WHERE waits.run = runs.number)
     + (SELECT coalesce(sum(64 + CASE typeof(events.payload) WHEN 'text'
                 THEN (SELECT length(data) FROM blobs WHERE hash = events.payload)
                 ELSE length(events.payload) END), 0)
          FROM events INDEXED BY events_by_run WHERE events.run = runs.number)
  FROM runs
 WHERE runs.number IN (SELECT value FROM json_each(?)) AND runs.ended_at IS NOT NULL;

-- name: keep_size
INSERT INTO run_sizes (run, ended_at, bytes) VALUES (?, ?, ?)
    ON CONFLICT (run) DO UPDATE SET ended_at = excluded.ended_at, bytes = excluded.bytes;

-- name: page_ended
-- The next ended runs of a status, with all that decides whether they have expired.
SELECT number, parent_id IS NULL, created_at, ended_at
  FROM runs INDEXED BY runs_by_status
 WHERE status = :status AND number > :after
 ORDER BY number LIMIT :limit;

-- name: get_retiring
SELECT number, id, status, ended_at, parent_id FROM runs WHERE number = ?;

-- name: find_first_child
SELECT number, id, status, ended_at, parent_id FROM runs
 WHERE parent_id = ? AND parent_id IS NOT NULL
 ORDER BY number LIMIT 1;

-- name: is_needed
-- One row if a live run was made from this one, if a file of it may still be fetched, if somebody is
-- still to be told of its end, if a task is found by it that has gone on as other runs (the task goes
-- with the last of them, and this one after it), or if it has the newest wait: waits are known by their numbers to the
-- events of topics, so none comes twice.
SELECT 1
 WHERE EXISTS (SELECT 1 FROM runs
                WHERE forked_from = :id AND forked_from IS NOT NULL AND ended_at IS NULL)
    OR EXISTS (SELECT 1 FROM runs
                WHERE rerun_of = :id AND rerun_of IS NOT NULL AND ended_at IS NULL)
    OR EXISTS (SELECT 1 FROM successions CROSS JOIN runs ON runs.id = successions.successor
                WHERE successions.predecessor = :id AND runs.ended_at IS NULL)
    OR EXISTS (SELECT 1 FROM receipts WHERE run = :number AND confirmed_at IS NULL)
    OR EXISTS (SELECT 1 FROM tasks CROSS JOIN pushes ON pushes.task = tasks.task
                WHERE tasks.run = :number AND pushes.state = 'active')
    OR EXISTS (SELECT 1 FROM tasks WHERE tasks.task = :number AND tasks.run <> :number)
    OR EXISTS (SELECT 1 FROM waits WHERE run = :number AND id = (SELECT max(id) FROM waits));

-- name: is_untold
-- One row if the status of a run has changed after an update.
SELECT 1 FROM journal INDEXED BY journal_key
 WHERE run = ? AND key >= '!!' AND key < '!!a' AND id > ?
 LIMIT 1;

-- name: list_blobs_of
-- Bodies that a run's rows refer to, but for its journal.
SELECT input FROM runs WHERE number = :number AND typeof(input) = 'text'
 UNION
SELECT output FROM runs WHERE number = :number AND typeof(output) = 'text'
 UNION
SELECT payload FROM waits INDEXED BY waits_key
 WHERE run = :number AND typeof(payload) = 'text'
 UNION
SELECT payload FROM events INDEXED BY events_by_run
 WHERE run = :number AND typeof(payload) = 'text'
 UNION
SELECT value FROM approvals INDEXED BY approvals_by_run
 WHERE run = :number AND typeof(value) = 'text'
 UNION
SELECT content FROM tasks CROSS JOIN task_messages ON task_messages.task = tasks.task
 WHERE tasks.run = :number AND typeof(content) = 'text';

-- name: list_oldest_entries
SELECT id, CASE typeof(body) WHEN 'text' THEN body END
  FROM journal INDEXED BY journal_key WHERE run = ? LIMIT ?;

-- name: delete_entry
DELETE FROM journal WHERE id = ?;

-- name: delete_events_of
DELETE FROM events WHERE run = ?;

-- name: delete_waits_of
-- What was asked by them goes with them.
DELETE FROM waits WHERE run = ?;

-- name: delete_snapshots_of
DELETE FROM snapshots WHERE run = ?;

-- name: delete_retries_of
DELETE FROM retries WHERE run = ?;

-- name: delete_receipts_of
DELETE FROM receipts WHERE run = ? AND confirmed_at IS NOT NULL;

-- name: delete_successions_of
DELETE FROM successions WHERE successor = :id OR predecessor = :id;

-- name: delete_size_of
DELETE FROM run_sizes WHERE run = ?;

-- name: leave_messages
-- What a run has said stays in its session.
UPDATE messages SET run = NULL WHERE run = ? AND run IS NOT NULL;

-- name: delete_ended_run
DELETE FROM runs WHERE number = ? AND ended_at IS NOT NULL;

-- name: add_leftover
INSERT INTO leftovers (run) VALUES (?) ON CONFLICT DO NOTHING;

-- name: list_leftovers
SELECT run FROM leftovers ORDER BY run LIMIT ?;

-- name: delete_leftover
DELETE FROM leftovers WHERE run = ?;

-- name: delete_lonely_blob
-- Nothing happens while anything refers to it.
DELETE FROM blobs
 WHERE hash = :hash
   AND NOT EXISTS (SELECT 1 FROM runs WHERE input = :hash AND typeof(input) = 'text')
   AND NOT EXISTS (SELECT 1 FROM runs WHERE output = :hash AND typeof(output) = 'text')
   AND NOT EXISTS (SELECT 1 FROM journal WHERE body = :hash AND typeof(body) = 'text')
   AND NOT EXISTS (SELECT 1 FROM waits WHERE payload = :hash AND typeof(payload) = 'text')
   AND NOT EXISTS (SELECT 1 FROM events WHERE payload = :hash AND typeof(payload) = 'text')
   AND NOT EXISTS (SELECT 1 FROM messages WHERE content = :hash AND typeof(content) = 'text')
   AND NOT EXISTS (SELECT 1 FROM approvals WHERE value = :hash AND typeof(value) = 'text')
   AND NOT EXISTS (SELECT 1 FROM topic_events WHERE payload = :hash AND typeof(payload) = 'text')
   AND NOT EXISTS (SELECT 1 FROM definitions WHERE body = :hash AND typeof(body) = 'text')
   AND NOT EXISTS (SELECT 1 FROM task_messages WHERE content = :hash AND typeof(content) = 'text');

-- name: page_snapshots
-- The next snapshots, with whether each is a live run's newest, and how many newer ones there are.
SELECT snapshots.number, snapshots.created_at,
       runs.ended_at IS NULL AND NOT EXISTS (
           SELECT 1 FROM snapshots AS newer
            WHERE newer.run = snapshots.run AND newer.number > snapshots.number),
       (SELECT count(*) FROM (
               SELECT 1 FROM snapshots AS newer
                WHERE newer.run = snapshots.run AND newer.number > snapshots.number
                LIMIT :count_max)),
       EXISTS (SELECT 1 FROM receipts
                WHERE receipts.run = snapshots.run AND receipts.confirmed_at IS NULL)
  FROM snapshots CROSS JOIN runs ON runs.number = snapshots.run
 WHERE snapshots.number > :after
 ORDER BY snapshots.number LIMIT :limit;

-- name: delete_snapshot_number
DELETE FROM snapshots WHERE number = ?;

-- name: page_sessions
-- The next sessions, with when they were last used, and whether runs belong to them or forks read
-- them.
SELECT sessions.number,
       coalesce((SELECT newest.created_at FROM messages AS newest
                  WHERE newest.session = sessions.number
                  ORDER BY newest.position DESC LIMIT 1), sessions.created_at),
       EXISTS (SELECT 1 FROM runs
                WHERE runs.session_id = sessions.id AND runs.session_id IS NOT NULL)
       OR EXISTS (SELECT 1 FROM sessions AS forks
                   WHERE forks.parent = sessions.number AND forks.parent IS NOT NULL)
       OR EXISTS (SELECT 1 FROM sessions AS forks
                   WHERE forks.root = sessions.number AND forks.root IS NOT NULL)
  FROM sessions
 WHERE sessions.number > :after
 ORDER BY sessions.number LIMIT :limit;

-- name: list_oldest_messages
SELECT number, CASE typeof(content) WHEN 'text' THEN content END
  FROM messages WHERE session = ? ORDER BY position LIMIT ?;

-- name: delete_message
DELETE FROM messages WHERE number = ?;

-- name: delete_session
DELETE FROM sessions
 WHERE number = ? AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.session = sessions.number);
