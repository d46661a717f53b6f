"""The JSON documents of ``/api/v1``, as a client reads them.

Moments are RFC 3339 text in UTC, ids are UUID text. A client ignores members it does not know, so
that a newer daemon can be asked by an older command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Required, TypedDict


class WaitDocument(TypedDict):
    """Something that a run waits for. ``key`` names it when it is answered."""

    key: str
    kind: str
    name: str
    due_at: str | None
    show: Any
    target: str
    opened_at: str


class ErrorDocument(TypedDict):
    """Why a run did not succeed."""

    code: str
    message: str
    hint: str
    step: str
    details: Any


class RunRowDocument(TypedDict):
    """A run as it is in a list."""

    id: str
    run_id: str
    name: str | None
    workflow: str
    version: str
    kind: str
    status: str
    error: ErrorDocument | None
    session_id: str | None
    parent_id: str | None
    forked_from: str | None
    forked_at: int | None
    rerun_of: str | None
    generation: int
    attempt: int
    max_attempts: int
    provider: str | None
    progress: Any
    hold: str | None
    ending: str | None
    deadline_at: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None


class RunDocument(RunRowDocument):
    """One run. ``waits`` are the open ones; ``behind`` is the run of its session before it."""

    input: Any
    output: Any
    waits: list[WaitDocument]
    steps_executed: int
    snapshot_id: str | None
    behind: str | None


class BulkItemDocument(TypedDict):
    """What became of one of many requests for work; ``problem`` is null if it was accepted."""

    status: int
    run_id: str | None
    run_status: str | None
    problem: Mapping[str, Any] | None


class QueueDocument(TypedDict):
    """Where runs wait. Limits that are null do not limit; ``runs`` counts them by status."""

    name: str
    paused: bool
    paused_at: str | None
    concurrency: int | None
    rate: float | None
    rate_period_s: float
    size_max: int | None
    runs: Mapping[str, int]


class StartedDocument(TypedDict):
    """A run that was accepted: it is durable and goes on."""

    run_id: str
    status: str


class StepDocument(TypedDict):
    """One entry of a run's journal."""

    number: int
    key: str
    kind: str
    at: str
    body: Any
    meta: Any


class UpdateWishes(TypedDict, total=False):
    """Of which runs updates are wanted; ``status`` is that from the update on."""

    workflow: str | None
    status: Sequence[str]
    queue: str | None
    session_id: str | None
    tags: Mapping[str, str]


class UpdateDocument(TypedDict):
    """Something that has happened in a run; of ``data`` that is left out ``data_bytes`` tells.

    What a model says has the ``type`` ``token`` and, beside ``run_id`` and ``key``, only ``text``.
    """

    id: int
    type: str
    run_id: str
    name: str | None
    workflow: str
    queue: str
    session_id: str | None
    status: str
    key: str
    data: Any
    data_bytes: int
    at: str


class LineDocument(TypedDict):
    """An entry of a run's journal, without what it holds."""

    number: int
    key: str
    kind: str


class VerbDocument(TypedDict):
    """What a verb has done, or with ``dry_run`` would do: retry, resume, rerun, fork, requeue."""

    run_id: str
    verb: str
    of: str
    dry_run: bool
    status: str
    generation: int
    stays_count: int
    again_count: int
    stays: list[LineDocument]
    again: list[LineDocument]
    waits: list[str]


class KinDocument(TypedDict):
    """A run of a family; ``relation`` is null for the one that was asked about."""

    run_id: str
    name: str | None
    workflow: str
    status: str
    created_at: str
    generation: int
    relation: str | None
    of: str | None
    is_ancestor: bool


class RetriedDocument(TypedDict):
    """One time that a run went on after its end, with that end."""

    generation: int
    at: str
    principal: str
    status: str
    error: ErrorDocument | None


class LineageDocument(TypedDict):
    """A run, what it comes from, and what has come from it."""

    run_id: str
    runs: list[KinDocument]
    retries: list[RetriedDocument]
    is_whole: bool


class SweptDocument(TypedDict, total=False):
    """What came of a request for many dead letters: ``requeued`` or ``discarded``."""

    requeued: int
    discarded: int
    refused: Mapping[str, int]
    dry_run: bool
    next_cursor: str | None


