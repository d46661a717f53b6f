-- The ground: runs, their journals, waits, mailboxes and snapshots, sessions, tokens, blobs.
--
-- Moments are microseconds since 1970. JSON is kept as it was encoded. In a column of type ANY a
-- BLOB is the JSON itself and a TEXT is the key of a blob that holds it.

CREATE TABLE blobs (
    hash TEXT NOT NULL PRIMARY KEY,   -- SHA-256 of the data, hexadecimal
    data BLOB NOT NULL
) STRICT;

-- What is read or changed with each claim stands first, what is long stands last, so that a fence
-- never walks an overflow page. A run is live while ended_at is NULL.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    status TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    session_blocked INTEGER NOT NULL,  -- 1 while an older live run has the session
    priority INTEGER NOT NULL,
    available_at INTEGER NOT NULL,     -- orders those that are ready; it holds nobody up
    not_before INTEGER,                -- not claimed before; NULL unless a later moment was asked for
    ended_at INTEGER,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    ran_alone INTEGER NOT NULL,        -- 1 while a suspect is the only claimed run
    has_at_end INTEGER NOT NULL,       -- 1 once work was registered for the end
    generation INTEGER NOT NULL,
    steps INTEGER NOT NULL,            -- entries of kind STEP up to the last change of status
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    deadline_at INTEGER,
    owner TEXT,
    hold TEXT,
    ending TEXT,
    ending_epoch INTEGER,              -- the claim during which the end was asked for
    snapshot_id TEXT,                  -- the newest one, while suspended
    session_id TEXT,
    session_place INTEGER,             -- order within the session; NULL: an ancestor has its place
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    kind TEXT NOT NULL,
    phase TEXT NOT NULL,
    queue TEXT NOT NULL,
    parent_id TEXT REFERENCES runs (id),
    forked_from TEXT,
    idempotency_key TEXT,
    request_hash TEXT,
    correlation_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    provider TEXT,
    seed TEXT NOT NULL,                -- a decimal number of any size
    tags BLOB,
    progress BLOB,
    error BLOB,
    input ANY NOT NULL,
    output ANY,
    CHECK ((ended_at IS NULL) = (status IN ('pending', 'running', 'suspended')))
) STRICT;

-- Only what was asked to begin later is compared with the clock: the clock may be set back, and what
-- was ready must stay so.
CREATE INDEX runs_ready ON runs (session_blocked, priority DESC, available_at, number)
 WHERE status = 'pending' AND not_before IS NULL;
CREATE INDEX runs_delayed ON runs (session_blocked, priority DESC, not_before, number)
 WHERE status = 'pending' AND not_before IS NOT NULL;
CREATE INDEX runs_by_status ON runs (status, number);
CREATE INDEX runs_by_workflow ON runs (workflow, number);
CREATE UNIQUE INDEX runs_live_name ON runs (name) WHERE name IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_by_name ON runs (name, number) WHERE name IS NOT NULL;
CREATE INDEX runs_named ON runs (number) WHERE name IS NOT NULL;
CREATE INDEX runs_live_session ON runs (session_id, session_place)
 WHERE session_place IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_by_session ON runs (session_id, number) WHERE session_id IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (parent_id, number) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_live_child ON runs (parent_id) WHERE parent_id IS NOT NULL AND ended_at IS NULL;
