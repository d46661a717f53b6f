-- Connections to servers of tools, and the programs that were started for them.

CREATE TABLE connections (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    setup BLOB NOT NULL,               -- JSON; secrets are references in it
    is_active INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    tools BLOB NOT NULL,               -- JSON: what it offered when it was last asked
    tools_at INTEGER,
    last_error TEXT NOT NULL,
    last_error_at INTEGER
) STRICT;

-- Programs that were not seen to end. The mark is in their environment.
CREATE TABLE server_processes (
    mark TEXT NOT NULL PRIMARY KEY,
    connection TEXT NOT NULL,
    boot TEXT NOT NULL,
    pid INTEGER NOT NULL,              -- 0: about to be started
    start_ticks INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
