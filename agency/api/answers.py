"""The shapes of answers, for the API's document. Answers are made by hand; tests compare them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agency.api.task_shape import TaskStatus
from agency.domain.approval import ApprovalKind, ApprovalStatus, OnExpiry, Risk
from agency.domain.memory import Isolation
from agency.domain.peer import PeerStatus
from agency.domain.push import PushProtocol, PushState
from agency.domain.run import Phase, RunKind, RunStatus
from agency.domain.saga import LegState
from agency.domain.schedule import CatchUp, FiringOutcome, Overlap
from agency.domain.topic import TopicMode
from agency.domain.wait import WaitKind, WaitOutcome
from agency.web.problem_model import ProblemAnswer


class Answer(BaseModel):
    """Root of the shapes of answers. A client ignores members that it does not know."""

    model_config = ConfigDict(defer_build=True, use_attribute_docstrings=True)


class HookAnswer(Answer):
    """How far a hook of an author has come."""

    name: str
    position: int
    """Id of the newest update that it is done with."""
    calls: int
    """Updates that it has taken."""
    skipped: int
    """Updates that it could not take; each is in the log."""
    changed_at: str


class HooksAnswer(Answer):
    """The hooks that there ever were, by name."""

    hooks: list[HookAnswer]


class WaitAnswer(Answer):
    """What a run waits for."""

    key: str
    """Names it when it is answered."""
    kind: WaitKind
    name: str
    due_at: str | None
    """When a timer fires, or when another wait gives up."""
    show: Any
    """For whoever answers: prompt, schema, difference."""
    target: str
    opened_at: str
    outcome: WaitOutcome | None
    """Null while it is open."""
    resolved_at: str | None


class RunErrorAnswer(Answer):
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str
    step: str
    error_class: str
    details: Any


class RunRowAnswer(Answer):
    """A run in a list."""

    id: str
    run_id: str
    """The same as ``id``: every answer names its run by this member."""
    name: str | None
    workflow: str
    version: str
    kind: RunKind
    status: RunStatus
    phase: Phase
    error: RunErrorAnswer | None
    session_id: str | None
    parent_id: str | None
    forked_from: str | None
    forked_at: int | None
    """Newest entry that it has in common with ``forked_from``."""
    rerun_of: str | None
    generation: int
    """How often failures of it were made void to be done again."""
    queue: str
    concurrency_key: str | None
    priority: int
    attempt: int
    max_attempts: int
    epoch: int
    owner: str | None
    seed: int
    available_at: str
    deadline_at: str | None
    idempotency_key: str | None
    correlation_id: str
    principal: str
    tags: dict[str, str]
    created_at: str
    started_at: str | None
    ended_at: str | None
    ending: str | None
    """``cancelled`` or ``timed_out`` once that was asked for and is still to be done."""
    hold: str | None
    """Why an operator holds it, or null."""
    crashes: int
    provider: str | None
    progress: Any
    links: dict[str, str]


class RunAnswer(RunRowAnswer):
    """One run."""

    input: Any
    output: Any
    waits: list[WaitAnswer]
    steps_executed: int
    snapshot_id: str | None
    behind: str | None
    """The live run of the same session, or with the same key, that it waits for."""


class BulkItemAnswer(Answer):
    """What became of one of many requests for work."""

    status: int
    """202: accepted; 200: its key is known; else the status of the problem."""
    run_id: str | None
    run_status: RunStatus | None
    problem: ProblemAnswer | None


class BulkAnswer(Answer):
    """What became of many requests for work, in their order."""

    runs: list[BulkItemAnswer]


class QueueAnswer(Answer):
    """Where runs wait. Limits that are null do not limit."""

    name: str
    paused: bool
    paused_at: str | None
    concurrency: int | None
    """Runs of it that are worked on at once."""
    rate: float | None
    """Runs taken up in ``rate_period_s`` seconds."""
    rate_period_s: float
    size_max: int | None
    """Pending runs from which new ones are refused."""
    runs: dict[RunStatus, int]
    """By status; those that are not there are none."""
    links: dict[str, str]


class QueuePageAnswer(Answer):
    """Queues by name."""

    queues: list[QueueAnswer]
    next_cursor: str | None


class WorkflowRowAnswer(RunRowAnswer):
    """A named run in a list."""

    workflow_id: str


class WorkflowAnswer(RunAnswer):
    """One named run."""

    workflow_id: str


class LegStatusAnswer(Answer):
    """A leg of a saga's run."""

    id: str
    name: str
    group: str
    """Shared by the legs that are done beside each other; empty for others."""
    kind: str
    state: LegState
    result: Any
    error: Any
    """Of the action: ``code``, ``error_class``, ``message``, ``details``; or null."""
    attempts: int
    has_compensation: bool
    compensation_error: Any
    compensation_attempts: int
    run_ids: list[str]
    """Runs that the leg has started."""


class SagaRunAnswer(RunAnswer):
    """A run of a saga with its legs."""

    saga: str
    legs: list[LegStatusAnswer]


