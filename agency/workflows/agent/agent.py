"""The agent: a durable conversation with a model.

Each reply of the model is a recorded step, committed together with the messages that it adds to
the session, before anything is done with it. A restart repeats at most the call in flight. The
run's state is what is recorded: the replies so far; so a later version of this code never decides
the past again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from agency.config.schema import Llm
from agency.domain.message import NewMessage
from agency.domain.run import RunKind
from agency.engine.codec import codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.engine.suspension import LimitReached
from agency.errors import ModelUnavailable
from agency.ports.model import ChatMessage, ChatReply, ChatRequest, Provider
from agency.ports.store import SessionStore
from agency.workflows.agent.prompt import SystemPrompt

AGENT = "agent"
VERSION = "1"
MESSAGE_CHARACTERS_MAX = 1_000_000
"""Longest message; whether it fits the model's context is found out with the model."""
MAX_STEPS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInput:
    """What an agent's run is given.

    Attributes:
        message: What the user says.
        max_steps: Model turns at most; None for ``[llm] max_steps``.
        model: Model to ask; None for ``[llm] model``.
    """

    # A misspelt member would else be dropped in silence.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    message: Annotated[str, Field(min_length=1, max_length=MESSAGE_CHARACTERS_MAX)]
    max_steps: Annotated[int, Field(ge=1, le=MAX_STEPS_MAX)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutput:
    """What an agent's run ends with.

    Attributes:
        model: Model that answered.
        rehearsal: The answer was made up by the stand-in.
        completed: False when the reply was cut off by a limit.
    """

    response: str
    model: str
    rehearsal: bool
    completed: bool


class Agent:
    """Runs conversations over the providers that this daemon has."""

    def __init__(
        self,
        *,
        providers: Mapping[str, Provider],
        default: str,
        settings: Llm,
        sessions: SessionStore,
    ) -> None:
        self._providers = providers
        self._default = default
        self._settings = settings
        self._sessions = sessions
        self._prompt = SystemPrompt(settings)

    def definition(self) -> Definition:
        """The workflow ``agent``."""
        return Definition(
            name=AGENT,
            kind=RunKind.AGENT,
            version=VERSION,
            description="A conversation with the language model.",
            run=self.run,
            takes_input=True,
            input_codec=codec_for(AgentInput),
            output_codec=codec_for(AgentOutput),
            is_interpreter=True,
            provider=lambda: self._default,
        )

    async def run(self, ctx: Context, task: AgentInput) -> AgentOutput:
        """Ask the model until it has answered.

        Raises:
            StepFailed: the model could not answer.
        """
        replies: list[dict[str, Any]] = []
        steps_max = task.max_steps or self._settings.max_steps
        while True:
            reply = await ctx.perform(
                StepCall(
                    name="reply",
                    function=functools.partial(self._ask, ctx, task, tuple(replies)),
                    retry=MODEL_RETRY,
                    messages=lambda reply: self._messages(ctx, task, replies, reply),
                )
            )
            replies.append(reply)
            is_whole = reply["ended_by"] != "length"
            output = AgentOutput(
                response="".join(part["content"] for part in replies),
                model=reply["model"],
                rehearsal=reply["rehearsal"],
                completed=is_whole,
            )
            if is_whole:
                return output
            if len(replies) >= steps_max:
                raise LimitReached(asdict(output))

    async def _ask(
        self, ctx: Context, task: AgentInput, replies: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        provider = self._provider(ctx.provider)
        reply = await provider.chat(
            ChatRequest(
                model=task.model or self._settings.model,
                messages=await self._conversation(ctx, task, replies),
                tokens_max=self._settings.tokens_max or None,
                turn_key=ctx.session_id or ctx.run_id,
            ),
            on_token=ctx.token,
        )
        return _recorded(reply, rehearsal=provider.is_rehearsal)

    def _provider(self, name: str | None) -> Provider:
        provider = self._providers.get(name or self._default)
        if provider is None:
            raise ModelUnavailable(
                f"model:{name}",
                f"the run is pinned to the provider {name!r}, and this daemon has "
                f"{', '.join(sorted(self._providers))}",
            )
        return provider

    async def _conversation(
        self, ctx: Context, task: AgentInput, replies: Sequence[Mapping[str, Any]]
    ) -> list[ChatMessage]:
        prompt = self._prompt.load()
        conversation = [ChatMessage(role="system", content=prompt)] if prompt else []
        if ctx.session_id is not None:
            history = await self._sessions.messages(
                ctx.session_id, limit=self._settings.history_messages_max
            )
            conversation += [
                ChatMessage(role=message.role, content=message.content["text"])
                for message in history
                if message.run_id != ctx.run_id
            ]
        conversation.append(ChatMessage(role="user", content=task.message))
        for reply in replies:
            conversation.append(ChatMessage(role="assistant", content=reply["content"]))
        return conversation

    @staticmethod
    def _messages(
        ctx: Context,
        task: AgentInput,
        replies: Sequence[object],
        reply: Mapping[str, Any],
    ) -> list[NewMessage]:
        if ctx.session_id is None:
            return []
        said = NewMessage(
            session_id=ctx.session_id,
            role="assistant",
            content={"text": reply["content"], "model": reply["model"]},
        )
        if replies:
            return [said]
        asked = NewMessage(session_id=ctx.session_id, role="user", content={"text": task.message})
        return [asked, said]


def _recorded(reply: ChatReply, *, rehearsal: bool) -> dict[str, Any]:
    return {
        "content": reply.content,
        "thinking": reply.thinking,
        "ended_by": reply.ended_by,
        "model": reply.model,
        "provider": reply.provider,
        "rehearsal": rehearsal,
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "load_s": reply.load_s,
        "elapsed_s": reply.elapsed_s,
    }
