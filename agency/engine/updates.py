"""The hub: one reader of the journal's tail serves all who watch runs.

It is nudged by commits, reads what is new once, and hands it to the subscriptions. Those that want
the same in the same form share a *channel*: each update is written once for all of them, and what
one look has found is joined and goes out in one piece. While nobody watches it does nothing.

No subscription has a queue. What is handed out goes to its sink, which says whether it has room for
more. One that has none is detached: it remembers the number that it has come to, and reads on by
itself, from the channel's ring of late frames or else from the store, until it has caught up and is
attached again. So a slow watcher costs no memory and misses nothing.

Handing out takes a twentieth of the loop's time: the more who watch, the more goes out together.

Tokens of models are shown as they come. They have no number and are not kept: who is detached, or
comes later, does not see them; the step's result has the whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from agency.domain.run import Run
from agency.domain.update import HookState, Update, UpdateFilter, UpdateType
from agency.engine.channel import Channel, Dialect, Subscription, Token
from agency.engine.patience import until_read
from agency.errors import RunNotFound, ShuttingDown, UpdatesAhead
from agency.ports.store import RunStore
from agency.ports.updates import UpdatePage, UpdateStore

PAUSE_S = 0.01
"""Least time between two looks at the tail: what is committed meanwhile goes out together."""
PAUSE_S_MAX = 0.25
"""Longest such time, however many watch."""
SHARE = 0.05
"""Of the loop's time, for handing out."""
REREAD_S = 5.0
"""The tail is looked at so often while somebody watches, also if no commit was heard of."""
LOOK_ROWS_MAX = 1000
"""Entries of the journal that one look goes through: a few milliseconds of a reader's thread."""
TOKEN_CHARACTERS_MAX = 64 * 1024
"""Tokens that wait for the next look; later ones are not shown."""

ALL_TYPES = frozenset(UpdateType)


