-- What agents remember: core memory, facts, vectors.

-- fragment: core_columns
name, version, text, changed_at, principal, run_id, reason

-- name: list_core
-- The newest version of each block; the columns beside max() are those of its row.
SELECT * FROM (
       SELECT name, max(version), text, changed_at, principal, run_id, reason
         FROM core_versions WHERE scope = ? GROUP BY name)
 WHERE text IS NOT NULL ORDER BY name;

-- name: newest_core
SELECT {core_columns} FROM core_versions
 WHERE scope = :scope AND name = :name ORDER BY version DESC LIMIT 1;

-- name: page_core
SELECT {core_columns} FROM core_versions
 WHERE scope = :scope AND name = :name AND version < :before
 ORDER BY version DESC LIMIT :limit;

-- name: get_core_version
SELECT {core_columns} FROM core_versions
 WHERE scope = :scope AND name = :name AND version = :version;

-- name: find_core_call
SELECT {core_columns} FROM core_versions WHERE scope = :scope AND call_key = :call_key;

-- name: add_core_version
INSERT INTO core_versions (scope, name, version, text, changed_at, principal, run_id, reason,
                           call_key)
VALUES (:scope, :name, :version, :text, :now, :principal, :run_id, :reason, :call_key)
RETURNING {core_columns};

-- name: prune_core
DELETE FROM core_versions WHERE scope = :scope AND name = :name AND version <= :upto;

-- fragment: collection_columns
collections.number, collections.kind, collections.owner, collections.model, collections.dimension,
collections.era, collections.next_era, collections.next_model, collections.next_dimension

-- name: find_collection
SELECT {collection_columns} FROM collections WHERE kind = ? AND owner = ?;

-- name: get_collection
SELECT {collection_columns} FROM collections WHERE number = ?;

-- name: count_passages
SELECT (SELECT count(*) FROM passages WHERE passages.collection = :collection),
       (SELECT count(*) FROM vector_signs
         WHERE vector_signs.collection = :collection AND vector_signs.era = :era);

-- name: page_collections
SELECT {collection_columns} FROM collections
 WHERE number > :after ORDER BY number LIMIT :limit;

-- name: add_collection
INSERT INTO collections (kind, owner, created_at) VALUES (:kind, :owner, :now)
    ON CONFLICT (kind, owner) DO NOTHING;

-- name: add_passage
INSERT INTO passages (collection, text) VALUES (?, ?);

-- fragment: fact_columns
facts.passage, facts.id, passages.text, facts.source, facts.principal, facts.run_id,
facts.session_id, facts.created_at

-- name: find_fact_call
SELECT {fact_columns} FROM facts CROSS JOIN passages ON passages.number = facts.passage
 WHERE facts.collection = ? AND facts.call_key = ?;

-- name: find_fact_text
-- Among the few that have all of its words.
SELECT {fact_columns}
  FROM passage_words
 CROSS JOIN passages ON passages.number = passage_words.rowid
 CROSS JOIN facts ON facts.passage = passages.number
 WHERE passage_words MATCH :query AND passages.text = :text AND facts.collection = :collection
 LIMIT 1;

-- name: count_facts
SELECT count(*) FROM facts WHERE collection = ?;

-- name: add_fact
INSERT INTO facts (passage, collection, id, source, run_id, session_id, principal, created_at,
                   call_key)
VALUES (:passage, :collection, :id, :source, :run_id, :session_id, :principal, :now, :call_key);

-- name: get_fact
SELECT {fact_columns} FROM facts CROSS JOIN passages ON passages.number = facts.passage
 WHERE facts.passage = ?;

-- name: page_facts
SELECT {fact_columns}
  FROM collections
 CROSS JOIN facts ON facts.collection = collections.number
 CROSS JOIN passages ON passages.number = facts.passage
 WHERE collections.kind = 'facts' AND collections.owner = :owner AND facts.passage < :before
 ORDER BY facts.passage DESC LIMIT :limit;

