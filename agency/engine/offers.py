"""Offers: what authors put before MCP clients directly, beside their workflows.

A workflow is a run whoever starts it. Some things only an MCP client understands: a prompt with
arguments, a resource behind an address, a tool that asks the client's own model. For these an
author marks a plain function; it is called while the client waits, and nothing of it is recorded.
What has to be durable is handed on to a workflow by returning `StartRun`.

Questions to the client (`McpCall.ask`) come in two ways. A client with a session is asked while
the function waits. One of the 2026-07-28 protocol gets the questions as the answer to its request
and sends the request again with what it has to say; the function is then called again from its
beginning, and finds the answers that there are by their keys. So its code before a question runs
once for every round: it should change nothing.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal, Protocol, TypeVar

from agency.core.limits import NAME_CHARACTERS_MAX
from agency.core.records import dataclass
from agency.domain.content import Part
from agency.engine.codec import Codec, checking_codec, codec_for
from agency.engine.questions import schema_of
from agency.errors import InvalidInput, OfferNameTaken

OFFER_MARK = "__agency_mcp_offer__"
TOOL_NAME_CHARACTERS_MAX = 128
"""Source: MCP 2025-11-25, tools, section "tool names"."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"\{(\w+)\}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:.+")

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])
Complete = Sequence[str] | Callable[[str], Sequence[str]]
"""What an argument may be completed to: the values, or a function of what is there so far."""
LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
Needs = Literal["elicitation", "sampling", "roots"]
Listed = Literal["tools", "prompts", "resources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Elicit:
    """A question to whoever sits before the client.

    Attributes:
        schema: A flat model or dataclass, whose object the answer then is; or a JSON Schema.
    """

    message: str
    schema: Any

    def requested_schema(self) -> Mapping[str, Any]:
        """JSON Schema of the form that is shown."""
        return self.schema if isinstance(self.schema, Mapping) else schema_of(self.schema)

    def decode(self, content: Any) -> Any:  # noqa: ANN401  author's value
        """Read what was filled in.

        Raises:
            InvalidInput: it does not fit.
        """
        from agency.core import json
        from agency.engine.answers import check_schema

        if isinstance(self.schema, Mapping):
            check_schema(self.schema, content, what="The answer does not fit", at="")
            return content
        return checking_codec(self.schema).decode(json.encode(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A question to the client's own model.

    Attributes:
        prompt: What the model is told, as one message of its user.
        tokens_max: Of the reply.
        system: Instructions, or empty.
    """

    prompt: str
    tokens_max: int = 1000
    system: str = ""


@dataclass(frozen=True, slots=True)
class Roots:
    """Asks the client which places it works in."""


Question = Elicit | Sample | Roots


@dataclass(frozen=True, slots=True, kw_only=True)
class Elicited:
    """What became of an `Elicit`. True when it was answered.

    Attributes:
        content: What was filled in: of a model its object; None unless ``action`` is accept.
    """

    action: Literal["accept", "decline", "cancel"]
    content: Any = None

    def __bool__(self) -> bool:
        return self.action == "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What the client's model has replied."""

    text: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A place that the client works in."""

    uri: str
    name: str = ""


Reply = Elicited | Sampled | Sequence[Root]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Returned by a tool: go on as a run of this workflow, whose result is the tool's.

    Attributes:
        input: JSON value, as the workflow's input type wants it.
    """

    workflow: str
    input: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpMessage:
    """A message of a prompt.

    Attributes:
        content: A text, or one part.
    """

    content: str | Part
    role: Literal["user", "assistant"] = "user"


class McpCall(Protocol):
    """The request of an MCP client, as an author's function sees it: its first parameter."""

    @property
    def principal(self) -> str:
        """Who calls: the name of the token, or ``local``."""
        ...

    @property
    def client(self) -> str:
        """What the client calls itself; empty when it does not say."""
        ...

    def can(self, capability: Needs) -> bool:
        """Tell whether the client can be asked this."""
        ...

    async def log(self, level: LogLevel, message: Any, *, logger: str = "") -> None:  # noqa: ANN401
        """Send the client a line of log, JSON value; dropped if it does not want that level."""
        ...

    async def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tell how far the work is, if the client has asked to be told."""
        ...

    async def elicit(self, message: str, schema: Any, *, key: str = "input") -> Elicited:  # noqa: ANN401
        """Ask whoever sits before the client. See `Elicit`, and `ask` for the errors."""
        ...

    async def sample(self, prompt: str, *, tokens_max: int = 1000, key: str = "sample") -> Sampled:
        """Ask the client's model. See `Sample`, and `ask` for the errors."""
        ...

    async def roots(self, *, key: str = "roots") -> Sequence[Root]:
        """Ask which places the client works in. See `ask` for the errors."""
        ...

    async def ask(self, **questions: Question) -> Mapping[str, Reply]:
        """Ask several things at once; the replies have the names of the questions.

        Names are keys: each is used once in a call of the function.

        Raises:
            ClientCannot: it has not declared that it can be asked this.
        """
        ...

    async def tell_changed(self, what: Listed) -> None:
        """Tell all clients that what is listed there has changed."""
        ...

    async def tell_updated(self, uri: str) -> None:
        """Tell the clients that have subscribed to a resource that it has changed."""
        ...

    async def close_stream(self) -> None:
        """End the stream that this call answers on; the client comes back for the rest.

        Where there is no such stream nothing happens.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Something offered to MCP clients.

    Attributes:
        name: Unique among the offers of its kind; of a resource its address or template.
        function: Called with the call and, by name, with the arguments.
        arguments: JSON Schema of the arguments, an object.
        codec: Reads them; None where ``arguments`` was written by hand and is checked as it is.
        needs: What the client has to be able to do, else it is refused.
        as_task: A tool that is only offered to clients that can follow a task.
        media_type: Of a resource's text or bytes, or empty.
        complete: By argument, what it may be completed to.
        source: File that it comes from, or empty.
    """

    kind: Literal["tool", "resource", "prompt"]
    name: str
    title: str
    description: str
    function: Callable[..., Awaitable[Any]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    codec: Codec | None = None
    output: Codec | None = None
    needs: Sequence[str] = ()
    as_task: bool = False
    media_type: str = ""
    complete: Mapping[str, Complete] = field(default_factory=dict)
    source: str = ""

    @property
    def is_template(self) -> bool:
        """A resource whose address has places for arguments."""
        return self.kind == "resource" and _VARIABLE.search(self.name) is not None

    @property
    def output_schema(self) -> Mapping[str, Any]:
        """JSON Schema of a tool's structured result; empty where it has none."""
        found = self.output.schema() if self.output is not None else {}
        return found if found.get("type") == "object" else {}

    def match(self, uri: str) -> Mapping[str, str] | None:
        """Give the arguments that an address holds, or None when it is not this resource's."""
        return _match(self.name, uri)

    def read(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Turn arguments from outside into those of the function.

        Raises:
            InvalidInput: they do not fit; all faults are named with JSON pointers.
        """
        from agency.core import json
        from agency.engine.answers import check_schema

        if self.codec is None:
            check_schema(self.arguments, dict(arguments), what="The arguments do not fit", at="")
            return dict(arguments)
        model = self.codec.decode(json.encode(dict(arguments)))
        return {name: getattr(model, name) for name in type(model).model_fields}


def mcp_tool(
    name: str,
    *,
    title: str = "",
    description: str = "",
    input_schema: Mapping[str, Any] | None = None,
    needs: Sequence[Needs] = (),
    as_task: bool = False,
) -> Callable[[Function], Function]:
    """Mark an ``async def`` function ``(call, ...)`` as a tool for MCP clients.

    Its further parameters are the tool's arguments, typed by their annotations. It returns a text,
    `Content` or one `Part`, a JSON value or a model; or `StartRun`.

    Args:
        name: Letters, digits and ``_ - .``, up to 128.
        title: For people; empty: the name.
        description: Empty: the function's docstring.
        input_schema: JSON Schema of the arguments instead of the one made from the parameters.
        needs: What the client has to be able to do; one that cannot is refused.
        as_task: Only for clients that can follow a task; for tools that return `StartRun` of
            something that takes long.

    Raises:
        InvalidInput: the name cannot be used.
    """
    if not _TOOL_NAME.fullmatch(name) or len(name) > TOOL_NAME_CHARACTERS_MAX:
        raise InvalidInput(
            f"The name {name!r} of a tool for MCP clients cannot be used.",
            hint=f"Up to {TOOL_NAME_CHARACTERS_MAX} letters, digits, dots, dashes, underscores.",
        )

    def mark(function: Function) -> Function:
        _check_async(function, f"The tool {name!r}")
        if input_schema is not None:
            arguments, codec = dict(input_schema), None
        else:
            arguments, codec = _arguments(function, name)
        annotation = _hints(function).get("return", Any)
        is_typed = isinstance(annotation, type) and hasattr(annotation, "model_fields")
        return _leave(
            function,
            Offer(
                kind="tool",
                name=name,
                title=title,
                description=description or inspect.getdoc(function) or "",
                function=function,
                arguments=arguments,
                codec=codec,
                output=codec_for(annotation) if is_typed else None,
                needs=tuple(needs),
                as_task=as_task,
            ),
        )

    return mark


def mcp_resource(
    uri: str,
    *,
    name: str = "",
    title: str = "",
    description: str = "",
    media_type: str = "",
    complete: Mapping[str, Complete] | None = None,
) -> Callable[[Function], Function]:
    """Mark an ``async def`` function ``(call, ...)`` as a resource for MCP clients.

    It returns a text, bytes, a JSON value, or one `Part`. It raises `NotFound` (or `LookupError`)
    when there is nothing at an address that fits its template.

    Args:
        uri: Its address. With places such as ``{id}`` it is a template; what stands there comes
            in by name. A place takes no ``/``; where another follows before the next ``/``, it ends
            at the first character of what is between them.
        name: For lists; empty: the function's name.
        title: For people.
        description: Empty: the function's docstring.
        media_type: Of what it returns; empty: by what that is.
        complete: What the places may be completed to.

    Raises:
        InvalidInput: the address cannot be used, or its places are not the function's parameters.
    """
    if not _SCHEME.fullmatch(uri) or len(uri) > NAME_CHARACTERS_MAX or uri.startswith("agency:"):
        raise InvalidInput(
            f"The address {uri!r} of a resource cannot be used.",
            hint="Write scheme:rest; `agency:` is what runs are shown under.",
        )

    def mark(function: Function) -> Function:
        _check_async(function, f"The resource {uri!r}")
        arguments, codec = _arguments(function, uri)
        places = _VARIABLE.findall(uri)
        if set(places) != set(arguments.get("properties", {})) or len(set(places)) != len(places):
            raise InvalidInput(
                f"The places of the resource {uri!r} are not the parameters of its function."
            )
        if "}{" in uri:
            raise InvalidInput(f"Two places of the resource {uri!r} have nothing between them.")
        return _leave(
            function,
            Offer(
                kind="resource",
                name=uri,
                title=title or name or function.__name__,
                description=description or inspect.getdoc(function) or "",
                function=function,
                arguments=arguments,
                codec=codec,
                media_type=media_type,
                complete=_known(complete, arguments, uri),
            ),
        )

    return mark


def mcp_prompt(
    name: str,
    *,
    title: str = "",
    description: str = "",
    complete: Mapping[str, Complete] | None = None,
) -> Callable[[Function], Function]:
    """Mark an ``async def`` function ``(call, ...)`` as a prompt for MCP clients.

    Its further parameters are texts. It returns a text, a `Part`, a `McpMessage`, or several of
    them.

    Raises:
        InvalidInput: the name cannot be used.
    """
    if not name or len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise InvalidInput(f"The name {name!r} of a prompt cannot be used.")

    def mark(function: Function) -> Function:
        _check_async(function, f"The prompt {name!r}")
        arguments, codec = _arguments(function, name)
        return _leave(
            function,
            Offer(
                kind="prompt",
                name=name,
                title=title,
                description=description or inspect.getdoc(function) or "",
                function=function,
                arguments=arguments,
                codec=codec,
                complete=_known(complete, arguments, name),
            ),
        )

    return mark


class Offers:
    """All offers of a daemon, by kind and name."""

    def __init__(self) -> None:
        self._offers: dict[tuple[str, str], Offer] = {}

    def add(self, offer: Offer) -> None:
        """Register an offer.

        Raises:
            OfferNameTaken: another one of its kind has its name.
        """
        known = self._offers.get((offer.kind, offer.name))
        if known is not None:
            raise OfferNameTaken(offer.kind, offer.name, offer.source, known.source)
        self._offers[offer.kind, offer.name] = offer

    def list(self, kind: str) -> Sequence[Offer]:
        """List those of a kind by name."""
        return sorted(
            (offer for offer in self._offers.values() if offer.kind == kind),
            key=lambda offer: offer.name,
        )

    def find(self, kind: str, name: str) -> Offer | None:
        """Find one by its name."""
        return self._offers.get((kind, name))

    def find_resource(self, uri: str) -> tuple[Offer, Mapping[str, str]] | None:
        """Find the resource at an address, and the arguments that the address holds.

        One with exactly this address comes before templates.
        """
        exact = self._offers.get(("resource", uri))
        if exact is not None and not exact.is_template:
            return exact, {}
        for offer in self.list("resource"):
            if offer.is_template and (found := offer.match(uri)) is not None:
                return offer, found
        return None


def offer_of(function: Callable[..., Any]) -> Offer | None:
    """Give what a function was marked as, with the file that it is in."""
    offer: Offer | None = getattr(function, OFFER_MARK, None)
    return replace(offer, source=inspect.getsourcefile(function) or "") if offer else None


def _leave(function: Function, offer: Offer) -> Function:
    setattr(function, OFFER_MARK, offer)
    return function


def _check_async(function: Callable[..., Any], what: str) -> None:
    is_async: bool = inspect.iscoroutinefunction(function)
    if not is_async:
        raise InvalidInput(f"{what} is not an async def function.")


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    from typing import get_type_hints

    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        # An annotation that names what exists only for type checkers: taken as any JSON.
        return {}


def _arguments(function: Callable[..., Any], name: str) -> tuple[dict[str, Any], Codec]:
    """Make a model of all parameters but the first, and its JSON Schema.

    Raises:
        InvalidInput: there is no first one, or one of them cannot be given by name or read.
    """
    parameters = list(inspect.signature(function).parameters.values())
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    if not parameters or any(one.kind not in by_name for one in parameters[1:]):
        raise InvalidInput(
            f"The function of {name!r} cannot be called.",
            hint="Write it as `async def name(call, argument: str, other: int = 3)`.",
        )
    hints = _hints(function)
    codec = checking_codec(_model(name, parameters[1:], hints))
    schema = dict(codec.schema())
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return schema, codec


def _model(name: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]) -> Any:  # noqa: ANN401  a model
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticUserError

    fields: dict[str, Any] = {
        one.name: (hints.get(one.name, Any), ... if one.default is one.empty else one.default)
        for one in parameters
    }
    try:
        return create_model("Arguments", __config__=ConfigDict(extra="forbid"), **fields)
    except (PydanticUserError, NameError, TypeError) as error:
        raise InvalidInput(f"The parameters of {name!r} cannot be read: {error}.") from error


def _known(
    complete: Mapping[str, Complete] | None, arguments: Mapping[str, Any], name: str
) -> Mapping[str, Complete]:
    unknown = set(complete or {}) - set(arguments.get("properties", {}))
    if unknown:
        raise InvalidInput(f"{name!r} has no argument {sorted(unknown)[0]!r} to complete.")
    return dict(complete or {})


@functools.lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    """Make the pattern of a template, so that each address is read once, however long it is."""
    pieces = _VARIABLE.split(template)
    written = [re.escape(pieces[0])]
    for index in range(1, len(pieces), 2):
        place, after = pieces[index], pieces[index + 1]
        is_last = index + 2 == len(pieces) or "/" in after
        but = "" if is_last else re.escape(after[:1])
        written += [f"(?P<{place}>[^/{but}]+)", re.escape(after)]
    return re.compile("".join(written))


def _match(template: str, uri: str) -> Mapping[str, str] | None:
    from urllib.parse import unquote

    found = _pattern(template).fullmatch(uri)
    return {name: unquote(text) for name, text in found.groupdict().items()} if found else None
