-- Secrets, sealed, and what is known of the keys that they were sealed with.

CREATE TABLE secret_keys (
    id TEXT NOT NULL PRIMARY KEY,
    proof BLOB NOT NULL,               -- derived from the key: tells the right one from others
    created_at INTEGER NOT NULL,
    is_current INTEGER NOT NULL        -- 1: all secrets are sealed with it
) STRICT;

CREATE UNIQUE INDEX secret_keys_current ON secret_keys (is_current) WHERE is_current = 1;

CREATE TABLE secrets (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    key_id TEXT NOT NULL REFERENCES secret_keys (id),
    nonce BLOB NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;

CREATE INDEX secrets_by_key ON secrets (key_id);
