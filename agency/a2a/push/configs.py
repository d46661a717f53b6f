"""Configurations of push notifications, as A2A has them: the four operations' own part.

Who calls, and whether the task is theirs, `agency.a2a.operations` has looked at before. Tokens and
credentials go in and are sent along; they are shown to nobody again, not even to who gave them.

Importing this module loads the SDK: do it in a thread, when it is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import InvalidParamsError

from agency.a2a.push.posting import Poster
from agency.a2a.push.sealing import PushSecrets, Sealer
from agency.core.clock import Clock
from agency.core.ids import derive_id
from agency.domain.push import (
    PUSH_ID_CHARACTERS_MAX,
    PUSH_SECRET_CHARACTERS_MAX,
    PUSHES_PER_TASK_MAX,
    NewPush,
    Push,
    PushProtocol,
)
from agency.errors import AddressRefused, InvalidInput, PushNotFound, TaskNotFound, TooManyPushes
from agency.ports.push import PushStore
from agency.web.paging import cut_page, parse_number_cursor

CHECK_S = 3.0
"""Longest wait for a name to resolve when a push is set; it is resolved anew for each attempt."""

PAGE_ROWS_DEFAULT = 50
PAGE_ROWS_MAX = 100
"""Rows of one page of a list. Source: as A2A 1.0, section 3.1.4, has it for tasks."""

_SCHEME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
"""Source: RFC 9110, section 11.1 (auth-scheme is a token)."""

_CURSOR = "pushes"


class Pushes:
    """Pushes of tasks; see `agency.a2a.operations.Pushing`."""

    def __init__(
        self,
        *,
        store: PushStore,
        poster: Poster,
        sealer: Sealer,
        clock: Clock,
        expect: Callable[[int], None],
    ) -> None:
        """Hold what pushes need.

        Args:
            store: Where they are kept.
            poster: Says which addresses may be told.
            sealer: Encrypts tokens and credentials.
            clock: Dates them.
            expect: Tells the sender of a push that was put, by its number.
        """
        self._store = store
        self._poster = poster
        self._sealer = sealer
        self._clock = clock
        self._expect = expect

    async def check(self, config: pb.TaskPushNotificationConfig) -> None:
        """Refuse what cannot be told.

        Raises:
            InvalidParamsError: the address may not be told, or something is too long.
        """
        if not config.url:
            raise InvalidParamsError("A push notification needs a url.")
        if len(config.id) > PUSH_ID_CHARACTERS_MAX or not config.id.isprintable():
            raise InvalidParamsError(
                f"The id of a push notification has up to {PUSH_ID_CHARACTERS_MAX} characters that "
                "can be shown."
            )
        self._check_headers(config)
        try:
            await self._poster.check(config.url, timeout_s=CHECK_S)
        except InvalidInput as error:
            raise InvalidParamsError(error.message) from error
        except AddressRefused as error:
            # Which addresses a name has in here is nothing for callers to know.
            raise InvalidParamsError(
                f"The url leads to {error.host!r}, which is no public host, and is not told of "
                "tasks. Where it is meant, allow it in [a2a] push_allow_private."
            ) from error

    def _check_headers(self, config: pb.TaskPushNotificationConfig) -> None:
        given = config.authentication
        if config.HasField("authentication") and _SCHEME.fullmatch(given.scheme) is None:
            raise InvalidParamsError("The authentication of a push notification needs a scheme.")
        for what, value in (("token", config.token), ("credentials", given.credentials)):
            if len(value) > PUSH_SECRET_CHARACTERS_MAX:
                raise InvalidParamsError(
                    f"The {what} of a push notification has more than {PUSH_SECRET_CHARACTERS_MAX} "
                    "characters."
                )
            if not (value.isascii() and (value.isprintable() and value == value.strip())):
                raise InvalidParamsError(
                    f"The {what} of a push notification does not fit into a header."
                )

    async def create(
        self,
        config: pb.TaskPushNotificationConfig,
        *,
        task_id: str,
        version: str,
        address: str = "",
        whole_task: bool = False,
    ) -> pb.TaskPushNotificationConfig:
        """Keep a configuration; see `agency.a2a.operations.Pushing.create`."""
        await self.check(config)
        protocol = PushProtocol(version)
        push_id = config.id or _own_id(task_id, config.url, protocol)
        secrets = PushSecrets(token=config.token, credentials=config.authentication.credentials)
        new = NewPush(
            id=push_id,
            task_id=task_id,
            url=config.url,
            protocol=protocol,
            created_at=self._clock.now(),
            address=address,
            scheme=config.authentication.scheme,
            sealed=await self._sealer.seal(secrets, task_id=task_id, push_id=push_id),
            whole_task=whole_task,
        )
        try:
            push = await self._store.put(new, per_task_max=PUSHES_PER_TASK_MAX)
        except TooManyPushes as error:
            raise InvalidParamsError(
                f"The task has {error.pushes_max} push notifications, and more are not taken."
            ) from error
        self._expect(push.number)
        kept = pb.TaskPushNotificationConfig()
        kept.CopyFrom(config)
        kept.id = push_id
        kept.task_id = task_id
        return kept

    async def get(self, config_id: str, *, task_id: str) -> pb.TaskPushNotificationConfig | None:
        """Find one; without an id the first one that the task has."""
        try:
            if config_id:
                return _config_of(await self._store.get(task_id, config_id))
            found = await self._store.list(task_id, after=0, limit=1)
        except (PushNotFound, TaskNotFound):
            return None
        return _config_of(found[0]) if found else None

    async def list(
        self, *, task_id: str, page_size: int, page_token: str
    ) -> pb.ListTaskPushNotificationConfigsResponse:
        """List those of a task, in the order in which they came.

        Raises:
            InvalidParamsError: it is no page of this list.
        """
        if not 0 <= page_size <= PAGE_ROWS_MAX:
            raise InvalidParamsError(f"The page size lies between 1 and {PAGE_ROWS_MAX}.")
        limit = page_size or PAGE_ROWS_DEFAULT
        try:
            after = parse_number_cursor(_CURSOR, page_token) if page_token else 0
        except InvalidInput as error:
            raise InvalidParamsError("The page token is not one of this list.") from error
        rows = await self._store.list(task_id, after=after, limit=limit + 1)
        page, cursor = cut_page(_CURSOR, rows, limit, lambda push: push.number)
        return pb.ListTaskPushNotificationConfigsResponse(
            configs=[_config_of(push) for push in page], next_page_token=cursor or ""
        )

    async def delete(self, config_id: str, *, task_id: str) -> None:
        """Delete one; also when there is none. What is on its way arrives all the same."""
        await self._store.delete(task_id, config_id)


def _own_id(task_id: str, url: str, protocol: PushProtocol) -> str:
    """Make the id of a push that was given none: the same again when it is set again.

    In 0.3 a task without ids has one configuration, which the next one replaces.
    """
    return task_id if protocol is PushProtocol.V0_3 else derive_id("push", task_id, url)


def _config_of(push: Push) -> pb.TaskPushNotificationConfig:
    shown = pb.TaskPushNotificationConfig(id=push.id, task_id=push.task_id, url=push.url)
    if push.scheme:
        shown.authentication.scheme = push.scheme
    return shown
