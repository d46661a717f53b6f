"""All connections of the daemon: those of the configuration and those that are stored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from agency.core.clock import monotonic_s
from agency.core.ids import derive_id, new_id
from agency.domain.connection import (
    Connection,
    ConnectionOrigin,
    ConnectionSetup,
    ServerTool,
    effect_of,
    permission_of,
    references_of,
)
from agency.domain.login import LoginStarted, LoginView
from agency.domain.setups import check_stored
from agency.domain.tool import Asks, ToolEffect, ToolOutput
from agency.errors import (
    AgencyError,
    ConnectionConfigured,
    ConnectionFailed,
    ConnectionNameTaken,
    ConnectionNotFound,
    Fault,
    InvalidInput,
    SecretNotFound,
    ToolNotFound,
)
from agency.ports.connection import ConnectionView, DirectCall, Tested, ToolView
from agency.ports.tool import Toolset
from agency.tools.mcp.calls import CallRequest, is_task
from agency.tools.mcp.logins import secret_name
from agency.tools.mcp.means import Means
from agency.tools.mcp.owner import CLOSE_S, Owner
from agency.tools.mcp.reaping import reap
from agency.tools.mcp.sent import idempotency_key
from agency.tools.mcp.tools import LIST_WAIT_S, McpToolset, make, timeout_of

if TYPE_CHECKING:
    from agency.tools.mcp.oauth.challenge import Challenge

log = logging.getLogger(__name__)

FAULTS_SHOWN_MAX = 20

TESTS_AT_ONCE = 4
"""Connections that are tried at once: each try of a program starts one. Others wait."""

Configured = Mapping[str, tuple[ConnectionSetup, bool]]
"""Connections of the configuration by name, and whether they are to be opened."""


@dataclass(slots=True, eq=False)
class _Kept:
    owner: Owner
    stop: asyncio.Event
    task: asyncio.Task[None] | None = None
    is_source: bool = False


class Sources(Protocol):
    """Where sources of tools come and go; see `agency.tools.toolsets.ToolsetRegistry`."""

    def all(self) -> Sequence[Toolset]: ...

    def add(self, toolset: Toolset) -> None: ...

    def remove(self, name: str) -> None: ...


class McpConnections:
    """The connections; see `agency.ports.connection.Connections`."""

    def __init__(self, means: Means, configured: Configured, sources: Sources) -> None:
        self._means = means
        self._configured = dict(configured)
        self._sources = sources
        self._kept: dict[str, _Kept] = {}
        self._changing = asyncio.Lock()
        self._testing = asyncio.Semaphore(TESTS_AT_ONCE)
        self._beginning: asyncio.Task[None] | None = None
        self._is_open = False

    # --- their life -------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Know all connections; they are opened by `begin`, and closed together at the end."""
        now = self._means.clock.now()
        for name, described in self._configured.items():
            self._know(_configured(name, described, now))
        for connection in await self._means.store.list():
            if connection.name in self._kept:
                told = {"connection": connection.name}
                log.warning("a stored connection is hidden by the configured one", extra=told)
            else:
                self._know(connection)
        try:
            yield
        finally:
            if self._beginning is not None:
                self._beginning.cancel()
                await asyncio.wait([self._beginning])
            self._is_open = False
            await self._close(list(self._kept.values()))
            await self._means.logins.close()

    def begin(self) -> None:
        """End what an earlier daemon has left and open all connections, beside whatever is done.

        Called when the doors are open: a connection may lead to this daemon itself.
        """
        work = self._begin()
        self._beginning = asyncio.get_running_loop().create_task(work, name="mcp-begin")
        self._beginning.add_done_callback(_tell_failure)

    async def _begin(self) -> None:
        try:
            await reap(self._means.store)
        except (AgencyError, OSError) as error:
            log.warning("servers of an earlier daemon not ended", extra={"reason": str(error)})
        self._is_open = True
        for kept in self._kept.values():
            self._start(kept)

    async def configure(self, configured: Configured) -> Sequence[str]:
        """Take over a changed configuration; only what has changed is opened anew.

        Returns:
            Names of the connections that have changed, come or gone.
        """
        async with self._changing:
            changed = [
                name
                for name in dict.fromkeys([*self._configured, *configured])
                if self._configured.get(name) != configured.get(name)
            ]
            stored = {one.name: one for one in await self._means.store.list()}
            gone = {name: self._forget(name) for name in changed if name in self._kept}
            await self._close(list(gone.values()))
            self._configured = dict(configured)
            for name in changed:
                if name in configured:
                    now = self._means.clock.now()
                    self._start(self._know(_configured(name, configured[name], now)))
                elif name in stored:
                    self._start(self._know(stored[name]))
                if name in gone and name in self._kept:
                    gone[name].owner.hand_over(self._kept[name].owner)
            return changed

    def _know(self, connection: Connection) -> _Kept:
        is_ours = connection.name in {source.name for source in self._sources.all()}
        refusal = "its name is that of tools of our own; give it another one" if is_ours else ""
        kept = _Kept(Owner(connection, self._means, refusal=refusal), asyncio.Event())
        self._kept[connection.name] = kept
        if connection.is_active and not is_ours:
            self._sources.add(McpToolset(kept.owner, self._means.timeout_s))
            kept.is_source = True
        return kept

    def _forget(self, name: str) -> _Kept:
        kept = self._kept.pop(name)
        if kept.is_source:
            self._sources.remove(name)
        return kept

    def _start(self, kept: _Kept) -> None:
        if self._is_open:
            name = f"mcp-owner-{kept.owner.connection.name}"
            # It outlives the request that has added it, and is no part of it.
            kept.task = asyncio.get_running_loop().create_task(
                kept.owner.serve(kept.stop), name=name, context=Context()
            )
            kept.task.add_done_callback(_tell_failure)

    async def _close(self, all_kept: Sequence[_Kept]) -> None:
        """Close connections, all at once: each may take seconds."""
        for kept in all_kept:
            kept.stop.set()
        tasks = [kept.task for kept in all_kept if kept.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=2 * CLOSE_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CLOSE_S)

    def _find(self, key: str) -> _Kept:
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        for one in self._kept.values():
            if one.owner.connection.id == key:
                return one
        raise ConnectionNotFound(key[:64])

    # --- the doors --------------------------------------------------------------------------

    async def secret_usage(self) -> Mapping[str, Sequence[str]]:
        """Tell which secrets connections refer to, by who does."""
        found = {}
        for name, kept in self._kept.items():
            setup = kept.owner.connection.setup
            names = list(references_of(setup))
            if setup.logs_in:
                names.append(secret_name(name))
            if names:
                found[f"connection {name}"] = names
        return found

    def list(self) -> Sequence[ConnectionView]:
        """List all; see `Connections.list`."""
        return [_view(kept.owner) for _, kept in sorted(self._kept.items())]

    def get(self, key: str) -> ConnectionView:
        """Find one; see `Connections.get`."""
        return _view(self._find(key).owner)

    def log(self, key: str) -> str:
        """Give what a server has said beside its messages; see `Connections.log`."""
        return self._find(key).owner.log_text()

    async def add(
        self, name: str, setup: ConnectionSetup, *, is_active: bool, is_tested: bool
    ) -> ConnectionView:
        """Add a connection; see `Connections.add`."""
        check_stored(name, setup)
        self._refuse_taken(name)
        now = self._means.clock.now()
        connection = Connection(
            id=new_id(),
            name=name,
            setup=setup,
            origin=ConnectionOrigin.STORED,
            is_active=is_active,
            created_at=now,
            updated_at=now,
        )
        challenge: Challenge | None = None
        if is_tested:
            connection, challenge = await self._tried(connection)
        async with self._changing:
            # Once more: trying it took time.
            self._refuse_taken(name)
            await self._means.store.add(connection)
            kept = self._know(connection)
            kept.owner.challenge = challenge
            self._start(kept)
        return _view(kept.owner)

    def _refuse_taken(self, name: str) -> None:
        if name in self._kept:
            raise ConnectionNameTaken(name)
        if name in {source.name for source in self._sources.all()}:
            what = "Tools of our own have that name."
            fault = Fault("/name", what, f"Use for example {name + '-server'!r}.")
            raise InvalidInput(f"A connection cannot be called {name!r}.", faults=[fault])

    async def _tried(self, connection: Connection) -> tuple[Connection, Challenge | None]:
        """Try a connection that is to be stored.

        Returns:
            The connection with its tools, or without them and the login that its server demands.

        Raises:
            ConnectionFailed: it does not work.
        """
        owner = Owner(connection, self._means)
        async with self._testing:
            tested = await owner.test()
        if tested.needs_login:
            # As far as it can be tried without somebody who logs in, it works.
            return connection, owner.challenge
        if not tested.is_good:
            raise ConnectionFailed(connection.name, f"{tested.reason}.", log=tested.log[-4096:])
        now = self._means.clock.now()
        return replace(connection, tools=tested.tools, tools_at=now), None

    async def change(
        self,
        key: str,
        *,
        setup: ConnectionSetup | None = None,
        is_active: bool | None = None,
        is_tested: bool = False,
    ) -> ConnectionView:
        """Change a stored connection; see `Connections.change`."""
        async with self._changing:
            kept = self._find(key)
            old = self._stored(kept)
            known = kept.owner
            changed = replace(
                old,
                setup=old.setup if setup is None else setup,
                is_active=old.is_active if is_active is None else is_active,
                updated_at=self._means.clock.now(),
                tools=known.tools,
                tools_at=(old.tools_at or self._means.clock.now()) if known.has_tools else None,
            )
            check_stored(changed.name, changed.setup)
            challenge: Challenge | None = None
            if is_tested:
                changed, challenge = await self._tried(changed)
            await self._means.store.change(changed)
            await self._close([self._forget(old.name)])
            kept = self._know(changed)
            kept.owner.challenge = challenge
            known.hand_over(kept.owner)
            self._start(kept)
        return _view(kept.owner)

    def _stored(self, kept: _Kept) -> Connection:
        connection = kept.owner.connection
        if connection.origin is not ConnectionOrigin.STORED:
            raise ConnectionConfigured(connection.name)
        return connection

    async def remove(self, key: str) -> None:
        """Forget a stored connection; see `Connections.remove`."""
        async with self._changing:
            kept = self._find(key)
            connection = self._stored(kept)
            await self._means.store.remove(connection.id)
            await self._close([self._forget(connection.name)])
            if connection.setup.logs_in:
                # What is left of it would be that of another connection with the same name.
                with contextlib.suppress(SecretNotFound):
                    await self._means.vault.delete(secret_name(connection.name))

    async def test(self, key: str) -> Tested:
        """Try a connection beside its use; see `Connections.test`."""
        owner = self._find(key).owner
        async with self._testing:
            return await owner.test()

    async def login(self, key: str) -> LoginView:
        """Tell how it stands with its login; see `Connections.login`."""
        return await self._find(key).owner.login_view()

    async def begin_login(self, key: str) -> LoginStarted:
        """Begin a login; see `Connections.begin_login`."""
        owner = self._find(key).owner
        async with self._testing:
            return await owner.begin_login()

    async def finish_login(self, key: str, returned: str) -> None:
        """Finish a login; see `Connections.finish_login`."""
        await self._find(key).owner.finish_login(returned)

    async def forget_login(self, key: str) -> None:
        """Log out; see `Connections.forget_login`."""
        await self._find(key).owner.forget_login()

    async def tools(self, key: str) -> Sequence[ToolView]:
        """List what a connection offers; see `Connections.tools`."""
        owner = self._find(key).owner
        setup = owner.connection.setup
        return [
            ToolView(
                tool=tool,
                effect=effect_of(tool, setup),
                permission=permission_of(tool, setup),
                timeout_s=timeout_of(tool, owner.connection, self._means.timeout_s),
            )
            for tool in await owner.list_tools(timeout_s=LIST_WAIT_S)
        ]

    async def call(self, key: str, call: DirectCall) -> ToolOutput | Asks:
        """Call a tool for a person; see `Connections.call`."""
        owner = self._find(key).owner
        offered = await owner.list_tools(timeout_s=LIST_WAIT_S)
        tool = next((one for one in offered if call.tool in {one.name, one.full_name}), None)
        if tool is None:
            raise ToolNotFound(owner.connection.name, call.tool[:256])
        await asyncio.to_thread(_check_arguments, tool, call.arguments)
        key_before = call.state.get("key") if isinstance(call.state, dict) else None
        call_key = key_before if isinstance(key_before, str) else new_id()
        request = CallRequest(
            tool=tool.name,
            arguments=call.arguments,
            timeout_s=timeout_of(tool, owner.connection, self._means.timeout_s),
            key=idempotency_key(call_key),
            effect=ToolEffect.REPEATABLE
            if is_task(call.state)
            else effect_of(tool, owner.connection.setup),
            progress=_ignore,
            answers=call.answers,
            state=_without_key(call.state),
        )
        outcome = await followed(request, lambda one: make(owner, one))
        if isinstance(outcome, Asks):
            # The key goes along, because what is answered must be known to be the same call.
            return replace(outcome, state={**outcome.state, "key": call_key})
        return outcome