class AbortedAnswer(SagaRunAnswer):
    """A run of a saga that was to be stopped."""

    aborted: bool
    """False when it compensated already: that goes on."""


class LegAnswer(Answer):
    """A leg of a saga."""

    id: str
    name: str
    group: str
    kind: str
    compensation: str | None
    """Kind of what takes it back, or null."""
    effect: str
    timeout_s: float | None
    attempts: int


class SagaRowAnswer(Answer):
    """A saga in a list."""

    name: str
    version: str
    description: str
    origin: Literal["stored", "file", "python"]
    source: str
    timeout_s: float | None
    legs: list[LegAnswer]
    links: dict[str, str]


class SagaAnswer(SagaRowAnswer):
    """A saga."""

    input_schema: dict[str, Any]
    declaration: Any
    """As it was defined; null of a saga in Python."""


class SagaPageAnswer(Answer):
    """Sagas by name."""

    sagas: list[SagaRowAnswer]
    next_cursor: str | None


class SagaDeletedAnswer(Answer):
    """The saga is gone."""

    name: str
    deleted: bool


class RunPageAnswer(Answer):
    """Runs, newest first."""

    runs: list[RunRowAnswer]
    next_cursor: str | None
    """Send it as ``cursor`` to get the next page; null on the last one."""


class WorkflowPageAnswer(Answer):
    """Named runs, newest first."""

    workflows: list[WorkflowRowAnswer]
    next_cursor: str | None


class StepAnswer(Answer):
    """One entry of a run's journal."""

    number: int
    key: str
    kind: Literal[
        "step",
        "failure",
        "attempt",
        "intent",
        "wait",
        "child",
        "winner",
        "now",
        "at_end",
        "phase",
    ]
    at: str
    epoch: int
    body: Any
    """Of a step its result; of a failure ``code``, ``error_class``, ``message``, ``details``."""
    meta: Any


class StepPageAnswer(Answer):
    """A run's journal, oldest first."""

    steps: list[StepAnswer]
    next_cursor: str | None


class WorkflowCreatedAnswer(Answer):
    """A named run was started."""

    workflow_id: str
    run_id: str
    status: RunStatus
    links: dict[str, str]


class AcceptedAnswer(Answer):
    """The work is durable and goes on; read the run to see how far it is."""

    run_id: str
    status: RunStatus
    completed: bool
    steps_executed: int
    session_id: str | None
    snapshot_id: str | None
    waits: list[WaitAnswer]
    behind: str | None
    links: dict[str, str]


class AgentAnswer(Answer):
    """An agent."""

    name: str
    description: str
    model: str
    tools: list[str]
    permissions: dict[str, list[str]]
    budgets: dict[str, float | None]
    """What a run may use; null does not limit."""
    tools_per_turn: int | None
    workflows: list[str]
    delegation_depth: int
    sandbox: list[str]


class AgentPageAnswer(Answer):
    """Agents by name."""

    agents: list[AgentAnswer]
    next_cursor: str | None


class AgentToolAnswer(Answer):
    """A tool, with what one agent may do with it."""

    name: str
    toolset: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments."""
    effect: str
    """repeatable, restore or once."""
    permission: str
    """allow, ask or deny."""
    timeout_s: float
    levels: dict[str, str]
    """What of its needs the sandbox enforces: enforced, partial or absent."""


class AgentToolPageAnswer(Answer):
    """Tools by name."""

    tools: list[AgentToolAnswer]
    away: list[str]
    """Toolsets that cannot be asked now."""
    next_cursor: str | None


class ProcessedAnswer(Answer):
    """The agent's answer."""

    response: str
    steps_executed: int
    completed: bool
    """False when the limit of steps came first."""
    run_id: str
    session_id: str | None
    model: str
    rehearsal: bool
    """The answer is made up by the stand-in, not by a model."""
    limit: str | None = None
    """Which budget was used up; only there when one was."""
    answer: Any = None
    """The answer as a JSON value; only there when a `schema` was asked for."""
    returned: dict[str, Any] | None = None
    """Files by path, text or base64; this and the next only when `return_files` asks for some."""
    left_out: list[str] | None = None
    """What was asked for and is not among them, in sentences."""


class ResumedAnswer(Answer):
    """What became of a run that was resumed, at the end of the wait for it."""

    run_id: str
    status: RunStatus
    completed: bool
    steps_executed: int
    response: str | None
    """The agent's answer, if the run is an agent's."""
    output: Any
    error: RunErrorAnswer | None
    snapshot_id: str | None
    waits: list[WaitAnswer]
    links: dict[str, str]


class SuspendedAnswer(Answer):
    """What became of the wish to suspend a run."""

    run_id: str
    snapshot_id: str | None
    """Null while its safe point is not reached."""
    status: str
    links: dict[str, str]


class LineAnswer(Answer):
    """An entry of a run's journal, without what it holds."""

    number: int
    key: str
    kind: str


