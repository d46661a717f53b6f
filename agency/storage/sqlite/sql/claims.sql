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

-- name: next_lane
-- The next workflow of the queue that has ready runs.
SELECT ready.workflow
  FROM runs AS ready INDEXED BY runs_ready
 WHERE ready.status = 'pending' AND ready.not_before IS NULL AND ready.blocked = 0
   AND ready.queue = ? AND ready.workflow > ?
 ORDER BY ready.workflow
 LIMIT 1;

-- name: next_ready_queue
-- The next queue that has ready runs.
SELECT ready.queue
  FROM runs AS ready INDEXED BY runs_ready
 WHERE ready.status = 'pending' AND ready.not_before IS NULL AND ready.blocked = 0
   AND ready.queue > ?
 ORDER BY ready.queue
 LIMIT 1;

-- name: list_lane
-- The ready runs of a lane in their order; read only as far as they can be claimed.
SELECT ready.rank, ready.number
  FROM runs AS ready INDEXED BY runs_ready
 WHERE ready.status = 'pending' AND ready.not_before IS NULL AND ready.blocked = 0
   AND ready.queue = ? AND ready.workflow = ?
 ORDER BY ready.rank, ready.number;

-- name: load_limits
-- What the claims of a queue are limited by, with how many of its runs are claimed if that counts.
SELECT paused_at, concurrency, rate, period, tokens, refilled_at,
       CASE WHEN concurrency IS NOT NULL THEN (
            SELECT coalesce(sum(run_counts.runs), 0) FROM run_counts
             WHERE run_counts.queue = queues.name AND run_counts.status = 'running') END
  FROM queues
 WHERE name = ?;

-- name: load_workflow_limit
-- How many more runs of a workflow may be claimed; no row if that has no limit.
SELECT concurrency - (
       SELECT coalesce(sum(run_counts.runs), 0) FROM run_counts
        WHERE run_counts.workflow = workflow_limits.workflow AND run_counts.status = 'running')
  FROM workflow_limits
 WHERE workflow = ?;

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
-- Where a run is, if it is ready.
SELECT number, queue, workflow
  FROM runs
 WHERE id = :run_id AND status = 'pending' AND blocked = 0
   AND (not_before IS NULL OR not_before <= :now);

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