class ReceiptDocument(TypedDict):
    """That a run was moved away."""

    receipt_id: str
    run_id: str
    snapshot_id: str
    sha256: str
    size_bytes: int
    created_at: str
    confirmed_at: str | None


class SnapshotDocument(TypedDict):
    """One suspension of a run, from which it can be resumed unless it is ``spent``."""

    snapshot_id: str
    run_id: str
    workflow_id: str | None
    workflow: str
    reason: str
    created_at: str
    waits: list[WaitDocument]
    spent: bool
    run_status: str


class RunFileDocument(TypedDict):
    """A file that a run has kept; ``links.self`` has its address."""

    path: str
    size_bytes: int
    sha256: str
    is_executable: bool
    links: dict[str, str]


class DefinitionDocument(TypedDict):
    """A workflow that can be run."""

    name: str
    kind: str
    version: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    enabled: bool


class LoadFailureDocument(TypedDict):
    """A file of workflows that could not be loaded."""

    path: str
    reason: str


class DefinitionsDocument(TypedDict):
    """The workflows by name, and the files that are missing from them."""

    definitions: list[DefinitionDocument]
    failures: list[LoadFailureDocument]


class ModelDocument(TypedDict):
    """Who serves the daemon's model calls."""

    provider: str
    model: str
    reachable: bool
    rehearsal: bool
    reason: str


class SandboxDocument(TypedDict):
    """The sandbox: its driver, empty until it was probed, and the level of each capability."""

    driver: str
    levels: Mapping[str, str]
    fix: str


class FindingDocument(TypedDict):
    """What one check of `agency doctor` has found; ``state`` is good, warning or bad."""

    name: str
    state: str
    what: str
    fix: str


class ConnectionsHealthDocument(TypedDict):
    """Servers of tools: how many are in which state, and those that have given up."""

    states: Mapping[str, int]
    broken: list[Mapping[str, str]]


class VaultHealthDocument(TypedDict):
    """Whether secrets can be used, and why not."""

    locked: bool
    reason: str


class HealthDocument(TypedDict):
    """How the daemon is. ``runs`` counts them by status; ``workflows``: ``loaded``, ``failed``."""

    status: str
    service: str
    version: str
    uptime: str
    uptime_seconds: float
    timestamp: str
    database: str
    llm: ModelDocument
    runs: Mapping[str, int]
    dead_letters: int
    workflows: Mapping[str, Any]
    sandbox: SandboxDocument
    connections: ConnectionsHealthDocument
    vault: VaultHealthDocument


class ScheduleDocument(TypedDict):
    """A schedule; in a list without its ``input``. ``counts`` are its firings by outcome."""

    name: str
    workflow: str
    input: Any
    cron: str | None
    zone: str
    interval_s: float | None
    anchor_at: str | None
    starts_at: str | None
    ends_at: str | None
    jitter_s: float
    catch_up: str
    catch_up_max: int
    overlap: str
    queue: str | None
    priority: int
    max_attempts: int | None
    tags: Mapping[str, str]
    generation: int
    paused: bool
    pause_reason: str | None
    next_at: str | None
    last_at: str | None
    counts: Mapping[str, int]


class FiringDocument(TypedDict):
    """What became of an expected firing; of several when ``through_at`` is set."""

    number: int
    expected_at: str
    through_at: str | None
    firings: int | None
    recorded_at: str
    outcome: str
    reason: str
    detail: str
    run_id: str | None


class TableDocument(TypedDict):
    """How many rows a table has; at least so many unless ``exact``."""

    name: str
    rows: int
    exact: bool


class StatsDocument(TypedDict):
    """How large the database is."""

    path: str
    size_bytes: int
    log_bytes: int
    free_bytes: int
    page_bytes: int
    blocked_s: float
    runs: Mapping[str, int]
    tables: list[TableDocument]
    oldest_at: str | None
    oldest_live_at: str | None


class CheckDocument(TypedDict):
    """What a check has found; ``unchecked`` are tables for which there was no time."""

    sound: bool
    faults: list[str]
    checked: list[str]
    unchecked: list[str]
    elapsed_s: float