class VerbAnswer(Answer):
    """What a verb has done, or would do: retry, resume, rerun, fork, requeue."""

    run_id: str
    """The run that goes on; of a dry run the one that was asked about."""
    verb: str
    of: str
    """The run that was asked about."""
    dry_run: bool
    status: RunStatus
    generation: int
    stays_count: int
    again_count: int
    stays: list[LineAnswer]
    """What is recorded and is not done again; up to 500."""
    again: list[LineAnswer]
    """What is recorded and is done again if the code comes to it; up to 500."""
    waits: list[str]
    """Keys of waits that are open again, or would be answered."""
    links: dict[str, str]


class KinAnswer(Answer):
    """A run of a family."""

    run_id: str
    name: str | None
    workflow: str
    status: RunStatus
    created_at: str
    generation: int
    relation: Literal["child", "rerun", "fork", "successor"] | None
    """What it is to the run ``of``, or of an ancestor, what ``of`` is to it; null for itself."""
    of: str | None
    is_ancestor: bool
    links: dict[str, str]


class RetriedAnswer(Answer):
    """One time that the run went on after its end, with that end."""

    generation: int
    at: str
    principal: str
    status: RunStatus
    error: RunErrorAnswer | None


class LineageAnswer(Answer):
    """A run, what it comes from, and what has come from it, nearest first."""

    run_id: str
    runs: list[KinAnswer]
    retries: list[RetriedAnswer]
    is_whole: bool
    """False if there are more than were asked for."""
    links: dict[str, str]


class ReceiptAnswer(Answer):
    """That a run was moved away."""

    receipt_id: str
    run_id: str
    snapshot_id: str
    sha256: str
    """Of all lines of the file but the last, hexadecimal; the last line holds it, too."""
    size_bytes: int
    created_at: str
    confirmed_at: str | None
    """When its arrival was confirmed; the file is not given out after that."""
    links: dict[str, str]


class DeadLetterPageAnswer(Answer):
    """Dead letters, newest first."""

    dead_letters: list[RunRowAnswer]
    count: int
    """How many there are in all."""
    next_cursor: str | None


class RequeuedAnswer(Answer):
    """What came of requeueing many."""

    requeued: int
    refused: dict[str, int]
    dry_run: bool
    next_cursor: str | None


class DiscardedAnswer(Answer):
    """What came of discarding many."""

    discarded: int
    refused: dict[str, int]
    dry_run: bool
    next_cursor: str | None


class EventAnswer(Answer):
    """The event is in the run's mailbox."""

    event_id: str
    run_id: str
    name: str
    links: dict[str, str]


class SnapshotAnswer(Answer):
    """One suspension of a run."""

    id: str
    snapshot_id: str
    """The same as ``id``."""
    run_id: str
    workflow_id: str | None
    """The name of the run."""
    workflow: str
    reason: str
    entry_number: int
    created_at: str
    waits: list[WaitAnswer]
    spent: bool
    """The run has gone on since."""
    run_status: RunStatus
    links: dict[str, str]


class SnapshotStateAnswer(Answer):
    """The run of a snapshot as it is now."""

    status: RunStatus
    phase: Phase
    attempt: int
    steps_executed: int
    progress: Any
    input: Any
    newest_snapshot_id: str | None


class SnapshotDetailAnswer(SnapshotAnswer):
    """One suspension of a run, with the run's state."""

    state: SnapshotStateAnswer


class SnapshotPageAnswer(Answer):
    """Snapshots, newest first."""

    snapshots: list[SnapshotAnswer]
    next_cursor: str | None


class RunFileAnswer(Answer):
    """A file that a run has kept."""

    path: str
    """Relative to the run's folder. Bytes that are no UTF-8 are shown as U+FFFD; ``links.self``
    has them."""
    size_bytes: int
    sha256: str
    is_executable: bool
    links: dict[str, str]


class RunFilePageAnswer(Answer):
    """Files of the newest state that a run has kept, by path."""

    run_id: str
    version: str | None
    """Names the state; null while nothing was kept."""
    files: list[RunFileAnswer]
    files_total: int
    bytes_total: int
    next_cursor: str | None


class DeletedAnswer(Answer):
    """The snapshot is gone."""

    snapshot_id: str
    deleted: bool


class DefinitionAnswer(Answer):
    """A workflow that can be run."""

    name: str
    kind: RunKind
    version: str
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    source: str
    enabled: bool
    """False when it is switched off in `[features]`: new runs are refused."""


class LoadFailureAnswer(Answer):
    """A file of workflows that could not be loaded."""

    path: str
    reason: str


class DefinitionPageAnswer(Answer):
    """All workflows, by name, and the files that failed to load."""

    definitions: list[DefinitionAnswer]
    failures: list[LoadFailureAnswer]


class ModelAnswer(Answer):
    """Who serves the models."""

    provider: str
    model: str
    reachable: bool
    rehearsal: bool
    reason: str
    """Why it does not answer; empty when it does."""


