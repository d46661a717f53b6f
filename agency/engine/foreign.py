"""The one place that calls authors' code, and so the one place that expects anything of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from agency.core.records import dataclass
from agency.engine.suspension import Control


@dataclass(frozen=True, slots=True)
class Returned:
    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    error: Exception


async def attempt(work: Awaitable[Any]) -> Returned | Raised:
    """Await an author's work; whatever it raises becomes a value.

    Only control flow passes through: suspension and cancellation. ``sys.exit`` and the private
    base exceptions of libraries are failures of the run, not the end of the daemon.
    """
    try:
        return Returned(await work)
    except (Control, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:  # noqa: BLE001  anything may come out of an author's code
        return Raised(error)
    except BaseException as error:  # noqa: BLE001  the same
        failure = RuntimeError(f"The code raised {type(error).__name__}: {text_of(error)}")
        return Raised(failure)


def text_of(value: object) -> str:
    """Write an author's value for people, whatever its ``__str__`` does; always valid UTF-8."""
    try:
        text = str(value)
    except BaseException as error:  # noqa: BLE001  anything may come out of an author's code
        text = f"({type(value).__name__} whose text cannot be had: {type(error).__name__})"
    return text.encode("utf-8", "replace").decode()


def repr_of(value: object) -> str:
    """As `text_of`, from ``__repr__``."""
    try:
        text = repr(value)
    except BaseException as error:  # noqa: BLE001  anything may come out of an author's code
        text = f"({type(value).__name__} that cannot be shown: {type(error).__name__})"
    return text.encode("utf-8", "replace").decode()
