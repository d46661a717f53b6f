"""Core memory: the few things that an agent knows in every conversation.

Each change is a version that says who has made it, in which run and why, and can be taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agency.core.clock import Clock
from agency.domain.memory import Block, NewBlock, Scope, check_block_name
from agency.errors import Fault, InvalidInput
from agency.ports.memory import CoreStore

_HEAD = (
    "What you know in every conversation. Keep it short and true with the tool core_memory_edit."
)


class CoreMemory:
    """Shows and changes blocks."""

    def __init__(
        self,
        store: CoreStore,
        clock: Clock,
        *,
        characters_max: int,
        redact: Callable[[str], str],
    ) -> None:
        """Take the store.

        Args:
            characters_max: Of one block.
            redact: Takes secrets out of a text.
        """
        self._store = store
        self._clock = clock
        self._redact = redact
        self.characters_max = characters_max

    async def blocks(self, scope: Scope) -> Sequence[Block]:
        """Read the blocks there are, by name."""
        return await self._store.blocks(scope)

    async def history(
        self, scope: Scope, name: str, *, before: int | None = None, limit: int
    ) -> Sequence[Block]:
        """Read versions of a block, the newest first."""
        return await self._store.history(scope, name, before=before, limit=limit)

    async def render(self, scope: Scope) -> str:
        """Write all blocks for a prompt; empty when there are none."""
        blocks = await self._store.blocks(scope)
        if not blocks:
            return ""
        # The lengths are shown so that a model sees what still fits in.
        parts = [
            f"[{one.name}: {len(one.text or '')} of {self.characters_max} characters]\n{one.text}"
            for one in blocks
        ]
        return "\n\n".join([_HEAD, *parts])

    async def change(self, scope: Scope, new: NewBlock) -> Block:
        """Record a version of a block.

        Raises:
            InvalidInput: it cannot have that name or text.
            BlockChanged, BlockNotFound, TooManyBlocks: as `CoreStore.change`.
        """
        check_block_name(new.name)
        text = None if new.text is None else self._redact(new.text).strip()
        if text == "":
            text = None
        if text is not None and len(text) > self.characters_max:
            what = f"It has {len(text)} characters; {self.characters_max} fit into a block."
            raise InvalidInput(what, faults=[Fault("/text", what)])
        return await self._store.change(
            scope,
            NewBlock(
                name=new.name,
                text=text,
                principal=new.principal,
                run_id=new.run_id,
                reason=new.reason,
                expected=new.expected,
                call_key=new.call_key,
            ),
            now=self._clock.now(),
        )

    async def made_by(self, scope: Scope, call_key: str) -> Block | None:
        """Find the version that a call of a tool has made, if it was made before."""
        return await self._store.made_by(scope, call_key)

    async def revert(
        self, scope: Scope, name: str, version: int, *, principal: str, reason: str = ""
    ) -> Block:
        """Bring an older version back, as a new one.

        Raises:
            BlockNotFound: there is no such version any more.
        """
        old = await self._store.version(scope, name, version)
        new = NewBlock(
            name=name,
            text=old.text,
            principal=principal,
            reason=reason or f"Reverted to version {version}",
        )
        return await self._store.change(scope, new, now=self._clock.now())
