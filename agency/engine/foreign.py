"""The one place that calls authors' code, and so the one place that expects any error."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Returned:
    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    error: Exception


async def attempt(work: Awaitable[Any]) -> Returned | Raised:
    """Await an author's work; an ordinary exception becomes a value.

    Control flow (suspension, cancellation) passes through. ``sys.exit`` in an author's code is a
    failure of the run, not the end of the daemon.
    """
    try:
        return Returned(await work)
    except SystemExit as error:
        return Raised(RuntimeError(f"The code called sys.exit({error.code!r})."))
    except Exception as error:  # noqa: BLE001  anything may come out of an author's code
        return Raised(error)
