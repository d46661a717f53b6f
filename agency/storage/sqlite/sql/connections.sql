-- Connections to servers of tools, and the programs that were started for them.

-- name: add_connection
-- No row when the name is taken.
INSERT INTO connections (id, name, kind, setup, is_active, created_at, updated_at, tools, tools_at,
                         last_error, last_error_at)
VALUES (:id, :name, :kind, :setup, :is_active, :created_at, :updated_at, :tools, :tools_at,
        :last_error, :last_error_at)
    ON CONFLICT DO NOTHING
RETURNING number;

-- name: count_connections
SELECT count(*) FROM connections;

-- name: find_connection_named
SELECT id FROM connections WHERE name = :name AND id <> :id;

-- name: change_connection
UPDATE connections
   SET name = :name, kind = :kind, setup = :setup, is_active = :is_active, updated_at = :updated_at
 WHERE id = :id;

-- name: delete_connection
DELETE FROM connections WHERE id = ?;

-- name: list_connections
SELECT id, name, setup, is_active, created_at, updated_at, tools, tools_at, last_error,
       last_error_at
  FROM connections ORDER BY name;

-- name: note_connection_tools
UPDATE connections SET tools = :tools, tools_at = :at WHERE id = :id;

-- name: note_connection_error
UPDATE connections SET last_error = :error, last_error_at = :at WHERE id = :id;

-- name: begin_server_process
INSERT INTO server_processes (mark, connection, boot, pid, start_ticks, recorded_at)
VALUES (:mark, :connection, :boot, :pid, :start_ticks, :recorded_at)
    ON CONFLICT (mark) DO UPDATE SET pid = excluded.pid, start_ticks = excluded.start_ticks;

-- name: end_server_process
DELETE FROM server_processes WHERE mark = ?;

-- name: list_server_processes
SELECT mark, connection, boot, pid, start_ticks, recorded_at
  FROM server_processes ORDER BY recorded_at, mark;
