-- Whom to tell of tasks, and peers.

-- An address that is told of each change of a task. The journal is the outbox: what is above the
-- position is still to be told.
CREATE TABLE pushes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task INTEGER NOT NULL REFERENCES tasks (task) ON DELETE CASCADE,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    url TEXT NOT NULL,
    protocol TEXT NOT NULL,            -- of A2A: 1.0 or 0.3
    address TEXT NOT NULL,             -- of this daemon, as whoever has set it reaches it
    scheme TEXT NOT NULL,
    sealed BLOB,                       -- token and credentials, encrypted
    state TEXT NOT NULL,
    position INTEGER NOT NULL,         -- newest number of the journal that it is done with
    tries INTEGER NOT NULL,
    due_at INTEGER,
    sent INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    error TEXT NOT NULL,
    error_at INTEGER,
    sent_at INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (task, id)
) STRICT;

CREATE INDEX pushes_active ON pushes (task) WHERE state = 'active';

-- Programs that speak the older envelope and have registered themselves.
CREATE TABLE peers (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,           -- namespace:name:instance
    owner TEXT NOT NULL,               -- name of the principal who has registered it
    capabilities BLOB NOT NULL,        -- JSON
    endpoints BLOB NOT NULL,           -- JSON
    heartbeat_interval_s REAL NOT NULL,
    status TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT;