async def followed(
    request: CallRequest, make_call: Callable[[CallRequest], Awaitable[ToolOutput | Asks]]
) -> ToolOutput | Asks:
    """Make a call, and look at the task that it has become, for as long as a call may take."""
    until_s = monotonic_s() + request.timeout_s
    outcome = await make_call(request)
    while isinstance(outcome, Asks) and outcome.is_begun and not outcome.questions:
        left_s = until_s - monotonic_s()
        if left_s <= outcome.again_s:
            break
        await asyncio.sleep(outcome.again_s)
        look = replace(
            request,
            state=outcome.state,
            answers={},
            effect=ToolEffect.REPEATABLE,
            timeout_s=max(0.001, until_s - monotonic_s()),
        )
        outcome = await make_call(look)
    return outcome


def _without_key(state: Any) -> Any:  # noqa: ANN401  JSON
    if not isinstance(state, dict):
        return state
    return {key: value for key, value in state.items() if key != "key"}


def _ignore(_: str) -> None:
    """Nobody watches."""


def _configured(name: str, described: tuple[ConnectionSetup, bool], now: datetime) -> Connection:
    setup, is_active = described
    return Connection(
        id=derive_id("connection", name),
        name=name,
        setup=setup,
        origin=ConnectionOrigin.CONFIGURED,
        is_active=is_active,
        created_at=now,
        updated_at=now,
    )


