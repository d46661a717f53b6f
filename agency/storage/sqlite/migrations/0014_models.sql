-- What models have been found fit for: the newest outcome for each model of each provider.
CREATE TABLE model_fitness (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    checked_at INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    answers REAL,
    schema REAL,
    tool_call REAL,
    tool_choice REAL,
    recall REAL,
    recall_tokens INTEGER NOT NULL,
    tokens_per_s REAL,
    load_s REAL NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT, WITHOUT ROWID;
