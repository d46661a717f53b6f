"""Push notifications, opened with the daemon: the sender beside the doors, and what sets pushes.

This module loads nothing of the SDK: that is done with the first notification.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import TYPE_CHECKING

from aiohttp import web

from agency.a2a.push.posting import Poster
from agency.a2a.push.sealing import Sealer
from agency.a2a.push.sender import News, PushSender, Telling
from agency.config.schema import A2a
from agency.core.addresses import parse_rule
from agency.core.lifetimes import running
from agency.core.records import dataclass
from agency.domain.push import Push
from agency.errors import ConfigurationInvalid
from agency.ports.push import PushStore
from agency.ports.task import TaskStore
from agency.ports.updates import UpdateStore
from agency.ports.workspace import Workspaces
from agency.web.routes import Door
from agency.web.services import Services

if TYPE_CHECKING:
    from agency.a2a.operations import Pushing

log = logging.getLogger(__name__)

GRACE_S = 3.0
"""Longest wait for the sender when the daemon stops."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """Push notifications.

    Attributes:
        door: No routes, but the sender beside them.
        make: Makes what the operations of A2A work with; in a thread, because it loads the SDK.
    """

    door: Door
    make: Callable[[], Pushing]


def make_pushed(settings: A2a, services: Services, updates: UpdateStore) -> Pushed:
    """Make push notifications; nothing is sent before the door is opened.

    Raises:
        ConfigurationInvalid: an entry of ``[a2a] push_allow_private`` is no host.
    """
    try:
        private = [parse_rule(one) for one in settings.push_allow_private]
    except ValueError as error:
        raise ConfigurationInvalid(f"[a2a] push_allow_private: {error}") from error
    store, clock = services.pushes, services.clock
    poster, sealer = Poster(private), Sealer(services.vault)
    sender = PushSender(
        store=store,
        updates=updates,
        news=_LateNews(services.tasks, services.workspaces),
        poster=poster,
        sealer=sealer,
        clock=clock,
    )

    def make() -> Pushing:
        return _make_pushes(store, poster, sealer, services, sender)

    def open_(application: web.Application) -> None:
        application.cleanup_ctx.append(_beside(sender))

    return Pushed(Door(routes=(), open=open_), make)


def make_silent(store: PushStore) -> Door:
    """Make what stands in for push notifications that are switched off.

    Whoever was still to be told is given up: else their tasks would be kept for ever.
    """

    async def give_up(_: web.Application) -> None:
        looked = await store.changed(after=0, limit=1)
        if looked.any_active:
            given_up = await store.give_up()
            log.warning("push notifications are switched off", extra={"given_up": given_up})

    def open_(application: web.Application) -> None:
        application.on_startup.append(give_up)

    return Door(routes=(), open=open_)


def _make_pushes(
    store: PushStore, poster: Poster, sealer: Sealer, services: Services, sender: PushSender
) -> Pushing:
    from agency.a2a.push.configs import Pushes

    return Pushes(
        store=store, poster=poster, sealer=sealer, clock=services.clock, expect=sender.expect
    )


def _beside(sender: PushSender) -> Callable[[web.Application], AsyncIterator[None]]:
    """Run the sender as long as the application is served."""

    async def beside(_: web.Application) -> AsyncIterator[None]:
        def failed(error: BaseException) -> None:
            log.error("push notifications have stopped", exc_info=error)

        async with running(sender.serve, name="pushes", grace_s=GRACE_S, on_failure=failed):
            yield

    return beside


class _LateNews:
    """Loads what writes notifications with the first of them."""

    def __init__(self, tasks: TaskStore, workspaces: Workspaces | None) -> None:
        self._tasks = tasks
        self._workspaces = workspaces
        self._news: News | None = None

    async def begin(self, push: Push) -> Telling:
        if self._news is None:
            # Off the loop: it takes half a second.
            await asyncio.to_thread(import_module, "agency.a2a.push.news")
            from agency.a2a.push.news import TaskNews

            self._news = TaskNews(self._tasks, self._workspaces)
        return await self._news.begin(push)
