-- Updates: what watchers of runs see, numbered with the journal.
--
-- A change of a run's status or progress becomes a row of the journal in the statement that makes it,
-- so that no update costs a statement or a commit of its own, and one number orders all of them. The
-- keys of these rows begin with !! as no key of an author's does. They are not part of what a run has
-- recorded: replay, limits, forks and counts of steps leave them out.

-- When status or progress last changed: whoever changes one of them sets it. 0: not since created_at.
ALTER TABLE runs ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0;

-- Every run's newest row of kind STATUS (10) tells its status, also of those that were there before.
INSERT INTO journal (run, epoch, kind, at, key, body)
SELECT number, epoch, 10, coalesce(ended_at, started_at, created_at), '!!0',
       CAST('{"status":"' || status || '"}' AS BLOB)
  FROM runs
 ORDER BY number;

CREATE TRIGGER run_update_started AFTER INSERT ON runs
BEGIN
    INSERT INTO journal (run, epoch, kind, at, key, body)
    VALUES (new.number, new.epoch, 10, new.created_at, '!!0',
            CAST('{"status":"' || new.status || '"}' AS BLOB));
END;

CREATE TRIGGER run_update_status AFTER UPDATE OF status ON runs WHEN old.status <> new.status
BEGIN
    INSERT INTO journal (run, epoch, kind, at, key, body)
    VALUES (new.number, new.epoch, 10, new.changed_at,
            '!!' || (SELECT max(id) + 1 FROM journal),
            CAST('{"status":"' || new.status || '"'
                 || CASE WHEN new.attempt > 1 THEN ',"attempt":' || new.attempt ELSE '' END
                 || CASE WHEN new.status = 'suspended' THEN coalesce((
                         SELECT ',"reason":' || json_quote(snapshots.reason) FROM snapshots
                          WHERE snapshots.id = new.snapshot_id), '') ELSE '' END
                 || CASE WHEN new.error IS NOT NULL
                          AND (new.ended_at IS NOT NULL OR new.attempt > old.attempt)
                         THEN ',"error":'
                              || json_quote(json_extract(CAST(new.error AS TEXT), '$.code'))
                         ELSE '' END
                 || '}' AS BLOB));
END;

-- One row for each run: it is replaced, and gets a new number by that.
CREATE TRIGGER run_update_progress AFTER UPDATE OF progress ON runs WHEN new.progress IS NOT NULL
BEGIN
    INSERT OR REPLACE INTO journal (run, epoch, kind, at, key, body)
    VALUES (new.number, new.epoch, 11, new.changed_at, '!!progress', new.progress);
END;

-- Numbers never come twice: SQLite gives the next one after the highest that is there, so that row is
-- not deleted, whoever asks for it; the next row sets it free.
CREATE TRIGGER journal_end_stays BEFORE DELETE ON journal
WHEN old.id = (SELECT max(id) FROM journal)
BEGIN
    SELECT RAISE(IGNORE);
END;

-- How far each hook of an author (on_update) has been called.
CREATE TABLE hooks (
    name TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,         -- newest number of the journal that it is done with
    calls INTEGER NOT NULL,            -- updates that it has taken
    skipped INTEGER NOT NULL,          -- updates that it could not take
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
