-- Approvals and topics.

-- A question to a person. What is asked is on its wait; here is what became of it.
CREATE TABLE approvals (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    wait INTEGER NOT NULL UNIQUE REFERENCES waits (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    kind TEXT NOT NULL,
    risk INTEGER NOT NULL,             -- 1 low, 2 medium, 3 high
    on_expiry TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    workflow TEXT NOT NULL,
    decided_at INTEGER,
    rule INTEGER,                      -- number of the rule that has decided
    decided_by TEXT,
    comment TEXT NOT NULL DEFAULT '',
    value ANY
) STRICT;

CREATE INDEX approvals_by_status ON approvals (status, number);
CREATE INDEX approvals_by_workflow ON approvals (workflow, number);
CREATE INDEX approvals_by_run ON approvals (run, number);

-- What people have to answer, whatever it is; other waits pay nothing for it.
CREATE INDEX waits_inbox ON waits (id)
 WHERE outcome IS NULL AND kind IN ('approval', 'input', 'decision', 'version');

-- However a wait ends, its approval is not pending any more. Whoever decides writes that down
-- before the wait is resolved, and then there is nothing left to do here.
CREATE TRIGGER approval_settled AFTER UPDATE OF outcome ON waits
  WHEN new.kind IN ('approval', 'input') AND old.outcome IS NULL AND new.outcome IS NOT NULL
BEGIN
    UPDATE approvals
       SET status = CASE new.outcome
                    WHEN 'timed_out' THEN 'expired'
                    WHEN 'cancelled' THEN 'cancelled'
                    ELSE 'answered' END,
           decided_at = new.resolved_at
     WHERE wait = new.id AND status = 'pending';
END;

-- Rules that allow what fits them. AUTOINCREMENT, because a number is never used again.
CREATE TABLE approval_rules (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow TEXT NOT NULL,            -- empty: of all workflows
    name TEXT NOT NULL,                -- pattern
    question TEXT NOT NULL,            -- pattern
    risk_max INTEGER NOT NULL,
    expires_at INTEGER,
    made_at INTEGER NOT NULL,
    uses INTEGER NOT NULL DEFAULT 0,
    made_by TEXT NOT NULL,
    approval_id TEXT,
    note TEXT NOT NULL,
    filter BLOB                        -- on what is shown
) STRICT;

CREATE INDEX approval_rules_by_workflow ON approval_rules (workflow, number);

-- Inputs that are asked for by runs of an earlier version.
INSERT INTO approvals (run, wait, status, kind, risk, on_expiry, id, workflow)
SELECT waits.run, waits.id, 'pending', 'input', 1, 'fail',
       lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
             || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
       runs.workflow
  FROM waits JOIN runs ON runs.number = waits.run
 WHERE waits.kind = 'input' AND waits.outcome IS NULL;

-- A topic that has or had events; its counts are of what is kept: neither taken nor dropped.
CREATE TABLE topics (
    number INTEGER PRIMARY KEY,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- A taken event stays without its payload until it expires, so that its id still counts once.
CREATE TABLE topic_events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,   -- positions point at it
    topic INTEGER NOT NULL REFERENCES topics (number),
    mode TEXT NOT NULL,
    taken_by INTEGER,                  -- the wait
    spread_to INTEGER,                 -- the last wait that was looked at; NULL: all were
    newest_wait INTEGER NOT NULL,      -- when it was published: broadcasts spread to these
    newest_run INTEGER NOT NULL,       -- when it was published: later runs are not told
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,            -- of the payload
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    payload ANY
) STRICT;

CREATE UNIQUE INDEX topic_events_id ON topic_events (topic, id);
CREATE INDEX topic_events_by_topic ON topic_events (topic, number);
CREATE INDEX topic_events_kept ON topic_events (topic, name, mode, number) WHERE taken_by IS NULL;
CREATE INDEX topic_events_taken ON topic_events (taken_by) WHERE taken_by IS NOT NULL;
CREATE INDEX topic_events_spreading ON topic_events (number) WHERE spread_to IS NOT NULL;
CREATE INDEX topic_events_expiry ON topic_events (expires_at);

-- How far a run has read the broadcasts of a name, with one filter.
CREATE TABLE topic_positions (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    topic TEXT NOT NULL,
    name TEXT NOT NULL,
    filter TEXT NOT NULL,              -- hash of it, or empty
    event INTEGER NOT NULL,            -- the last one that it has taken
    wait INTEGER NOT NULL,             -- the wait that has taken it
    PRIMARY KEY (run, topic, name, filter)
) STRICT, WITHOUT ROWID;

-- Waits for an event of a topic; waits for events to the run itself pay nothing for it.
CREATE INDEX waits_topic ON waits (target, name, id)
 WHERE kind = 'event' AND target <> '' AND outcome IS NULL;