class VacuumDocument(TypedDict):
    """What was given back to the disk, and what is free in the file still."""

    bytes: int
    free_bytes: int


class PruneDocument(TypedDict):
    """What was deleted; ``kept`` are runs that had expired and are needed still."""

    runs: int
    kept: int
    rows: int
    snapshots: int
    sessions: int
    bytes: int
    elapsed_s: float


class LegDocument(TypedDict):
    """A leg of a saga; those with the same ``group`` are done beside each other."""

    id: str
    name: str
    group: str
    kind: str
    compensation: str | None
    attempts: int


class SagaDocument(TypedDict):
    """A saga; in a list without ``input_schema`` and ``declaration``."""

    name: str
    version: str
    description: str
    origin: str
    source: str
    timeout_s: float | None
    legs: list[LegDocument]
    input_schema: Mapping[str, Any]
    declaration: Any


class LegStatusDocument(TypedDict):
    """How a leg of a run is."""

    id: str
    name: str
    group: str
    kind: str
    state: str
    result: Any
    error: Mapping[str, Any] | None
    attempts: int
    has_compensation: bool
    compensation_error: Mapping[str, Any] | None
    compensation_attempts: int
    run_ids: list[str]


class SagaRunDocument(RunDocument):
    """A run of a saga with its legs."""

    saga: str
    legs: list[LegStatusDocument]


class AbortedDocument(SagaRunDocument):
    """A run that was to be stopped; ``aborted`` is False when it compensated already."""

    aborted: bool


class TokenDocument(TypedDict):
    """An API token, without its secret."""

    name: str
    prefix: str
    created_at: str


class NewTokenDocument(TokenDocument):
    """A token that was just made: the only time that its secret is shown."""

    token: str


class BlockDocument(TypedDict):
    """A version of a block of core memory; ``text`` is None where it was removed."""

    name: str
    version: int
    text: str | None
    changed_at: str
    changed_by: str
    run_id: str | None
    reason: str


class MemoryDocument(TypedDict):
    """Core memory of an agent, and how it stands in its prompts."""

    agent: str
    isolation: str
    of: str | None
    blocks: list[BlockDocument]
    characters_max: int
    prompt: str


class FactDocument(TypedDict):
    """Something that an agent remembers; ``note`` only of one that was just added."""

    id: str
    text: str
    source: str
    created_at: str
    created_by: str
    run_id: str | None
    session_id: str | None
    note: NotRequired[str]


class RecalledDocument(TypedDict):
    """A passage that was found, and where it is from."""

    kind: str
    id: str
    text: str
    score: float
    found_by: list[str]
    source: str
    created_at: str
    run_id: str | None
    session_id: str | None
    notebook: str | None
    title: str | None
    heading: str | None
    position: int | None
    start: int | None
    stop: int | None


class RecollectionDocument(TypedDict):
    """What was found, best first, and what was not searched."""

    results: list[RecalledDocument]
    notes: list[str]


class NotebookDocument(TypedDict):
    """Documents that are searched together."""

    name: str
    description: str
    agents: list[str]
    documents: int
    created_at: str
    created_by: str
    links: dict[str, str]


class NotebookFileDocument(TypedDict):
    """A document of a notebook; ``run_id`` only of one that was just added."""

    id: str
    notebook: str
    title: str
    source: str
    media_type: str
    sha256: str
    size_bytes: int
    passages: int | None
    embedded: int
    created_at: str
    created_by: str
    run_id: NotRequired[str | None]
    links: dict[str, str]


class SessionDocument(TypedDict):
    """A conversation."""

    session_id: str
    title: str | None
    first_message: str
    messages: int
    created_at: str
    last_at: str
    live_run_id: str | None
    parent_id: str | None
    forked_at: int | None
    forks: int
    links: dict[str, str]


class SessionDeletedDocument(TypedDict):
    """A session that was deleted, and how many forks still read what was said in it."""

    session_id: str
    deleted: bool
    kept_for_forks: int


class MessageDocument(TypedDict):
    """Something that was said in a session."""

    position: int
    role: str
    content: Any
    run_id: str | None
    created_at: str


