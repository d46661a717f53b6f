-- Sessions that are forks of others, and what agents remember.

-- A fork reads the messages of the one that it was forked from up to a position; its own go on from
-- there. A session that was deleted keeps its messages while forks of it read them.
ALTER TABLE sessions ADD COLUMN title TEXT;
ALTER TABLE sessions ADD COLUMN parent INTEGER REFERENCES sessions (number);
ALTER TABLE sessions ADD COLUMN forked_at INTEGER;   -- newest position that is shared with the parent
ALTER TABLE sessions ADD COLUMN root INTEGER REFERENCES sessions (number);  -- has the first message
ALTER TABLE sessions ADD COLUMN deleted_at INTEGER;

CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX sessions_by_root ON sessions (root) WHERE root IS NOT NULL;
CREATE INDEX sessions_deleted ON sessions (number) WHERE deleted_at IS NOT NULL;

-- Core memory: every version of every block; the newest one counts.
CREATE TABLE core_versions (
    number INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,               -- whose it is
    name TEXT NOT NULL,
    version INTEGER NOT NULL,          -- from 1
    text TEXT,                         -- NULL: removed
    changed_at INTEGER NOT NULL,
    principal TEXT NOT NULL,
    run_id TEXT,
    reason TEXT NOT NULL,
    call_key TEXT                      -- of the call of a tool that has made it
) STRICT;

CREATE UNIQUE INDEX core_versions_version ON core_versions (scope, name, version);
CREATE UNIQUE INDEX core_versions_call ON core_versions (scope, call_key)
 WHERE call_key IS NOT NULL;

-- Texts that are found together: the facts of one scope, or a notebook. All its vectors of an era are
-- of one model, and those of the era in use are searched. While next_model is there, vectors of it
-- are made, of the next era.
CREATE TABLE collections (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,                -- facts, notebook
    owner TEXT NOT NULL,               -- scope, or id of the notebook
    model TEXT,
    dimension INTEGER,
    era INTEGER NOT NULL DEFAULT 0,
    next_era INTEGER NOT NULL DEFAULT 1,
    next_model TEXT,
    next_dimension INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX collections_owner ON collections (kind, owner);

-- Eras that are over, or were given up, and whose vectors are still to be deleted.
CREATE TABLE old_eras (
    collection INTEGER NOT NULL,
    era INTEGER NOT NULL,
    PRIMARY KEY (collection, era)
) STRICT, WITHOUT ROWID;

-- Numbers are not used again, so that nothing that is late is taken for another passage's.
CREATE TABLE passages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    collection INTEGER NOT NULL REFERENCES collections (number),
    text TEXT NOT NULL
) STRICT;

CREATE INDEX passages_by_collection ON passages (collection, number);

CREATE VIRTUAL TABLE passage_words USING fts5 (
    text, collection, content = 'passages', content_rowid = 'number',
    tokenize = 'porter unicode61 remove_diacritics 2'
);

CREATE TRIGGER passages_added AFTER INSERT ON passages BEGIN
    INSERT INTO passage_words (rowid, text, collection)
    VALUES (new.number, new.text, new.collection);
END;

CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
    INSERT INTO passage_words (passage_words, rowid, text, collection)
    VALUES ('delete', old.number, old.text, old.collection);
END;

-- Vectors of unit length, 32-bit floats, little endian. Their signs stand apart, because a search
-- looks through all of them.
CREATE TABLE vectors (
    collection INTEGER NOT NULL,
    era INTEGER NOT NULL,
    passage INTEGER NOT NULL REFERENCES passages (number),
    vector BLOB NOT NULL,
    PRIMARY KEY (collection, era, passage)
) STRICT, WITHOUT ROWID;

CREATE INDEX vectors_by_passage ON vectors (passage);

CREATE TABLE vector_signs (
    collection INTEGER NOT NULL,
    era INTEGER NOT NULL,
    passage INTEGER NOT NULL REFERENCES passages (number),
    signs BLOB NOT NULL,               -- one bit for each dimension
    PRIMARY KEY (collection, era, passage)
) STRICT, WITHOUT ROWID;

CREATE INDEX vector_signs_by_passage ON vector_signs (passage);

CREATE TABLE facts (
    passage INTEGER PRIMARY KEY REFERENCES passages (number),
    collection INTEGER NOT NULL REFERENCES collections (number),
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    run_id TEXT,
    session_id TEXT,
    principal TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    call_key TEXT                      -- of the call of a tool that has made it
) STRICT;

CREATE INDEX facts_by_collection ON facts (collection, passage);
CREATE UNIQUE INDEX facts_call ON facts (collection, call_key) WHERE call_key IS NOT NULL;

CREATE TABLE notebooks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    collection INTEGER NOT NULL REFERENCES collections (number),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    deleted_at INTEGER
) STRICT;

CREATE INDEX notebooks_deleted ON notebooks (number) WHERE deleted_at IS NOT NULL;

-- Which agents may look into a notebook; * is all of them.
CREATE TABLE notebook_agents (
    notebook INTEGER NOT NULL REFERENCES notebooks (number),
    agent TEXT NOT NULL,
    PRIMARY KEY (notebook, agent)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    notebook INTEGER NOT NULL REFERENCES notebooks (number),
    title TEXT NOT NULL,
    source TEXT NOT NULL,
    media_type TEXT NOT NULL,
    hash TEXT NOT NULL,                -- SHA-256 of what was given
    size_bytes INTEGER NOT NULL,
    passages INTEGER,                  -- NULL until it was split
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    deleted_at INTEGER,
    text TEXT NOT NULL                 -- as it was given
) STRICT;

CREATE UNIQUE INDEX documents_hash ON documents (notebook, hash) WHERE deleted_at IS NULL;
CREATE INDEX documents_by_notebook ON documents (notebook, number);
CREATE INDEX documents_deleted ON documents (number) WHERE deleted_at IS NOT NULL;

CREATE TABLE chunks (
    passage INTEGER PRIMARY KEY REFERENCES passages (number),
    document INTEGER NOT NULL REFERENCES documents (number),
    position INTEGER NOT NULL,         -- from 1
    heading TEXT NOT NULL,
    start INTEGER NOT NULL,            -- characters of the document's text
    stop INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX chunks_position ON chunks (document, position);
