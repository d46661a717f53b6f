"""What runs are taken along with when they go to another database, and how they arrive.

The rules of ``agency.ports.store`` hold here: each method is one atomic transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from agency.domain.lineage import Outline
from agency.domain.run import NewRun, Run
from agency.domain.transfer import Arrival, EntryPart, EventPart, MessagePart, Part, Receipt

if TYPE_CHECKING:  # a record of the file that names this one
    from agency.ports.store import Ending


class TransferStore(Protocol):
    """Runs on their way out and in."""

    async def request_hash(self, run_id: str) -> str | None:
        """Read the hash of the request that has started a run; None if it had no key.

        Raises:
            RunNotFound: there is none.
        """
        ...

    async def entries(self, run: int, numbers: Sequence[int]) -> Sequence[EntryPart]:
        """Read the entries of a run with these numbers, in their order, superseded ones too."""
        ...

    async def messages(
        self, run: Run, *, after: int, until: datetime, limit: int
    ) -> Sequence[tuple[int, MessagePart]]:
        """Read a page of the messages of a run's session, each with its position."""
        ...

    async def events(
        self, run: int, *, after: int, to: int, limit: int
    ) -> Sequence[tuple[int, EventPart]]:
        """Read a page of a mailbox's events that no wait has taken, each with its number."""
        ...

    async def newest_event(self, run: int) -> int:
        """Tell the number of the newest event of a mailbox; 0 if it has none."""
        ...

    async def move(self, seen: Outline, receipt: Receipt, *, now: datetime) -> Ending:
        """Store a receipt, and end its run as CANCELLED with the code ``moved``.

        Work for its end is not done, because the run goes on elsewhere. Its live descendants are
        cancelled. The file is made from what is stored, so the run is kept until its arrival is
        confirmed.

        Raises:
            RunNotFound: there is none.
            RunEnded: it has ended.
            SnapshotSpent: it has gone on since the snapshot.
            RunEndWanted: it is to end, and waits for a decision before.
            RunChanged: something has reached it since it was looked at.
        """
        ...

    async def receipt(self, receipt_id: str) -> Receipt:
        """Read a receipt.

        Raises:
            ReceiptNotFound: there is none.
        """
        ...

    async def find_receipt(self, run_id: str) -> Receipt | None:
        """Find the receipt of a run that was moved away."""
        ...

    async def confirm(self, receipt_id: str, *, now: datetime) -> Receipt:
        """Note that a run has arrived; twice is the same as once.

        Raises:
            ReceiptNotFound: there is none.
        """
        ...

    async def take_in(
        self, new: NewRun, arrival: Arrival, parts: Iterable[Part]
    ) -> tuple[Run, bool]:
        """Start a run with the parts of a file, and say whether it is new.

        The run is pending, as if it had been claimed before, so that its journal is read. A copy
        of a file that was brought in before is the run of that time, unless ``again``.

        Args:
            parts: Read in the store's own thread, once more if the transaction has to be carried
                out again; must not raise.

        Raises:
            ExportTaken: a moved run was brought in from this file before.
            RunIdTaken: its id or idempotency key is another run's here.
            NameTaken, SessionBusy, QueueFull: as `RunStore.start`.
        """
        ...
