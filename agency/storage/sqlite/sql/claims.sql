-- Claims: who may write for a run, and what becomes of the claims of a dead daemon.

-- name: next_priority
-- The highest priority below the given one that a pending run has.
SELECT max(column1)
  FROM (VALUES
       ((SELECT max(priority) FROM runs
          WHERE status = 'pending' AND not_before IS NULL
            AND session_blocked = 0 AND priority < ?1)),
       ((SELECT max(priority) FROM runs
          WHERE status = 'pending' AND not_before IS NOT NULL
            AND session_blocked = 0 AND priority < ?1)));

-- name: claim_priority
-- Atomic: SQLite runs one write at a time, so no run is handed out twice. Those that may begin at
-- any time and those whose moment has come are merged, each from its own index.
UPDATE runs
   SET status = 'running', owner = :owner, epoch = epoch + 1, ran_alone = 0, not_before = NULL,
       started_at = coalesce(started_at, :now)
 WHERE number IN (
       SELECT number
         FROM (SELECT ready.available_at AS ready_at, ready.number AS number
                 FROM runs AS ready
                WHERE ready.status = 'pending' AND ready.not_before IS NULL
                  AND ready.session_blocked = 0 AND ready.priority = :priority
               UNION ALL
               SELECT late.not_before, late.number
                 FROM runs AS late
                WHERE late.status = 'pending' AND late.not_before <= :now
                  AND late.session_blocked = 0 AND late.priority = :priority
                ORDER BY 1, 2
                LIMIT :limit))
RETURNING {run_columns};

-- name: claim_one
UPDATE runs
   SET status = 'running', owner = :owner, epoch = epoch + 1, ran_alone = 0, not_before = NULL,
       started_at = coalesce(started_at, :now)
 WHERE id = :run_id AND status = 'pending' AND session_blocked = 0
   AND (not_before IS NULL OR not_before <= :now)
RETURNING {run_columns};

-- name: count_running
SELECT runs FROM run_counts WHERE status = 'running';

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
   SET status = 'pending', owner = NULL, ran_alone = 0, crashes = :crashes, steps = :steps
 WHERE number = :number AND status = 'running';

-- name: quarantine
UPDATE runs
   SET status = 'dead_letter', owner = NULL, ran_alone = 0, hold = NULL, snapshot_id = NULL,
       crashes = :crashes, steps = :steps, error = :error, ended_at = :now
 WHERE number = :number AND status = 'running'
RETURNING session_id, session_place;

-- name: list_suspects
SELECT id FROM runs WHERE crashes >= 2 AND status = 'pending' ORDER BY number;
