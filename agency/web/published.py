"""What is published: the agents and workflows that A2A and MCP clients may start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from agency.config.schema import Publish
from agency.core.records import dataclass
from agency.domain.run import RunKind
from agency.engine.runs import DefinitionInfo, Runs
from agency.errors import NotPublished
from agency.workflows.agent.catalogue import Catalogue

AGENT_WORKFLOW = "agent"
"""The workflow whose runs are those of all agents."""


class PublishedKind(StrEnum):
    """What a published name means."""

    AGENT = "agent"
    WORKFLOW = "workflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Something that may be started by its name.

    Attributes:
        name: Of the agent or the workflow; unique among all that is published.
        workflow: Whose runs are started: that of the agents, or itself.
        input_schema: JSON Schema; of an agent that of its workflow's input.
        output_schema: JSON Schema, empty when anything may come out.
        version: Of the workflow.
        takes_input: It takes an input at all.
    """

    name: str
    kind: PublishedKind
    workflow: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any]
    version: str
    takes_input: bool = True

    def input_for(self, value: object) -> Any:  # noqa: ANN401  a JSON value
        """Make the input of a run: an agent's says which agent it is."""
        if self.kind is PublishedKind.AGENT and isinstance(value, dict):
            return {**value, "agent": self.name}
        return value


class Publication:
    """Reads what is published now; nothing is kept, because workflows come and go."""

    def __init__(self, wanted: Publish, runs: Runs, agents: Catalogue | None) -> None:
        """Take the settings, the workflows that there are, and the agents."""
        self._wanted = wanted
        self._runs = runs
        self._agents = agents

    def list(self) -> Sequence[Published]:
        """List all of it by name.

        Where an agent and a workflow have the same name, it means the agent.
        """
        found: dict[str, Published] = {}
        for definition in self._runs.definitions():
            if definition.kind == RunKind.AGENT:
                for name in self._agents.agents() if self._agents else ():
                    if (agent := self._agent(name, definition)) is not None:
                        found[name] = agent
            elif (workflow := self._workflow(definition)) is not None:
                found.setdefault(definition.name, workflow)
        return [found[name] for name in sorted(found)]

    def _agent(self, name: str, definition: DefinitionInfo | None) -> Published | None:
        settings = self._agents.agents().get(name) if self._agents else None
        if settings is None or definition is None or not definition.is_enabled:
            return None
        if not _fits(name, self._wanted.agents):
            return None
        return Published(
            name=name,
            kind=PublishedKind.AGENT,
            workflow=definition.name,
            description=settings.description or f"The agent {name}.",
            input_schema=definition.input_schema,
            output_schema=definition.output_schema,
            version=definition.version,
        )

    def _workflow(self, definition: DefinitionInfo | None) -> Published | None:
        if definition is None or definition.kind == RunKind.AGENT or definition.is_built_in:
            return None
        if not definition.is_enabled or not _fits(definition.name, self._wanted.workflows):
            return None
        return Published(
            name=definition.name,
            kind=PublishedKind.WORKFLOW,
            workflow=definition.name,
            description=definition.description,
            input_schema=definition.input_schema,
            output_schema=definition.output_schema,
            version=definition.version,
            takes_input=definition.takes_input,
        )

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` whenever the list may be another; gives what ends it."""
        return self._runs.listen_definitions(changed)

    def find(self, name: str) -> Published | None:
        """Find one by name."""
        # Each request asks for one: the others are not looked at.
        definition = self._runs.find_definition(AGENT_WORKFLOW)
        return self._agent(name, definition) or self._workflow(self._runs.find_definition(name))

    def get(self, name: str) -> Published:
        """Get one by name.

        Raises:
            NotPublished: there is none of that name, or it may not be started from outside.
        """
        found = self.find(name)
        if found is None:
            raise NotPublished(name)
        return found


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
