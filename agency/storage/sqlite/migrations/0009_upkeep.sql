-- Retention and upkeep.

-- Journals whose runs are gone and that were too long for one transaction. Their numbers are never
-- used again.
CREATE TABLE leftovers (
    run INTEGER PRIMARY KEY
) STRICT;

-- How many bytes an ended run has, measured once after each of its ends, if anybody asks.
CREATE TABLE run_sizes (
    run INTEGER PRIMARY KEY,
    ended_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

-- Who refers to a blob. Only the few rows that do are in these.
CREATE INDEX runs_input_blob ON runs (input) WHERE typeof(input) = 'text';
CREATE INDEX runs_output_blob ON runs (output) WHERE typeof(output) = 'text';
CREATE INDEX journal_blob ON journal (body) WHERE typeof(body) = 'text';
CREATE INDEX waits_blob ON waits (payload) WHERE typeof(payload) = 'text';
CREATE INDEX events_blob ON events (payload) WHERE typeof(payload) = 'text';
CREATE INDEX messages_blob ON messages (content) WHERE typeof(content) = 'text';
CREATE INDEX approvals_blob ON approvals (value) WHERE typeof(value) = 'text';
CREATE INDEX topic_events_blob ON topic_events (payload) WHERE typeof(payload) = 'text';
CREATE INDEX definitions_blob ON definitions (body) WHERE typeof(body) = 'text';
