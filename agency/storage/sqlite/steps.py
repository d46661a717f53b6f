"""How many steps a run has recorded, without counting and without a write per step.

The row of a run holds the count up to its last change of status; what the claimed runs have
recorded since is counted in memory. The two are put together when a run is read, and written down
whenever it leaves the worker. After a crash the counts of the runs that were claimed are taken from
their journals. Counting at each read would walk the journal, and a counter in the row would be
rewritten with each step.
"""

from __future__ import annotations

_SETTLED = -1


class StepCounts:
    """Steps recorded since the claim, by run and epoch.

    Only the writer's thread changes it. What a transaction notes counts once it is committed;
    `committed` may be called from any thread.
    """

    __slots__ = ("_committed", "_noted")

    def __init__(self) -> None:
        self._committed: dict[str, tuple[int, int]] = {}
        self._noted: list[tuple[str, int, int]] = []

    def committed(self, run_id: str) -> tuple[int, int]:
        """Give the epoch of the run's claim and the steps recorded under it; (0, 0) if none."""
        return self._committed.get(run_id, (0, 0))

    def note(self, run_id: str, epoch: int, steps: int) -> None:
        """Count steps that the transaction records."""
        self._noted.append((run_id, epoch, steps))

    def settle(self, run_id: str, epoch: int) -> int:
        """Give all steps recorded under the claim, to be written down; the count is over."""
        total = self.count(run_id, epoch)
        self.forget(run_id, epoch)
        return total

    def count(self, run_id: str, epoch: int) -> int:
        """Give all steps recorded under the claim, with those of this transaction."""
        known_epoch, total = self.committed(run_id)
        if known_epoch != epoch:
            total = 0
        total += sum(
            steps
            for noted, noted_epoch, steps in self._noted
            if noted == run_id and noted_epoch == epoch and steps > 0
        )
        return total

    def forget(self, run_id: str, epoch: int) -> None:
        """End the count of a claim: it was written down, and the claim is over."""
        self._noted.append((run_id, epoch, _SETTLED))

    def mark(self) -> int:
        """Give a point to which `undo` can go back."""
        return len(self._noted)

    def undo(self, mark: int = 0) -> None:
        """Forget what was noted since the mark: it was rolled back."""
        del self._noted[mark:]

    def commit(self) -> None:
        """Let what was noted count: it is durable."""
        committed = self._committed
        for run_id, epoch, steps in self._noted:
            if steps == _SETTLED:
                committed.pop(run_id, None)
                continue
            known_epoch, total = committed.get(run_id, (0, 0))
            committed[run_id] = (epoch, total + steps if known_epoch == epoch else steps)
        self._noted.clear()