-- name: find_fact
SELECT facts.passage FROM facts
 CROSS JOIN collections ON collections.number = facts.collection
 WHERE facts.id = :id AND collections.kind = 'facts' AND collections.owner = :owner;

-- name: delete_fact
DELETE FROM facts WHERE passage = ?;

-- name: delete_vectors_of
DELETE FROM vectors WHERE passage = ?;

-- name: delete_signs_of
DELETE FROM vector_signs WHERE passage = ?;

-- name: delete_passage
DELETE FROM passages WHERE number = ?;

-- name: list_without_vector
SELECT passages.number, passages.text FROM passages
 WHERE passages.collection = :collection AND passages.number > :after
   AND NOT EXISTS (SELECT 1 FROM vector_signs
                    WHERE vector_signs.collection = :collection AND vector_signs.era = :era
                      AND vector_signs.passage = passages.number)
 ORDER BY passages.number LIMIT :limit;

-- name: set_collection_model
UPDATE collections SET model = :model, dimension = :dimension WHERE number = :number;

-- name: set_next_dimension
UPDATE collections SET next_dimension = :dimension WHERE number = :number;

-- name: set_next_model
UPDATE collections SET next_model = :model, next_dimension = NULL, next_era = :era
 WHERE number = :number;

-- name: add_old_era
INSERT INTO old_eras (collection, era) VALUES (:collection, :era) ON CONFLICT DO NOTHING;

-- name: begin_next_era
UPDATE collections
   SET era = next_era, model = next_model, dimension = next_dimension,
       next_era = next_era + 1, next_model = NULL, next_dimension = NULL
 WHERE number = :number;

-- name: is_passage
SELECT 1 FROM passages WHERE number = ? AND collection = ?;

-- name: put_vector
INSERT INTO vectors (collection, era, passage, vector) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET vector = excluded.vector;

-- name: put_signs
INSERT INTO vector_signs (collection, era, passage, signs) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET signs = excluded.signs;

-- name: match_words
-- Of the columns text and collection only the first one counts for the rank.
SELECT rowid FROM passage_words
 WHERE passage_words MATCH :query
 ORDER BY bm25(passage_words, 1.0, 0.0), rowid LIMIT :limit;

-- name: list_signs
SELECT passage, signs FROM vector_signs WHERE collection = ? AND era = ?;

-- name: load_vectors
SELECT passage, vector FROM vectors
 WHERE collection = :collection AND era = :era
   AND passage IN (SELECT value FROM json_each(:passages));

-- name: load_facts
SELECT {fact_columns} FROM json_each(:numbers) AS given
 CROSS JOIN facts ON facts.passage = given.value
 CROSS JOIN passages ON passages.number = facts.passage;

-- name: load_chunks
SELECT passages.number, documents.id, passages.text, documents.source, documents.created_at,
       notebooks.name, documents.title, chunks.position, chunks.heading, chunks.start, chunks.stop
  FROM json_each(:numbers) AS given
 CROSS JOIN chunks ON chunks.passage = given.value
 CROSS JOIN passages ON passages.number = chunks.passage
 CROSS JOIN documents ON documents.number = chunks.document
 CROSS JOIN notebooks ON notebooks.number = documents.notebook
 WHERE documents.deleted_at IS NULL AND notebooks.deleted_at IS NULL;

-- name: list_old_eras
SELECT collection, era FROM old_eras LIMIT ?;

-- name: delete_old_era
DELETE FROM old_eras WHERE collection = :collection AND era = :era;

-- name: delete_some_vectors
DELETE FROM vectors
 WHERE collection = :collection AND era = :era
   AND passage IN (SELECT found.passage FROM vectors AS found
                    WHERE found.collection = :collection AND found.era = :era
                    ORDER BY found.passage LIMIT :limit);

-- name: delete_some_signs
DELETE FROM vector_signs
 WHERE collection = :collection AND era = :era
   AND passage IN (SELECT found.passage FROM vector_signs AS found
                    WHERE found.collection = :collection AND found.era = :era
                    ORDER BY found.passage LIMIT :limit);
