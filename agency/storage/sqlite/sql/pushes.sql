-- Pushes: whom to tell of tasks, and how far that has come.

-- fragment: push_columns
pushes.number, pushes.revision, pushes.id, tasks.task_id, runs.id, pushes.url, pushes.protocol,
pushes.address, pushes.scheme, pushes.sealed, pushes.state, pushes.position, pushes.tries,
pushes.due_at, pushes.sent, pushes.skipped, pushes.error, pushes.error_at, pushes.sent_at,
pushes.created_at

-- name: find_pushed_task
-- The number of a task, and that of the entry before its newest change of status.
SELECT tasks.task, coalesce((
       SELECT max(entry.id) - 1 FROM journal AS entry INDEXED BY journal_key
        WHERE entry.run = tasks.run AND entry.key >= '!!' AND entry.key < '!!a'), 0)
  FROM runs AS first CROSS JOIN tasks ON tasks.task = first.number
 WHERE first.id = ?;

-- name: count_other_pushes
SELECT count(*) FROM pushes WHERE task = :task AND id <> :id;

-- name: put_push
-- One that is set anew goes back if need be, and never forward.
INSERT INTO pushes (task, id, revision, url, protocol, address, scheme, sealed, state, position,
                    tries, due_at, sent, skipped, error, error_at, sent_at, created_at)
VALUES (:task, :id, 1, :url, :protocol, :address, :scheme, :sealed, 'active', :position,
        0, NULL, 0, 0, '', NULL, NULL, :created_at)
    ON CONFLICT (task, id) DO UPDATE
   SET revision = revision + 1, url = excluded.url, protocol = excluded.protocol,
       address = excluded.address, scheme = excluded.scheme, sealed = excluded.sealed, state = 'active',
       position = min(position, excluded.position), tries = 0, due_at = NULL, error = '',
       error_at = NULL;

-- name: find_push
SELECT {push_columns}
  FROM pushes
 CROSS JOIN tasks ON tasks.task = pushes.task
 CROSS JOIN runs ON runs.number = tasks.run
 WHERE pushes.number = ?;

-- name: find_push_of
SELECT {push_columns}
  FROM runs AS first
 CROSS JOIN tasks ON tasks.task = first.number
 CROSS JOIN runs ON runs.number = tasks.run
 CROSS JOIN pushes ON pushes.task = tasks.task
 WHERE first.id = :task_id AND pushes.id = :id;

-- name: list_pushes_of
-- The task is named by the run that it began with, or by the one that it is now.
SELECT {push_columns}
  FROM pushes
 CROSS JOIN tasks ON tasks.task = pushes.task
 CROSS JOIN runs ON runs.number = tasks.run
 WHERE pushes.task IN (
       SELECT first.number FROM runs AS first WHERE first.id = :task_id
       UNION
       SELECT own.task FROM runs AS live CROSS JOIN tasks AS own ON own.run = live.number
        WHERE live.id = :task_id)
   AND pushes.number > :after
 ORDER BY pushes.number LIMIT :limit;

-- name: delete_push
DELETE FROM pushes
 WHERE task = (SELECT first.number FROM runs AS first WHERE first.id = :task_id) AND id = :id;

-- name: list_unfinished_pushes
SELECT pushes.number
  FROM pushes CROSS JOIN tasks ON tasks.task = pushes.task
 WHERE pushes.state = 'active' AND pushes.number > :after
   AND EXISTS (SELECT 1 FROM journal INDEXED BY journal_key
                WHERE journal.run = tasks.run AND journal.id > pushes.position)
 ORDER BY pushes.number LIMIT :limit;

-- name: list_changed_pushes
-- Looks at so many entries at most. The first row tells the last one that was looked at, and whether
-- any push is active.
SELECT coalesce((SELECT max(id) FROM (
       SELECT id FROM journal WHERE id > :after ORDER BY id LIMIT :limit)), :after),
       EXISTS (SELECT 1 FROM pushes INDEXED BY pushes_active
                WHERE state = 'active' AND task > 0)
UNION ALL
SELECT DISTINCT pushes.number, NULL
  FROM journal
 CROSS JOIN tasks ON tasks.run = journal.run
 CROSS JOIN pushes INDEXED BY pushes_active
    ON pushes.task = tasks.task AND pushes.state = 'active'
 WHERE journal.id > :after
   AND journal.id <= (SELECT max(id) FROM (
       SELECT id FROM journal WHERE id > :after ORDER BY id LIMIT :limit));

-- name: note_push
UPDATE pushes
   SET state = :state, position = :position, tries = :tries, due_at = :due_at, sent = :sent,
       skipped = :skipped, error = :error, error_at = :error_at, sent_at = :sent_at
 WHERE number = :number AND revision = :revision;

-- name: give_up_pushes
UPDATE pushes SET state = 'given_up', revision = revision + 1 WHERE state = 'active' AND task > 0;