class SandboxAnswer(Answer):
    """The sandbox, as the probe of this start has found it."""

    driver: str
    """Empty until it was probed, a moment after the start; ``unavailable`` where none works."""
    levels: dict[str, Literal["enforced", "partial", "absent"]]
    """By capability: file_read, file_write, network, processes, memory, system_calls."""
    fix: str
    """What to do for more; empty when everything is enforced."""


class VaultHealthAnswer(Answer):
    """Whether secrets can be used; ``reason`` says why not."""

    locked: bool
    reason: str


class HealthAnswer(Answer):
    """How the daemon is."""

    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    version: str
    uptime: str
    uptime_seconds: float
    timestamp: str
    database: Literal["connected", "disconnected"]
    intake: Literal["open", "full"]
    """``full`` while there is no room on the disk; work that was taken is kept and waits."""
    llm: ModelAnswer
    runs: dict[str, int]
    dead_letters: int
    """Runs that have used up their attempts, and wait for somebody to requeue or discard them."""
    workflows: dict[str, Any]
    """How many are ``loaded``, and which files have ``failed``."""
    sandbox: SandboxAnswer
    """Where commands of tools run, and what it enforces there."""
    connections: ConnectionsHealthAnswer
    """Servers of tools, by their state, and those that need somebody."""
    vault: VaultHealthAnswer
    """Whether secrets can be used."""


class BrokenConnectionAnswer(Answer):
    """A connection that has given up, and why."""

    name: str
    reason: str


class ConnectionsHealthAnswer(Answer):
    """How the servers of tools are."""

    states: dict[str, int]
    """How many are ``connecting``, ``ready``, ``backoff``, ``login``, ``broken``, ``disabled``."""
    broken: list[BrokenConnectionAnswer]


class SignAnswer(Answer):
    """A sign of life."""

    status: str


class TokenAnswer(Answer):
    """A token that works, without its secret."""

    name: str
    prefix: str
    """Its first characters, to recognise it by."""
    created_at: str


class BlockAnswer(Answer):
    """A version of a block of core memory."""

    name: str
    version: int
    text: str | None
    """Null where it was removed."""
    changed_at: str
    changed_by: str
    run_id: str | None
    """The run in which an agent has changed it."""
    reason: str


class BlockPageAnswer(Answer):
    """Versions of a block, the newest first."""

    versions: list[BlockAnswer]
    next_cursor: str | None


class MemoryAnswer(Answer):
    """Core memory of an agent."""

    agent: str
    isolation: Isolation
    of: str | None
    """Of which caller or session, where they are kept apart."""
    blocks: list[BlockAnswer]
    characters_max: int
    """Of one block."""
    prompt: str
    """How it stands in each prompt."""


class FactAnswer(Answer):
    """Something that an agent remembers."""

    id: str
    text: str
    source: str
    created_at: str
    created_by: str
    run_id: str | None
    session_id: str | None


class NewFactAnswer(FactAnswer):
    """A fact that was to be remembered."""

    note: str
    """Why it is found by its words only, or empty."""


class FactPageAnswer(Answer):
    """Facts, the newest first."""

    facts: list[FactAnswer]
    next_cursor: str | None


class FactDeletedAnswer(Answer):
    """A fact that was forgotten."""

    id: str
    deleted: Literal[True]


class RecalledAnswer(Answer):
    """A passage that was found, and where it is from."""

    kind: Literal["fact", "document"]
    id: str
    """Of the fact or document."""
    text: str
    score: float
    """For the order within one answer only."""
    found_by: list[Literal["words", "meaning"]]
    source: str
    created_at: str
    run_id: str | None
    session_id: str | None
    notebook: str | None
    title: str | None
    heading: str | None
    """Headings that it stands below."""
    position: int | None
    """Among the passages of its document."""
    start: int | None
    """First character in the document's text."""
    stop: int | None


class RecollectionAnswer(Answer):
    """What was found, best first."""

    results: list[RecalledAnswer]
    notes: list[str]
    """What was not searched, and why."""


class NotebookAnswer(Answer):
    """Documents that are searched together."""

    name: str
    description: str
    agents: list[str]
    """Who may look into it; `*` is all agents."""
    documents: int
    created_at: str
    created_by: str
    links: dict[str, str]


class NotebookPageAnswer(Answer):
    """Notebooks by name."""

    notebooks: list[NotebookAnswer]
    next_cursor: str | None


class NotebookDeletedAnswer(Answer):
    """A notebook that was deleted."""

    name: str
    deleted: Literal[True]


class DocumentAnswer(Answer):
    """A document of a notebook, without its text."""

    id: str
    notebook: str
    title: str
    source: str
    media_type: str
    sha256: str
    """Of all that was given."""
    size_bytes: int
    """Of its text."""
    passages: int | None
    """Into how many it was split; null before."""
    embedded: int
    """How many of them are found by their meaning, too."""
    created_at: str
    created_by: str
    links: dict[str, str]


