-- Runs: how they start and how they are read.

-- name: insert_runs
-- Starts runs, as many as there are rows of parameters; rows of NULL start none. Nor does one whose
-- id, idempotency key or name, if that of a live run, is taken.
INSERT INTO runs (
       id, name, workflow, version, kind, priority, available_at, not_before, max_attempts,
       created_at, deadline_at, session_id, blocked, queue, parent_id, forked_from,
       idempotency_key, request_hash, correlation_id, principal, provider, seed, tags,
       concurrency_key, rerun_of, forked_at, schedule, input,
       status, epoch, attempt, crashes, ran_alone, has_at_end, generation, steps, phase)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10,
       column11, column12, column13, column14, column15, column16, column17, column18, column19,
       column20, column21, column22, column23, column24, column25, column26, column27, column28,
       'pending', 0, 1, 0, 0, 0, 0, 0, 'forward'
  FROM (VALUES (
       ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?))
 WHERE column1 IS NOT NULL
    ON CONFLICT DO NOTHING
RETURNING number, id;

-- name: find_run_by_key
-- Each principal has its own keys.
SELECT {run_columns}, request_hash FROM runs
 WHERE idempotency_key IS NOT NULL AND idempotency_key = ? AND principal = ?;

-- name: find_run_by_id
SELECT {run_columns} FROM runs WHERE id = ?;

-- name: find_live_name
SELECT id FROM runs WHERE name = ? AND ended_at IS NULL;

-- name: get_runs
-- Those of the given ids that there are, in no order.
SELECT {detail_columns} FROM runs WHERE id IN (SELECT value FROM json_each(?));

-- name: find_named
-- The live run of that name, else the newest ended one.
SELECT {detail_columns}
  FROM runs
 WHERE number = coalesce(
       (SELECT live.number FROM runs AS live WHERE live.name = ?1 AND live.ended_at IS NULL),
       (SELECT max(old.number) FROM runs AS old WHERE old.name = ?1 AND old.name IS NOT NULL));

-- fragment: run_filter
number < :before
   AND (:workflow IS NULL OR workflow = :workflow)
   AND (:name IS NULL OR name = :name)
   AND (:session_id IS NULL OR session_id = :session_id)
   AND (:parent_id IS NULL OR parent_id = :parent_id)
   AND (:principal IS NULL OR principal = :principal)
   AND (:is_named IS NULL OR (name IS NOT NULL) = :is_named)
   AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))

-- name: list_runs
SELECT {run_columns} FROM runs
 WHERE {run_filter}
 ORDER BY number DESC LIMIT :limit;

-- name: list_named_runs
SELECT {run_columns} FROM runs INDEXED BY runs_named
 WHERE name IS NOT NULL AND {run_filter}
 ORDER BY number DESC LIMIT :limit;

-- name: list_runs_of_name
SELECT {run_columns} FROM runs INDEXED BY runs_by_name
 WHERE name IS NOT NULL AND name = :name AND {run_filter}
 ORDER BY number DESC LIMIT :limit;

-- name: list_runs_of_session
SELECT {run_columns} FROM runs INDEXED BY runs_by_session
 WHERE session_id IS NOT NULL AND session_id = :session_id AND {run_filter}
 ORDER BY number DESC LIMIT :limit;

-- name: list_runs_of_parent
SELECT {run_columns} FROM runs INDEXED BY runs_by_parent
 WHERE parent_id IS NOT NULL AND parent_id = :parent_id AND {run_filter}
 ORDER BY number DESC LIMIT :limit;

-- name: list_runs_of_workflow
SELECT {run_columns} FROM runs INDEXED BY runs_by_workflow
 WHERE workflow = :workflow AND {run_filter}
 ORDER BY number DESC LIMIT :limit;

-- name: list_runs_of_workflow_and_statuses
-- Steps from index to index: the next run of the workflow, then the next of the statuses that is
-- not newer. So neither a rare workflow nor a rare status is looked for among millions of others.
WITH RECURSIVE page (next) AS (
     SELECT :before
     UNION ALL
     SELECT (SELECT max((SELECT max(run.number) FROM runs AS run
                          WHERE run.status = wanted.value
                            AND run.number <= (
                                SELECT max(own.number) FROM runs AS own
                                 WHERE own.workflow = :workflow AND own.number < page.next)))
               FROM json_each(:statuses) AS wanted)
       FROM page WHERE page.next IS NOT NULL)
SELECT {run_columns}
  FROM page CROSS JOIN runs
 WHERE number = page.next AND {run_filter}
 LIMIT :limit;

-- name: list_runs_of_statuses
-- Steps from run to run through the index of each status, so that a rare status is found among
-- millions of others without a scan and without a sort.
WITH RECURSIVE page (next) AS (
     SELECT (SELECT max((SELECT max(run.number) FROM runs AS run
                          WHERE run.status = wanted.value AND run.number < :before))
               FROM json_each(:statuses) AS wanted)
     UNION ALL
     SELECT (SELECT max((SELECT max(run.number) FROM runs AS run
                          WHERE run.status = wanted.value AND run.number < page.next))
               FROM json_each(:statuses) AS wanted)
       FROM page WHERE page.next IS NOT NULL)
SELECT {run_columns}
  FROM page CROSS JOIN runs
 WHERE number = page.next AND {run_filter}
 LIMIT :limit;

-- name: count_by_status
SELECT status, sum(runs) FROM run_counts WHERE runs > 0 GROUP BY status;
