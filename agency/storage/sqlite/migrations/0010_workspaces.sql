-- Workspaces: which versions of their files the runs refer to.

-- One row for each version that a run has kept, has opened, or has from the run that it was forked
-- from. The number rises with each use, so that the newest one is the one that was used last, and is
-- never used again, so that whoever pages through all of them misses none.
CREATE TABLE workspace_versions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs (number),
    version TEXT NOT NULL              -- SHA-256, hexadecimal
) STRICT;

CREATE UNIQUE INDEX workspace_versions_of_run ON workspace_versions (run, version);
CREATE INDEX workspace_versions_newest ON workspace_versions (run, number);
