-- Claims: who may write for a run, and what becomes of the claims of a dead daemon.

-- name: promote_delayed
-- Those whose moment has come are ready from now on, whatever becomes of the clock.
UPDATE runs
   SET not_before = NULL
 WHERE number IN (
       SELECT late.number FROM runs AS late INDEXED BY runs_delayed
        WHERE late.status = 'pending' AND late.not_before <= :now
        ORDER BY late.not_before, late.number
        LIMIT :limit);

-- fragment: is_ready
ready.status = 'pending' AND ready.not_before IS NULL AND ready.blocked = 0

-- fragment: lane_columns
-- A lane, how many more runs of its workflow may be claimed if that has a limit, and what the claims
-- of its queue are limited by, with how many of the queue's runs are claimed if that counts.
ready.queue, ready.workflow,
workflow_limits.concurrency - (
       SELECT coalesce(sum(run_counts.runs), 0) FROM run_counts
        WHERE run_counts.workflow = workflow_limits.workflow AND run_counts.status = 'running'),
queues.paused_at, queues.concurrency, queues.rate, queues.period, queues.tokens,
queues.refilled_at,
CASE WHEN queues.concurrency IS NOT NULL THEN (
     SELECT coalesce(sum(run_counts.runs), 0) FROM run_counts
      WHERE run_counts.queue = queues.name AND run_counts.status = 'running') END

-- name: look_for_ready
-- The first row tells when the next run that was put off comes in, and whether a run is noted to run
-- alone. The others are the lanes that have ready runs, in their order: from one to the next is a
-- step in the index, however long it is.
WITH RECURSIVE lanes (number) AS (
     SELECT (SELECT ready.number FROM runs AS ready INDEXED BY runs_ready
              WHERE {is_ready} AND ready.queue > ''
              ORDER BY ready.queue, ready.workflow LIMIT 1)
     UNION ALL
     SELECT coalesce(
            (SELECT ready.number FROM runs AS ready INDEXED BY runs_ready
              WHERE {is_ready} AND ready.queue = lane.queue AND ready.workflow > lane.workflow
              ORDER BY ready.workflow LIMIT 1),
            (SELECT ready.number FROM runs AS ready INDEXED BY runs_ready
              WHERE {is_ready} AND ready.queue > lane.queue
              ORDER BY ready.queue, ready.workflow LIMIT 1))
       FROM lanes CROSS JOIN runs AS lane ON lane.number = lanes.number)
SELECT (SELECT late.not_before FROM runs AS late INDEXED BY runs_delayed
         WHERE late.status = 'pending' AND late.not_before IS NOT NULL
         ORDER BY late.not_before LIMIT 1),
       EXISTS (SELECT 1 FROM runs AS alone INDEXED BY runs_suspect
                WHERE alone.crashes >= 2 AND alone.ran_alone = 1),
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
UNION ALL
SELECT {lane_columns}
  FROM lanes
 CROSS JOIN runs AS ready ON ready.number = lanes.number
  LEFT JOIN queues ON queues.name = ready.queue
  LEFT JOIN workflow_limits ON workflow_limits.workflow = ready.workflow;

-- name: list_lane
-- The ready runs of a lane in their order, as many as can be claimed; read only as far as needed.
SELECT ready.rank, ready.number
  FROM runs AS ready INDEXED BY runs_ready
 WHERE {is_ready} AND ready.queue = ? AND ready.workflow = ?
 ORDER BY ready.rank, ready.number
 LIMIT ?;

-- name: set_tokens
UPDATE queues SET tokens = :tokens, refilled_at = :now WHERE name = :name;

-- name: claim_runs
-- Atomic: SQLite runs one write at a time, so no run is handed out twice.
UPDATE runs
   SET status = 'running', owner = :owner, epoch = epoch + 1, ran_alone = 0, not_before = NULL,
       started_at = coalesce(started_at, :now), changed_at = :now
 WHERE number IN (SELECT value FROM json_each(:numbers)) AND status = 'pending'
RETURNING {run_columns};

-- name: find_ready
-- Where a run is, if it is ready, with what its claim is limited by.
SELECT ready.number, {lane_columns}
  FROM runs AS ready
  LEFT JOIN queues ON queues.name = ready.queue
  LEFT JOIN workflow_limits ON workflow_limits.workflow = ready.workflow
 WHERE ready.id = :run_id AND ready.status = 'pending' AND ready.blocked = 0
   AND (ready.not_before IS NULL OR ready.not_before <= :now);

-- name: count_running
SELECT coalesce(sum(runs), 0) FROM run_counts WHERE status = 'running';

-- name: not_alone_any_more
UPDATE runs SET ran_alone = 0 WHERE crashes >= 2 AND ran_alone = 1;

-- name: runs_alone
UPDATE runs SET ran_alone = 1 WHERE number = ? AND crashes >= 2;

-- name: list_orphans
-- Runs that are claimed by another than the given owner.
SELECT number, id, crashes, ran_alone FROM runs
 WHERE status = 'running' AND owner IS NOT ?
 ORDER BY number;

-- name: requeue
UPDATE runs
   SET status = 'pending', owner = NULL, ran_alone = 0, crashes = :crashes, steps = :steps,
       changed_at = :now
 WHERE number = :number AND status = 'running';

-- name: quarantine
UPDATE runs
   SET status = 'dead_letter', owner = NULL, ran_alone = 0, hold = NULL, snapshot_id = NULL,
       crashes = :crashes, steps = :steps, error = :error, ended_at = :now, changed_at = :now
 WHERE number = :number AND status = 'running';

-- name: list_suspects
SELECT id FROM runs WHERE crashes >= 2 AND status = 'pending' ORDER BY number;
