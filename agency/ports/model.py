"""Language models, whoever serves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from agency.core.records import dataclass
from agency.domain.fitness import Fitness


class Urgency(StrEnum):
    """Who waits for an answer; interactive calls go ahead of background ones in the lane."""

    INTERACTIVE = "interactive"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model asks for. ``id`` is empty when the server gave none."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a prompt.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        tool_calls: Of an assistant's turn.
        tool_name: Of a tool's result: which tool it is from.
        tool_call_id: Of a tool's result: the id of the call, when it had one.
        images: Of a user's turn: pictures (PNG, JPEG), for models that see.
    """

    role: str
    content: str
    images: Sequence[bytes] = ()
    tool_calls: Sequence[ToolCall] = ()
    tool_name: str = ""
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool that is offered: its parameters are a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """What a model is asked.

    Attributes:
        model: Name at the provider.
        response_schema: JSON Schema that the answer must obey; never together with ``tools``.
        tokens_max: Longest answer in tokens, thinking included; None for the provider's default.
        temperature, seed: None for the model's own.
        think: True, False, a level, or None to leave it to the model.
        urgency: Place in the lane.
        turn_key: Calls of one key (a session or a run) take turns with those of other keys while
            they wait in the lane; empty for calls that belong to none.
    """

    model: str
    messages: Sequence[ChatMessage]
    tools: Sequence[ToolSpec] = ()
    response_schema: Mapping[str, Any] | None = None
    tokens_max: int | None = None
    temperature: float | None = None
    seed: int | None = None
    think: bool | str | None = None
    urgency: Urgency = Urgency.INTERACTIVE
    turn_key: str = ""


