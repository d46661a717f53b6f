-- Queues: limits, order and counts, and what only one run at a time may have.

-- Limits are written down at each start, as the settings have them; what an operator has changed
-- and what is left in the bucket of tokens outlives the daemon. NULL is no limit.
CREATE TABLE queues (
    name TEXT NOT NULL PRIMARY KEY,
    paused_at INTEGER,
    concurrency INTEGER,
    size_max INTEGER,
    rate REAL,                         -- tokens that the bucket holds, and gets in a period
    period INTEGER,                    -- microseconds
    tokens REAL NOT NULL,
    refilled_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO queues (name, tokens, refilled_at) SELECT DISTINCT queue, 0, 0 FROM runs;

-- How many runs of a workflow may be claimed at once; those that are not here have no limit.
CREATE TABLE workflow_limits (
    workflow TEXT NOT NULL PRIMARY KEY,
    concurrency INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What one live run at a time may have: a session, a concurrency key. The first in line has it, the
-- others are blocked until it has ended. A run under one that has it takes no place.
CREATE TABLE holds (
    kind TEXT NOT NULL,                -- session, key
    name TEXT NOT NULL,
    place INTEGER NOT NULL,            -- in the order in which runs were accepted
    run INTEGER NOT NULL REFERENCES runs (number),
    PRIMARY KEY (kind, name, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX holds_by_run ON holds (run);

INSERT INTO holds (kind, name, place, run)
SELECT 'session', session_id, session_place, number
  FROM runs
 WHERE session_place IS NOT NULL AND ended_at IS NULL;

DROP INDEX runs_ready;
DROP INDEX runs_delayed;
DROP INDEX runs_live_session;
DROP INDEX runs_idempotency;

ALTER TABLE runs DROP COLUMN session_place;

-- How many of its holds another run has.
ALTER TABLE runs RENAME COLUMN session_blocked TO blocked;

-- The order in which ready runs are claimed, smaller ones first. A point of priority counts as much
-- as a minute of waiting (limits.AGEING_S): the difference between two runs never changes, so that
-- the order is fixed although all of them grow older.
ALTER TABLE runs ADD COLUMN
    rank INTEGER GENERATED ALWAYS AS (available_at - priority * 60000000) VIRTUAL;

-- Each lane, the ready runs of one workflow in one queue, in its order: a lane that is full or paused
-- is passed with one look, however long it is. Nothing here is compared with the clock, which may be
-- set back; runs that were put off come in when their moment has come.
CREATE INDEX runs_ready ON runs (queue, workflow, rank, number)
 WHERE status = 'pending' AND not_before IS NULL AND blocked = 0;
CREATE INDEX runs_delayed ON runs (not_before, number)
 WHERE status = 'pending' AND not_before IS NOT NULL;

-- Each caller has its own keys.
CREATE UNIQUE INDEX runs_idempotency ON runs (idempotency_key, principal)
 WHERE idempotency_key IS NOT NULL;

DROP TRIGGER run_inserted;
DROP TRIGGER run_deleted;
DROP TRIGGER run_changed;
DROP TABLE run_counts;

-- Counts are kept, so that nobody ever counts. A run's queue and workflow never change.
CREATE TABLE run_counts (
    queue TEXT NOT NULL,
    status TEXT NOT NULL,
    workflow TEXT NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (queue, status, workflow)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_counts_by_workflow ON run_counts (workflow, status);

INSERT INTO run_counts (queue, status, workflow, runs)
SELECT queue, status, workflow, count(*) FROM runs GROUP BY queue, status, workflow;

CREATE TRIGGER run_inserted AFTER INSERT ON runs
BEGIN
    INSERT INTO run_counts (queue, status, workflow, runs)
    VALUES (new.queue, new.status, new.workflow, 1)
        ON CONFLICT (queue, status, workflow) DO UPDATE SET runs = runs + 1;
END;

CREATE TRIGGER run_deleted AFTER DELETE ON runs
BEGIN
    UPDATE run_counts SET runs = runs - 1
     WHERE queue = old.queue AND status = old.status AND workflow = old.workflow;
END;

CREATE TRIGGER run_changed AFTER UPDATE OF status ON runs WHEN old.status <> new.status
BEGIN
    SELECT RAISE(ABORT, 'unlawful change of status')
     WHERE NOT EXISTS (
           SELECT 1 FROM run_changes
            WHERE run_changes.old = old.status AND run_changes.new = new.status);
    UPDATE run_counts SET runs = runs - 1
     WHERE queue = old.queue AND status = old.status AND workflow = old.workflow;
    INSERT INTO run_counts (queue, status, workflow, runs)
    VALUES (new.queue, new.status, new.workflow, 1)
        ON CONFLICT (queue, status, workflow) DO UPDATE SET runs = runs + 1;
END;