class NewDocumentAnswer(DocumentAnswer):
    """A document that was taken in."""

    run_id: str | None
    """The run that makes it searchable; null when it is already."""


class DocumentPageAnswer(Answer):
    """Documents, the newest first."""

    documents: list[DocumentAnswer]
    next_cursor: str | None


class DocumentDeletedAnswer(Answer):
    """A document that was deleted."""

    id: str
    deleted: Literal[True]


class SessionAnswer(Answer):
    """A conversation."""

    session_id: str
    title: str | None
    first_message: str
    """Its beginning."""
    messages: int
    """Position of the newest message."""
    created_at: str
    last_at: str
    """When something was said last."""
    live_run_id: str | None
    """The run that has it now."""
    parent_id: str | None
    """The session that it was forked from, while that is there."""
    forked_at: int | None
    """Newest message that it shares with that one."""
    forks: int
    links: dict[str, str]


class SessionPageAnswer(Answer):
    """Sessions, those begun last first."""

    sessions: list[SessionAnswer]
    next_cursor: str | None


class SessionDeletedAnswer(Answer):
    """A session that was deleted."""

    session_id: str
    deleted: Literal[True]
    kept_for_forks: int
    """Forks that still read what was said in it."""


class MessageAnswer(Answer):
    """Something that was said."""

    position: int
    role: str
    content: Any
    """Mostly an object with ``text``."""
    run_id: str | None
    created_at: str


class MessagePageAnswer(Answer):
    """What was said, from the beginning. A page may have gaps."""

    messages: list[MessageAnswer]
    next_cursor: str | None


class PushAnswer(Answer):
    """An address that is told of a run's changes over A2A."""

    id: str
    task_id: str
    url: str
    protocol: PushProtocol
    """Version of A2A in which it is told."""
    state: PushState
    delivered_to: int
    """Id of the newest update that it is done with."""
    sent: int
    """Notifications that were taken."""
    skipped: int
    """Notifications that were given up; each is in the log."""
    tries: int
    """Attempts that have failed for the next one."""
    next_try_at: str | None
    last_error: str | None
    """Null once an attempt has succeeded."""
    last_error_at: str | None
    last_sent_at: str | None
    created_at: str
    links: dict[str, str]


class PushPageAnswer(Answer):
    """Addresses in the order in which they were set."""

    pushes: list[PushAnswer]
    next_cursor: str | None


class PeerCapabilitiesAnswer(Answer):
    """What a peer can do."""

    services: list[str]
    protocols: list[str]
    message_types: list[str]
    metadata: dict[str, Any]


class PeerAnswer(Answer):
    """A program that has registered itself."""

    id: str
    """`namespace:name:instance`."""
    owner: str
    """Name of the principal who has registered it."""
    status: PeerStatus
    """As it says itself; `offline` after three heartbeats that did not come."""
    capabilities: PeerCapabilitiesAnswer
    endpoints: list[str]
    heartbeat_interval_s: float
    registered_at: str
    last_seen: str
    links: dict[str, str]


class PeerPageAnswer(Answer):
    """Peers by id."""

    peers: list[PeerAnswer]
    next_cursor: str | None


class PeerDeletedAnswer(Answer):
    """A peer that was forgotten."""

    id: str
    deleted: Literal[True]


class SecretAnswer(Answer):
    """A secret, without its value."""

    name: str
    reference: str
    """How settings and connections refer to it."""
    created_at: str
    updated_at: str
    updated_by: str
    used_by: list[str]
    """Who refers to it."""
    readable: bool
    """False while the vault is locked, and when what is stored was changed by other means."""
    redacted: bool
    """Logs, journals and prompts are searched for its value."""


class SecretPageAnswer(Answer):
    """Secrets by name."""

    secrets: list[SecretAnswer]
    next_cursor: str | None


class SecretDeletedAnswer(Answer):
    """A secret that was forgotten."""

    name: str
    deleted: Literal[True]
    used_by: list[str]
    """Who still refers to it."""


class VaultAnswer(Answer):
    """How the vault is."""

    locked: bool
    reason: str
    """Why it is locked; empty when it is not."""
    hint: str
    key_id: str | None
    """Of the key in use; null before the first secret."""
    key_source: str
    """Where the key is, or will be."""


class RekeyedAnswer(Answer):
    """What a change of the key has done."""

    key_id: str
    key_source: str
    old_key_id: str
    old_key_kept_in: str | None
    """File in which the old key still is: older copies of the database need it."""
    secrets: int


class NewTokenAnswer(TokenAnswer):
    """A token that was just made."""

    token: str
    """The secret. It is shown only here."""


class TokenListAnswer(Answer):
    """The tokens that work, oldest first."""

    tokens: list[TokenAnswer]


class RevokedAnswer(Answer):
    """The token works no more."""

    name: str
    revoked: bool


