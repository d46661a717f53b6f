-- API tokens: hashes only.

-- name: add_token
-- No row when a token that works has the name.
INSERT INTO tokens (name, prefix, secret_hash, created_at, revoked_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
RETURNING number;

-- name: list_tokens
SELECT name, prefix, secret_hash, created_at, revoked_at
  FROM tokens WHERE revoked_at IS NULL ORDER BY number;

-- name: revoke_token
UPDATE tokens SET revoked_at = :now WHERE name = :name AND revoked_at IS NULL;
