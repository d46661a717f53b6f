-- Lineage: retry, fork, discard, and how runs belong together.

-- name: load_outline
-- Entries (0) and waits (1) of a run without their bodies; unordered.
SELECT 0, id, key, kind, at, superseded,
       CASE kind WHEN 7 THEN body END,
       CASE typeof(body)
       WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = body)
       ELSE length(body) END + coalesce(length(meta), 0)
  FROM journal
 WHERE run = ?1 AND kind NOT IN (10, 11)
UNION ALL
SELECT 1, id, key, kind, resolved_at, 0, outcome,
       coalesce(CASE typeof(payload)
                WHEN 'text' THEN (SELECT length(data) FROM blobs WHERE hash = payload)
                ELSE length(payload) END, 0) + coalesce(length(show), 0)
  FROM waits
 WHERE run = ?1 AND NOT superseded;

-- name: find_fork_source
SELECT number, status, generation, session_id, concurrency_key, name, parent_id,
       CASE typeof(output) WHEN 'text' THEN output END, error
  FROM runs WHERE id = ?;

-- name: find_input_blob
SELECT input FROM runs WHERE number = :number AND typeof(input) = 'text';

-- name: retry_run
-- Only the end that was seen is undone.
UPDATE runs
   SET status = 'pending', attempt = 1, max_attempts = coalesce(:max_attempts, max_attempts),
       generation = generation + 1, crashes = 0, ran_alone = 0, owner = NULL, ended_at = NULL,
       ending = NULL, ending_epoch = NULL, hold = NULL, snapshot_id = NULL, error = NULL,
       output = NULL, available_at = :now, not_before = NULL, deadline_at = :deadline_at,
       provider = coalesce(:provider, provider), input = coalesce(:input, input), steps = :steps, changed_at = :now
 WHERE number = :number AND status = :status AND generation = :generation;

-- name: add_retry
INSERT INTO retries (run, generation, at, principal, status, error) VALUES (?, ?, ?, ?, ?, ?);

-- name: void_entries
UPDATE journal
   SET key = key || '^' || id, superseded = 1
 WHERE run = :run AND superseded = 0
   AND id IN (SELECT value FROM json_each(:numbers));

-- name: void_waits
UPDATE waits
   SET key = key || '^' || id, superseded = 1
 WHERE run = :run AND superseded = 0 AND outcome IS NOT NULL
   AND key IN (SELECT value FROM json_each(:keys));

-- name: reopen_waits
-- What the end has closed is open again.
UPDATE waits
   SET outcome = NULL, payload = NULL, resolved_at = NULL, resolved_number = 0
 WHERE run = :run AND superseded = 0 AND outcome = 'cancelled'
   AND key IN (SELECT value FROM json_each(:keys));

-- name: discard_run
UPDATE runs SET status = 'cancelled', error = :error, changed_at = :now
 WHERE number = :number AND status = 'dead_letter';

-- name: copy_entries
-- In the order in which they were recorded, so that the copies have it, too.
INSERT INTO journal (run, epoch, kind, at, superseded, key, meta, body)
SELECT :fork, 1, kind, at, superseded, key, meta, body
  FROM journal
 WHERE run = :run AND id <= :at AND kind NOT IN (10, 11)
   AND id NOT IN (SELECT value FROM json_each(:dropped))
 ORDER BY id;

-- name: copy_wait
INSERT INTO waits (run, key, kind, name, due_at, target, opened_at, outcome, resolved_at,
                   resolved_number, show, payload)
SELECT :fork, key, kind, name, due_at, target, opened_at, outcome, resolved_at, :number, show,
       payload
  FROM waits
 WHERE run = :run AND key = :key AND outcome IS NOT NULL;

-- name: begin_with_journal
-- With an epoch as if it had been claimed, so that whoever claims it reads its journal.
UPDATE runs
   SET epoch = 1, generation = :generation,
       steps = (SELECT coalesce(sum(journal.kind = 1 AND NOT journal.superseded), 0)
                  FROM journal WHERE journal.run = :number),
       has_at_end = (SELECT coalesce(max(journal.kind = 9 AND NOT journal.superseded), 0)
                       FROM journal WHERE journal.run = :number)
 WHERE number = :number;

-- name: add_succession
INSERT INTO successions (successor, predecessor) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: list_origins
-- What each of the given runs comes from, and in which way.
SELECT 'child', runs.id, runs.parent_id FROM runs
 WHERE runs.id IN (SELECT value FROM json_each(?1)) AND runs.parent_id IS NOT NULL
UNION ALL
SELECT 'rerun', runs.id, runs.rerun_of FROM runs
 WHERE runs.id IN (SELECT value FROM json_each(?1)) AND runs.rerun_of IS NOT NULL
UNION ALL
SELECT 'fork', runs.id, runs.forked_from FROM runs
 WHERE runs.id IN (SELECT value FROM json_each(?1)) AND runs.forked_from IS NOT NULL
UNION ALL
SELECT 'successor', successions.successor, successions.predecessor FROM successions
 WHERE successions.successor IN (SELECT value FROM json_each(?1));

-- name: list_offspring
-- What comes from each of the given runs, and in which way.
SELECT 'child', runs.id, runs.parent_id
  FROM json_each(:ids) AS given CROSS JOIN runs ON runs.parent_id = given.value
 WHERE runs.parent_id IS NOT NULL
UNION ALL
SELECT 'rerun', runs.id, runs.rerun_of
  FROM json_each(:ids) AS given CROSS JOIN runs ON runs.rerun_of = given.value
 WHERE runs.rerun_of IS NOT NULL
UNION ALL
SELECT 'fork', runs.id, runs.forked_from
  FROM json_each(:ids) AS given CROSS JOIN runs ON runs.forked_from = given.value
 WHERE runs.forked_from IS NOT NULL
UNION ALL
SELECT 'successor', successions.successor, successions.predecessor
  FROM json_each(:ids) AS given
 CROSS JOIN successions ON successions.predecessor = given.value
 LIMIT :limit;

-- name: list_kin
SELECT id, name, workflow, status, created_at, generation FROM runs
 WHERE id IN (SELECT value FROM json_each(?));

-- name: list_retries
SELECT retries.generation, retries.at, retries.principal, retries.status, retries.error
  FROM runs CROSS JOIN retries ON retries.run = runs.number
 WHERE runs.id = ?
 ORDER BY retries.generation DESC LIMIT ?;
