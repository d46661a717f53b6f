-- Transfers: runs that go to another database, or come from one.

-- name: find_request_hash
SELECT request_hash FROM runs WHERE id = ?;

-- name: load_parts
SELECT id, key, kind,
       CASE typeof(body) WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = body) ELSE body END,
       at, meta, epoch, superseded
  FROM journal
 WHERE run = :run AND id IN (SELECT value FROM json_each(:numbers))
 ORDER BY id;

-- name: page_messages
WITH RECURSIVE chain (session, parent, forked_at, upto) AS (
    SELECT sessions.number, sessions.parent, sessions.forked_at, 9223372036854775807
      FROM sessions WHERE sessions.id = :session_id
    UNION ALL
    SELECT parents.number, parents.parent, parents.forked_at, min(chain.upto, chain.forked_at)
      FROM chain CROSS JOIN sessions AS parents ON parents.number = chain.parent
     WHERE chain.forked_at > :after)
SELECT messages.position, messages.role,
       CASE typeof(messages.content)
       WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = messages.content)
       ELSE messages.content END,
       messages.created_at, messages.run IS :run
  FROM chain CROSS JOIN messages ON messages.session = chain.session
 WHERE messages.position > :after AND messages.position <= chain.upto
   AND messages.created_at <= :until
 ORDER BY messages.position LIMIT :limit;

-- name: page_untaken
SELECT number, id, name,
       CASE typeof(payload) WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = payload)
       ELSE payload END,
       created_at
  FROM events
 WHERE run = :run AND number > :after AND number <= :to AND taken_by IS NULL
 ORDER BY number LIMIT :limit;

-- name: newest_event
SELECT coalesce(max(number), 0) FROM events WHERE run = ?;

-- name: add_receipt
INSERT INTO receipts (id, run, snapshot_id, hash, size_bytes, form, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- fragment: receipt_columns
receipts.id, runs.id, receipts.snapshot_id, receipts.hash, receipts.size_bytes, receipts.form,
receipts.created_at, receipts.confirmed_at

-- name: find_receipt
SELECT {receipt_columns} FROM receipts CROSS JOIN runs ON runs.number = receipts.run
 WHERE receipts.id = ?;

-- name: find_receipt_of_run
SELECT {receipt_columns} FROM runs CROSS JOIN receipts ON receipts.run = runs.number
 WHERE runs.id = ?;

-- name: confirm_receipt
UPDATE receipts SET confirmed_at = coalesce(confirmed_at, :now) WHERE id = :id;

-- name: find_import
SELECT run_id, is_move FROM imports WHERE hash = ?;

-- name: add_import
INSERT INTO imports (hash, run_id, is_move, at) VALUES (?, ?, ?, ?)
    ON CONFLICT (hash) DO UPDATE SET run_id = excluded.run_id, at = excluded.at;

-- name: take_in_entry
INSERT INTO journal (run, epoch, kind, at, superseded, key, meta, body)
VALUES (?, 1, ?, ?, ?, ?, ?, ?);

-- name: take_in_wait
INSERT INTO waits (run, key, kind, name, due_at, target, opened_at, outcome, resolved_at,
                   resolved_number, show, payload)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: take_in_message
INSERT INTO messages (session, position, role, run, created_at, content)
SELECT number, :position, :role, :run, :created_at, :content FROM sessions WHERE id = :session_id;

-- name: find_session
SELECT 1 FROM sessions WHERE id = ?;

-- name: begin_taken_in
UPDATE runs SET attempt = :attempt, phase = :phase WHERE number = :number;

-- name: find_wanted_end
-- How a live run is to end, if that was asked for.
SELECT ending FROM runs WHERE number = ? AND ending IS NOT NULL;