class ScheduleRowAnswer(Answer):
    """A schedule in a list."""

    name: str
    workflow: str
    cron: str | None
    zone: str
    interval_s: float | None
    anchor_at: str | None
    starts_at: str | None
    ends_at: str | None
    jitter_s: float
    catch_up: CatchUp
    catch_up_max: int
    overlap: Overlap
    queue: str | None
    priority: int
    max_attempts: int | None
    tags: dict[str, str]
    generation: int
    """Rises with each change."""
    paused: bool
    pause_reason: str | None
    next_at: str | None
    """The next moment that is expected; null when there is none any more."""
    due_at: str | None
    """The same with its jitter."""
    last_at: str | None
    """The newest moment that was dealt with."""
    counts: dict[str, int]
    """How many were ``fired``, ``caught_up``, ``skipped``, and run by hand (``manual``)."""
    created_at: str
    updated_at: str
    created_by: str
    links: dict[str, str]


class ScheduleAnswer(ScheduleRowAnswer):
    """A schedule."""

    input: Any


class SchedulePageAnswer(Answer):
    """Schedules by name."""

    schedules: list[ScheduleRowAnswer]
    next_cursor: str | None


class ScheduleDeletedAnswer(Answer):
    """The schedule is gone."""

    name: str
    deleted: bool


class NextFiringsAnswer(Answer):
    """Moments at which a schedule is expected to fire."""

    name: str
    next: list[str]


class FiringAnswer(Answer):
    """What became of an expected firing."""

    number: int
    expected_at: str
    through_at: str | None
    """Set when the row stands for all that were missed until then."""
    firings: int | None
    """How many moments the row stands for; null: too many to count."""
    recorded_at: str
    outcome: FiringOutcome
    reason: str
    """Why it was skipped."""
    detail: str
    run_id: str | None
    """The run that it has started, or the live one that made it skip."""
    links: dict[str, str]


class FiringPageAnswer(Answer):
    """What became of a schedule's firings, newest first."""

    firings: list[FiringAnswer]
    next_cursor: str | None


class ApprovalAnswer(Answer):
    """A question to a person, and what became of it."""

    id: str
    approval_id: str
    """The same as ``id``."""
    kind: ApprovalKind
    status: ApprovalStatus
    risk: Risk
    run_id: str
    run_name: str | None
    workflow: str
    asked_by: str
    """Who has started the run."""
    wait: str
    """Key of the wait in the run's journal."""
    name: str
    question: str
    show: Any
    """What it is about."""
    schema_: Any = Field(alias="schema")
    """JSON Schema of the value that may be given with the decision, or null."""
    opened_at: str
    expires_at: str | None
    on_expiry: OnExpiry
    decided_at: str | None
    decided_by: str | None
    """Name of the principal, or ``rule N``."""
    rule_id: int | None
    comment: str
    value: Any
    """The edited value, or the answer to an input."""
    links: dict[str, str]


class DecidedAnswer(ApprovalAnswer):
    """An approval that was just decided."""

    made_rule_id: int | None
    """The rule that was made of the decision."""


class ApprovalPageAnswer(Answer):
    """Approvals, newest first."""

    approvals: list[ApprovalAnswer]
    next_cursor: str | None


class RuleAnswer(Answer):
    """A rule that allows approvals that fit it."""

    rule_id: int
    workflow: str | None
    """Null: of all workflows."""
    name: str
    """Pattern."""
    question: str
    """Pattern."""
    where: dict[str, Any] | None
    risk_max: Risk
    expires_at: str | None
    made_by: str
    made_at: str
    note: str
    approval_id: str | None
    """The approval whose decision has made it."""
    uses: int


class RulePageAnswer(Answer):
    """Rules, newest first."""

    rules: list[RuleAnswer]
    next_cursor: str | None


class DeletedRuleAnswer(Answer):
    """The rule is gone."""

    rule_id: int
    deleted: bool


class InboxItemAnswer(Answer):
    """Something that waits for a person."""

    kind: WaitKind
    run_id: str
    run_name: str | None
    workflow: str
    wait: str
    name: str
    show: Any
    opened_at: str
    due_at: str | None
    approval_id: str | None
    """Of approvals and inputs."""
    risk: Risk | None
    snapshot_id: str | None
    """What has no approval is answered by resuming this."""
    links: dict[str, str]


class InboxPageAnswer(Answer):
    """What waits for people, newest first."""

    inbox: list[InboxItemAnswer]
    next_cursor: str | None


class TopicAnswer(Answer):
    """A topic that has events or waits."""

    topic: str
    events: int
    """Kept ones: neither taken nor expired."""
    size_bytes: int
    waits: int
    """Open waits for it; 1000 stands for that many or more."""
    links: dict[str, str]


class TopicPageAnswer(Answer):
    """Topics by name."""

    topics: list[TopicAnswer]
    next_cursor: str | None


class TopicEventAnswer(Answer):
    """An event of a topic."""

    event_id: str
    topic: str
    name: str
    mode: TopicMode
    payload: Any
    """Null once it was taken."""
    created_at: str
    expires_at: str
    is_taken: bool
    is_spreading: bool
    """Not all waits have been looked at yet."""


