-- Mailboxes: events that runs receive.

-- name: insert_event
-- Nothing is inserted when the run has an event of that id.
INSERT INTO events (id, run, name, created_at, payload) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
RETURNING number;

-- name: find_event
SELECT number FROM events WHERE run = ? AND id = ?;

-- name: find_untaken_event
-- The next events of that name that no wait has taken, oldest first.
SELECT number, payload FROM events
 WHERE run = :run AND name = :name AND taken_by IS NULL AND number > :after
 ORDER BY number LIMIT :limit;

-- name: take_event
UPDATE events SET taken_by = :wait WHERE number = :number AND taken_by IS NULL;

-- name: give_event_back
UPDATE events SET taken_by = NULL WHERE taken_by = ? AND taken_by IS NOT NULL
RETURNING name;

-- name: list_events
-- The newest ones; one row of NULLs if the mailbox is empty, no row if there is no such run.
SELECT events.id, runs.id, events.name,
       CASE typeof(events.payload)
       WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = events.payload)
       ELSE events.payload END,
       events.created_at, events.taken_by IS NOT NULL
  FROM runs
  LEFT JOIN events
    ON events.number IN (
       SELECT newest.number FROM events AS newest
        WHERE newest.run = runs.number ORDER BY newest.number DESC LIMIT :limit)
 WHERE runs.id = :run_id
 ORDER BY events.number;
