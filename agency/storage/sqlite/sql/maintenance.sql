-- The database as a whole: how large it is, and what is given back of it.

-- name: show_page_size
PRAGMA page_size;

-- name: count_pages
PRAGMA page_count;

-- name: give_back_page
PRAGMA incremental_vacuum(1);

-- name: wait_briefly
-- For readers, while the log is to begin anew: all commits wait meanwhile.
PRAGMA busy_timeout = 50;

-- name: wait_long
PRAGMA busy_timeout = 5000;

-- name: count_runs_rows
-- This and the following stop at a number of rows, so that they cost the same however many there are.
SELECT count(*) FROM (SELECT 1 FROM runs LIMIT ?);

-- name: count_journal_rows
SELECT count(*) FROM (SELECT 1 FROM journal LIMIT ?);

-- name: count_waits_rows
SELECT count(*) FROM (SELECT 1 FROM waits LIMIT ?);

-- name: count_events_rows
SELECT count(*) FROM (SELECT 1 FROM events LIMIT ?);

-- name: count_snapshots_rows
SELECT count(*) FROM (SELECT 1 FROM snapshots LIMIT ?);

-- name: count_messages_rows
SELECT count(*) FROM (SELECT 1 FROM messages LIMIT ?);

-- name: count_sessions_rows
SELECT count(*) FROM (SELECT 1 FROM sessions LIMIT ?);

-- name: count_blobs_rows
SELECT count(*) FROM (SELECT 1 FROM blobs LIMIT ?);

-- name: find_oldest_run
-- NULL if there is none.
SELECT (SELECT created_at FROM runs WHERE number = (SELECT min(number) FROM runs));

-- name: find_oldest_live_run
SELECT min(created_at) FROM runs
 WHERE number IN (
       (SELECT min(number) FROM runs WHERE status = 'pending'),
       (SELECT min(number) FROM runs WHERE status = 'running'),
       (SELECT min(number) FROM runs WHERE status = 'suspended'));
