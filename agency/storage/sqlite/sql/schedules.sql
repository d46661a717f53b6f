-- Schedules, and the ledger of their firings.

-- fragment: schedule_columns
number, id, generation, paused, next_at, due_at, last_at, fired, caught_up, skipped, manual,
created_at, updated_at, created_by, spec

-- fragment: firing_columns
firings.number, firings.expected_at, firings.through_at, firings.firings, firings.recorded_at,
firings.outcome, firings.reason, firings.detail, firings.run_id

-- name: count_schedules
SELECT count(*) FROM schedules;

-- name: insert_schedule
-- No row when the name is taken.
INSERT INTO schedules (
       id, name, workflow, generation, next_at, due_at, rows, fired, caught_up, skipped, manual,
       created_at, updated_at, created_by, spec)
VALUES (:id, :name, :workflow, 1, :next_at, :due_at, 0, 0, 0, 0, 0, :now, :now, :created_by, :spec)
    ON CONFLICT DO NOTHING
RETURNING {schedule_columns};

-- name: replace_schedule
UPDATE schedules
   SET workflow = :workflow, spec = :spec, next_at = :next_at, due_at = :due_at,
       generation = generation + 1, updated_at = :now
 WHERE id = :id AND generation = :generation AND last_at IS :last_at
RETURNING {schedule_columns};

-- name: get_schedule
SELECT {schedule_columns} FROM schedules WHERE name = ?;

-- name: list_schedules
SELECT {schedule_columns} FROM schedules WHERE name > :after ORDER BY name LIMIT :limit;

-- name: list_schedules_of_workflow
SELECT {schedule_columns}
  FROM schedules
 WHERE workflow = :workflow AND name > :after
 ORDER BY name LIMIT :limit;

-- name: delete_firings
DELETE FROM firings WHERE schedule = (SELECT number FROM schedules WHERE name = ?);

-- name: delete_schedule
DELETE FROM schedules WHERE name = ?;

-- name: pause_schedule
UPDATE schedules SET paused = :reason, updated_at = :now WHERE name = :name
RETURNING {schedule_columns};

-- name: resume_schedule
UPDATE schedules
   SET paused = NULL, updated_at = CASE WHEN paused IS NULL THEN updated_at ELSE :now END
 WHERE name = :name
RETURNING {schedule_columns};

-- name: list_due_schedules
SELECT {schedule_columns} FROM schedules
 WHERE due_at IS NOT NULL AND due_at <= ?
 ORDER BY due_at, number LIMIT ?;

-- name: next_due_schedule
SELECT min(due_at) FROM schedules WHERE due_at IS NOT NULL AND due_at > ?;

-- name: move_schedule
-- One row if the schedule is still as it was seen.
UPDATE schedules
   SET next_at = :next_at, due_at = :due_at, last_at = :last_at, rows = rows + :rows
 WHERE id = :id AND generation = :generation AND next_at = :seen_at AND paused IS :paused
RETURNING number, rows;

-- name: add_schedule_row
UPDATE schedules SET rows = rows + 1 WHERE name = ?
RETURNING number, rows;

-- name: count_firings_of
UPDATE schedules
   SET fired = fired + :fired, caught_up = caught_up + :caught_up, skipped = skipped + :skipped,
       manual = manual + :manual
 WHERE number = :number;

-- name: insert_firing
INSERT INTO firings (
       schedule, number, expected_at, through_at, firings, recorded_at, outcome, reason, detail,
       run_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: forget_firings
DELETE FROM firings WHERE schedule = ? AND number <= ?;

-- name: page_firings
-- One row of NULLs if the ledger is empty, no row if there is no such schedule.
SELECT {firing_columns}
  FROM schedules
  LEFT JOIN firings
    ON firings.schedule = schedules.number
   AND firings.number IN (
       SELECT page.number FROM firings AS page
        WHERE page.schedule = schedules.number AND page.number < :before
        ORDER BY page.number DESC LIMIT :limit)
 WHERE schedules.name = :name
 ORDER BY firings.number DESC;

-- name: find_live_of_schedule
SELECT id FROM runs
 WHERE schedule = ? AND schedule IS NOT NULL AND ended_at IS NULL LIMIT 1;

-- name: list_live_of_schedule
SELECT id FROM runs
 WHERE schedule = ? AND schedule IS NOT NULL AND ended_at IS NULL
 ORDER BY number LIMIT ?;
