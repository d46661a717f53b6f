-- Stored definitions and sagas.

-- Workflows that are data. Versions that are not current are kept while runs are pinned to them.
CREATE TABLE definitions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    kind TEXT NOT NULL,
    is_current INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    body ANY NOT NULL
) STRICT;

CREATE UNIQUE INDEX definitions_version ON definitions (name, version);
CREATE UNIQUE INDEX definitions_current ON definitions (name) WHERE is_current = 1;
CREATE INDEX definitions_by_kind ON definitions (kind, name) WHERE is_current = 1;

-- Which versions have runs, and which names have runs that still need their definition.
CREATE INDEX runs_by_definition ON runs (workflow, version) WHERE kind IN ('graph', 'saga');
CREATE INDEX runs_needing_definition ON runs (workflow)
 WHERE kind IN ('graph', 'saga') AND (ended_at IS NULL OR status = 'compensation_failed');
