-- Holds: what one live run at a time may have.

-- name: find_hold_tail
-- The newest live run in line for it.
SELECT runs.id, runs.status, holds.place, runs.number
  FROM holds CROSS JOIN runs ON runs.number = holds.run
 WHERE holds.kind = ? AND holds.name = ?
 ORDER BY holds.place DESC LIMIT 1;

-- name: find_hold_in_line
-- One row if the run or one of its ancestors is in line for it.
WITH RECURSIVE line (number, parent_id) AS (
     SELECT number, parent_id FROM runs WHERE id = :run_id
     UNION ALL
     SELECT runs.number, runs.parent_id
       FROM line CROSS JOIN runs ON runs.id = line.parent_id)
SELECT 1
  FROM line CROSS JOIN holds ON holds.run = line.number
 WHERE holds.kind = :kind AND holds.name = :name
 LIMIT 1;

-- name: add_hold
INSERT INTO holds (kind, name, place, run) VALUES (?, ?, ?, ?);

-- name: find_hold_of
SELECT 1 FROM holds WHERE run = ? LIMIT 1;

-- name: find_heir
-- A live run below the given one, or below an ancestor up to which all have ended.
WITH RECURSIVE above (id, parent_id) AS (
     SELECT id, parent_id FROM runs WHERE number = ?
     UNION ALL
     SELECT runs.id, runs.parent_id
       FROM above CROSS JOIN runs ON runs.id = above.parent_id
      WHERE runs.ended_at IS NOT NULL),
     below (number, id, ended_at) AS (
     SELECT runs.number, runs.id, runs.ended_at
       FROM above CROSS JOIN runs ON runs.parent_id = above.id AND runs.parent_id IS NOT NULL
      UNION
     SELECT runs.number, runs.id, runs.ended_at
       FROM below CROSS JOIN runs ON runs.parent_id = below.id AND runs.parent_id IS NOT NULL)
SELECT number FROM below WHERE ended_at IS NULL LIMIT 1;

-- name: drop_holds
DELETE FROM holds WHERE run = ? RETURNING kind, name, place;

-- name: hand_over_holds
UPDATE holds SET run = :successor WHERE run = :number;

-- name: find_hold_head
SELECT run, place FROM holds WHERE kind = ? AND name = ? ORDER BY place LIMIT 1;

-- name: unblock
UPDATE runs SET blocked = blocked - 1 WHERE number = ? AND blocked > 0
RETURNING number, id, status, blocked;

-- name: block
UPDATE runs SET blocked = ? WHERE number = ?;
