"""The names of the tools that steer runs: no workflow's tool has one of them."""

START, STATUS, RESULT, CANCEL = "run_start", "run_status", "run_result", "run_cancel"
ANSWER, APPROVE, LIST = "run_answer", "run_approve", "runs_list"

VERBS = frozenset({START, STATUS, RESULT, CANCEL, ANSWER, APPROVE, LIST})