class PushDocument(TypedDict):
    """An address that is told of a run's changes over A2A, and how far that has come."""

    id: str
    task_id: str
    url: str
    protocol: str
    state: str
    delivered_to: int
    sent: int
    skipped: int
    tries: int
    next_try_at: str | None
    last_error: str | None
    last_error_at: str | None
    last_sent_at: str | None
    created_at: str
    links: dict[str, str]


class PeerCapabilitiesDocument(TypedDict):
    """What a peer can do."""

    services: list[str]
    protocols: list[str]
    message_types: list[str]
    metadata: dict[str, Any]


class PeerDocument(TypedDict):
    """A program that has registered itself."""

    id: str
    owner: str
    status: str
    capabilities: PeerCapabilitiesDocument
    endpoints: list[str]
    heartbeat_interval_s: float
    registered_at: str
    last_seen: str
    links: dict[str, str]


class PeerDeletedDocument(TypedDict):
    """A peer that was forgotten."""

    id: str
    deleted: bool


class SecretDocument(TypedDict):
    """A secret, without its value."""

    name: str
    reference: str
    created_at: str
    updated_at: str
    updated_by: str
    used_by: list[str]
    readable: bool
    redacted: bool


class SecretDeletedDocument(TypedDict):
    """A secret that was forgotten, and who still refers to it."""

    name: str
    deleted: bool
    used_by: list[str]


class VaultDocument(TypedDict):
    """Whether secrets can be used, and why not."""

    locked: bool
    reason: str
    hint: str
    key_id: str | None
    key_source: str


class RekeyedDocument(TypedDict):
    """What a change of the key has done."""

    key_id: str
    key_source: str
    old_key_id: str
    old_key_kept_in: str | None
    secrets: int


class ApprovalDocument(TypedDict):
    """A question to a person, and what became of it."""

    approval_id: str
    kind: str
    status: str
    risk: str
    run_id: str
    run_name: str | None
    workflow: str
    asked_by: str
    wait: str
    name: str
    question: str
    show: Any
    schema: Any
    opened_at: str
    expires_at: str | None
    on_expiry: str
    decided_at: str | None
    decided_by: str | None
    rule_id: int | None
    comment: str
    value: Any


class DecidedDocument(ApprovalDocument):
    """An approval that was just decided, and the rule that was made of it."""

    made_rule_id: int | None


class RuleDocument(TypedDict):
    """A rule that allows approvals that fit it."""

    rule_id: int
    workflow: str | None
    name: str
    question: str
    where: Mapping[str, Any] | None
    risk_max: str
    expires_at: str | None
    made_by: str
    made_at: str
    note: str
    uses: int


class InboxItemDocument(TypedDict):
    """Something that waits for a person; what has no approval is answered by resuming."""

    kind: str
    run_id: str
    run_name: str | None
    workflow: str
    wait: str
    name: str
    show: Any
    opened_at: str
    due_at: str | None
    approval_id: str | None
    risk: str | None
    snapshot_id: str | None


class AgentDocument(TypedDict):
    """An agent; budgets that are null do not limit."""

    name: str
    description: str
    model: str
    tools: list[str]
    permissions: dict[str, list[str]]
    budgets: dict[str, float | None]
    tools_per_turn: int | None
    workflows: list[str]
    delegation_depth: int
    sandbox: list[str]


class AgentToolDocument(TypedDict):
    """A tool, with what one agent may do with it."""

    name: str
    toolset: str
    description: str
    parameters: dict[str, Any]
    effect: str
    permission: str
    timeout_s: float
    levels: dict[str, str]


class TopicDocument(TypedDict):
    """A topic: how many events it keeps, and how many waits are open for it."""

    topic: str
    events: int
    size_bytes: int
    waits: int


class TopicEventDocument(TypedDict):
    """An event of a topic; its payload is null once it was taken."""

    event_id: str
    topic: str
    name: str
    mode: str
    payload: Any
    created_at: str
    expires_at: str
    is_taken: bool
    is_spreading: bool


