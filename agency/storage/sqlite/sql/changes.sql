-- How runs leave the worker: suspended, released, held, ended.

-- name: suspend_run
UPDATE runs
   SET status = 'suspended', owner = NULL, ran_alone = 0, crashes = 0, snapshot_id = :snapshot_id,
       steps = steps + :steps, changed_at = :now
 WHERE number = :number AND epoch = :epoch AND status = 'running';

-- name: release_run
-- A run whose end is wanted is claimed at once, so that it can end.
UPDATE runs
   SET status = 'pending', owner = NULL, ran_alone = 0, steps = steps + :steps, changed_at = :now,
       available_at = CASE WHEN ending IS NULL THEN :available_at ELSE :now END,
       not_before = CASE WHEN ending IS NULL THEN :not_before END
 WHERE number = :number AND epoch = :epoch AND status = 'running';

-- name: release_failed_run
-- Of a run whose end is wanted the error says why it is to end.
UPDATE runs
   SET status = 'pending', owner = NULL, ran_alone = 0, steps = steps + :steps, changed_at = :now,
       available_at = CASE WHEN ending IS NULL THEN :available_at ELSE :now END,
       not_before = CASE WHEN ending IS NULL THEN :not_before END,
       crashes = 0, attempt = attempt + 1, generation = generation + 1,
       error = CASE WHEN ending IS NULL THEN :error ELSE error END
 WHERE number = :number AND epoch = :epoch AND status = 'running';

-- name: finish_runs
-- Ends claimed runs, as many as there are rows of parameters; rows of NULL end none. Of each it tells
-- what has to be seen to beside it.
UPDATE runs
   SET status = wanted.status, output = wanted.output, error = wanted.error, ended_at = wanted.now,
       owner = NULL, ran_alone = 0, crashes = 0, hold = NULL, snapshot_id = NULL,
       steps = runs.steps + wanted.steps, changed_at = wanted.now
  FROM (SELECT column1 AS number, column2 AS epoch, column3 AS status, column4 AS output,
               column5 AS error, column6 AS now, column7 AS steps
          FROM (VALUES (?, ?, ?, ?, ?, ?, ?))) AS wanted
 WHERE runs.number = wanted.number AND runs.epoch = wanted.epoch AND runs.status = 'running'
RETURNING number, name, session_id, concurrency_key, parent_id,
          EXISTS (SELECT 1 FROM waits WHERE waits.run = runs.number AND waits.outcome IS NULL),
          EXISTS (SELECT 1 FROM runs AS child
                   WHERE child.parent_id = runs.id AND child.parent_id IS NOT NULL
                     AND child.ended_at IS NULL);

-- name: wake_run
-- A suspended run has a reason to go on, unless an operator holds it.
UPDATE runs
   SET status = 'pending', snapshot_id = NULL, available_at = :now, not_before = NULL,
       changed_at = :now
 WHERE number = :number AND status = 'suspended' AND hold IS NULL;

-- name: find_state
SELECT number, id, status, hold, snapshot_id FROM runs WHERE id = ?;

-- name: get_state
SELECT number, id, status, hold, snapshot_id FROM runs WHERE number = ?;

-- name: hold_run
UPDATE runs SET hold = :reason WHERE number = :number AND ended_at IS NULL;

-- name: suspend_held_run
UPDATE runs
   SET status = 'suspended', hold = :reason, snapshot_id = :snapshot_id, changed_at = :now
 WHERE number = :number AND status = 'pending';

-- name: lift_hold
UPDATE runs SET hold = NULL WHERE number = ?;

-- name: list_line
-- A run and its live descendants, parents before children. What a run does its compensation with
-- is left to it, as long as it lives.
WITH RECURSIVE line (number, id, depth, is_left) AS (
     SELECT number, id, 0, phase = 'compensating' AND ended_at IS NULL FROM runs WHERE id = ?
     UNION ALL
     SELECT runs.number, runs.id, line.depth + 1,
            runs.phase = 'compensating' AND runs.ended_at IS NULL
       FROM line CROSS JOIN runs ON runs.parent_id = line.id AND runs.parent_id IS NOT NULL
      WHERE NOT line.is_left)
SELECT runs.number, runs.id, runs.status, runs.has_at_end, runs.phase
  FROM line CROSS JOIN runs ON runs.number = line.number
 WHERE runs.ended_at IS NULL
 ORDER BY line.depth, line.number;

-- name: find_live_child
SELECT 1 FROM runs
 WHERE parent_id = ? AND parent_id IS NOT NULL AND ended_at IS NULL LIMIT 1;

-- name: hand_over_children
-- What a run has started and nobody has ended belongs to its successor.
UPDATE runs SET parent_id = :successor
 WHERE parent_id = :run_id AND parent_id IS NOT NULL AND ended_at IS NULL;

-- name: ask_end
-- The first wish stands. A hold is lifted.
UPDATE runs
   SET ending = coalesce(ending, :status), hold = NULL,
       ending_epoch = CASE WHEN ending IS NULL THEN epoch ELSE ending_epoch END,
       error = CASE WHEN ending IS NULL THEN :error ELSE error END
 WHERE number = :number AND ended_at IS NULL;

-- name: find_wish
-- How a run was to end, if somebody has wished for it.
SELECT ending FROM runs WHERE number = ? AND ending IS NOT NULL;

-- name: requeue_for_end
UPDATE runs
   SET status = 'pending', snapshot_id = NULL, hold = NULL, available_at = :now, not_before = NULL,
       changed_at = :now
 WHERE number = :number AND status IN ('pending', 'suspended');

-- name: end_run
UPDATE runs
   SET status = :status, error = :error, ended_at = :now, hold = NULL, snapshot_id = NULL,
       changed_at = :now
 WHERE number = :number AND status IN ('pending', 'suspended');

-- name: load_ending
-- What a waiting parent is told of a run that has ended.
SELECT status, output, error FROM runs WHERE id = ? AND ended_at IS NOT NULL;

-- name: mark_at_end
UPDATE runs SET has_at_end = 1 WHERE number = ?;

-- name: set_phase
UPDATE runs SET phase = :phase, error = :error WHERE number = :number;

-- name: set_progress
UPDATE runs SET progress = :progress, changed_at = :now WHERE number = :number;

-- name: list_overdue
-- A deadline does not bind a compensation.
SELECT id FROM runs
 WHERE deadline_at IS NOT NULL AND ending IS NULL AND ended_at IS NULL AND deadline_at <= :now
   AND phase = 'forward'
 ORDER BY deadline_at LIMIT :limit;

-- name: next_deadline
SELECT min(deadline_at) FROM runs
 WHERE deadline_at IS NOT NULL AND ending IS NULL AND ended_at IS NULL AND deadline_at > ?
   AND phase = 'forward';

-- name: next_available
-- The earliest moment at which a pending run comes due that was put off.
SELECT min(late.not_before) FROM runs AS late INDEXED BY runs_delayed
 WHERE late.status = 'pending' AND late.not_before > ?;

-- name: list_strays
-- A page of the suspended runs, each with a mark if it has neither an open wait nor a hold.
SELECT number, id,
       hold IS NULL
   AND NOT EXISTS (SELECT 1 FROM waits WHERE waits.run = runs.number AND waits.outcome IS NULL)
  FROM runs
 WHERE status = 'suspended' AND number > ?
 ORDER BY number LIMIT ?;

-- name: list_claimed
-- Those of other owners first: nobody works on them.
SELECT id FROM runs WHERE status = 'running' ORDER BY owner IS ?, number;

-- name: load_error
SELECT error FROM runs WHERE number = ?;
