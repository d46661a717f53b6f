-- The database as a whole: how it is opened, migrated, kept small and closed.

-- name: open_writer
-- auto_vacuum works only before the first table, so it stands before the journal mode. The
-- application id is "Agcy" in ASCII.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA busy_timeout = 5000;
PRAGMA foreign_keys = ON;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
PRAGMA journal_size_limit = 67108864;
PRAGMA wal_autocheckpoint = 2000;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -8000;
PRAGMA application_id = 1097294713;

-- name: open_reader
PRAGMA query_only = ON;
PRAGMA busy_timeout = 5000;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -2000;

-- name: synchronous_full
PRAGMA synchronous = FULL;

-- name: synchronous_normal
PRAGMA synchronous = NORMAL;

-- name: checkpoint
-- Copies what it can without waiting for anybody.
PRAGMA wal_checkpoint(PASSIVE);

-- name: checkpoint_all
PRAGMA wal_checkpoint(TRUNCATE);

-- name: count_free_pages
PRAGMA freelist_count;

-- name: give_back_pages
PRAGMA incremental_vacuum(1024);

-- name: optimize_bounds
PRAGMA analysis_limit = 400;

-- name: optimize
PRAGMA optimize;

-- name: check_read
-- Reads a row of the file itself.
SELECT count(*) FROM run_counts;

-- name: last_resolution
-- The highest number that a resolution has had.
SELECT coalesce(max(resolved_number), 0) FROM waits WHERE resolved_number > 0;

-- name: keep_blob
-- Kept once, however often it is handed in.
INSERT INTO blobs (hash, data) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING;

-- name: load_blob
SELECT data FROM blobs WHERE hash = ?;

-- name: list_tables
SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%';

-- name: create_migrations
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

-- name: list_migrations
SELECT number, hash FROM migrations ORDER BY number;

-- name: add_migration
INSERT INTO migrations (number, name, hash, applied_at) VALUES (?, ?, ?, ?);

-- name: show_journal_mode
PRAGMA journal_mode;
