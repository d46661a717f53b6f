-- Tasks of A2A: what a run is beside itself when it was started as one.

-- A task goes with its run. Its number is that of the run that it began with; a run that continues
-- as another hands it on. The state is kept here, and not only looked up, so that lists by it are
-- found through an index.
CREATE TABLE tasks (
    task INTEGER PRIMARY KEY,
    run INTEGER NOT NULL UNIQUE REFERENCES runs (number) ON DELETE CASCADE,
    state_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    asker TEXT NOT NULL,               -- the principal
    target TEXT NOT NULL,              -- agent or workflow that was spoken to
    context_id TEXT NOT NULL,
    task_id TEXT NOT NULL              -- id of the run that it began with
) STRICT;

CREATE INDEX tasks_changed ON tasks (asker, target, state_at, task);
CREATE INDEX tasks_by_context ON tasks (asker, target, context_id, state_at, task);
-- Most are completed, and found by the first index as fast.
CREATE INDEX tasks_by_state ON tasks (asker, target, state, state_at, task)
 WHERE state <> 'completed';

-- What callers have said. Without a key a message may come twice.
CREATE TABLE task_messages (
    number INTEGER PRIMARY KEY,
    task INTEGER NOT NULL REFERENCES tasks (task) ON DELETE CASCADE,
    place INTEGER NOT NULL,            -- newest number of the journal when it came
    at INTEGER NOT NULL,
    id TEXT NOT NULL,
    once TEXT,                         -- hash of asker, target and id
    digest TEXT NOT NULL,
    content ANY NOT NULL
) STRICT;

CREATE UNIQUE INDEX task_messages_once ON task_messages (once) WHERE once IS NOT NULL;
CREATE INDEX task_messages_by_task ON task_messages (task, number);
CREATE INDEX task_messages_blob ON task_messages (content) WHERE typeof(content) = 'text';

-- The same rules as agency.domain.task.state_of.
CREATE TRIGGER task_state AFTER UPDATE OF status ON runs WHEN old.status <> new.status
BEGIN
    UPDATE tasks
       SET state_at = new.changed_at,
           state = CASE new.status
                   WHEN 'pending' THEN iif(new.started_at IS NULL, 'submitted', 'working')
                   WHEN 'running' THEN 'working'
                   WHEN 'completed' THEN 'completed'
                   WHEN 'cancelled' THEN 'cancelled'
                   WHEN 'suspended' THEN coalesce((
                        SELECT iif(json_type(CAST(waits.show AS TEXT), '$.authorization') IS NULL,
                                   'input_required', 'auth_required')
                          FROM waits
                         WHERE waits.run = new.number AND waits.outcome IS NULL
                           AND (waits.kind IN ('input', 'approval')
                            OR (waits.kind = 'event' AND waits.name = 'message'
                                AND waits.target = ''))
                         ORDER BY waits.id LIMIT 1), 'working')
                   WHEN 'failed' THEN iif(
                        json_extract(CAST(new.error AS TEXT), '$.code') = 'rejected',
                        'rejected', 'failed')
                   ELSE 'failed' END
     WHERE run = new.number;
END;
