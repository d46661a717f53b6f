-- Where a run comes from, and what it must not run beside.

ALTER TABLE runs ADD COLUMN concurrency_key TEXT;   -- one run of a key is worked on at a time
ALTER TABLE runs ADD COLUMN rerun_of TEXT;          -- id of the run that it repeats
ALTER TABLE runs ADD COLUMN forked_at INTEGER;      -- newest journal entry shared with forked_from
ALTER TABLE runs ADD COLUMN schedule TEXT;          -- name of the schedule that started it

CREATE INDEX runs_by_origin ON runs (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX runs_by_fork ON runs (forked_from) WHERE forked_from IS NOT NULL;
CREATE INDEX runs_by_schedule ON runs (schedule, number) WHERE schedule IS NOT NULL;
