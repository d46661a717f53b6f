-- Which versions of workspaces the runs refer to.

-- name: forget_version
DELETE FROM workspace_versions
 WHERE run = (SELECT number FROM runs WHERE id = :run) AND version = :version;

-- name: add_version
-- No row when there is no such run.
INSERT INTO workspace_versions (run, version)
SELECT number, :version FROM runs WHERE id = :run;

-- name: find_newest_version
SELECT version FROM workspace_versions
 WHERE run = (SELECT number FROM runs WHERE id = ?)
 ORDER BY number DESC LIMIT 1;

-- name: list_versions_of
SELECT version FROM workspace_versions
 WHERE run = (SELECT number FROM runs WHERE id = ?)
 ORDER BY number DESC LIMIT ?;

-- name: add_version_of
INSERT INTO workspace_versions (run, version) VALUES (:run, :version);

-- name: list_versions
SELECT workspace_versions.number, runs.id, workspace_versions.version
  FROM workspace_versions CROSS JOIN runs ON runs.number = workspace_versions.run
 WHERE workspace_versions.number > :after
 ORDER BY workspace_versions.number LIMIT :limit;

-- name: find_live_run
SELECT 1 FROM runs WHERE id = ? AND ended_at IS NULL;

-- name: copy_versions
-- A fork refers to all that it could go back to.
INSERT INTO workspace_versions (run, version)
SELECT :fork, version FROM workspace_versions WHERE run = :run ORDER BY number;

-- name: delete_versions_of
DELETE FROM workspace_versions WHERE run = ?;
