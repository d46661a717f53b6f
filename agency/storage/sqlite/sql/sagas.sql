-- Sagas whose compensation has failed.

-- name: find_saga
SELECT number, kind, status, name, epoch, error, session_id, concurrency_key, parent_id
  FROM runs WHERE id = ?;

-- name: retry_compensation
UPDATE runs
   SET status = 'pending', phase = 'compensating', ended_at = NULL, attempt = attempt + 1,
       available_at = :now, not_before = NULL, crashes = 0, changed_at = :now
 WHERE number = :number AND status = 'compensation_failed';

-- name: supersede_failed_compensations
-- Failures (2) and tries (3) in the branch of the end stay readable and count no more.
UPDATE journal
   SET key = key || '^' || id, superseded = 1
 WHERE run = ? AND key >= '!end/' AND key < '!end0' AND kind IN (2, 3) AND superseded = 0;

-- name: find_turn
SELECT 1 FROM journal WHERE run = ? AND key = '!compensating#1';
