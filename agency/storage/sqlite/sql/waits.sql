-- Waits: opened, resolved, closed.

-- name: insert_wait
INSERT INTO waits (run, key, kind, name, due_at, target, opened_at, resolved_number, show)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?);

-- name: resolve_wait
UPDATE waits
   SET outcome = :outcome, payload = :payload, resolved_at = :now, resolved_number = :number
 WHERE id = :id AND outcome IS NULL;

-- name: close_wait
-- Its branch has lost. An outcome that it had is void.
UPDATE waits
   SET outcome = 'cancelled', payload = NULL, resolved_at = :now, resolved_number = :number
 WHERE run = :run AND key = :key AND outcome IS NOT 'cancelled'
RETURNING id;

-- name: close_open_waits
-- Nobody waits any more.
UPDATE waits
   SET outcome = 'cancelled', resolved_at = :now, resolved_number = :number
 WHERE run = :run AND outcome IS NULL;

-- name: close_operator_waits
UPDATE waits
   SET outcome = 'cancelled', resolved_at = :now, resolved_number = :number
 WHERE run = :run AND kind = 'operator' AND outcome IS NULL;

-- name: get_wait
SELECT {wait_columns} FROM waits WHERE id = ?;

-- name: list_resolved_of
-- Those of the named waits that have their outcome, in the order in which they got it.
SELECT {wait_columns}
  FROM waits
 WHERE run = :run AND key IN (SELECT value FROM json_each(:keys)) AND outcome IS NOT NULL
 ORDER BY resolved_number;

-- name: find_wait
SELECT id, kind, outcome FROM waits WHERE run = ? AND key = ?;

-- name: list_open_keys
SELECT key FROM waits WHERE run = ? AND outcome IS NULL ORDER BY id;

-- name: list_open_kinds
SELECT key, kind FROM waits WHERE run = ? AND outcome IS NULL ORDER BY id;

-- name: find_open_of_kind
SELECT id FROM waits WHERE run = ? AND kind = ? AND outcome IS NULL LIMIT 1;

-- name: find_open_event
-- The next open waits for an event of that name to the run itself, oldest first.
SELECT id, show FROM waits
 WHERE run = :run AND kind = 'event' AND name = :name AND outcome IS NULL AND target = ''
   AND id > :after
 ORDER BY id LIMIT :limit;

-- name: count_operator_waits
SELECT count(*) FROM waits WHERE run = ? AND key >= '!operator#' AND key < '!operator$';

-- name: list_waiting_for_child
SELECT id, run FROM waits
 WHERE kind = 'child' AND target = ? AND target <> '' AND outcome IS NULL
 ORDER BY id;

-- name: hand_over_child
-- Whoever waited for a run waits for its successor now.
UPDATE waits SET target = :successor
 WHERE kind = 'child' AND target = :run_id AND target <> '' AND outcome IS NULL;

-- name: list_waiting_for_resource
SELECT id, run FROM waits
 WHERE kind = 'resource' AND target = ? AND target <> '' AND outcome IS NULL
 ORDER BY id LIMIT ?;

-- name: list_resources
-- Steps from target to target, so that a million waits for one resource cost one look.
WITH RECURSIVE resource (target) AS (
     SELECT (SELECT min(target) FROM waits
              WHERE kind = 'resource' AND target <> '' AND outcome IS NULL)
     UNION ALL
     SELECT (SELECT min(waits.target) FROM waits
              WHERE waits.kind = 'resource' AND waits.target <> '' AND waits.outcome IS NULL
                AND waits.target > resource.target)
       FROM resource WHERE resource.target IS NOT NULL)
SELECT target FROM resource WHERE target IS NOT NULL;

-- name: list_due
SELECT id, run, kind FROM waits
 WHERE due_at IS NOT NULL AND outcome IS NULL AND due_at <= ?
 ORDER BY due_at, id LIMIT ?;

-- name: next_due
SELECT min(due_at) FROM waits WHERE due_at IS NOT NULL AND outcome IS NULL AND due_at > ?;

-- name: list_waits_of
SELECT {wait_columns} FROM waits
 WHERE run = :run AND key IN (SELECT value FROM json_each(:keys))
 ORDER BY id;
