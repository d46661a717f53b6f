"""What the doors need from below, handed to them by the roof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime

from agency.config.schema import Settings
from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.domain.run import RunStatus
from agency.engine.approvals import Approvals
from agency.engine.dead_letters import DeadLetters
from agency.engine.lineage import Lineage
from agency.engine.peers import Peers
from agency.engine.queues import Queues
from agency.engine.registry import LoadFailure
from agency.engine.retention import Retention
from agency.engine.runs import Runs
from agency.engine.schedules import Schedules
from agency.engine.topics import Topics
from agency.engine.transfers import Transfers
from agency.engine.updates import Updates
from agency.memory.memories import Memories
from agency.ports.connection import Connections
from agency.ports.fitness import FitnessStore
from agency.ports.model import Provider, Roles
from agency.ports.push import PushStore
from agency.ports.remote import RemoteAgents
from agency.ports.sandbox import Sandbox
from agency.ports.store import SessionStore, TokenStore
from agency.ports.task import TaskStore
from agency.ports.vault import Secrets
from agency.ports.workspace import Workspaces
from agency.workflows.agent.catalogue import Catalogue
from agency.workflows.saga.sagas import Sagas


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that a door may use. The roof makes it once, before the first request.

    Attributes:
        started_at: When the daemon was ready to start its engine.
        check_store: Reads something from the database; False, or an error of ours, when that
            does not work.
        count_by_status: How many runs have each status; absent means 0.
        is_stopping: True from the moment that the daemon is asked to stop.
        has_room: False while the disk is too full for new work.
        provider: Who serves model calls that name nobody.
        providers: All who serve model calls, by name.
        workspaces: Files of runs; None where none are kept.
        load_failures: Modules of workflows that are missing from the registry, and why.
        connections: Servers of tools; None where there are no tools.
        agents: Who works here, and with what; None where a test needs none.
        remote_agents: Agents of other systems that may be called; None where a test needs none.
        sandbox: Where commands of tools run; None where there are no tools.
    """

    runs: Runs
    queues: Queues
    lineage: Lineage
    dead_letters: DeadLetters
    transfers: Transfers
    schedules: Schedules
    retention: Retention
    sagas: Sagas
    updates: Updates
    approvals: Approvals
    topics: Topics
    tokens: TokenStore
    sessions: SessionStore
    tasks: TaskStore
    vault: Secrets
    memory: Memories
    provider: Provider
    providers: Mapping[str, Provider]
    roles: Roles
    fitness: FitnessStore
    pushes: PushStore
    peers: Peers
    settings: Settings
    clock: Clock
    version: str
    started_at: datetime
    check_store: Callable[[], Awaitable[bool]]
    count_by_status: Callable[[], Awaitable[Mapping[RunStatus, int]]]
    is_stopping: Callable[[], bool]
    has_room: Callable[[], bool] = field(default=lambda: True)
    load_failures: Sequence[LoadFailure] = field(default=())
    workspaces: Workspaces | None = None
    connections: Connections | None = None
    sandbox: Sandbox | None = None
    agents: Catalogue | None = None
    remote_agents: RemoteAgents | None = None
