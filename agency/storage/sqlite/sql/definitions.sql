-- Stored definitions, in all the versions that runs need.

-- fragment: definition_columns
number, name, version, kind, is_current, created_at, created_by,
CASE typeof(body) WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = body) ELSE body END

-- name: find_current_definition
SELECT {definition_columns} FROM definitions WHERE name = ? AND is_current = 1;

-- name: list_current_definitions
SELECT {definition_columns} FROM definitions
 WHERE kind = :kind AND is_current = 1 AND name > :after
 ORDER BY name LIMIT :limit;

-- name: load_definitions
SELECT {definition_columns} FROM definitions WHERE number > :after ORDER BY number LIMIT :limit;

-- name: count_current_definitions
SELECT count(*) FROM definitions WHERE is_current = 1;

-- name: count_definition_versions
SELECT count(*) FROM definitions WHERE name = ?;

-- name: retire_definition
UPDATE definitions SET is_current = 0 WHERE name = ? AND is_current = 1;

-- name: add_definition
-- A version that is there already becomes the current one again.
INSERT INTO definitions (name, version, kind, is_current, created_at, created_by, body)
VALUES (:name, :version, :kind, 1, :created_at, :created_by, :body)
    ON CONFLICT (name, version) DO UPDATE SET
       is_current = 1, created_at = excluded.created_at, created_by = excluded.created_by;

-- name: keep_definition
INSERT INTO definitions (name, version, kind, is_current, created_at, created_by, body)
VALUES (:name, :version, :kind, 0, :created_at, :created_by, :body)
    ON CONFLICT (name, version) DO NOTHING;

-- name: prune_definitions
-- Versions that nobody needs any more, each with the blob of its body.
DELETE FROM definitions
 WHERE name = ? AND is_current = 0
   AND NOT EXISTS (
       SELECT 1 FROM runs
        WHERE runs.kind IN ('graph', 'saga')
          AND runs.workflow = definitions.name AND runs.version = definitions.version)
RETURNING CASE typeof(body) WHEN 'text' THEN body END;

-- name: find_run_needing_definition
SELECT id FROM runs
 WHERE kind IN ('graph', 'saga') AND (ended_at IS NULL OR status = 'compensation_failed')
   AND workflow = ?
 LIMIT 1;

-- name: delete_definition
DELETE FROM definitions WHERE name = ?
RETURNING CASE typeof(body) WHEN 'text' THEN body END;
