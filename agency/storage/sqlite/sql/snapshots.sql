-- Snapshots of suspended runs.

-- name: insert_snapshot
INSERT INTO snapshots (id, run, entry_number, reason, created_at, wait_keys)
VALUES (?, ?, ?, ?, ?, ?);

-- name: add_snapshot_hold
-- An operator's words are why it is suspended from now on, so that it is found by them.
UPDATE snapshots SET wait_keys = json_insert(wait_keys, '$[#]', :key), reason = :reason
 WHERE id = :id;

-- name: get_snapshot
SELECT {snapshot_columns}
  FROM snapshots JOIN runs ON runs.number = snapshots.run
 WHERE snapshots.id = ?;

-- fragment: snapshot_page
-- A cursor that was deleted meanwhile stands where its id would stand: ids rise with time.
snapshots.number < coalesce(
       (SELECT cursor.number FROM snapshots AS cursor WHERE cursor.id = :before),
       (SELECT min(later.number) FROM snapshots AS later WHERE later.id > :before),
       9223372036854775807)
   AND (:reason IS NULL OR snapshots.reason = :reason)

-- name: list_snapshots
SELECT {snapshot_columns}
  FROM snapshots CROSS JOIN runs ON runs.number = snapshots.run
 WHERE {snapshot_page}
 ORDER BY snapshots.number DESC LIMIT :limit;

-- name: list_snapshots_of_runs
SELECT {snapshot_columns}
  FROM snapshots JOIN runs ON runs.number = snapshots.run
 WHERE snapshots.run IN (
       SELECT wanted.number FROM runs AS wanted
        WHERE (wanted.id = :run_id OR (wanted.name IS NOT NULL AND wanted.name = :run_name)))
   AND (:run_id IS NULL OR runs.id = :run_id)
   AND (:run_name IS NULL OR runs.name = :run_name)
   AND {snapshot_page}
 ORDER BY snapshots.number DESC LIMIT :limit;

-- name: snapshot_state
-- Whose it is, whether that run is live, and whether a newer one exists.
SELECT runs.id, runs.ended_at IS NULL,
       NOT EXISTS (SELECT 1 FROM snapshots AS newer
                    WHERE newer.run = snapshots.run AND newer.number > snapshots.number)
  FROM snapshots JOIN runs ON runs.number = snapshots.run
 WHERE snapshots.id = ?;

-- name: delete_snapshot
DELETE FROM snapshots WHERE id = ?;
