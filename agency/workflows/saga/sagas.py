"""The verbs of sagas, beside those of runs: a saga's run is a run as any other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from agency.core.clock import Clock
from agency.core.records import dataclass
from agency.domain.definition import StoredDefinition
from agency.domain.run import ENDED, Phase, RunKind
from agency.domain.saga import LegStatus
from agency.engine.definition import Definition
from agency.engine.registry import Registry
from agency.engine.runs import Runs
from agency.errors import (
    DefinitionNotStored,
    RunNotFound,
    SagaNotFound,
    ShuttingDown,
    WorkflowNameTaken,
)
from agency.ports.definition import DefinitionStore
from agency.ports.store import JournalStore, RunDetail
from agency.workflows.saga.saga import Saga
from agency.workflows.saga.status import leg_statuses
from agency.workflows.saga.stored import make_stored, saga_of

log = logging.getLogger(__name__)

DEFINITIONS_MAX = 1000
"""Stored sagas: all of them are in memory."""

VERSIONS_MAX = 100
"""Versions of one saga that are kept because runs need them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSaga:
    """A saga that can be started.

    Attributes:
        is_new: Whether the call that gives it has changed it.
    """

    definition: Definition
    saga: Saga
    is_new: bool = False

    @property
    def origin(self) -> str:
        """Where it comes from: ``stored``, ``file`` or ``python``."""
        if self.saga.is_stored:
            return "stored"
        return "python" if self.saga.declaration is None else "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaRun:
    """A run of a saga, and how its legs are."""

    detail: RunDetail
    legs: Sequence[LegStatus]


class Sagas:
    """Define sagas, look at their runs, stop them, and retry their compensations."""

    def __init__(
        self,
        *,
        runs: Runs,
        registry: Registry,
        definitions: DefinitionStore,
        journal: JournalStore,
        clock: Clock,
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._definitions = definitions
        self._journal = journal
        self._clock = clock
        # The registry must come to the same order of definitions as the store.
        self._changing = asyncio.Lock()

    async def define(self, value: Any, *, by: str) -> KnownSaga:  # noqa: ANN401  JSON value
        """Store a declared saga; new runs are of this version, others keep theirs.

        Args:
            value: The declaration, JSON.
            by: Who defines it.

        Raises:
            InvalidInput: with all that is wrong.
            WorkflowNameTaken: a workflow that is not stored has the name.
            TooManyDefinitions, StoreFull, ShuttingDown.
        """
        if self._runs.is_closed:
            raise ShuttingDown
        async with self._changing:
            saga = make_stored(value, self._registry)
            definition = saga.definition()
            known = self._registry.find(definition.name)
            if known is not None and not known.is_stored:
                raise WorkflowNameTaken(definition.name, "the request", known.source)
            new = StoredDefinition(
                name=definition.name,
                version=definition.version,
                kind=definition.kind,
                body=value,
                created_at=self._clock.now(),
                created_by=by,
            )
            _, is_new = await self._definitions.define(
                new, names_max=DEFINITIONS_MAX, versions_max=VERSIONS_MAX
            )
            self._registry.replace(definition)
        if is_new:
            fields = {"workflow": definition.name, "version": definition.version}
            log.info("saga defined", extra=fields)
        return KnownSaga(definition=definition, saga=saga, is_new=is_new)

    def list(self, *, after: str | None, limit: int) -> Sequence[KnownSaga]:
        """List sagas by name, those after the name ``after``."""
        found = []
        for definition in self._registry:
            saga = saga_of(definition)
            if saga is not None and (after is None or definition.name > after):
                found.append(KnownSaga(definition=definition, saga=saga))
        return found[:limit]

    def get(self, name: str) -> KnownSaga:
        """Find a saga by its name.

        Raises:
            SagaNotFound: there is none.
        """
        definition = self._registry.find(name)
        saga = saga_of(definition) if definition is not None else None
        if definition is None or saga is None:
            raise SagaNotFound(name)
        return KnownSaga(definition=definition, saga=saga)

    async def delete(self, name: str) -> None:
        """Forget a stored saga, with all its versions.

        Raises:
            SagaNotFound: there is none.
            DefinitionNotStored: it comes from a file.
            DefinitionInUse: a run of it has not ended, or its compensation may be retried.
        """
        async with self._changing:
            known = self.get(name)
            if not known.saga.is_stored:
                raise DefinitionNotStored(name, known.definition.source)
            await self._definitions.delete(name, now=self._clock.now())
            self._registry.remove(name)
        log.info("saga deleted", extra={"workflow": name})

    async def status(self, run_id: str) -> SagaRun:
        """Tell how a run of a saga is, leg by leg.

        Raises:
            RunNotFound: there is none, or it is no saga's.
        """
        detail = await self._runs.get(run_id)
        run = detail.run
        if run.kind is not RunKind.SAGA:
            raise RunNotFound(run_id)
        definition = self._registry.find_version(run.workflow, run.version, run.kind)
        saga = saga_of(definition) if definition is not None else None
        journal = await self._journal.load(run.number)
        stages = saga.stages if saga is not None else None
        return SagaRun(detail=detail, legs=leg_statuses(run, journal, stages))

    async def abort(self, run_id: str, *, reason: str) -> bool:
        """Stop a run, and take back what it has done.

        Returns:
            False when it compensates already: that goes on.

        Raises:
            RunNotFound, RunEnded.
        """
        before = (await self.status(run_id)).detail.run
        if before.phase is Phase.COMPENSATING and before.status not in ENDED:
            return False
        after = (await self._runs.cancel(run_id, reason=reason)).run
        return after.ending is not None or after.status in ENDED

    async def retry_compensation(self, run_id: str) -> RunDetail:
        """Try once more to take back what could not be taken back.

        Raises:
            RunNotFound, CompensationNotFailed, NameTaken, ShuttingDown.
        """
        return await self._runs.retry_compensation(run_id)
