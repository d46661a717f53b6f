"""The agent: a durable conversation with a model that uses tools.

Each reply of the model is a recorded step, committed together with the messages that it adds to
the session, before anything is done with it; so is each result of a tool, before the next turn. A
restart repeats at most the call in flight. The run's state is what is recorded: see `loop`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Llm
from agency.core.names import DEFAULT_AGENT
from agency.domain.memory import Asker
from agency.domain.run import RunKind
from agency.domain.tool import Capability, Level
from agency.engine.codec import TypedCodec, codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.errors import AgencyError
from agency.ports.model import Provider, Roles
from agency.ports.store import SessionStore
from agency.ports.tool import Toolsets
from agency.ports.workspace import Workspace
from agency.workflows.agent.loop import Loop
from agency.workflows.agent.means import Means, SoleRoles, check_agents, plain, read_prompts
from agency.workflows.agent.records import AgentInput, AgentOutput

AGENT = "agent"
VERSION = "2"


class _KnownAgents(TypedCodec):
    """Reads the input of a run; one for an agent that there is not is refused at every door."""

    def __init__(self, means: Means) -> None:
        super().__init__(AgentInput)
        self._means = means

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  an AgentInput
        """Read an input; see `Codec.decode`."""
        task: AgentInput = super().decode(body)
        self._means.agent(task.agent)
        return task


class Agent:
    """Runs agents over the models and tools that this daemon has."""

    def __init__(  # noqa: PLR0913  one for each thing that agents work with
        self,
        *,
        providers: Mapping[str, Provider],
        default: str,
        settings: Llm,
        sessions: SessionStore,
        roles: Roles | None = None,
        agents: Mapping[str, AgentSettings] | None = None,
        toolsets: Toolsets | None = None,
        workspaces: Callable[[str], Workspace] | None = None,
        redact: Callable[[str], str] = plain,
        core_memory: Callable[[Asker], Awaitable[str]] | None = None,
        levels: Callable[[], Mapping[Capability, Level]] | None = None,
        sees: bool = False,
    ) -> None:
        """Take what agents work with; without ``roles`` the run's provider serves all of them.

        Raises:
            ConfigurationInvalid: a pattern of an agent cannot be read.
        """
        self._default = default
        known = agents or {DEFAULT_AGENT: AgentSettings()}
        check_agents(known)
        self.means = Means(
            roles=roles or SoleRoles(providers, default, settings.model),
            settings=settings,
            sessions=sessions,
            agents=known,
            prompts=read_prompts(settings, known),
            toolsets=toolsets,
            workspaces=workspaces,
            redact=redact,
            core_memory=core_memory,
            levels=levels,
            sees=sees,
        )

    def definition(self) -> Definition:
        """The workflow ``agent``."""
        return Definition(
            name=AGENT,
            kind=RunKind.AGENT,
            version=VERSION,
            description="A conversation with the language model, which may use tools.",
            run=self.run,
            takes_input=True,
            input_codec=_KnownAgents(self.means),
            output_codec=codec_for(AgentOutput),
            is_interpreter=True,
            provider=lambda: self._default,
        )

    async def run(self, ctx: Context, task: AgentInput) -> AgentOutput:
        """Work on the task until there is an answer.

        Raises:
            as `Loop.work`.
        """
        loop = Loop(self.means, ctx, task)
        try:
            return await loop.work()
        except AgencyError as error:
            if task.depth:
                loop.state.spent.note_in(error)
            raise