CREATE UNIQUE INDEX runs_idempotency ON runs (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_deadline ON runs (deadline_at)
 WHERE deadline_at IS NOT NULL AND ending IS NULL AND ended_at IS NULL;
CREATE INDEX runs_suspect ON runs (number) WHERE crashes >= 2;

-- Counts by status are kept, so that nobody ever counts.
CREATE TABLE run_counts (
    status TEXT NOT NULL PRIMARY KEY,
    runs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO run_counts (status, runs) VALUES
    ('pending', 0), ('running', 0), ('suspended', 0), ('completed', 0), ('limit_reached', 0),
    ('failed', 0), ('dead_letter', 0), ('cancelled', 0), ('timed_out', 0), ('compensated', 0),
    ('compensation_failed', 0);

-- The lawful changes of status, as domain/run.py has them (a test compares the two).
CREATE TABLE run_changes (
    old TEXT NOT NULL,
    new TEXT NOT NULL,
    PRIMARY KEY (old, new)
) STRICT, WITHOUT ROWID;

INSERT INTO run_changes (old, new) VALUES
    ('pending', 'running'), ('pending', 'suspended'), ('pending', 'cancelled'),
    ('pending', 'timed_out'), ('pending', 'dead_letter'),
    ('running', 'pending'), ('running', 'suspended'), ('running', 'completed'),
    ('running', 'limit_reached'), ('running', 'failed'), ('running', 'dead_letter'),
    ('running', 'cancelled'), ('running', 'timed_out'), ('running', 'compensated'),
    ('running', 'compensation_failed'),
    ('suspended', 'pending'), ('suspended', 'cancelled'), ('suspended', 'timed_out'),
    ('limit_reached', 'pending'), ('failed', 'pending'), ('dead_letter', 'pending'),
    ('timed_out', 'pending'), ('compensation_failed', 'pending');

CREATE TRIGGER run_inserted AFTER INSERT ON runs
BEGIN
    UPDATE run_counts SET runs = runs + 1 WHERE status = new.status;
END;

CREATE TRIGGER run_deleted AFTER DELETE ON runs
BEGIN
    UPDATE run_counts SET runs = runs - 1 WHERE status = old.status;
END;

CREATE TRIGGER run_changed AFTER UPDATE OF status ON runs WHEN old.status <> new.status
BEGIN
    SELECT RAISE(ABORT, 'unlawful change of status')
     WHERE NOT EXISTS (
           SELECT 1 FROM run_changes
            WHERE run_changes.old = old.status AND run_changes.new = new.status);
    UPDATE run_counts SET runs = runs - 1 WHERE status = old.status;
    UPDATE run_counts SET runs = runs + 1 WHERE status = new.status;
END;

-- In arrival order, with one index and no foreign key: this is where most writes go.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    at INTEGER NOT NULL,
    superseded INTEGER NOT NULL DEFAULT 0,
    key TEXT NOT NULL,
    meta BLOB,
    body ANY NOT NULL
) STRICT;

CREATE UNIQUE INDEX journal_key ON journal (run, key);

CREATE TABLE waits (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (number),
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    due_at INTEGER,
    target TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    outcome TEXT,                      -- NULL while it is open
    resolved_at INTEGER,
    resolved_number INTEGER NOT NULL,  -- 0 while it is open
    show BLOB,
    payload ANY
) STRICT;

CREATE UNIQUE INDEX waits_key ON waits (run, key);
CREATE INDEX waits_open ON waits (run, kind, name, id) WHERE outcome IS NULL;
CREATE INDEX waits_due ON waits (due_at, id) WHERE due_at IS NOT NULL AND outcome IS NULL;
CREATE INDEX waits_target ON waits (kind, target, id) WHERE target <> '' AND outcome IS NULL;
CREATE INDEX waits_resolved ON waits (resolved_number) WHERE resolved_number > 0;

CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs (number),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    taken_by INTEGER REFERENCES waits (id),
    payload ANY NOT NULL
) STRICT;

CREATE UNIQUE INDEX events_id ON events (run, id);
CREATE INDEX events_by_run ON events (run, number);
CREATE INDEX events_untaken ON events (run, name, number) WHERE taken_by IS NULL;
CREATE INDEX events_taken ON events (taken_by) WHERE taken_by IS NOT NULL;

CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run INTEGER NOT NULL REFERENCES runs (number),
    entry_number INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    wait_keys TEXT NOT NULL            -- JSON list
) STRICT;

CREATE INDEX snapshots_by_run ON snapshots (run, number);

CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE messages (
    number INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES sessions (number),
    position INTEGER NOT NULL,
    role TEXT NOT NULL,
    run INTEGER REFERENCES runs (number),
    created_at INTEGER NOT NULL,
    content ANY NOT NULL
) STRICT;

CREATE UNIQUE INDEX messages_position ON messages (session, position);
CREATE INDEX messages_by_run ON messages (run) WHERE run IS NOT NULL;

CREATE TABLE tokens (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE UNIQUE INDEX tokens_live_name ON tokens (name) WHERE revoked_at IS NULL;
