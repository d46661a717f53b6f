-- Journals: what runs have recorded.

-- name: record_entries
-- Fences and inserts in one statement: rows whose claim is over are not inserted. The one row of
-- parameters is repeated by the loader; rows of NULL fill a statement up and insert nothing.
INSERT INTO journal (run, epoch, kind, at, key, meta, body)
  WITH entry (run, epoch, kind, at, key, meta, body) AS (VALUES (?, ?, ?, ?, ?, ?, ?))
SELECT run, epoch, kind, at, key, meta, body
  FROM entry
 WHERE EXISTS (
       SELECT 1 FROM runs
        WHERE runs.number = entry.run AND runs.epoch = entry.epoch AND runs.status = 'running');

-- name: insert_entry
-- For transactions that have passed their fence.
INSERT INTO journal (run, epoch, kind, at, key, meta, body) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: fence
-- One row while the claim holds.
SELECT hold, ending, ending_epoch FROM runs
 WHERE number = ? AND epoch = ? AND status = 'running';

-- name: supersede
-- A failure (2), try (3) or intent (4), a wait (5) or child (6) that a retry has made void stays
-- readable under another key and counts no more.
UPDATE journal
   SET key = key || '^' || id, superseded = 1
 WHERE run = ? AND key = ? AND kind IN (2, 3, 4, 5, 6) AND superseded = 0;

-- name: supersede_waits
-- The wait of that key, and those of the step of that key.
UPDATE waits
   SET key = key || '^' || id, superseded = 1,
       outcome = coalesce(outcome, 'cancelled'), resolved_at = coalesce(resolved_at, :now),
       resolved_number = CASE WHEN outcome IS NULL THEN :number ELSE resolved_number END
 WHERE run = :run AND superseded = 0
   AND (key = :key OR (key >= :key || ':' AND key < :key || ';'));

-- name: find_doubt
-- An effect that may have happened: of an intent K!N neither the step's end K nor the try K~N.
SELECT 1
  FROM journal AS intent
 WHERE intent.run = ? AND intent.key GLOB '*![0-9]*' AND intent.kind = 4 AND intent.superseded = 0
   AND NOT EXISTS (
       SELECT 1 FROM journal AS outcome
        WHERE outcome.run = intent.run
          AND outcome.key IN (
              substr(intent.key, 1, length(rtrim(intent.key, '0123456789')) - 1),
              substr(intent.key, 1, length(rtrim(intent.key, '0123456789')) - 1)
              || '~' || substr(intent.key, length(rtrim(intent.key, '0123456789')) + 1)))
 LIMIT 1;

-- name: newest_entry
-- Of what the run has recorded itself; 0 if that is nothing.
SELECT coalesce(max(id), 0) FROM journal WHERE run = ? AND key NOT GLOB '!!*';

-- name: count_steps
-- How many steps the run has recorded, and whether anything under its present epoch.
SELECT coalesce(sum(journal.kind = 1 AND NOT journal.superseded), 0),
       coalesce(max(journal.epoch = runs.epoch), 0)
  FROM runs LEFT JOIN journal ON journal.run = runs.number AND journal.kind NOT IN (10, 11)
 WHERE runs.number = ?;

-- name: load_journal
-- Entries (0), waits (1) and superseded entries (2, without their bodies) of a run in one consistent
-- read; unordered.
SELECT CASE superseded WHEN 0 THEN 0 ELSE 2 END, id, key, kind,
       CASE WHEN superseded THEN NULL
            WHEN typeof(body) = 'text' THEN (SELECT data FROM blobs WHERE hash = body)
            ELSE body END,
       at, meta, epoch, NULL, NULL, NULL, NULL, NULL
  FROM journal
 WHERE run = ?1 AND kind NOT IN (10, 11)
UNION ALL
SELECT 1, {wait_columns}
  FROM waits
 WHERE run = ?1 AND NOT superseded;

-- name: page_entries
-- One row of NULLs if the run has none; no row if there is no such run. Rows that are there for
-- watchers only (their keys begin with !!) are left out.
SELECT journal.id, journal.key, journal.kind,
       CASE typeof(journal.body)
       WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = journal.body)
       ELSE journal.body END,
       journal.at, journal.meta, journal.epoch
  FROM runs
  LEFT JOIN journal
    ON journal.id IN (
       SELECT entry.id FROM journal AS entry INDEXED BY journal_key
        WHERE entry.run = runs.number AND entry.id > :after AND entry.key NOT GLOB '!!*'
        ORDER BY entry.id LIMIT :limit)
 WHERE runs.id = :run_id
 ORDER BY journal.id;
