"""What authors define: workflows, and the marks that their decorator leaves."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from agency.core.limits import NAME_CHARACTERS_MAX
from agency.core.names import is_queue_name
from agency.core.records import dataclass
from agency.domain.run import RunKind
from agency.engine.codec import Codec, checking_codec, codec_for
from agency.engine.retry import NO_RETRY, Retry
from agency.errors import InvalidInput

if TYPE_CHECKING:
    from agency.engine.verdict import Verdict

MARK = "__agency_workflow__"
DECLARES = "__agency_declares__"
"""Set on classes whose objects are workflows: they have ``definition()`` and ``module``."""
_NO_HINTS: dict[str, Any] = {}
_PLAIN_NAMES = frozenset({"Any", "object", "None", "str", "int", "float", "bool", "dict", "list"})
Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the decorator has written down; the registry makes a definition of it."""

    name: str
    version: str | None
    retry: Retry
    timeout_s: float | None
    queue: str | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A workflow as the engine runs it.

    Attributes:
        run: Called as ``run(context, input)``, or ``run(context)`` without ``takes_input``.
        is_interpreter: Reads its state from the journal and goes on at the frontier, so that
            recorded keys need not be met in order.
        timeout_s: Deadline of a run from its start, or None.
        queue: Where its runs wait if nothing else is asked for, or None for the default.
        concurrency: Its runs that are worked on at once, or None for any number.
        source: File that it comes from, or empty.
        is_stored: It is kept in the store, and runs stay with the version that they began with.
        compensate: Takes back what a run has done that does not complete, and judges how it ends.
            It is called with the context and why; its state is what is recorded.
        outline: What is known of its parts, for whoever shows a run of it.
    """

    name: str
    kind: RunKind
    version: str
    description: str
    run: Callable[..., Awaitable[Any]]
    takes_input: bool
    input_codec: Codec
    output_codec: Codec
    retry: Retry = NO_RETRY
    timeout_s: float | None = None
    queue: str | None = None
    concurrency: int | None = None
    is_interpreter: bool = False
    provider: Callable[[], str] | None = None
    source: str = ""
    is_stored: bool = False
    compensate: Callable[..., Awaitable[Verdict]] | None = None
    outline: object = None


def workflow(
    name: str,
    *,
    version: str | None = None,
    retry: Retry = NO_RETRY,
    timeout_s: float | None = None,
    queue: str | None = None,
    concurrency: int | None = None,
) -> Callable[[Function], Function]:
    """Mark an ``async def`` function ``(ctx, input)`` as a workflow.

    Args:
        name: What it is called from outside.
        version: Recorded with each run; by default the hash of the function's syntax tree,
            without comments, docstrings and layout.
        retry: Tries of the run as a whole.
        timeout_s: A run is timed out this long after its start.
        queue: Where its runs wait, unless whoever starts one names another queue.
        concurrency: How many of its runs are worked on at once, in all queues together. Suspended
            ones do not count.

    Raises:
        InvalidInput: one of them cannot be used.
    """
    if not name or len(name) > NAME_CHARACTERS_MAX or any(c in name for c in "/?# \n\t"):
        raise InvalidInput(
            f"The workflow name {name!r} cannot be used.",
            hint="Use letters, digits, dots, dashes and underscores.",
        )
    if queue is not None and not is_queue_name(queue):
        raise InvalidInput(
            f"The queue {queue!r} of the workflow {name!r} cannot be used.",
            hint="Use up to 64 letters, digits, dashes and underscores.",
        )
    if concurrency is not None and concurrency < 1:
        raise InvalidInput(f"The concurrency of the workflow {name!r} is below 1.")

    def mark(function: Function) -> Function:
        is_async: bool = inspect.iscoroutinefunction(function)
        if not is_async:
            raise InvalidInput(f"The workflow {name!r} is not an async def function.")
        mark = Mark(
            name=name,
            version=version,
            retry=retry,
            timeout_s=timeout_s,
            queue=queue,
            concurrency=concurrency,
        )
        setattr(function, MARK, mark)
        return function

    return mark


def make_definition(function: Callable[..., Awaitable[Any]]) -> Definition:
    """Turn a marked function into a definition.

    Raises:
        InvalidInput: it takes other parameters than ``(ctx)`` or ``(ctx, input)``, or a type of
            them cannot be read from JSON.
    """
    mark: Mark = getattr(function, MARK)
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(parameters) != len(positional) or len(positional) not in {1, 2}:
        raise InvalidInput(
            f"The workflow {mark.name!r} takes {len(parameters)} parameters.",
            hint="Write it as `async def name(ctx)` or `async def name(ctx, input)`.",
        )
    hints = _hints(function)
    takes_input = len(positional) == 2
    input_codec = checking_codec(hints.get(positional[1].name, Any) if takes_input else Any)
    output_codec = codec_for(hints.get("return", Any))
    for codec in (input_codec, output_codec):
        codec.schema()  # a type that cannot be read is told when it is loaded, not when it is used
    return Definition(
        name=mark.name,
        kind=RunKind.FUNCTION,
        version=mark.version or syntax_hash(function),
        description=inspect.getdoc(function) or "",
        run=function,
        takes_input=takes_input,
        input_codec=input_codec,
        output_codec=output_codec,
        retry=mark.retry,
        timeout_s=mark.timeout_s,
        queue=mark.queue,
        concurrency=mark.concurrency,
        source=inspect.getsourcefile(function) or "",
    )


def return_codec(function: Callable[..., Any]) -> Codec:
    """Codec of a step function's return annotation."""
    if isinstance(function, functools.partial):
        return return_codec(function.func)
    if isinstance(function, type):
        return codec_for(function)
    annotation = getattr(function, "__annotations__", _NO_HINTS).get("return", Any)
    if isinstance(annotation, str):
        if annotation in _PLAIN_NAMES:
            return codec_for(Any)
        return _resolved_codec(function)
    return codec_for(annotation)


@functools.lru_cache(maxsize=1024)
def _resolved_codec(function: Callable[..., Any]) -> Codec:
    return codec_for(_hints(function).get("return", Any))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        # An annotation that names what exists only for type checkers: taken as any JSON.
        return {}


def syntax_hash(function: Callable[..., Any]) -> str:
    """Hash what a function does, whatever its layout: 12 hexadecimal digits."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        code = getattr(function, "__code__", None)
        return hashlib.sha256(code.co_code if code else b"").hexdigest()[:12]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            node.decorator_list = []
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]
