-- Queues: their limits, pauses and sizes.

-- name: check_room
-- The limit of the queue's size, and how many more pending runs it lets in; NULL: no limit.
SELECT size_max,
       size_max - CASE WHEN size_max IS NOT NULL THEN (
       SELECT coalesce(sum(run_counts.runs), 0) FROM run_counts
        WHERE run_counts.queue = queues.name AND run_counts.status = 'pending') END
  FROM queues
 WHERE name = ?;

-- name: add_queue
INSERT INTO queues (name, tokens, refilled_at) VALUES (?, 0, 0) ON CONFLICT (name) DO NOTHING;

-- name: set_limits
-- A bucket that is new is full.
INSERT INTO queues (name, concurrency, size_max, rate, period, tokens, refilled_at)
VALUES (:name, :concurrency, :size_max, :rate, :period, :capacity, :now)
    ON CONFLICT (name) DO UPDATE
   SET concurrency = excluded.concurrency, size_max = excluded.size_max,
       tokens = CASE WHEN rate IS NULL THEN excluded.tokens
                ELSE min(tokens, excluded.tokens) END,
       refilled_at = CASE WHEN rate IS NULL THEN excluded.refilled_at ELSE refilled_at END,
       rate = excluded.rate, period = excluded.period;

-- name: lift_limits
UPDATE queues
   SET concurrency = NULL, size_max = NULL, rate = NULL, period = NULL
 WHERE name NOT IN (SELECT value FROM json_each(?));

-- name: forget_queues
DELETE FROM queues
 WHERE name NOT IN (SELECT value FROM json_each(?)) AND paused_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM run_counts
                    WHERE run_counts.queue = queues.name AND run_counts.runs > 0);

-- name: lift_workflow_limits
DELETE FROM workflow_limits;

-- name: set_workflow_limit
INSERT INTO workflow_limits (workflow, concurrency) VALUES (?, ?);

-- fragment: queue_columns
name, paused_at, concurrency, size_max, rate, period,
(SELECT json_group_array(json_array(run_counts.status, run_counts.runs)) FROM run_counts
  WHERE run_counts.queue = queues.name AND run_counts.runs > 0)

-- name: list_queues
SELECT {queue_columns} FROM queues WHERE name > ? ORDER BY name LIMIT ?;

-- name: get_queue
SELECT {queue_columns} FROM queues WHERE name = ?;

-- name: pause_queue
-- Since when it is paused does not change by asking twice.
UPDATE queues SET paused_at = coalesce(paused_at, :now) WHERE name = :name;

-- name: resume_queue
UPDATE queues SET paused_at = NULL WHERE name = ?;
