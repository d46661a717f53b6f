-- Approvals: opened with their waits, decided once; the rules that decide some at once; the inbox.

-- fragment: approval_columns
approvals.number, approvals.id, approvals.kind, approvals.status, approvals.risk,
approvals.on_expiry, runs.id, runs.name, approvals.workflow, runs.principal, waits.key, waits.name,
waits.show, waits.opened_at, waits.due_at, approvals.decided_at, approvals.decided_by,
approvals.rule, approvals.comment,
CASE typeof(approvals.value)
WHEN 'text' THEN (SELECT data FROM blobs WHERE hash = approvals.value) ELSE approvals.value END

-- fragment: approval_filter
approvals.number < :before
   AND (:run_id IS NULL OR runs.id = :run_id)
   AND (:workflow IS NULL OR approvals.workflow = :workflow)
   AND (:statuses IS NULL OR approvals.status IN (SELECT value FROM json_each(:statuses)))
   AND (:kinds IS NULL OR approvals.kind IN (SELECT value FROM json_each(:kinds)))
   AND (:risks IS NULL OR approvals.risk IN (SELECT value FROM json_each(:risks)))

-- name: insert_approval
INSERT INTO approvals (run, wait, status, kind, risk, on_expiry, id, workflow)
SELECT number, :wait, 'pending', :kind, :risk, :on_expiry, :id, workflow
  FROM runs WHERE number = :run
RETURNING number, workflow;

-- name: get_approval
SELECT {approval_columns}
  FROM approvals
  JOIN waits ON waits.id = approvals.wait
  JOIN runs ON runs.number = approvals.run
 WHERE approvals.id = ?;

-- name: find_approval
SELECT number, run, wait FROM approvals WHERE id = ?;

-- name: decide_approval
UPDATE approvals
   SET status = :status, decided_at = :now, decided_by = :by, rule = :rule, comment = :comment,
       value = :value
 WHERE number = :number AND status = 'pending';

-- name: answer_approval
-- The input of a wait is given by resuming its run.
UPDATE approvals
   SET status = 'answered', decided_at = :now, decided_by = :by, value = :value
 WHERE wait = :wait AND status = 'pending';

-- name: list_approvals
SELECT {approval_columns}
  FROM approvals
 CROSS JOIN waits ON waits.id = approvals.wait
 CROSS JOIN runs ON runs.number = approvals.run
 WHERE {approval_filter}
 ORDER BY approvals.number DESC LIMIT :limit;

-- name: list_approvals_of_run
SELECT {approval_columns}
  FROM runs
 CROSS JOIN approvals ON approvals.run = runs.number
 CROSS JOIN waits ON waits.id = approvals.wait
 WHERE runs.id = :run_id AND {approval_filter}
 ORDER BY approvals.number DESC LIMIT :limit;

-- name: list_approvals_of_workflow
SELECT {approval_columns}
  FROM approvals INDEXED BY approvals_by_workflow
 CROSS JOIN waits ON waits.id = approvals.wait
 CROSS JOIN runs ON runs.number = approvals.run
 WHERE approvals.workflow = :workflow AND {approval_filter}
 ORDER BY approvals.number DESC LIMIT :limit;

-- name: list_approvals_of_statuses
-- Steps from one to the next through the index of each status: pending ones are few among many.
WITH RECURSIVE page (next) AS (
     SELECT (SELECT max((SELECT max(own.number) FROM approvals AS own
                          WHERE own.status = wanted.value AND own.number < :before))
               FROM json_each(:statuses) AS wanted)
     UNION ALL
     SELECT (SELECT max((SELECT max(own.number) FROM approvals AS own
                          WHERE own.status = wanted.value AND own.number < page.next))
               FROM json_each(:statuses) AS wanted)
       FROM page WHERE page.next IS NOT NULL)
SELECT {approval_columns}
  FROM page
 CROSS JOIN approvals ON approvals.number = page.next
 CROSS JOIN waits ON waits.id = approvals.wait
 CROSS JOIN runs ON runs.number = approvals.run
 WHERE {approval_filter}
 LIMIT :limit;

-- name: list_inbox
-- Open waits that people have to answer.
SELECT waits.id, waits.kind, runs.id, runs.name, runs.workflow, waits.key, waits.name, waits.show,
       waits.opened_at, waits.due_at, approvals.id, approvals.risk,
       CASE WHEN runs.status = 'suspended' THEN runs.snapshot_id END
  FROM waits INDEXED BY waits_inbox
 CROSS JOIN runs ON runs.number = waits.run
  LEFT JOIN approvals ON approvals.wait = waits.id
 WHERE waits.outcome IS NULL AND waits.kind IN ('approval', 'input', 'decision', 'version')
   AND waits.id < :before
 ORDER BY waits.id DESC LIMIT :limit;

-- fragment: rule_columns
number, workflow, name, question, filter, risk_max, expires_at, made_by, note, made_at,
approval_id, uses

-- name: match_rules
-- Rules for the workflow or for all whose patterns fit, oldest first; their filters are left.
SELECT number, filter, note FROM approval_rules
 WHERE workflow IN ('', :workflow) AND risk_max >= :risk
   AND (expires_at IS NULL OR expires_at > :now)
   AND :name GLOB name AND :question GLOB question
 ORDER BY number;

-- name: use_rule
UPDATE approval_rules SET uses = uses + 1 WHERE number = ?;

-- name: count_rules
SELECT count(*) FROM approval_rules;

-- name: insert_rule
INSERT INTO approval_rules (workflow, name, question, filter, risk_max, expires_at, made_at,
                            made_by, note, approval_id)
VALUES (:workflow, :name, :question, :filter, :risk_max, :expires_at, :now, :made_by, :note,
        :approval_id);

-- name: list_rules
SELECT {rule_columns} FROM approval_rules WHERE number < :before
 ORDER BY number DESC LIMIT :limit;

-- name: delete_rule
DELETE FROM approval_rules WHERE number = ?;
