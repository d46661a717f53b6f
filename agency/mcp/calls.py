"""Calls that are at work: what a client takes back, by the request that it has made.

A client that hangs up has lost its connection; its run goes on, as every run does whose caller is
gone. Only a client that says so (``notifications/cancelled``) has its run cancelled. With the
protocol 2026-07-28 over HTTP there is no such word: there the run is cancelled by its own verb.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mcp_types import CancelledNotificationParams

from agency.engine.runs import Runs
from agency.errors import AgencyError, RunEnded, RunNotFound
from agency.mcp.offerings import Context

log = logging.getLogger(__name__)

REMEMBERED_S = 5.0
"""A call that was broken off is known so long: what breaks it off comes before the word for it."""

SESSION = "mcp-session-id"


@dataclass(slots=True)
class Call:
    """A call at work.

    Attributes:
        run_id: Known once its run is stored.
    """

    run_id: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Calls:
    """All calls that a client may take back."""

    def __init__(self, runs: Runs) -> None:
        """Take the verbs."""
        self._runs = runs
        self._calls: dict[tuple[str, str], Call] = {}

    @contextmanager
    def noted(self, ctx: Context) -> Iterator[Call]:
        """Know a call while it is at work."""
        call = Call()
        key = _key(ctx, ctx.request_id)
        if key is None:
            yield call
            return
        self._calls[key] = call
        try:
            yield call
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(REMEMBERED_S, self._forget, key, call)
            raise
        except BaseException:
            self._forget(key, call)
            raise
        self._forget(key, call)

    def _forget(self, key: tuple[str, str], call: Call) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]

    async def cancelled(self, ctx: Context, params: CancelledNotificationParams) -> None:
        """Cancel the run of a call that its client takes back."""
        key = _key(ctx, params.request_id)
        call = self._calls.pop(key, None) if key is not None else None
        if call is None:
            return
        try:
            async with asyncio.timeout(REMEMBERED_S):
                run_id = await asyncio.shield(call.run_id)
            await self._runs.cancel(run_id, reason=params.reason or "its caller took it back")
        except TimeoutError:
            log.debug("a call that was taken back had started nothing")
        except (RunEnded, RunNotFound):
            log.debug("a call was taken back after its run had ended")
        except AgencyError as error:
            log.warning("a run was not cancelled", extra={"reason": str(error)})


def _key(ctx: Context, request_id: object) -> tuple[str, str] | None:
    """Name a request: ids are unique in a session only."""
    session = ctx.request.headers.get(SESSION) if ctx.request is not None else None
    return (session, repr(request_id)) if session and request_id is not None else None
