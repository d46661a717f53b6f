-- Schedules and the ledger of their firings.

CREATE TABLE schedules (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    workflow TEXT NOT NULL,
    generation INTEGER NOT NULL,
    paused TEXT,                       -- why, or NULL
    next_at INTEGER,                   -- the next expected moment
    due_at INTEGER,                    -- the same with its jitter
    last_at INTEGER,                   -- the newest expected moment that was dealt with
    rows INTEGER NOT NULL,             -- number of the newest row of the ledger
    fired INTEGER NOT NULL,
    caught_up INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    manual INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    spec BLOB NOT NULL
) STRICT;

CREATE INDEX schedules_due ON schedules (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX schedules_by_workflow ON schedules (workflow, name);

CREATE TABLE firings (
    schedule INTEGER NOT NULL REFERENCES schedules (number),
    number INTEGER NOT NULL,
    expected_at INTEGER NOT NULL,
    through_at INTEGER,                -- when the row stands for several moments
    firings INTEGER,                   -- how many; NULL: too many to count
    recorded_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    run_id TEXT,
    PRIMARY KEY (schedule, number)
) STRICT, WITHOUT ROWID;

-- Whatever else goes wrong, no expected moment is dealt with twice.
CREATE UNIQUE INDEX firings_expected ON firings (schedule, expected_at) WHERE outcome <> 'manual';

CREATE INDEX runs_live_schedule ON runs (schedule) WHERE schedule IS NOT NULL AND ended_at IS NULL;
