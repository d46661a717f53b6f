"""The owner of one connection: keeps it open, opens it again when it is lost, and takes calls.

The SDK (64 MB, 0.9 s to load) is loaded in a thread when the first connection is opened, and never
where there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agency.core.backoff import delay_s
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.domain.connection import (
    Connection,
    ConnectionKind,
    ConnectionState,
    ConnectionStatus,
    ServerTool,
)
from agency.domain.login import LoginFlow, LoginStarted, LoginState, LoginView
from agency.domain.tool import Asks, ToolEffect, ToolOutput
from agency.errors import (
    AddressRefused,
    AgencyError,
    InvalidInput,
    LoginFailed,
    SandboxFailed,
    SandboxTooWeak,
    SecretNotFound,
    ToolUnavailable,
)
from agency.ports.connection import Tested
from agency.tools.mcp.calls import (
    BrokenOff,
    CallRequest,
    NotDone,
    Parked,
    Unwelcome,
    parse_state,
)
from agency.tools.mcp.lines import Log
from agency.tools.mcp.means import Means
from agency.tools.mcp.program import END_S, NotStarted
from agency.tools.mcp.redaction import Redaction
from agency.tools.mcp.refusals import NO_ENTRY, UNAUTHORIZED

if TYPE_CHECKING:
    from agency.tools.mcp.oauth.challenge import Challenge
    from agency.tools.mcp.oauth.login import Login
    from agency.tools.mcp.opening import Life
    from agency.tools.mcp.session import Session

log = logging.getLogger(__name__)

BACKOFF_BASE_S = 0.5
BACKOFF_MAX_S = 60.0

BREAKER_FAILURES = 5
"""Failures in a row after which a connection is broken, if they have lasted: its calls fail at
once."""

BREAKER_AWAY_S = 30.0
"""How long a server must have been away for that: one that is started anew takes a while."""

BREAKER_S = 300.0
"""How long a broken connection is left alone; `agency mcp test` has it tried at once."""

STABLE_S = 10.0
"""A connection that was ready for so long, or has answered a call, has not failed in a row."""

REOPEN_S = 0.05
"""Shortest pause between two lives, whatever was before."""

CALL_WAIT_S = 15.0
"""Longest wait of a call for a connection that is about to be opened; never beyond its own time."""

TRIES = 3
"""How often a call is handed to a server that was lost before it had begun with it."""

CLOSE_S = END_S + 3.0
"""Longest wait for a life to close."""

_FINAL = (
    NotStarted,
    SandboxTooWeak,
    SandboxFailed,
    SecretNotFound,
    AddressRefused,
    InvalidInput,
)
_AWAY = frozenset({ConnectionState.LOGIN, ConnectionState.BROKEN, ConnectionState.DISABLED})
"""States in which a call does not wait for the connection."""

_NOT_OPENED = "it could not be opened"


@dataclass(frozen=True, slots=True)
class _End:
    """How a life has ended.

    Attributes:
        is_final: Trying again soon would fail in the same way.
        is_login: A person has to log in; nothing else would help.
        is_good: It was ready and has worked, so that it does not count as a failure.
        was_ready: It has been ready at all.
    """

    reason: str
    is_final: bool
    is_good: bool
    was_ready: bool
    is_login: bool = False


class Owner:
    """Keeps one connection."""

    def __init__(self, connection: Connection, means: Means, *, refusal: str = "") -> None:
        """Make the owner; nothing is opened yet.

        Args:
            refusal: Why the connection is not to be opened; empty if it is.
        """
        self.connection = connection
        self._refusal = refusal
        self.log = Log()
        self.tools: Sequence[ServerTool] = connection.tools
        self.has_tools = connection.tools_at is not None
        self._means = means
        self._session: Session | None = None
        self._life: Life | None = None
        self._mode = "auto"
        self._failures = 0
        self._failing_since_s = 0.0
        self._heir: Owner | None = None
        self._changes = _Changes()
        self._wanted = asyncio.Event()
        self._forced = asyncio.Event()
        self._slots = asyncio.Semaphore(connection.setup.concurrency or means.concurrency)
        self.challenge: Challenge | None = None
        self._notes: set[asyncio.Task[None]] = set()
        state = ConnectionState.CONNECTING if connection.is_active else ConnectionState.DISABLED
        self._status = ConnectionStatus(state=state, reason="", since=means.clock.now())

    @property
    def status(self) -> ConnectionStatus:
        """How the connection is now."""
        session, life = self._session, self._life
        program = None if life is None else life.program
        is_http = self.connection.kind is ConnectionKind.HTTP
        old = self._status
        return ConnectionStatus(
            state=old.state,
            reason=old.reason,
            since=old.since,
            retry_at=old.retry_at,
            protocol="" if session is None else session.protocol,
            server="" if session is None else session.server,
            pid=None if program is None else program.pid,
            sandbox="" if is_http or program is None else program.sandbox,
            opened=old.opened,
            calls_running=0 if session is None else session.calls.running,
        )

    def _set(
        self, state: ConnectionState, reason: str = "", *, retry_s: float | None = None
    ) -> None:
        now = self._means.clock.now()
        is_same = (state, reason) == (self._status.state, self._status.reason)
        self._status = ConnectionStatus(
            state=state,
            reason=reason,
            since=self._status.since if is_same else now,
            retry_at=None if retry_s is None else now + timedelta(seconds=retry_s),
            opened=self._status.opened + (state is ConnectionState.READY),
        )
        if not is_same:
            level = logging.WARNING if state is ConnectionState.BROKEN else logging.INFO
            told = {"connection": self.connection.name, "state": state.value, "reason": reason}
            log.log(level, "connection", extra=told)
        self._changes.tell()

    # --- the loop ---------------------------------------------------------------------------

    async def serve(self, stop: asyncio.Event) -> None:
        """Keep the connection open until asked to stop; everything of it is closed then."""
        try:
            while not stop.is_set():
                if not self.connection.is_active:
                    self._set(ConnectionState.DISABLED)
                    await stop.wait()
                    return
                self._set(ConnectionState.CONNECTING)
                end = await self._live(stop)
                if stop.is_set():
                    return
                await self._rest(end, stop)
        finally:
            # Runs may hold its tools still; they are told at once, and not when their time is over.
            now = self._means.clock.now()
            closed = "it was changed or removed"
            self._status = ConnectionStatus(
                state=ConnectionState.DISABLED, reason=closed, since=now
            )
            self._changes.tell()
            if self._notes:
                await asyncio.wait(self._notes, timeout=2.0)

    def hand_over(self, heir: Owner) -> None:
        """Let calls of tools that runs hold go to the owner of the connection as it is now."""
        self._heir = heir
        self._changes.tell()

    async def _rest(self, end: _End, stop: asyncio.Event) -> None:
        """Wait before the next life: not at all, a little, or long."""
        self._failures = 0 if end.is_good else self._failures + 1
        if self._failures <= 1:
            self._failing_since_s = monotonic_s()
        is_long = monotonic_s() - self._failing_since_s >= BREAKER_AWAY_S
        self._note(self._means.store.note_error, end.reason)
        if end.is_login:
            self._set(ConnectionState.LOGIN, end.reason)
            # Looked at now and then all the same: somebody may have opened the server.
            await _first(BREAKER_S, stop, self._forced)
        elif end.is_final or (is_long and self._failures >= BREAKER_FAILURES):
            pause_s = BREAKER_S
            self._set(ConnectionState.BROKEN, end.reason, retry_s=pause_s)
            await _first(pause_s, stop, self._forced)
        else:
            pause_s = REOPEN_S + delay_s(
                max(1, self._failures),
                base_s=0.0 if end.is_good else BACKOFF_BASE_S,
                factor=2.0,
                cap_s=BACKOFF_MAX_S,
                jitter=True,
                source=random.SystemRandom(),
            )
            self._set(ConnectionState.BACKOFF, end.reason, retry_s=pause_s)
            # A call that waits cuts short the first pauses, not those of a server that stays away.
            hurry = [self._wanted] if self._failures <= 1 else []
            await _first(REOPEN_S, stop, self._forced)
            await _first(pause_s - REOPEN_S, stop, self._forced, *hurry)
        self._wanted.clear()
        if self._forced.is_set():
            self._forced.clear()
            self._failures = 0

    async def _live(self, stop: asyncio.Event) -> _End:
        """Open the connection and keep it until it is lost or asked to stop."""
        refusal = self._refused()
        if refusal:
            return _End(refusal, is_final=True, is_good=False, was_ready=False)
        self._changes.tell()
        life = await self._make_life(self.log, self._take_tools)
        self._life = life
        hold = asyncio.get_running_loop().create_task(
            life.hold(), name=f"mcp-{self.connection.name}"
        )
        try:
            reason = await self._await_ready(life, hold, stop)
            was_ready = not reason
            since_s = monotonic_s()
            if was_ready and not stop.is_set():
                assert life.session is not None
                self._session = life.session
                self._set(ConnectionState.READY)
                # Not only its end: closing may take longer than finding out that it is lost.
                await _first_of(hold, stop, life.session.lost)
        finally:
            self._session = None
            await _close(life, hold)
            self._life = None
        return self._judge(life, hold, reason, was_ready=was_ready, since_s=since_s)

    def _refused(self) -> str:
        url = self.connection.setup.url
        if url and self._means.is_own(url):
            return "this is the daemon's own address; its own tools need no connection"
        return self._refusal

    async def _make_life(
        self, server_log: Log, on_tools: Callable[[Sequence[ServerTool]], None]
    ) -> Life:
        opening = await asyncio.to_thread(importlib.import_module, "agency.tools.mcp.opening")
        life: Life = opening.Life(
            connection=self.connection,
            means=self._means,
            mode=self._mode,
            log=server_log,
            on_tools=on_tools,
            on_session=_nothing,
        )
        return life

    async def _await_ready(
        self, life: Life, hold: asyncio.Task[None], stop: asyncio.Event | None = None
    ) -> str:
        """Wait until the connection is ready; says why not, empty if it is."""
        timeout_s = self._means.connect_timeout_s
        ready = asyncio.get_running_loop().create_future()

        def on_ready(_: object) -> None:
            if not ready.done():
                ready.set_result(None)

        def on_session(session: Session) -> None:
            session.ready.add_done_callback(on_ready)

        life.on_session = on_session
        stopping = asyncio.ensure_future(stop.wait()) if stop is not None else None
        waiting = [one for one in (hold, ready, stopping) if one is not None]
        try:
            done, _ = await asyncio.wait(
                waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            if stopping is not None:
                stopping.cancel()
        if ready in done or stopping in done:
            return ""
        if hold in done:
            return _NOT_OPENED
        return f"it did not answer within {timeout_s:g} s"

    def _judge(
        self, life: Life, hold: asyncio.Task[None], reason: str, *, was_ready: bool, since_s: float
    ) -> _End:
        error = None if not hold.done() or hold.cancelled() else hold.exception()
        leaf = None if error is None else _leaf(error)
        told = self._reason(life, leaf, reason)
        session = life.session
        has_worked = session is not None and session.calls.done > 0
        is_good = was_ready and (has_worked or monotonic_s() - since_s >= STABLE_S)
        is_final = isinstance(leaf, _FINAL) or (not was_ready and life.refusals.status in NO_ENTRY)
        # Some old servers leave at a question that they do not know.
        can_be_older = not was_ready and self._mode == "auto" and life.program is not None
        self._mode = "legacy" if can_be_older or self._was_legacy(session) else "auto"
        refusals = life.refusals
        # One that was ready may have refused a single call: that does not end it.
        needs_login = refusals.needs_login and (
            not was_ready or (refusals.has_refused and refusals.status == UNAUTHORIZED)
        )
        if needs_login:
            told = refusals.login
        if needs_login or was_ready:
            self.challenge = refusals.challenge
        return _End(life.redaction.text(told), is_final, is_good, was_ready, needs_login)

    def _was_legacy(self, session: Session | None) -> bool:
        """Tell whether the older era was agreed on, which need not be found out again."""
        return session is not None and session.ready.done() and not session.is_modern

    def _reason(self, life: Life, leaf: BaseException | None, reason: str) -> str:
        """Say why a life has ended, by whoever knows best."""
        told = "" if life.program is None else life.program.reason()
        if life.session is not None and life.session.lost.is_set() and not reason:
            return told or life.session.reason
        if reason not in {"", _NOT_OPENED}:
            return reason
        if isinstance(leaf, AgencyError):
            return leaf.message.rstrip(".")
        known = told or life.refusals.sentence()
        if known:
            return known
        if leaf is not None and not isinstance(leaf, asyncio.CancelledError):
            return str(leaf).splitlines()[0][:500] if str(leaf) else type(leaf).__name__
        return reason or "it was lost"

    # --- what it offers ---------------------------------------------------------------------

    def _take_tools(self, tools: Sequence[ServerTool]) -> None:
        is_new = not self.has_tools or list(tools) != list(self.tools)
        self.tools, self.has_tools = tools, True
        if is_new:
            self._note(self._means.store.note_tools, tools)
        self._changes.tell()

    def _note(self, keep: Callable[..., Awaitable[None]], what: object) -> None:
        """Write down what was found out, beside the work; without it nothing goes wrong."""

        async def write() -> None:
            try:
                await keep(self.connection.id, what, at=self._means.clock.now())
            except AgencyError as error:
                log.warning("not noted", extra={"reason": error.message})

        task = asyncio.get_running_loop().create_task(write(), name="mcp-note")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def list_tools(self, *, timeout_s: float) -> Sequence[ServerTool]:
        """Give the tools that the server has offered last; waits if it was never asked.

        Raises:
            ToolUnavailable: it cannot be asked now.
        """
        if not self.has_tools:
            await self._await_session(timeout_s)
        return self.tools

    # --- calls ------------------------------------------------------------------------------

    async def call(self, request: CallRequest) -> ToolOutput | Asks:
        """Make a call; one that the server has not begun with is made again on the next session.

        Raises:
            ToolUnavailable: it was not begun with.
            BrokenOff, TimedOut: as they say.
            InvalidInput: the state is none.
        """
        state = parse_state(request.state)
        held = self._session
        if isinstance(state, Parked) and held is not None and held.calls.holds(state, request.key):
            # It is under way at the server already. In a place of its own it would wait for those
            # that wait for its end.
            with contextlib.suppress(NotDone):
                return await held.calls.call(request)
        deadline_s = monotonic_s() + request.timeout_s
        reason = ""
        async with self._slot(request.timeout_s):
            for _ in range(TRIES):
                left_s = deadline_s - monotonic_s()
                if left_s <= 0:
                    break
                session = await self._await_session(min(CALL_WAIT_S, left_s))
                is_lost = isinstance(state, Parked) and not session.calls.holds(state, request.key)
                if is_lost and request.effect is ToolEffect.ONCE:
                    raise BrokenOff("the server does not hold the call any more that had asked")
                left_s = max(0.001, deadline_s - monotonic_s())
                try:
                    return await session.calls.call(replace(request, timeout_s=left_s))
                except NotDone as error:
                    reason = str(error)
                    if isinstance(error, Unwelcome):
                        break
        raise self._unavailable(reason)

    @contextlib.asynccontextmanager
    async def _slot(self, timeout_s: float) -> AsyncIterator[None]:
        """Take one of the places for calls."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise self._unavailable("its other calls have taken too long") from None
        try:
            yield
        finally:
            self._slots.release()

    async def _await_session(self, timeout_s: float) -> Session:
        """Wait for a session that is open.

        Raises:
            ToolUnavailable: there is none in time, or none is to be expected.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    if self._heir is not None:
                        return await self._heir._await_session(timeout_s)
                    session = self._session
                    if session is not None and not session.is_lost:
                        return session
                    if self._status.state in _AWAY:
                        break
                    self._wanted.set()
                    await self._changes.next()
        raise self._unavailable(self._status.reason)

    def _unavailable(self, reason: str) -> ToolUnavailable:
        status = self._status
        told = f"The connection {self.connection.name!r} is {status.state.value}"
        error = ToolUnavailable(f"{told}: {reason}." if reason else f"{told}.")
        if status.retry_at is not None:
            left_s = (status.retry_at - self._means.clock.now()).total_seconds()
            error.retry_after_s = max(1.0, left_s)
        return error

    # --- trying it --------------------------------------------------------------------------

    async def test(self) -> Tested:
        """Open a second session, list the tools, and close it; then the first is tried, too."""
        found: list[ServerTool] = []

        def take(tools: Sequence[ServerTool]) -> None:
            found[:] = tools

        refusal = self._refused()
        if refusal:
            return Tested(
                is_good=False, reason=refusal, elapsed_s=0.0, protocol="", server="", tools=[]
            )
        since_s = monotonic_s()
        server_log = Log()
        life = await self._make_life(server_log, take)
        hold = asyncio.get_running_loop().create_task(life.hold(), name="mcp-test")
        elapsed_s = 0.0
        try:
            reason = await self._await_ready(life, hold)
            elapsed_s = monotonic_s() - since_s
            protocol = "" if reason or life.session is None else life.session.protocol
            server = "" if reason or life.session is None else life.session.server
        finally:
            await _close(life, hold)
        if life.refusals.needs_login:
            self.challenge = life.refusals.challenge
        if reason:
            error = None if not hold.done() or hold.cancelled() else hold.exception()
            reason = self._reason(life, None if error is None else _leaf(error), reason)
        else:
            self.retry()
        return Tested(
            is_good=not reason,
            reason=life.redaction.text(reason),
            elapsed_s=elapsed_s,
            protocol=protocol,
            server=server,
            tools=found,
            log=life.redaction.text(server_log.text()),
            needs_login=bool(reason) and life.refusals.needs_login,
        )

    def retry(self) -> None:
        """Try at once what waits for its next try."""
        if self._status.state in {ConnectionState.BACKOFF, *_AWAY}:
            self._forced.set()

    # --- logging in -------------------------------------------------------------------------

    async def login_view(self) -> LoginView:
        """Tell how the connection stands with its login."""
        if not self.connection.setup.logs_in:
            return LoginView(state=LoginState.NONE)
        login = await self._login()
        view: LoginView = await login.view(self._demanded())
        if view.state is LoginState.NEEDED and not view.reason:
            return replace(view, reason=f"run `agency mcp login {self.connection.name}`")
        return view

    async def begin_login(self) -> LoginStarted:
        """Begin a login; see `agency.ports.connection.Connections.begin_login`."""
        name, setup = self.connection.name, self.connection.setup
        if not setup.logs_in or setup.oauth is not LoginFlow.LOGIN:
            raise LoginFailed(name, "as it is set up, nobody logs in there")
        refusal = self._refused()
        if refusal:
            raise LoginFailed(name, refusal)
        if self._demanded() is None:
            # What the server demands says where to log in; so it is asked.
            await self.test()
        login = await self._login()
        started: LoginStarted = await login.begin(self._demanded(), self._means.redirect_uri(name))
        return started

    async def finish_login(self, returned: str) -> None:
        """Finish a login; see `agency.ports.connection.Connections.finish_login`."""
        module = await asyncio.to_thread(importlib.import_module, "agency.tools.mcp.oauth.login")
        login = await self._login()
        await login.finish(module.read_returned(returned))
        self._forget_demand()
        self.retry()

    async def forget_login(self) -> None:
        """Log out; see `agency.ports.connection.Connections.forget_login`."""
        login = await self._login()
        await login.forget()
        self._forget_demand()
        if self._session is not None:
            self._session.lose("somebody has logged out")

    async def _login(self) -> Login:
        module = await asyncio.to_thread(importlib.import_module, "agency.tools.mcp.oauth.login")
        url = await self._means.vault.resolve(self.connection.setup.url)
        login: Login = module.Login(self.connection, url, self._means)
        return login

    def _demanded(self) -> Challenge | None:
        """Give what the server has last demanded, in this life or an earlier one."""
        life = self._life
        now = None if life is None else life.refusals.challenge
        return self.challenge if now is None else now

    def _forget_demand(self) -> None:
        self.challenge = None
        if self._life is not None:
            self._life.refusals.challenge = None

    def log_text(self) -> str:
        """Give the end of what the server has written to its standard error."""
        program = None if self._life is None else self._life.program
        tail = b"" if program is None else program.tail()
        redaction = Redaction.of(self.connection.setup, self._means.vault)
        return redaction.text(self.log.text() + tail.decode("utf-8", "replace"))


class _Changes:
    """Wakes all who wait for the next change."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def tell(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def next(self) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)


def _nothing(_: object) -> None:
    """Nobody wants to know."""


async def _close(life: Life, hold: asyncio.Task[None]) -> None:
    """Let a life close by itself; cancel it if it does not."""
    if life.session is not None and life.session.ready.done():
        life.session.lose("it was closed")
    elif not hold.done():
        hold.cancel()
    try:
        await asyncio.wait([hold], timeout=CLOSE_S)
    finally:
        if not hold.done():
            hold.cancel()
            await asyncio.wait([hold], timeout=CLOSE_S)


async def _first(timeout_s: float, *events: asyncio.Event) -> None:
    """Wait until one of them is set, or for so long."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(
            waiting, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for one in waiting:
            one.cancel()


async def _first_of(task: asyncio.Task[None], *events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait([task, *waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


def _leaf(error: BaseException) -> BaseException:
    """Find the first error that says something in a group of groups."""
    for one in _leaves(error):
        if not isinstance(one, asyncio.CancelledError | GeneratorExit):
            return one
    return error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