class Updates:
    """The hub. `serve` must run for it to be live."""

    def __init__(self, store: UpdateStore, runs: RunStore) -> None:
        self._store = store
        self._runs = runs
        self._channels: dict[tuple[UpdateFilter, Dialect], Channel] = {}
        self._by_run: dict[int, list[Channel]] = {}
        self._hearing: dict[str, list[Channel]] = {}
        self._of_all: list[Channel] = []
        self._wanted: tuple[frozenset[UpdateType], frozenset[int]] = (frozenset(), frozenset())
        self._subscriptions: set[Subscription] = set()
        self._tokens: dict[tuple[str, str], list[str]] = {}
        self._token_characters = 0
        self._position: int | None = None
        self._nudged = asyncio.Event()
        self._is_closed = False

    @property
    def watching(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions)

    async def subscribe(
        self, wanted: UpdateFilter, dialect: Dialect, *, after: int | None
    ) -> Subscription:
        """Watch all runs: what was committed after that number, or from now on.

        Raises:
            UpdatesAhead: there is no such number yet.
            ShuttingDown: the hub is closing.
        """
        return self._join(wanted, dialect, None, await self._begin(after))

    async def subscribe_run(
        self, run_id: str, wanted: UpdateFilter, dialect: Dialect, *, after: int | None
    ) -> Subscription | None:
        """Watch one run until it has ended; its end is always told.

        With ``after`` None it begins now; of a run that has ended already only the end is told.

        Returns:
            None when the run had ended by ``after``: nothing will come.

        Raises:
            RunNotFound: there is none.
            UpdatesAhead: there is no such number yet.
            ShuttingDown: the hub is closing.
        """
        # Before its status is read: an end that comes in between is among what is handed out.
        begin = await self._begin(after)
        status = await self._store.last_status(run_id)
        if status.is_end:
            if after is None:
                begin = min(begin, status.id - 1)
            elif after >= status.id:
                return None
        wanted = replace(wanted, run_number=status.run_number)
        return self._join(wanted, dialect, run_id, begin)

    async def _begin(self, after: int | None) -> int:
        position = self._position
        if position is not None and (after is None or after <= position):
            return position if after is None else after
        newest = await self._store.newest()
        if after is not None and after > newest:
            raise UpdatesAhead(after, newest)
        return newest if after is None else after

    async def hooks(self) -> Sequence[HookState]:
        """Tell how far the hooks of authors have come, as it was last written down."""
        return await self._store.hooks()

    def token(self, run_id: str, step: str, text: str) -> None:
        """Show what a model says, if anybody watches the run now."""
        if run_id not in self._hearing or not text:
            return
        if self._token_characters < TOKEN_CHARACTERS_MAX:
            self._token_characters += len(text)
            self._tokens.setdefault((run_id, step), []).append(text)
            self._nudged.set()

    async def page(self, channel: Channel, *, after: int) -> UpdatePage:
        """Read on for one that has fallen behind."""
        if channel.run_id is not None:
            page = await self._store.of_run(channel.run_id, after=after, limit=LOOK_ROWS_MAX)
        else:
            page = await self._store.tail(
                after=after,
                types=channel.wanted.types or ALL_TYPES,
                runs=frozenset(),
                limit=LOOK_ROWS_MAX,
            )
        return await self._with_runs(page, [channel])

    async def _with_runs(self, page: UpdatePage, channels: Iterable[Channel]) -> UpdatePage:
        """Read the runs of what is found, once for all of the channels that want them."""
        wanting = [channel.wanted for channel in channels if channel.dialect.has_runs]
        if not wanting:
            return page
        run_ids = {
            update.run_id
            for update in page.updates
            if any(wanted.matches(update) for wanted in wanting)
        }
        # Asked for at once they are read in one statement.
        found = await asyncio.gather(*(self._find(run_id) for run_id in run_ids))
        runs = dict(zip(run_ids, found, strict=True))
        updates = [replace(update, run=runs.get(update.run_id)) for update in page.updates]
        return UpdatePage(updates, page.seen)

    async def _find(self, run_id: str) -> Run | None:
        try:
            return (await self._runs.get(run_id)).run
        except RunNotFound:
            return None

    # --- the loop -------------------------------------------------------------------------

    async def serve(self, stop: asyncio.Event) -> None:
        """Hand out what is committed until ``stop`` is set; then all subscriptions end."""
        stopped = asyncio.ensure_future(stop.wait())
        stopped.add_done_callback(lambda _: self._nudged.set())
        try:
            while not stop.is_set():
                if not self._channels:
                    self._nudged.clear()
                    await self._nudged.wait()
                    continue
                leave = self._store.listen(self._nudged.set)
                try:
                    await self._attend(stop)
                finally:
                    leave()
                    self._position = None
        except ShuttingDown:
            return
        finally:
            stopped.cancel()
            self.close()

    async def _attend(self, stop: asyncio.Event) -> None:
        """Hand out as long as somebody watches."""
        loop = asyncio.get_running_loop()
        self._position = None
        position = await until_read(self._store.newest)
        self._go_live(position)
        while self._channels and not stop.is_set():
            self._nudged.clear()
            types, runs = self._wanted
            look = partial(
                self._store.tail, after=position, types=types, runs=runs, limit=LOOK_ROWS_MAX
            )
            page = await until_read(look)
            has_more = page.seen - position >= LOOK_ROWS_MAX
            before, position = position, page.seen
            page = await until_read(partial(self._with_runs, page, self._channels.values()))
            began_s = loop.time()
            self._hand_out(page, before)
            self._go_live(position)
            spent_s = loop.time() - began_s
            await asyncio.sleep(min(PAUSE_S_MAX, max(PAUSE_S, spent_s * (1 / SHARE - 1))))
            if not has_more:
                await self._nudge()

    async def _nudge(self) -> None:
        try:
            async with asyncio.timeout(REREAD_S):
                await self._nudged.wait()
        except TimeoutError:
            return

    def _hand_out(self, page: UpdatePage, before: int) -> None:
        self._say_tokens()
        if not page.updates:
            return
        for channel in self._of_all:
            if channel.floor is not None:
                channel.hand_out(page.updates, before, page.seen)
        by_run: dict[int, list[Update]] = {}
        for update in page.updates:
            if update.run_number in self._by_run:
                by_run.setdefault(update.run_number, []).append(update)
        for number, updates in by_run.items():
            for channel in self._by_run[number]:
                if channel.floor is not None:
                    channel.hand_out(updates, before, page.seen)

    def _say_tokens(self) -> None:
        """Show tokens before the results of their steps, which have the whole."""
        tokens, self._tokens, self._token_characters = self._tokens, {}, 0
        for (run_id, step), texts in tokens.items():
            for channel in self._hearing.get(run_id, ()):
                channel.say(Token(run_id, step, "".join(texts)))

    def _go_live(self, position: int) -> None:
        """Let channels that were made during the last look begin where it has ended."""
        self._position = position
        for channel in self._channels.values():
            if channel.floor is None:
                channel.begin(position)

    # --- who watches ----------------------------------------------------------------------

    def _join(
        self, wanted: UpdateFilter, dialect: Dialect, run_id: str | None, last: int
    ) -> Subscription:
        if self._is_closed:
            raise ShuttingDown
        channel = self._channels.get((wanted, dialect))
        if channel is None:
            channel = Channel(wanted, dialect, run_id)
            self._channels[wanted, dialect] = channel
            self._index()
            self._nudged.set()
        channel.users += 1
        subscription = Subscription(self, channel, last)
        self._subscriptions.add(subscription)
        return subscription

    def leave(self, channel: Channel, subscription: Subscription) -> None:
        """Forget a subscription that is over, and its channel if it was the last one."""
        if subscription not in self._subscriptions:
            return
        self._subscriptions.discard(subscription)
        channel.users -= 1
        if channel.users == 0:
            del self._channels[channel.wanted, channel.dialect]
            # One that still waits for it to be live is let go.
            channel.is_live.set()
            self._index()

    def _index(self) -> None:
        self._by_run, self._hearing, self._of_all = {}, {}, []
        types: frozenset[UpdateType] = frozenset()
        for channel in self._channels.values():
            number = channel.wanted.run_number
            if number is None or channel.run_id is None:
                self._of_all.append(channel)
                types |= channel.wanted.types or ALL_TYPES
                continue
            self._by_run.setdefault(number, []).append(channel)
            if channel.dialect.token is not None:
                self._hearing.setdefault(channel.run_id, []).append(channel)
        self._wanted = (types, frozenset(self._by_run))

    def close(self) -> None:
        """End all subscriptions and take no new ones. May be called twice."""
        self._is_closed = True
        channels = list(self._channels.values())
        for subscription in list(self._subscriptions):
            subscription.close()
        for channel in channels:
            channel.is_live.set()  # for those who wait to be attached: they find that they ended