class CallStage(StrEnum):
    """What a call is busy with before its first token."""

    QUEUED = "queued"
    """It waits for a place in the lane of its model."""
    LOADING = "loading"
    """The server loads the model, or works through the prompt: it does not tell which."""
    READING = "reading"
    """The model is loaded and works through the prompt."""
    FALLBACK = "fallback"
    """Another model is asked, because this one could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallProgress:
    """A sign of life of a call that has not brought a token yet.

    Attributes:
        text: For people, for example ``loading model (23 s)``.
        elapsed_s: Seconds since the stage began.
    """

    stage: CallStage
    text: str
    provider: str
    model: str
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A model that was asked before the one that answered, and could not.

    Attributes:
        code: Of the error, for example ``model_unavailable``.
        reason: Its message.
    """

    provider: str
    model: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What the model answered; always whole, never a part of a broken reply.

    Attributes:
        ended_by: ``stop`` or ``length``.
        prompt_tokens, reply_tokens: As the server counted; None when it did not say.
        load_s: Seconds that the server needed to load the model; 0 when it was loaded.
        elapsed_s: Seconds from request to end.
        is_rehearsal: The answer is made up; every place that shows it must say so.
        is_prompt_doubtful: The prompt may not have fitted, and the server reports far fewer tokens
            than it must have: most likely it has left out a part in silence.
        passed_over: Models of the role that could not answer, in the order in which they were
            asked; empty when the first one has.
    """

    content: str
    model: str
    provider: str
    thinking: str = ""
    tool_calls: Sequence[ToolCall] = ()
    ended_by: str = "stop"
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    load_s: float = 0.0
    elapsed_s: float = 0.0
    is_rehearsal: bool = False
    is_prompt_doubtful: bool = False
    passed_over: Sequence[PassedOver] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model that the provider has; ``digest`` names its weights, where the provider tells."""

    name: str
    size_bytes: int = 0
    is_remote: bool = False
    digest: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextLimits:
    """How many tokens a model's context has, by who says so; None where nobody does.

    Attributes:
        configured: What we ask the server for.
        trained: What the model was made for.
        allocated: What the server has really set aside, once the model is loaded.
    """

    configured: int | None = None
    trained: int | None = None
    allocated: int | None = None

    @property
    def tokens(self) -> int | None:
        """The smallest of those that are known."""
        known = [n for n in (self.configured, self.trained, self.allocated) if n is not None]
        return min(known, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the provider answers now; ``reason`` says why not."""

    reachable: bool
    reason: str = ""
    version: str = ""


class Provider(Protocol):
    """Who serves models. Safe to call from many coroutines; it queues by itself."""

    @property
    def name(self) -> str:
        """``ollama``, ``rehearsal`` …, as recorded with every run."""
        ...

    @property
    def resource(self) -> str:
        """Name of what a run waits for when this provider is away, for example ``model:ollama``."""
        ...

    @property
    def is_rehearsal(self) -> bool:
        """The answers are made up; every place that shows them must say so."""
        ...

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Ask for one reply. Cancelling closes the connection, which stops the server's work.

        Time spent waiting for a place in the lane counts towards no limit.

        Args:
            request: What is asked.
            on_token: Is called with each piece of the answer, thoughts and tool calls left out.
            on_progress: Is called about once a second until the first token, beginning when the
                call has taken a second.

        Raises:
            ModelUnavailable: nobody answers, before anything was received.
            ModelInterrupted: the server died or hung up in the middle, or its runner died.
            ModelBusy: the server's own queue is full.
            ModelTimedOut: one of the time limits was reached.
            ModelNotFound: it has no such model.
            ModelRefused: it refused the request: bad option, no tool support, not signed in …
            ContextTooLong: the prompt does not fit.
            ModelReplyBroken: it answered, but not with a whole reply; `ModelCallMalformed`,
                `ModelReplyEmpty`, `ModelReplyCut` and `ModelAnswerUnfit` are kinds of it.
        """
        ...

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Turn texts into vectors. Shape ``(len(texts), d)``, rows of unit length.

        Raises:
            as `chat`.
        """
        ...

    async def models(self) -> Sequence[ModelInfo]:
        """List the models it has.

        Raises:
            ModelUnavailable: nobody answers.
        """
        ...

    async def context(self, model: str) -> ContextLimits:
        """Look how long a model's context is; cheap enough to be asked before every call.

        What does not answer is None; a server that is away raises nothing here.
        """
        ...

    async def capabilities(self, model: str) -> frozenset[str] | None:
        """Look what a model can do, in Ollama's words.

        These are ``completion``, ``tools``, ``vision``, ``thinking`` and ``embedding``.
        None where the provider does not tell, and when it is away; nothing is raised here.
        """
        ...

    async def health(self) -> Health:
        """Look whether it answers. Never raises; takes 2 seconds at the most."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far the server is with fetching a model.

    Attributes:
        status: In the server's words, for example ``pulling manifest``.
        digest: Of the layer that is being fetched; empty between layers.
        completed_bytes, total_bytes: Of that layer.
    """

    status: str
    digest: str = ""
    completed_bytes: int = 0
    total_bytes: int = 0


@runtime_checkable
class Puller(Protocol):
    """A provider whose server fetches models by itself."""

    async def pull(self, model: str, *, on_progress: Callable[[PullProgress], None]) -> None:
        """Have the server fetch a model; what it has of it already is not fetched again.

        Cancelling ends it, and what was fetched stays for the next time.

        Raises:
            ModelUnavailable, ModelInterrupted, ModelTimedOut: as `Provider.chat`.
            ModelNotFound: there is no such model to fetch.
            ModelRefused: it will not, or has no room: trying again does not help.
            ModelPullFailed: it could not, and may the next time.
        """
        ...


class Role(StrEnum):
    """What a model is asked for; settings name models for each, in order of fallback."""

    CHAT = "chat"
    TOOLS = "tools"
    """A conversation in which tools are offered."""
    VISION = "vision"
    """Questions about pictures."""
    EMBED = "embed"
    COMPACTION = "compaction"
    """Summaries of old turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model of a provider."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of the model that a role asks first; cheap enough for each turn.

    Attributes:
        capabilities: As `Provider.capabilities`.
        fitness: Of its last check with these weights; None when it has not been checked.
    """

    choice: Choice
    limits: ContextLimits
    capabilities: frozenset[str] | None
    fitness: Fitness | None
    is_rehearsal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors, and who made them. ``vectors`` has shape ``(texts, d)``, rows of unit length."""

    vectors: Sequence[Sequence[float]]
    provider: str
    model: str


class Roles(Protocol):
    """Models by what they are asked for, over all providers of this daemon.

    ``model`` is ``MODEL`` or ``PROVIDER/MODEL`` and goes before the role's list: then that one is
    asked, and no other. Empty means the role's list. ``pinned`` is the provider that a run keeps
    (``ctx.provider``): it serves the run unless ``model`` or the role's list name providers
    themselves; a run that began with the rehearsal stand-in stays with it, and no other ever meets
    it. None pins nothing.
    """

    def choices(
        self, role: Role, *, model: str = "", pinned: str | None = None
    ) -> Sequence[Choice]:
        """List whom the role asks, in order of fallback; one or more.

        Raises:
            ModelUnavailable: the run is pinned to a provider that this daemon does not have.
        """
        ...

    async def chat(
        self,
        role: Role,
        request: ChatRequest,
        *,
        pinned: str | None = None,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        """Ask the role's models in their order until one answers; ``request.model`` as ``model``.

        The next one is asked only when one is unavailable, does not exist, refuses or keeps
        crashing, and only while no piece of its answer has come. What was passed over is in the
        reply and told to ``on_progress`` when it happens.

        Raises:
            as `Provider.chat`: the error of the first one when all of them fail.
        """
        ...

    async def embed(
        self, texts: Sequence[str], *, model: str = "", pinned: str | None = None
    ) -> Embedded:
        """Turn texts into vectors with the models of the role `Role.EMBED`, one for all texts.

        Raises:
            as `Provider.embed`: the error of the first one when all of them fail.
        """
        ...

    async def traits(self, role: Role, *, model: str = "", pinned: str | None = None) -> Traits:
        """Look what the first model of the role is like; a server that is away raises nothing.

        Raises:
            as `choices`.
        """
        ...
