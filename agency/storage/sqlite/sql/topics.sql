-- Topics: events that are not for one run, and the waits for them.

-- name: find_topic_event
SELECT topic_events.number
  FROM topics JOIN topic_events ON topic_events.topic = topics.number
 WHERE topics.name = ? AND topic_events.id = ?;

-- name: add_topic
INSERT INTO topics (name, events, bytes) VALUES (?, 0, 0) ON CONFLICT (name) DO NOTHING;

-- name: count_topic
-- Something is kept from now on, or not any more.
UPDATE topics SET events = events + :events, bytes = bytes + :bytes WHERE number = :topic;

-- name: find_topic
SELECT number, events, bytes FROM topics WHERE name = ?;

-- name: insert_topic_event
INSERT INTO topic_events (topic, mode, spread_to, newest_wait, newest_run, created_at, expires_at,
                          bytes, id, name, payload)
SELECT :topic, :mode, 0,
       coalesce((SELECT max(id) FROM waits), 0), coalesce((SELECT max(number) FROM runs), 0),
       :created_at, :expires_at, :bytes, :id, :name, :payload;

-- name: find_spreading_of_topic
-- An older event of the topic that has not been handed to all.
SELECT number FROM topic_events INDEXED BY topic_events_spreading
 WHERE spread_to IS NOT NULL AND number < :number AND topic = :topic LIMIT 1;

-- name: find_spreading
-- The oldest event that has not been handed to all.
SELECT number FROM topic_events WHERE spread_to IS NOT NULL ORDER BY number LIMIT 1;

-- name: get_spreading
SELECT topic_events.topic, topics.name, topic_events.name, topic_events.mode,
       topic_events.spread_to, topic_events.newest_wait, topic_events.bytes, topic_events.payload,
       topic_events.expires_at
  FROM topic_events JOIN topics ON topics.number = topic_events.topic
 WHERE topic_events.number = ?;

-- name: list_topic_waits
-- The next open waits for an event of that name, oldest first.
SELECT id, run, show FROM waits
 WHERE kind = 'event' AND target <> '' AND outcome IS NULL
   AND target = :topic AND name = :name AND id > :after AND id <= :last
 ORDER BY id LIMIT :limit;

-- name: set_spread
UPDATE topic_events SET spread_to = :spread_to WHERE number = :number;

-- name: take_topic_event
UPDATE topic_events SET taken_by = :wait, spread_to = NULL, payload = NULL
 WHERE number = :number AND taken_by IS NULL;

-- name: give_topic_event_back
-- It is looked for a wait anew, unless its time is over.
UPDATE topic_events SET taken_by = NULL, spread_to = 0, payload = :payload
 WHERE taken_by = :wait AND taken_by IS NOT NULL
RETURNING topic, bytes;

-- name: get_topic_wait
-- A wait for a topic's event, and what it has taken.
SELECT target, name, show, payload FROM waits
 WHERE run = ? AND key = ? AND kind = 'event' AND target <> '' AND outcome = 'answered';

-- name: find_queued
-- Events that no wait has taken and that are not being handed to older waits, oldest first.
SELECT number, payload, bytes FROM topic_events
 WHERE topic = :topic AND name = :name AND mode = 'queue' AND taken_by IS NULL
   AND spread_to IS NULL AND expires_at > :now AND number > :after
 ORDER BY number LIMIT :limit;

-- name: find_broadcasts
-- Broadcasts that a run has not read, oldest first.
SELECT number, payload, bytes FROM topic_events
 WHERE topic = :topic AND name = :name AND mode = 'broadcast' AND taken_by IS NULL
   AND newest_run >= :run AND expires_at > :now AND number > :after
 ORDER BY number LIMIT :limit;

-- name: find_position
SELECT event FROM topic_positions WHERE run = ? AND topic = ? AND name = ? AND filter = ?;

-- name: set_position
INSERT INTO topic_positions (run, topic, name, filter, event, wait)
VALUES (:run, :topic, :name, :filter, :event, :wait)
    ON CONFLICT (run, topic, name, filter)
    DO UPDATE SET event = excluded.event, wait = excluded.wait
 WHERE excluded.event > topic_positions.event;

-- name: set_position_back
-- The run has not read on since that wait: its next one takes the same broadcast.
UPDATE topic_positions SET event = event - 1
 WHERE run = :run AND topic = :topic AND name = :name AND filter = :filter AND wait = :wait;

-- name: list_expired_events
-- One that is still being handed to those who waited when it came is left until that is done.
SELECT number, topic, bytes, taken_by IS NULL, CASE typeof(payload) WHEN 'text' THEN payload END
  FROM topic_events
 WHERE expires_at <= :now AND spread_to IS NULL ORDER BY expires_at LIMIT :limit;

-- name: find_any_topic_event
SELECT number FROM topic_events ORDER BY number LIMIT 1;

-- name: delete_topic_event
DELETE FROM topic_events WHERE number = ?;

-- name: delete_empty_topic
DELETE FROM topics
 WHERE number = :topic
   AND NOT EXISTS (SELECT 1 FROM topic_events WHERE topic_events.topic = :topic);

-- fragment: topic_columns
coalesce((SELECT topics.events FROM topics WHERE topics.name = page.name), 0),
coalesce((SELECT topics.bytes FROM topics WHERE topics.name = page.name), 0),
(SELECT count(*) FROM (SELECT 1 FROM waits
                        WHERE waits.kind = 'event' AND waits.target <> ''
                          AND waits.outcome IS NULL AND waits.target = page.name
                        LIMIT 1000))

-- name: get_topic
SELECT page.name, {topic_columns} FROM (SELECT ? AS name) AS page;

-- name: list_topics
-- Steps from name to name, so that a million waits for one topic cost one look.
WITH RECURSIVE page (name) AS (
     SELECT :after
     UNION ALL
     SELECT (SELECT min(name) FROM (
             SELECT (SELECT min(topics.name) FROM topics WHERE topics.name > page.name) AS name
              UNION ALL
             SELECT (SELECT min(waits.target) FROM waits
                      WHERE waits.kind = 'event' AND waits.target <> ''
                        AND waits.outcome IS NULL AND waits.target > page.name)))
       FROM page WHERE page.name IS NOT NULL)
SELECT page.name, {topic_columns}
  FROM page
 WHERE page.name IS NOT NULL AND page.name > :after
 LIMIT :limit;

-- name: list_topic_events
SELECT topic_events.number, topic_events.id, topics.name, topic_events.name, topic_events.mode,
       CASE typeof(topic_events.payload)
       WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = topic_events.payload)
       ELSE topic_events.payload END,
       topic_events.created_at, topic_events.expires_at, topic_events.taken_by IS NOT NULL,
       topic_events.spread_to IS NOT NULL
  FROM topics
 CROSS JOIN topic_events ON topic_events.topic = topics.number
 WHERE topics.name = :topic AND topic_events.number < :before AND topic_events.expires_at > :now
 ORDER BY topic_events.number DESC LIMIT :limit;
