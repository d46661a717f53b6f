-- Pushes: whom to tell of runs, and how far that has come.

-- fragment: push_columns
pushes.number, pushes.revision, pushes.id, runs.id, pushes.run, pushes.url, pushes.protocol,
pushes.scheme, pushes.sealed, pushes.state, pushes.position, pushes.tries, pushes.due_at,
pushes.sent, pushes.skipped, pushes.error, pushes.error_at, pushes.sent_at, pushes.created_at

-- name: find_pushed_run
-- The number of a run, and that of the entry before its newest change of status.
SELECT runs.number, coalesce((
       SELECT max(entry.id) - 1 FROM journal AS entry INDEXED BY journal_key
        WHERE entry.run = runs.number AND entry.key >= '!!' AND entry.key < '!!a'), 0)
  FROM runs WHERE runs.id = ?;

-- name: count_other_pushes
SELECT count(*) FROM pushes WHERE run = :run AND id <> :id;

-- name: put_push
-- One that is set anew goes back if need be, and never forward.
INSERT INTO pushes (run, id, revision, url, protocol, scheme, sealed, state, position, tries,
                    due_at, sent, skipped, error, error_at, sent_at, created_at)
VALUES (:run, :id, 1, :url, :protocol, :scheme, :sealed, 'active', :position, 0,
        NULL, 0, 0, '', NULL, NULL, :created_at)
    ON CONFLICT (run, id) DO UPDATE
   SET revision = revision + 1, url = excluded.url, protocol = excluded.protocol,
       scheme = excluded.scheme, sealed = excluded.sealed, state = 'active',
       position = min(position, excluded.position), tries = 0, due_at = NULL, error = '',
       error_at = NULL;

-- name: find_push
SELECT {push_columns}
  FROM pushes CROSS JOIN runs ON runs.number = pushes.run
 WHERE pushes.number = ?;

-- name: find_push_of
SELECT {push_columns}
  FROM runs CROSS JOIN pushes ON pushes.run = runs.number
 WHERE runs.id = :run_id AND pushes.id = :id;

-- name: list_pushes_of
SELECT {push_columns}
  FROM runs CROSS JOIN pushes ON pushes.run = runs.number
 WHERE runs.id = :run_id AND pushes.number > :after
 ORDER BY pushes.number LIMIT :limit;

-- name: delete_push
DELETE FROM pushes
 WHERE run = (SELECT number FROM runs WHERE runs.id = :run_id) AND id = :id;

-- name: list_unfinished_pushes
SELECT pushes.number FROM pushes
 WHERE pushes.state = 'active' AND pushes.number > :after
   AND EXISTS (SELECT 1 FROM journal INDEXED BY journal_key
                WHERE journal.run = pushes.run AND journal.id > pushes.position)
 ORDER BY pushes.number LIMIT :limit;

-- name: list_changed_pushes
-- Looks at so many entries at most. The first row tells the last one that was looked at, and whether
-- any push is active.
SELECT coalesce((SELECT max(id) FROM (
       SELECT id FROM journal WHERE id > :after ORDER BY id LIMIT :limit)), :after),
       EXISTS (SELECT 1 FROM pushes INDEXED BY pushes_active WHERE state = 'active')
UNION ALL
SELECT DISTINCT pushes.number, NULL
  FROM journal CROSS JOIN pushes INDEXED BY pushes_active
    ON pushes.run = journal.run AND pushes.state = 'active'
 WHERE journal.id > :after
   AND journal.id <= (SELECT max(id) FROM (
       SELECT id FROM journal WHERE id > :after ORDER BY id LIMIT :limit));

-- name: note_push
UPDATE pushes
   SET state = :state, position = :position, tries = :tries, due_at = :due_at, sent = :sent,
       skipped = :skipped, error = :error, error_at = :error_at, sent_at = :sent_at
 WHERE number = :number AND revision = :revision;
