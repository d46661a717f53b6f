"""What agents work with, handed to them by the roof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace

from agency.config.schema import Agent as AgentSettings
from agency.config.schema import Llm
from agency.core.names import DEFAULT_AGENT
from agency.core.records import dataclass
from agency.core.suggestions import nearest
from agency.domain.memory import Asker
from agency.domain.tool import Capability, Level
from agency.errors import ConfigurationInvalid, Fault, InvalidInput, ModelUnavailable
from agency.ports.model import (
    CallProgress,
    ChatReply,
    ChatRequest,
    Choice,
    Embedded,
    Provider,
    Role,
    Roles,
    Traits,
)
from agency.ports.store import SessionStore
from agency.ports.tool import Toolsets
from agency.ports.workspace import Workspace
from agency.workflows.agent.calls.checking import Checker
from agency.workflows.agent.context.estimate import Meters
from agency.workflows.agent.gate import fault_of
from agency.workflows.agent.prompt import SystemPrompt


def plain(text: str) -> str:
    """Hand a text back as it is: where there are no secrets."""
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Everything that the loop needs beside the engine.

    Attributes:
        agents: Settings by the agent's name.
        prompts: System prompts by the agent's name.
        workspaces: Gives a run's workspace; None where no files are kept.
        redact: Takes secrets out of a text.
        core_memory: Gives what an agent always remembers, for its prompt; empty for none.
        levels: What the sandbox enforces.
        sees: There are models for pictures, so that agents have a tool to look at them.
        checker: Prepared schemas of tools, shared by all runs.
        meters: What is known of the lengths of models' tokens, shared by all runs.
    """

    roles: Roles
    settings: Llm
    sessions: SessionStore
    agents: Mapping[str, AgentSettings]
    prompts: Mapping[str, SystemPrompt]
    toolsets: Toolsets | None = None
    workspaces: Callable[[str], Workspace] | None = None
    redact: Callable[[str], str] = plain
    core_memory: Callable[[Asker], Awaitable[str]] | None = None
    levels: Callable[[], Mapping[Capability, Level]] | None = None
    sees: bool = False
    checker: Checker = field(default_factory=Checker)
    meters: Meters = field(default_factory=Meters)

    def agent(self, name: str | None) -> tuple[str, AgentSettings]:
        """Find an agent.

        Raises:
            InvalidInput: there is none of that name.
        """
        wanted = name or DEFAULT_AGENT
        found = self.agents.get(wanted)
        if found is None:
            likely = nearest(wanted, self.agents)
            hint = f"Did you mean {likely!r}? " if likely else "Add it as [agents.NAME]. "
            hint += f"There are: {', '.join(sorted(self.agents))}."
            raise InvalidInput(
                f"There is no agent {wanted!r}.",
                faults=[Fault("/agent", f"There is no agent {wanted!r}.", hint)],
                hint=hint,
            )
        return wanted, found


def check_agents(agents: Mapping[str, AgentSettings]) -> None:
    """Read the patterns of all agents, so that what cannot be read is told at the start.

    Raises:
        ConfigurationInvalid: all faults, each with its setting.
    """
    faults = [
        Fault(f"agents.{name}.{key}", error.message, error.hint)
        for name, agent in agents.items()
        for key in ("tools", "allow", "ask", "deny")
        for text in getattr(agent, key)
        if (error := fault_of(text)) is not None
    ]
    if faults:
        what = (
            "A pattern of an agent cannot be read."
            if len(faults) == 1
            else (f"{len(faults)} patterns of agents cannot be read.")
        )
        raise ConfigurationInvalid(what, faults=faults)


def read_prompts(llm: Llm, agents: Mapping[str, AgentSettings]) -> dict[str, SystemPrompt]:
    """Make the system prompt of each agent; one that has none of its own has that of ``[llm]``."""
    common = SystemPrompt(llm.system_prompt, llm.system_prompt_file)
    return {
        name: SystemPrompt(agent.system_prompt, agent.system_prompt_file)
        if agent.system_prompt.strip() or agent.system_prompt_file
        else common
        for name, agent in agents.items()
    }


@dataclass(frozen=True, slots=True)
class SoleRoles:
    """All roles served by one provider for each run: where no lists of fallback are set.

    Attributes:
        providers: By name.
        default: Name of the provider that serves runs which are pinned to none.
        model: Model that is asked when none is named.
    """

    providers: Mapping[str, Provider]
    default: str
    model: str

    def choices(
        self, role: Role, *, model: str = "", pinned: str | None = None
    ) -> Sequence[Choice]:
        """List the one model; see `Roles.choices`."""
        del role
        return [Choice(provider=self._provider(pinned).name, model=model or self.model)]

    async def chat(
        self,
        role: Role,
        request: ChatRequest,
        *,
        pinned: str | None = None,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Ask the one model; see `Roles.chat`."""
        del role
        provider = self._provider(pinned)
        asked = request if request.model else replace(request, model=self.model)
        reply = await provider.chat(asked, on_token=on_token, on_progress=on_progress)
        if provider.is_rehearsal and not reply.is_rehearsal:
            return replace(reply, is_rehearsal=True)
        return reply

    async def embed(
        self, texts: Sequence[str], *, model: str = "", pinned: str | None = None
    ) -> Embedded:
        """Ask the one provider; see `Roles.embed`."""
        provider = self._provider(pinned)
        vectors = await provider.embed(model or self.model, texts)
        return Embedded(vectors=vectors, provider=provider.name, model=model or self.model)

    async def traits(self, role: Role, *, model: str = "", pinned: str | None = None) -> Traits:
        """Look what the one model is like; see `Roles.traits`."""
        (choice,) = self.choices(role, model=model, pinned=pinned)
        provider = self._provider(pinned)
        return Traits(
            choice=choice,
            limits=await provider.context(choice.model),
            capabilities=await provider.capabilities(choice.model),
            fitness=None,
            is_rehearsal=provider.is_rehearsal,
        )

    def _provider(self, name: str | None) -> Provider:
        provider = self.providers.get(name or self.default)
        if provider is None:
            raise ModelUnavailable(
                f"model:{name}",
                f"the run is pinned to the provider {name!r}, and this daemon has "
                f"{', '.join(sorted(self.providers))}",
            )
        return provider
