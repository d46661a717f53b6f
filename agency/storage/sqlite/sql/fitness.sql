-- What models have been found fit for.

-- name: keep_fitness
-- The newer outcome stays, whichever comes first.
INSERT INTO model_fitness (
       provider, model, checked_at, run_id, digest, answers, schema, tool_call, tool_choice,
       recall, recall_tokens, tokens_per_s, load_s)
VALUES (:provider, :model, :checked_at, :run_id, :digest, :answers, :schema, :tool_call,
       :tool_choice, :recall, :recall_tokens, :tokens_per_s, :load_s)
    ON CONFLICT (provider, model) DO UPDATE
   SET checked_at = excluded.checked_at,
       run_id = excluded.run_id,
       digest = excluded.digest,
       answers = excluded.answers,
       schema = excluded.schema,
       tool_call = excluded.tool_call,
       tool_choice = excluded.tool_choice,
       recall = excluded.recall,
       recall_tokens = excluded.recall_tokens,
       tokens_per_s = excluded.tokens_per_s,
       load_s = excluded.load_s
 WHERE excluded.checked_at >= model_fitness.checked_at;

-- name: trim_fitness
-- Models come and go; the oldest outcomes beyond the limit are forgotten.
DELETE FROM model_fitness
 WHERE (provider, model) IN (
       SELECT provider, model FROM model_fitness
        ORDER BY checked_at DESC, provider, model
        LIMIT -1 OFFSET :kept);

-- name: find_fitness
SELECT provider, model, checked_at, run_id, digest, answers, schema, tool_call, tool_choice,
       recall, recall_tokens, tokens_per_s, load_s
  FROM model_fitness WHERE provider = :provider AND model = :model;

-- name: list_fitness
SELECT provider, model, checked_at, run_id, digest, answers, schema, tool_call, tool_choice,
       recall, recall_tokens, tokens_per_s, load_s
  FROM model_fitness ORDER BY provider, model LIMIT :limit;
