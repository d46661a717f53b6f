"""A look at the code of workflows for calls whose answer is another one each time."""

from __future__ import annotations

import ast
import datetime
import inspect
import os
import random
import secrets
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

_NOT_FOUND = object()
_INSTEAD: list[tuple[Callable[..., Any], str]] = [
    *((function, "ctx.now()") for function in (time.time, time.time_ns, time.localtime)),
    *((function, "ctx.now()") for function in (time.gmtime, datetime.date.today)),
    *((function, "ctx.now()") for function in (datetime.datetime.now, datetime.datetime.utcnow)),
    *(
        (getattr(random, name), "ctx.random()")
        for name in ("choice", "choices", "randint", "random", "randrange", "sample", "shuffle")
    ),
    *((getattr(random, name), "ctx.random()") for name in ("gauss", "uniform", "getrandbits")),
    *((function, "ctx.uuid()") for function in (uuid.uuid1, uuid.uuid4)),
    *((function, "ctx.random()") for function in (os.urandom, secrets.token_bytes)),
    *((function, "ctx.uuid()") for function in (secrets.token_hex, secrets.token_urlsafe)),
]


def unsteady_calls(function: Callable[..., Any]) -> Iterator[str]:
    """Tell of calls of time and chance in a workflow's own code, one sentence for each.

    Functions that are defined inside are left out: they are most often its steps.
    """
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError):
        return  # made without a file; what it does is seen when it runs
    scope = _scope(function)
    file = inspect.getsourcefile(function)
    for call in _calls(tree.body[0]):
        called = _resolve(call.func, scope)
        for known, instead in _INSTEAD:
            if called is known or (type(called) is type(known) and called == known):
                place = f"{file}:{first + call.lineno - 1}"
                yield f"{place} calls {ast.unparse(call.func)}(): take {instead}"
                break


def _scope(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        closed_over = dict(inspect.getclosurevars(function).nonlocals)
    except (TypeError, ValueError):
        closed_over = {}
    return {**getattr(function, "__globals__", {}), **closed_over}


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Find the calls of a function's own code."""
    body: list[ast.AST] = list(getattr(node, "body", ()))
    while body:
        found = body.pop(0)
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(found, ast.Call):
            yield found
        body[:0] = ast.iter_child_nodes(found)


def _resolve(node: ast.expr, scope: dict[str, Any]) -> Any:  # noqa: ANN401  whatever is named there
    match node:
        case ast.Name(id=name):
            return scope.get(name, _NOT_FOUND)
        case ast.Attribute(value=value, attr=name):
            return getattr(_resolve(value, scope), name, _NOT_FOUND)
        case _:
            return _NOT_FOUND
