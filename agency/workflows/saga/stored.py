"""Declared sagas between the store and the registry."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from agency.core.clock import Clock
from agency.domain.definition import StoredDefinition
from agency.domain.run import RunKind
from agency.engine.definition import Definition
from agency.engine.registry import LoadFailure, Registry
from agency.errors import InvalidInput, StoreFull, WorkflowNameTaken
from agency.ports.definition import DefinitionStore
from agency.workflows.saga.interpreter import Interpreter
from agency.workflows.saga.saga import Saga

log = logging.getLogger(__name__)

_PAGE_ROWS = 100


def read_declared(path: Path, registry: Registry) -> Definition:
    """Make the workflow of a file that declares a saga.

    Raises:
        InvalidInput: the file is none.
    """
    # Imported late: most daemons have no declared saga.
    from agency.workflows.saga.declared import read_file

    return read_file(path, registry).definition()


def saga_of(definition: Definition) -> Saga | None:
    """Find the saga behind a workflow; None if it is another kind of workflow."""
    outline = definition.outline
    return outline.saga if isinstance(outline, Interpreter) else None


async def load_stored(registry: Registry, definitions: DefinitionStore, *, clock: Clock) -> None:
    """Register what is stored, and keep what files declare for the runs that begin with it.

    To be called before any run is claimed. What cannot be registered any more is recorded as a
    failure to load, and its runs wait until it can.
    """
    after = 0
    while page := await definitions.load(after=after, limit=_PAGE_ROWS):
        for _, stored in page:
            _register(registry, stored)
        after = page[-1][0]
    for definition in list(registry):
        saga = saga_of(definition)
        if saga is not None and saga.declaration is not None and not saga.is_stored:
            registry.pin(definition)
            await _keep(definitions, definition, saga, at=clock.now())


async def _keep(
    definitions: DefinitionStore, definition: Definition, saga: Saga, *, at: datetime
) -> None:
    kept = StoredDefinition(
        name=definition.name,
        version=definition.version,
        kind=definition.kind,
        body=saga.declaration,
        created_at=at,
        created_by=definition.source,
        is_current=False,
    )
    try:
        await definitions.keep(kept)
    except StoreFull:
        # Without it runs cannot go on with this version after the file has changed.
        log.warning("no room to keep a definition", extra={"workflow": definition.name})


def make_stored(declaration: Any, registry: Registry) -> Saga:  # noqa: ANN401  JSON value
    """Make a saga that is stored, or to be stored, of its declaration.

    Raises:
        InvalidInput: it is not valid (any more): a function that it names is not loaded.
    """
    from agency.workflows.saga.declared import parse

    saga = parse(declaration, registry.find_function, lambda: registry.tool_calls)
    saga.is_stored = True
    return saga


def _register(registry: Registry, stored: StoredDefinition) -> None:
    if stored.kind is not RunKind.SAGA:
        return
    try:
        definition = make_stored(stored.body, registry).definition()
        if stored.is_current:
            registry.replace(definition)
        else:
            registry.pin(definition)
    except (InvalidInput, WorkflowNameTaken) as error:
        name = f"stored saga {stored.name} (version {stored.version})"
        registry.failures.append(LoadFailure(name, error.message, ""))