class TopicEventPageAnswer(Answer):
    """A topic's events, newest first."""

    events: list[TopicEventAnswer]
    next_cursor: str | None


class PublishedAnswer(Answer):
    """The event is in the topic."""

    event_id: str
    topic: str
    name: str
    mode: TopicMode
    is_new: bool
    """False: the topic had an event of that id."""
    links: dict[str, str]


class TableAnswer(Answer):
    """How many rows a table has."""

    name: str
    rows: int
    exact: bool
    """False when there are at least so many."""


class StatsAnswer(Answer):
    """How large the database is."""

    path: str
    size_bytes: int
    log_bytes: int
    """Of the write-ahead log beside it."""
    free_bytes: int
    """Of the file, to be used again or given back."""
    page_bytes: int
    blocked_s: float
    """For how long a reader has kept the log from beginning anew, or 0."""
    runs: dict[str, int]
    tables: list[TableAnswer]
    oldest_at: str | None
    oldest_live_at: str | None


class CheckAnswer(Answer):
    """What a check has found."""

    sound: bool
    """All was looked at, and nothing is wrong."""
    faults: list[str]
    checked: list[str]
    unchecked: list[str]
    """Tables for which there was no time."""
    elapsed_s: float


class VacuumAnswer(Answer):
    """What was given back to the disk."""

    bytes: int
    free_bytes: int
    """What is free in the file still."""


class PruneAnswer(Answer):
    """What was deleted."""

    runs: int
    kept: int
    """Runs that had expired and are needed still."""
    rows: int
    snapshots: int
    sessions: int
    bytes: int
    """Given back to the disk."""
    elapsed_s: float


class TaskSubmittedAnswer(Answer):
    """The task is durable."""

    id: str
    status: TaskStatus
    attempts: int
    """Tries that have begun."""
    maxAttempts: int  # noqa: N815


class TaskAnswer(TaskSubmittedAnswer):
    """A task."""

    type: str
    """Name of the workflow."""
    result: Any
    error: str | None
    nextRunAt: str  # noqa: N815
    createdAt: str  # noqa: N815
    updatedAt: str  # noqa: N815


class TaskPageAnswer(Answer):
    """Tasks, newest first."""

    items: list[TaskAnswer]
    nextCursor: str | None  # noqa: N815


class TaskInboxItemAnswer(Answer):
    """A result."""

    id: str
    type: str
    result: Any
    updatedAt: str  # noqa: N815


class TaskInboxAnswer(Answer):
    """The caller's newest results."""

    items: list[TaskInboxItemAnswer]


class FitnessAnswer(Answer):
    """What a check has found; scores are shares from 0 to 1, null for what could not be tried."""

    answers: float | None
    schema_: float | None = Field(alias="schema")
    tool_call: float | None
    tool_choice: float | None
    recall: float | None
    recall_tokens: int
    tokens_per_s: float | None
    load_s: float
    tools_per_turn: int
    calls_natively: bool
    checked_at: str
    run_id: str
    stale: bool
    """The model was pulled anew since; agents no longer go by it."""


class ModelRowAnswer(Answer):
    """A model."""

    model: str
    """``PROVIDER/MODEL``, as requests and settings may name it."""
    provider: str
    name: str
    size_bytes: int
    """0 where the provider does not tell."""
    remote: bool
    """What is asked of it leaves this machine."""
    digest: str
    roles: list[str]
    """What it is asked for by the settings, first or as a fallback."""
    fitness: FitnessAnswer | None


class ModelProviderAnswer(Answer):
    """Who serves models."""

    name: str
    default: bool
    rehearsal: bool
    reachable: bool
    reason: str


class ModelPageAnswer(Answer):
    """Models, by provider and name."""

    models: list[ModelRowAnswer]
    providers: list[ModelProviderAnswer]
    next_cursor: str | None


class ContextAnswer(Answer):
    """How many tokens the context has, by who says so; null where nobody does."""

    tokens: int | None
    """The smallest of the others."""
    configured: int | None
    trained: int | None
    allocated: int | None


class ModelShownAnswer(ModelRowAnswer):
    """A model, with what it can do."""

    capabilities: list[str] | None
    context: ContextAnswer
    details: dict[str, Any]
    rehearsal: bool


class ConnectionAnswer(Answer):
    """A connection to a server of tools, and how it is now."""

    id: str
    name: str
    kind: Literal["mcp_stdio", "mcp_http"]
    origin: Literal["stored", "configured"]
    config: dict[str, Any]
    """As it was given; values that may be secrets are ``***``."""
    is_active: bool
    created_at: str
    updated_at: str
    state: Literal["connecting", "ready", "backoff", "login", "broken", "disabled"]
    reason: str
    """Why it is not ready; empty when it is."""
    since: str
    retry_at: str | None
    """When it is tried again; null when it does not wait for that."""
    protocol: str
    """Revision of MCP that is spoken; empty while it is not ready."""
    server: str
    """What the server calls itself."""
    pid: int | None
    """Process of a server that is a program."""
    sandbox: str
    """Driver of the sandbox that the program runs in; ``none`` outside of one."""
    opened: int
    """How often it has become ready since the daemon started."""
    calls_running: int
    tools: list[str]
    """Names of the tools that it has offered last."""
    tools_at: str | None
    last_error: str
    last_error_at: str | None
    links: dict[str, str]


