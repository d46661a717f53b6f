-- Peers: programs that have registered themselves.

-- fragment: peer_columns
id, owner, capabilities, endpoints, heartbeat_interval_s, status, registered_at, last_seen_at

-- name: count_other_peers
SELECT count(*) FROM peers WHERE id <> ?;

-- name: put_peer
-- No row when the id belongs to another.
INSERT INTO peers (id, owner, capabilities, endpoints, heartbeat_interval_s, status, registered_at,
                   last_seen_at)
VALUES (:id, :owner, :capabilities, :endpoints, :heartbeat_interval_s, :status, :registered_at,
        :last_seen_at)
    ON CONFLICT (id) DO UPDATE
   SET capabilities = excluded.capabilities, endpoints = excluded.endpoints,
       heartbeat_interval_s = excluded.heartbeat_interval_s, status = excluded.status,
       last_seen_at = excluded.last_seen_at
 WHERE peers.owner = excluded.owner
RETURNING {peer_columns};

-- name: find_peer
SELECT {peer_columns} FROM peers WHERE id = ?;

-- name: list_peers
SELECT {peer_columns} FROM peers
 WHERE id > :after
   AND (:service IS NULL OR EXISTS (
       SELECT 1 FROM json_each(CAST(peers.capabilities AS TEXT), '$.services')
        WHERE value = :service))
 ORDER BY id LIMIT :limit;

-- name: touch_peer
UPDATE peers SET last_seen_at = max(last_seen_at, :now), status = coalesce(:status, status)
 WHERE id = :id AND owner = :owner
RETURNING {peer_columns};

-- name: delete_peer
DELETE FROM peers WHERE id = ?;
