"""Limits that are not settings: each with its unit and its reason."""

from __future__ import annotations

BLOB_BYTES_MIN = 64 * 1024
"""Bodies above this go once to the blob table, keyed by their hash."""

VALUE_BYTES_MAX = 16 * 1024 * 1024
"""Largest single JSON value (input, output, step result): larger ones hold up the writer."""

CHECKED_AT_ONCE_BYTES_MAX = 16 * 1024
"""Values of callers up to here are held against a schema at once, larger ones in a thread: a value
of a megabyte takes seconds."""

FAULTS_MAX = 100
FAULT_CHARACTERS_MAX = 1000
"""What is said of what is wrong with an input, which may be wrong in a million places."""

ARGUMENT_BYTES_MAX = 2 * 1024
"""Arguments of a step are recorded up to here, for the timeline only."""

NAME_CHARACTERS_MAX = 256
"""Names of runs, workflows, steps, events and waits."""

UPDATE_BYTES_MAX = 4 * 1024
"""Data of an update that watchers are told: many of them are held for many watchers."""

PAGE_ROWS_DEFAULT = 50
PAGE_ROWS_MAX = 500
"""Rows of one page of a list: an answer stays well under a megabyte."""

BATCH_TRANSACTIONS_MAX = 128
"""Transactions in one commit: more raises everybody's median wait, as measured."""

AGEING_S = 60.0
"""A point of priority counts as much as this long a wait: what is less urgent is never starved."""

PRIORITY_MAX = 1000
"""Priorities lie between this and its negative: at most 17 hours ahead of the others, or behind."""

ATTEMPTS_MAX = 1000
"""Tries of one run: what has failed this often does so for another reason than bad luck."""

BULK_RUNS_MAX = 1000
"""Runs in one bulk request: they share one commit, which holds up the others for some 20 ms."""

TIMER_REREAD_S = 30.0
"""The timer looks at the wall clock at least this often, because machines sleep and clocks jump."""

JSON_DEPTH_MAX = 128
"""Nesting of a request body: deeper ones are refused before they are walked."""

BODY_READ_S = 30.0
"""A request's body has come within this time: slower senders would hold connections for nothing."""

IDLE_CONNECTION_S = 75.0
"""A connection brings the whole head of a request within this time of its opening, or of the last
answer, or is closed: idle ones and such as send byte by byte would take up all places. Longer than
the 60 s for which common proxies keep connections, so that it is they who close."""

SLOW_REQUEST_S = 5.0
"""A reading request that took longer is logged even when others are not."""

RETRY_AFTER_S_MAX = 86_400.0
"""Longest ``Retry-After`` that is honoured, in seconds: a slip of a server must not stop a run for
years."""

TRANSFER_BYTES_MAX = 64 * 1024 * 1024
"""File of an exported run: bringing one in is one transaction, and others wait for it."""

SUSPEND_WAIT_S = 5.0
"""A request to suspend a run waits this long for its safe point, if it says nothing else."""

CANCEL_WAIT_S = 1.0
"""A request to cancel a run waits this long for its end, which mostly comes at once."""

FILTER_BYTES_MAX = 4 * 1024
"""A filter on events or approvals as JSON: it is judged inside a write transaction."""

FILTER_CONDITIONS_MAX = 16
"""Conditions of one filter, for the same reason."""

QUESTION_CHARACTERS_MAX = 4096
"""The question of an approval: more belongs into what is shown with it."""

APPROVAL_SHOW_BYTES_MAX = 64 * 1024
"""What an approval shows: it is part of every list and snapshot that the wait is in."""

COMMENT_CHARACTERS_MAX = 4096
"""What somebody says about a decision or a rule."""

RULES_ROWS_MAX = 1000
"""Rules that allow approvals: those of a workflow are looked through when one is opened."""

PATTERN_CHARACTERS_MAX = 256
"""A pattern of such a rule, for the same reason."""

TOPIC_BATCH_ROWS_MAX = 200
"""Waits that one transaction looks at for an event of a topic: more hold up other writers."""
