-- Notebooks and their documents.

-- fragment: notebook_columns
notebooks.number, notebooks.id, notebooks.name, notebooks.description,
coalesce((SELECT json_group_array(shared.agent)
            FROM (SELECT notebook_agents.agent FROM notebook_agents
                   WHERE notebook_agents.notebook = notebooks.number
                   ORDER BY notebook_agents.agent) AS shared), '[]'),
(SELECT count(*) FROM documents
  WHERE documents.notebook = notebooks.number AND documents.deleted_at IS NULL),
notebooks.collection, notebooks.created_at, notebooks.created_by

-- name: get_notebook
SELECT {notebook_columns} FROM notebooks WHERE notebooks.name = ?;

-- name: list_notebooks
SELECT {notebook_columns} FROM notebooks
 WHERE notebooks.name > :after AND notebooks.deleted_at IS NULL
 ORDER BY notebooks.name LIMIT :limit;

-- name: list_notebooks_seen
SELECT {notebook_columns} FROM notebooks
 WHERE notebooks.deleted_at IS NULL
   AND EXISTS (SELECT 1 FROM notebook_agents
                WHERE notebook_agents.notebook = notebooks.number
                  AND notebook_agents.agent IN (:agent, '*'))
 ORDER BY notebooks.name LIMIT :limit;

-- name: count_notebooks
SELECT count(*) FROM notebooks WHERE deleted_at IS NULL;

-- name: add_notebook
-- No row when there is one of the name.
INSERT INTO notebooks (id, name, description, collection, created_at, created_by)
VALUES (:id, :name, :description, :collection, :now, :by)
    ON CONFLICT (name) DO NOTHING
RETURNING number;

-- name: describe_notebook
UPDATE notebooks SET description = :description WHERE number = :number;

-- name: unshare_notebook
DELETE FROM notebook_agents WHERE notebook = ?;

-- name: share_notebook
INSERT INTO notebook_agents (notebook, agent) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: hide_notebook
-- Under a name that nobody can give.
UPDATE notebooks SET name = char(1) || number, deleted_at = :now WHERE name = :name
RETURNING number;

-- fragment: document_columns
documents.number, documents.id, notebooks.name, documents.title, documents.source,
documents.media_type, documents.hash, documents.size_bytes, documents.passages,
(SELECT count(*) FROM chunks
   CROSS JOIN vector_signs
      ON vector_signs.collection = notebooks.collection AND vector_signs.era = collections.era
     AND vector_signs.passage = chunks.passage
  WHERE chunks.document = documents.number),
documents.created_at, documents.created_by

-- fragment: documents_of_notebooks
notebooks
CROSS JOIN collections ON collections.number = notebooks.collection
CROSS JOIN documents ON documents.notebook = notebooks.number

-- name: find_document_hash
SELECT {document_columns} FROM {documents_of_notebooks}
 WHERE notebooks.number = :notebook AND documents.hash = :hash AND documents.deleted_at IS NULL;

-- name: count_documents
SELECT count(*) FROM documents WHERE notebook = ? AND deleted_at IS NULL;

-- name: add_document
INSERT INTO documents (id, notebook, title, source, media_type, hash, size_bytes, created_at,
                       created_by, text)
VALUES (:id, :notebook, :title, :source, :media_type, :hash, :size_bytes, :now, :by, :text);

-- name: get_document
SELECT {document_columns} FROM {documents_of_notebooks}
 WHERE notebooks.name = :notebook AND documents.id = :id AND documents.deleted_at IS NULL;

-- name: page_documents
SELECT {document_columns} FROM {documents_of_notebooks}
 WHERE notebooks.name = :notebook AND documents.number < :before AND documents.deleted_at IS NULL
 ORDER BY documents.number DESC LIMIT :limit;

-- name: load_document_text
SELECT text FROM documents WHERE id = ? AND deleted_at IS NULL;

-- name: find_document
SELECT documents.number, notebooks.collection
  FROM documents CROSS JOIN notebooks ON notebooks.number = documents.notebook
 WHERE documents.id = ? AND documents.deleted_at IS NULL AND notebooks.deleted_at IS NULL;

-- name: find_chunk
SELECT 1 FROM chunks WHERE document = ? AND position = ?;

-- name: add_chunk
INSERT INTO chunks (passage, document, position, heading, start, stop)
VALUES (:passage, :document, :position, :heading, :start, :stop);

-- name: finish_document
UPDATE documents SET passages = (SELECT count(*) FROM chunks WHERE chunks.document = documents.number)
 WHERE number = ?;

-- name: hide_document
UPDATE documents SET deleted_at = :now
 WHERE id = :id AND deleted_at IS NULL
   AND notebook = (SELECT number FROM notebooks WHERE name = :notebook);

-- name: hide_documents_of_deleted
-- A notebook goes with its documents.
UPDATE documents SET deleted_at = :now
 WHERE notebook = :notebook AND deleted_at IS NULL;

-- name: list_deleted_chunks
SELECT chunks.passage FROM documents CROSS JOIN chunks ON chunks.document = documents.number
 WHERE documents.deleted_at IS NOT NULL LIMIT ?;

-- name: delete_chunk
DELETE FROM chunks WHERE passage = ?;

-- name: delete_empty_documents
DELETE FROM documents
 WHERE deleted_at IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM chunks WHERE chunks.document = documents.number);

-- name: list_deleted_notebooks
SELECT number, collection FROM notebooks
 WHERE deleted_at IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM documents WHERE documents.notebook = notebooks.number)
 LIMIT ?;

-- name: delete_notebook
DELETE FROM notebooks WHERE number = ?;

-- name: delete_collection
DELETE FROM collections WHERE number = ?;