def _view(owner: Owner) -> ConnectionView:
    connection = replace(owner.connection, tools=owner.tools)
    return ConnectionView(connection=connection, status=owner.status)


def _tell_failure(task: asyncio.Task[None]) -> None:
    """A task ends only when it is told to; anything else is a fault of ours, and is told."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("the keeping of connections has failed", exc_info=error)


def _check_arguments(tool: ServerTool, arguments: Mapping[str, Any]) -> None:
    """Check arguments against the tool's schema, as the agent's loop does.

    Raises:
        InvalidInput: they do not fit; ``faults`` says where.
    """
    from jsonschema import exceptions, validators
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validators.validator_for(dict(tool.parameters), default=validators.Draft202012Validator)
    # A schema that is none is the server's affair, which judges the arguments, too.
    with contextlib.suppress(exceptions.SchemaError, Unresolvable):
        schema = dict(tool.parameters)
        kind.check_schema(schema)
        checker = kind(schema, registry=Registry())
        faults = []
        for error in checker.iter_errors(dict(arguments)):
            where = "".join(f"/{part}" for part in error.absolute_path)
            faults.append(Fault(f"/arguments{where}", error.message[:500]))
            if len(faults) == FAULTS_SHOWN_MAX:
                break
        if faults:
            raise InvalidInput(f"The arguments do not fit {tool.name!r}.", faults=faults)