class ConnectionShownAnswer(ConnectionAnswer):
    """One connection, with what its server has to say."""

    log: str
    """End of what the server has written to stderr, and of what was noted about it."""


class ConnectionPageAnswer(Answer):
    """Connections by name."""

    connections: list[ConnectionAnswer]
    next_cursor: str | None


class ConnectionDeletedAnswer(Answer):
    """A connection that was forgotten."""

    name: str
    deleted: Literal[True]


class ConnectionTestAnswer(Answer):
    """What trying a connection has shown."""

    works: bool
    reason: str
    """Why it does not; empty when it does."""
    elapsed_s: float
    protocol: str
    server: str
    tools: list[str]
    log: str


class ConnectionLoginAnswer(Answer):
    """How a connection stands with the login at its server."""

    state: Literal["none", "needed", "waiting", "done"]
    reason: str
    """What is to be done, or why the last login has failed; empty when all is well."""
    issuer: str
    """Authorization server; empty before it is known."""
    scope: str
    """What was granted, or is asked for, parted by spaces."""
    expires_at: str | None
    """When a login that was begun is too old, or the token is renewed."""


class ConnectionLoginStartedAnswer(Answer):
    """A login that was begun."""

    url: str
    """What a person opens in a browser."""
    redirect_uri: str
    """Where the browser is sent afterwards."""
    issuer: str
    scope: str
    expires_at: str
    """When it must have come back."""


class ToolHintsAnswer(Answer):
    """What the server says of a tool; null where it says nothing."""

    read_only: bool | None
    idempotent: bool | None
    destructive: bool | None


class ConnectionToolAnswer(Answer):
    """A tool of a connection."""

    name: str
    """What agents call it by."""
    server_name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments."""
    effect: Literal["repeatable", "restore", "once"]
    """What becomes of a call that was interrupted."""
    permission: Literal["allow", "ask", "deny"]
    """What holds for agents when no policy says otherwise."""
    timeout_s: float
    hints: ToolHintsAnswer


class ConnectionToolPageAnswer(Answer):
    """Tools by name."""

    tools: list[ConnectionToolAnswer]
    next_cursor: str | None


class ToolQuestionAnswer(Answer):
    """What a server wants to know before it goes on."""

    key: str
    kind: Literal["input", "model"]
    prompt: str
    schema_: dict[str, Any] | None = Field(alias="schema")
    messages: list[dict[str, Any]]
    options: dict[str, Any]


class ToolOutcomeAnswer(Answer):
    """What a call came to."""

    status: Literal["completed", "failed", "input_required", "working"]
    content: str | None = None
    """What the server says; null while it asks."""
    structured: Any = None
    questions: list[ToolQuestionAnswer] | None = None
    state: Any = None
    """Sent back with the answers."""


class RemoteAgentAnswer(Answer):
    """An agent of another system that the settings name."""

    name: str
    url: str
    description: str
    permission: Literal["allow", "ask", "deny"]
    """What holds for agents here when no rule says otherwise."""
    reachable: bool
    reason: str
    """Why it is not; empty when it is."""
    protocol: str
    binding: str
    skills: list[str]
    links: dict[str, str]


class RemoteAgentPageAnswer(Answer):
    """Agents of other systems by name."""

    remote_agents: list[RemoteAgentAnswer]
    next_cursor: str | None


class RemoteSkillAnswer(Answer):
    """Something that an agent says it can do."""

    id: str
    name: str
    description: str
    tags: list[str]


class RemoteCardAnswer(Answer):
    """What an agent of another system says of itself."""

    agent: str
    """Its name here."""
    name: str
    description: str
    version: str
    card_url: str
    url: str
    """Where it is spoken with."""
    binding: str
    protocol: str
    streams: bool
    skills: list[RemoteSkillAnswer]
    is_verified: bool
    """Its signature was checked with the key of the settings."""
    is_stale: bool
    """It is away, and this is of an earlier time."""
    fetched_at: str
    document: dict[str, Any]
    """The card as it came."""


class RemoteContentAnswer(Answer):
    """Something that an agent has handed out."""

    name: str
    content: list[dict[str, Any]]
    """Parts: text, data, bytes or link."""


class RemoteTaskAnswer(Answer):
    """A task of an agent of another system."""

    id: str
    context_id: str
    state: Literal[
        "submitted",
        "working",
        "input_required",
        "auth_required",
        "completed",
        "failed",
        "cancelled",
        "rejected",
        "unknown",
    ]
    text: str
    """Of what it came to, or of what it has said last."""
    data: Any
    said: list[dict[str, Any]]
    artifacts: list[RemoteContentAnswer]