class ConnectionDocument(TypedDict):
    """A connection to a server of tools, and how it is now."""

    id: str
    name: str
    kind: str
    origin: str
    config: Mapping[str, Any]
    is_active: bool
    created_at: str
    updated_at: str
    state: str
    reason: str
    since: str
    retry_at: str | None
    protocol: str
    server: str
    pid: int | None
    sandbox: str
    opened: int
    calls_running: int
    tools: list[str]
    tools_at: str | None
    last_error: str
    last_error_at: str | None


class ConnectionShownDocument(ConnectionDocument):
    """One connection, with the end of what its server has written to stderr."""

    log: str


class ConnectionTestDocument(TypedDict):
    """What trying a connection has shown; ``reason`` is empty when it works."""

    works: bool
    reason: str
    elapsed_s: float
    protocol: str
    server: str
    tools: list[str]
    log: str


class ConnectionLoginDocument(TypedDict):
    """How a connection stands with its login: ``none``, ``needed``, ``waiting`` or ``done``."""

    state: str
    reason: str
    issuer: str
    scope: str
    expires_at: str | None


class ConnectionLoginStartedDocument(TypedDict):
    """A login that was begun: what a person opens, and where the browser is sent afterwards."""

    url: str
    redirect_uri: str
    issuer: str
    scope: str
    expires_at: str


class ConnectionToolDocument(TypedDict):
    """A tool of a connection, and what holds for its calls."""

    name: str
    server_name: str
    description: str
    parameters: Mapping[str, Any]
    effect: str
    permission: str
    timeout_s: float
    hints: Mapping[str, bool | None]


class ToolQuestionDocument(TypedDict):
    """What a server wants to know before its call goes on."""

    key: str
    kind: str
    prompt: str
    schema: Mapping[str, Any] | None
    messages: list[Mapping[str, Any]]
    options: Mapping[str, Any]


class ToolOutcomeDocument(TypedDict, total=False):
    """What a call came to: ``completed``, ``failed``, ``input_required``, ``working``.

    With ``working`` the server goes on with it; the same call with its state looks again.
    """

    status: Required[str]
    content: str
    structured: Any
    questions: list[ToolQuestionDocument]
    state: Any


class FitnessDocument(TypedDict):
    """What a check of a model has found; scores are shares, None for what was not possible."""

    answers: float | None
    schema: float | None
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


class ModelRowDocument(TypedDict):
    """A model in a list."""

    model: str
    provider: str
    name: str
    size_bytes: int
    remote: bool
    digest: str
    roles: list[str]
    fitness: FitnessDocument | None


class ModelShownDocument(ModelRowDocument):
    """A model, with what it can do."""

    capabilities: list[str] | None
    context: dict[str, int | None]
    details: dict[str, Any]
    rehearsal: bool


class ModelProviderDocument(TypedDict):
    """Who serves models."""

    name: str
    default: bool
    rehearsal: bool
    reachable: bool
    reason: str


class ModelsDocument(TypedDict):
    """The models of all providers."""

    models: list[ModelRowDocument]
    providers: list[ModelProviderDocument]
    next_cursor: str | None


class RemoteAgentDocument(TypedDict):
    """An agent of another system; ``reason`` is empty when it can be reached."""

    name: str
    url: str
    description: str
    permission: str
    reachable: bool
    reason: str
    protocol: str
    binding: str
    skills: list[str]
    links: dict[str, str]


class RemoteSkillDocument(TypedDict):
    """Something that an agent says it can do."""

    id: str
    name: str
    description: str
    tags: list[str]


class RemoteCardDocument(TypedDict):
    """What an agent of another system says of itself."""

    agent: str
    name: str
    description: str
    version: str
    card_url: str
    url: str
    binding: str
    protocol: str
    streams: bool
    skills: list[RemoteSkillDocument]
    is_verified: bool
    is_stale: bool
    fetched_at: str
    document: dict[str, Any]


class RemoteContentDocument(TypedDict):
    """Something that an agent has handed out."""

    name: str
    content: list[dict[str, Any]]


class RemoteTaskDocument(TypedDict):
    """A task of an agent of another system."""

    id: str
    context_id: str
    state: str
    text: str
    data: Any
    said: list[dict[str, Any]]
    artifacts: list[RemoteContentDocument]
