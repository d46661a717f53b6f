-- Sessions and their messages.

-- name: add_session
INSERT INTO sessions (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING;

-- name: append_message
INSERT INTO messages (session, position, role, run, created_at, content)
SELECT sessions.number,
       (SELECT coalesce(max(messages.position), 0) + 1 FROM messages
         WHERE messages.session = sessions.number),
       :role, :run, :now, :content
  FROM sessions
 WHERE sessions.id = :session_id;

-- name: list_messages
-- The newest ones, newest first.
SELECT sessions.id, messages.position, messages.role,
       CASE typeof(messages.content)
       WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = messages.content)
       ELSE messages.content END,
       (SELECT runs.id FROM runs WHERE runs.number = messages.run), messages.created_at
  FROM sessions JOIN messages ON messages.session = sessions.number
 WHERE sessions.id = ?
 ORDER BY messages.position DESC LIMIT ?;
