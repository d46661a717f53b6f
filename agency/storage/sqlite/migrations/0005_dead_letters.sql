-- Dead letters and the four verbs.

-- A wait that a retry has made void stays readable under another key and counts no more.
ALTER TABLE waits ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;

INSERT INTO run_changes (old, new) VALUES ('dead_letter', 'cancelled');

-- Each time that somebody let an ended run go on from what failed, and how it had ended before.
CREATE TABLE retries (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    generation INTEGER NOT NULL,       -- the one that began
    at INTEGER NOT NULL,
    principal TEXT NOT NULL,
    status TEXT NOT NULL,              -- what it had ended as
    error BLOB,
    PRIMARY KEY (run, generation)
) STRICT, WITHOUT ROWID;

-- Which run went on as which: continue_as.
CREATE TABLE successions (
    successor TEXT NOT NULL PRIMARY KEY,
    predecessor TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX successions_of ON successions (predecessor);

-- Runs that were moved away: the file can be fetched until its arrival was confirmed. It is made
-- from the run again each time, so until then the run must be kept.
CREATE TABLE receipts (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    snapshot_id TEXT NOT NULL,
    hash TEXT NOT NULL,                -- SHA-256 of the file, hexadecimal
    size_bytes INTEGER NOT NULL,
    form BLOB NOT NULL,                -- JSON: what of the run is in the file, and its head
    created_at INTEGER NOT NULL,
    confirmed_at INTEGER
) STRICT;

CREATE UNIQUE INDEX receipts_by_run ON receipts (run);

-- Nobody may take away what was moved and has not arrived: there is no other copy.
CREATE TRIGGER receipt_keeps_run BEFORE DELETE ON runs
WHEN EXISTS (SELECT 1 FROM receipts
              WHERE receipts.run = old.number AND receipts.confirmed_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'the run was moved and its arrival is not confirmed');
END;

-- Files that were brought in, so that one file is one run.
CREATE TABLE imports (
    hash TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    is_move INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
