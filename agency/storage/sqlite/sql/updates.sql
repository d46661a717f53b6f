-- Updates: the tail of the journal as watchers see it, and how far hooks have come.

-- fragment: update_columns
-- What is longer than a watcher is told is left out, and its length told.
journal.id, journal.kind, journal.superseded, journal.key, journal.at,
CASE WHEN typeof(journal.body) = 'blob' AND length(journal.body) <= :bytes_max
     THEN journal.body END,
CASE typeof(journal.body)
WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = journal.body)
ELSE length(journal.body) END,
runs.number, runs.id, runs.name, runs.workflow, runs.queue, runs.session_id, runs.tags

-- name: newest_update
SELECT coalesce(max(id), 0) FROM journal;

-- name: list_updates
-- Looks at so many entries at most. The first row, with NULLs, tells the last one that was looked at.
SELECT coalesce((SELECT max(id) FROM (
       SELECT id FROM journal WHERE id > :after ORDER BY id LIMIT :limit)), :after),
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
UNION ALL
SELECT {update_columns}
  FROM journal CROSS JOIN runs ON runs.number = journal.run
 WHERE journal.id > :after
   AND journal.id <= (SELECT max(id) FROM (
       SELECT id FROM journal WHERE id > :after ORDER BY id LIMIT :limit))
   AND (journal.kind IN (SELECT value FROM json_each(:kinds))
    OR journal.run IN (SELECT value FROM json_each(:runs)));

-- name: page_run_updates
-- One row of NULLs if the run has none; no row if there is no such run. The last column is the
-- newest number of all.
SELECT {update_columns}, (SELECT max(newest.id) FROM journal AS newest)
  FROM runs
  LEFT JOIN journal
    ON journal.id IN (
       SELECT entry.id FROM journal AS entry INDEXED BY journal_key
        WHERE entry.run = runs.number AND entry.id > :after
        ORDER BY entry.id LIMIT :limit)
 WHERE runs.id = :run_id
 ORDER BY journal.id;

-- name: last_status
-- The newest change of status of a run; no row if there is no such run.
SELECT {update_columns}
  FROM runs CROSS JOIN journal
    ON journal.id = (
       SELECT max(entry.id) FROM journal AS entry INDEXED BY journal_key
        WHERE entry.run = runs.number AND entry.key >= '!!' AND entry.key < '!!a')
 WHERE runs.id = :run_id;

-- name: open_hook
-- A hook that was not there before begins with what is recorded from now on.
INSERT INTO hooks (name, position, calls, skipped, changed_at)
SELECT :name, coalesce(max(id), 0), 0, 0, :now FROM journal WHERE true
    ON CONFLICT DO NOTHING;

-- name: get_hook
SELECT name, position, calls, skipped, changed_at FROM hooks WHERE name = ?;

-- name: list_hooks
SELECT name, position, calls, skipped, changed_at FROM hooks ORDER BY name;

-- name: save_hook
-- It never goes back. One that could not be opened, because there was no room, is made here.
INSERT INTO hooks (name, position, calls, skipped, changed_at)
VALUES (:name, :position, :calls, :skipped, :now)
    ON CONFLICT (name) DO UPDATE
   SET position = max(position, excluded.position), calls = calls + excluded.calls,
       skipped = skipped + excluded.skipped, changed_at = excluded.changed_at;
