-- Lists of columns that several statements share, in the order that rows.py reads them.

-- fragment: run_columns
-- Without the casts a RETURNING clause would walk the blobs: there a column has no affinity.
number, id, name, workflow, version, kind, status, phase,
CASE typeof(input)
WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = CAST(input AS TEXT)) ELSE input END,
CASE typeof(output)
WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = CAST(output AS TEXT)) ELSE output END,
error, session_id, parent_id, forked_from, queue, priority, attempt, max_attempts, epoch, owner,
available_at, deadline_at, seed, idempotency_key, correlation_id, principal, tags, created_at,
started_at, ended_at, ending, hold, crashes, provider, progress, concurrency_key, rerun_of,
forked_at, schedule, generation, changed_at

-- fragment: detail_columns
{run_columns},
steps,
CASE WHEN status = 'suspended' THEN snapshot_id END,
CASE WHEN blocked AND ended_at IS NULL THEN (
     SELECT ahead.id
       FROM holds AS mine
      CROSS JOIN holds AS head
         ON head.kind = mine.kind AND head.name = mine.name AND head.place < mine.place
      CROSS JOIN runs AS ahead ON ahead.number = head.run
      WHERE mine.run = runs.number
      ORDER BY mine.kind DESC, head.place LIMIT 1) END,
CASE WHEN ended_at IS NULL THEN (
     SELECT json_group_array(json_array({wait_values})) FROM waits
      WHERE waits.run = runs.number AND waits.outcome IS NULL) ELSE '[]' END

-- fragment: wait_columns
id, key, kind, name, due_at, show, target, opened_at, outcome,
CASE typeof(payload) WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = payload)
ELSE payload END,
resolved_at, resolved_number

-- fragment: wait_values
waits.id, waits.key, waits.kind, waits.name, waits.due_at, CAST(waits.show AS TEXT), waits.target,
waits.opened_at, waits.outcome,
CAST(CASE typeof(waits.payload)
     WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = waits.payload)
     ELSE waits.payload END AS TEXT),
waits.resolved_at, waits.resolved_number

-- fragment: snapshot_columns
snapshots.id, runs.id, runs.name, runs.workflow, snapshots.reason, snapshots.entry_number,
snapshots.created_at,
runs.snapshot_id IS NOT snapshots.id OR runs.status <> 'suspended',
runs.status,
(SELECT json_group_array(json_array({wait_values})) FROM waits
  WHERE waits.run = snapshots.run
    AND waits.key IN (SELECT value FROM json_each(snapshots.wait_keys)))
