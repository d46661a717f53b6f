-- Sessions and their messages.

-- name: add_session
INSERT INTO sessions (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING;

-- name: append_message
INSERT INTO messages (session, position, role, run, created_at, content)
SELECT sessions.number,
       coalesce((SELECT max(messages.position) FROM messages
                  WHERE messages.session = sessions.number),
                sessions.forked_at, 0) + 1,
       :role, :run, :now, :content
  FROM sessions
 WHERE sessions.id = :session_id;

-- fragment: newest_position
-- Of one row of sessions.
coalesce((SELECT max(said.position) FROM messages AS said WHERE said.session = sessions.number),
         sessions.forked_at, 0)

-- fragment: message_columns
:session_id, messages.position, messages.role,
CASE typeof(messages.content)
WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = messages.content)
ELSE messages.content END,
(SELECT runs.id FROM runs WHERE runs.number = messages.run), messages.created_at

-- name: list_messages
-- The newest ones, newest first.
WITH RECURSIVE chain (session, parent, forked_at, upto, past) AS (
    SELECT sessions.number, sessions.parent, sessions.forked_at, 9223372036854775807,
           {newest_position} - :limit
      FROM sessions WHERE sessions.id = :session_id
    UNION ALL
    SELECT parents.number, parents.parent, parents.forked_at, min(chain.upto, chain.forked_at),
           chain.past
      FROM chain CROSS JOIN sessions AS parents ON parents.number = chain.parent
     WHERE chain.forked_at > chain.past)
SELECT {message_columns}
  FROM chain CROSS JOIN messages ON messages.session = chain.session
 WHERE messages.position > chain.past AND messages.position <= chain.upto
 ORDER BY messages.position DESC;

-- name: page_session
-- Those at the positions that follow one, oldest first.
WITH RECURSIVE chain (session, parent, forked_at, upto) AS (
    SELECT sessions.number, sessions.parent, sessions.forked_at, :after + :limit
      FROM sessions WHERE sessions.id = :session_id
    UNION ALL
    SELECT parents.number, parents.parent, parents.forked_at, min(chain.upto, chain.forked_at)
      FROM chain CROSS JOIN sessions AS parents ON parents.number = chain.parent
     WHERE chain.forked_at > :after)
SELECT {message_columns}
  FROM chain CROSS JOIN messages ON messages.session = chain.session
 WHERE messages.position > :after AND messages.position <= chain.upto
 ORDER BY messages.position;

-- fragment: session_columns
sessions.number, sessions.id, coalesce(sessions.title, ''),
coalesce((SELECT substr(json_extract(CAST(
                            CASE typeof(opening.content)
                            WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = opening.content)
                            ELSE opening.content END AS TEXT), '$.text'), 1, :excerpt)
            FROM messages AS opening
           WHERE opening.session = coalesce(sessions.root, sessions.number)
           ORDER BY opening.position LIMIT 1), ''),
sessions.created_at,
(SELECT parents.id FROM sessions AS parents
  WHERE parents.number = sessions.parent AND parents.deleted_at IS NULL),
coalesce(sessions.forked_at, 0),
{newest_position},
coalesce((SELECT newest.created_at FROM messages AS newest
           WHERE newest.session = sessions.number
           ORDER BY newest.position DESC LIMIT 1), sessions.created_at),
(SELECT runs.id FROM holds CROSS JOIN runs ON runs.number = holds.run
  WHERE holds.kind = 'session' AND holds.name = sessions.id
  ORDER BY holds.place LIMIT 1),
(SELECT count(*) FROM sessions AS forks
  WHERE forks.parent = sessions.number AND forks.deleted_at IS NULL)

-- name: get_session
SELECT {session_columns} FROM sessions WHERE sessions.id = :id;

-- name: list_sessions
SELECT {session_columns} FROM sessions
 WHERE sessions.number < :before AND sessions.deleted_at IS NULL
 ORDER BY sessions.number DESC LIMIT :limit;

-- name: find_session_to_fork
SELECT sessions.number, sessions.parent, coalesce(sessions.forked_at, 0), {newest_position},
       sessions.title, coalesce(sessions.root, sessions.number)
  FROM sessions WHERE sessions.id = ?;

-- name: find_parent_session
SELECT sessions.number, sessions.parent, coalesce(sessions.forked_at, 0)
  FROM sessions WHERE sessions.number = ?;

-- name: count_session_depth
WITH RECURSIVE above (number, parent) AS (
    SELECT sessions.number, sessions.parent FROM sessions WHERE sessions.number = :number
    UNION ALL
    SELECT sessions.number, sessions.parent
      FROM above CROSS JOIN sessions ON sessions.number = above.parent)
SELECT count(*) FROM above;

-- name: find_message
SELECT 1 FROM messages WHERE session = ? AND position = ?;

-- name: find_message_by
-- The newest one that a session has itself, up to a position and a moment.
SELECT position FROM messages
 WHERE session = :session AND position <= :upto AND created_at <= :moment
 ORDER BY position DESC LIMIT 1;

-- name: find_first_message_of_run
SELECT min(messages.position) FROM messages WHERE messages.run = :run AND messages.session = :session;

-- name: copy_messages
-- What follows a position; messages of a run become those of its fork. Through the whole chain, of
-- which a position above `forked_at` of the session leaves the session itself.
INSERT INTO messages (session, position, role, run, created_at, content)
WITH RECURSIVE chain (session, parent, forked_at, upto) AS (
    SELECT sessions.number, sessions.parent, sessions.forked_at, 9223372036854775807
      FROM sessions WHERE sessions.number = :source
    UNION ALL
    SELECT parents.number, parents.parent, parents.forked_at, min(chain.upto, chain.forked_at)
      FROM chain CROSS JOIN sessions AS parents ON parents.number = chain.parent
     WHERE chain.forked_at > :after)
SELECT :target, messages.position, messages.role,
       CASE messages.run WHEN :run THEN :fork ELSE messages.run END, messages.created_at,
       messages.content
  FROM chain CROSS JOIN messages ON messages.session = chain.session
 WHERE messages.position > :after AND messages.position <= chain.upto
   AND messages.created_at <= :moment
 ORDER BY messages.position;

-- name: fork_session
-- No row when there is one of the id.
INSERT INTO sessions (id, created_at, title, parent, forked_at, root)
VALUES (:id, :now, :title, :parent, :forked_at, :root)
    ON CONFLICT (id) DO NOTHING
RETURNING number;

-- name: rename_session
UPDATE sessions SET title = nullif(:title, '') WHERE id = :id;

-- name: find_live_run_of_session
SELECT runs.id FROM holds CROSS JOIN runs ON runs.number = holds.run
 WHERE holds.kind = 'session' AND holds.name = ?
 ORDER BY holds.place LIMIT 1;

-- name: hide_session
-- Under an id that nobody can give: ids have no control characters.
UPDATE sessions SET id = char(1) || number, deleted_at = :now WHERE id = :id
RETURNING number, (SELECT count(*) FROM sessions AS forks
                    WHERE forks.parent = sessions.number AND forks.deleted_at IS NULL);

-- name: list_deleted_sessions
-- Those that no fork reads any more.
SELECT sessions.number FROM sessions
 WHERE sessions.deleted_at IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM sessions AS forks
                    WHERE forks.parent = sessions.number AND forks.parent IS NOT NULL)
   AND NOT EXISTS (SELECT 1 FROM sessions AS forks
                    WHERE forks.root = sessions.number AND forks.root IS NOT NULL)
 LIMIT ?;
