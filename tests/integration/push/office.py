"""The operations with push notifications, over a real engine, a database file and a vault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from a2a.server.context import ServerCallContext
from a2a.types import a2a_pb2 as pb

from agency import Context, workflow
from agency.a2a.operations import VERSION, Ground
from agency.a2a.push.configs import Pushes
from agency.a2a.push.news import TaskNews
from agency.a2a.push.posting import Poster
from agency.a2a.push.sealing import Sealer
from agency.a2a.push.sender import Pace, PushSender
from agency.config.schema import Server, Settings
from agency.core.addresses import Lookup, parse_rule
from agency.core.clock import Clock, SystemClock
from agency.core.lifetimes import running
from agency.domain.push import Push, PushState
from agency.storage.sqlite.store import SqliteStore
from agency.vault.opening import open_vault
from agency.vault.vault import StoredVault
from tests.integration.tasks.desk import AT_ONCE, GUARD_S, Desk, by, open_desk

FAST = Pace(tries=4, base_s=0.01, cap_s=0.02, fault_s=0.01)
HERE = ("127.0.0.1",)


@workflow("greet")
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}!"


@workflow("ask")
async def ask(ctx: Context, message: str) -> str:
    return f"You like {await ctx.input('Which colour?')}."


@workflow("pieces")
async def pieces(ctx: Context, message: str) -> str:
    from agency import text_part

    await ctx.deliver("poem", text_part("one "), is_last=False)
    await ctx.deliver("poem", text_part("two"), append=True)
    return "done"


def in_version(version: str, name: str = "ann") -> ServerCallContext:
    return by(name, **{VERSION: version})


class Office:
    """A desk whose callers can be told."""

    def __init__(
        self,
        desk: Desk,
        pushes: Pushes,
        sender: PushSender,
        vault: StoredVault,
        make_sender: Callable[[Any], PushSender],
    ) -> None:
        self._make_sender = make_sender
        self.desk = desk
        self.pushes = pushes
        self.sender = sender
        self.vault = vault

    @property
    def store(self) -> SqliteStore:
        return self.desk.house.store

    async def send(self, name: str, said: str, *, at_once: bool = True, **push: Any) -> str:
        """Start a task that tells an address; gives its id."""
        config = pb.TaskPushNotificationConfig(**push)
        asks: dict[str, Any] = {"task_push_notification_config": config}
        task = await self.desk.send(name, said, configuration=asks | (AT_ONCE if at_once else {}))
        return task.id

    async def only(self, task_id: str) -> Push:
        (push,) = await self.store.pushes.list(task_id, after=0, limit=9)
        return push

    @asynccontextmanager
    async def sending(self, store: Any) -> AsyncIterator[None]:
        """Send beside the body, over a store of the test's choice."""
        sender = self._make_sender(store)

        def failed(error: BaseException) -> None:
            raise AssertionError("the sender has failed") from error

        async with running(sender.serve, name="pushes", grace_s=3, on_failure=failed):
            yield

    async def until(self, task_id: str, is_wanted: Callable[[Push], object]) -> Push:
        """Wait until a task's only push is as it is wanted."""
        async with asyncio.timeout(GUARD_S):
            while not is_wanted(push := await self.only(task_id)):
                await _next_commit(self.store)
        return push

    async def settled(self, task_id: str) -> Push:
        """Wait until nothing more will be told."""
        return await self.until(task_id, lambda push: push.state is not PushState.ACTIVE)


async def _next_commit(store: SqliteStore) -> None:
    heard = asyncio.Event()
    leave = store.updates.listen(heard.set)
    try:
        async with asyncio.timeout(0.2):
            await heard.wait()
    except TimeoutError:
        return  # it was before; look again
    finally:
        leave()


@asynccontextmanager
async def open_office(
    path: Path,
    *,
    private: Sequence[str] = HERE,
    pace: Pace = FAST,
    timeout_s: float = 5.0,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
    is_sending: bool = True,
    functions: Sequence[Callable[..., Any]] = (greet, ask, pieces),
) -> AsyncIterator[Office]:
    clock = clock or SystemClock()
    settings = replace(Settings(), server=replace(Server(), data_dir=str(path)))
    async with open_desk(path, *functions) as desk:
        store = desk.house.store
        vault = await open_vault(settings, clock, store=store.secrets)
        rules = [parse_rule(one) for one in private]
        poster = Poster(rules, timeout_s=timeout_s, lookup=lookup)
        sealer = Sealer(vault)

        def make_sender(pushes: Any) -> PushSender:
            return PushSender(
                store=pushes,
                updates=store.updates,
                news=TaskNews(store.tasks, None),
                poster=poster,
                sealer=sealer,
                clock=clock,
                pace=pace,
            )

        sender = make_sender(store.pushes)
        pushes = Pushes(
            store=store.pushes, poster=poster, sealer=sealer, clock=clock, expect=sender.expect
        )
        desk.ground = Ground(desk.ground.services, desk.ground.patience, pushes)
        office = Office(desk, pushes, sender, vault, make_sender)
        if not is_sending:
            yield office
            return

        def failed(error: BaseException) -> None:
            raise AssertionError("the sender has failed") from error

        async with running(sender.serve, name="pushes", grace_s=3, on_failure=failed):
            yield office
