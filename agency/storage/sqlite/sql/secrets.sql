-- Secrets, sealed, and what is known of their keys.

-- fragment: secret_columns
id, name, key_id, nonce, sealed, created_at, updated_at, updated_by

-- name: find_current_key
SELECT id, proof, created_at FROM secret_keys WHERE is_current = 1;

-- name: retire_key
UPDATE secret_keys SET is_current = 0 WHERE is_current = 1;

-- name: add_key
-- A key that was in use once may come back.
INSERT INTO secret_keys (id, proof, created_at, is_current) VALUES (:id, :proof, :created_at, 1)
    ON CONFLICT (id) DO UPDATE SET is_current = 1;

-- name: count_secrets
SELECT count(*) FROM secrets;

-- name: count_other_secrets
SELECT count(*) FROM secrets WHERE name <> ?;

-- name: find_secret
SELECT {secret_columns} FROM secrets WHERE name = ?;

-- name: list_secrets
SELECT {secret_columns} FROM secrets WHERE name > :after ORDER BY name LIMIT :limit;

-- name: put_secret
-- No row when the name belongs to another id.
INSERT INTO secrets (id, name, key_id, nonce, sealed, created_at, updated_at, updated_by)
VALUES (:id, :name, :key_id, :nonce, :sealed, :created_at, :updated_at, :updated_by)
    ON CONFLICT (name) DO UPDATE SET
       key_id = excluded.key_id, nonce = excluded.nonce, sealed = excluded.sealed,
       updated_at = excluded.updated_at, updated_by = excluded.updated_by
 WHERE secrets.id = excluded.id
RETURNING {secret_columns};

-- name: reseal_secret
UPDATE secrets SET key_id = :key_id, nonce = :nonce, sealed = :sealed
 WHERE id = :id AND name = :name AND key_id = :old_key;

-- name: delete_secret
DELETE FROM secrets WHERE name = ?;
