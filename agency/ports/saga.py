"""What only sagas ask of a store."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from agency.ports.store import Wake


class SagaStore(Protocol):
    """Sagas whose compensation has failed. Each method is one atomic transaction."""

    async def retry_compensation(self, run_id: str, *, now: datetime) -> Wake:
        """Let a run try once more to take back what it could not.

        Its status becomes pending, from ``compensation_failed``, and its ``attempt`` rises. What
        failed of the compensation is superseded; what was taken back stays so. The run
        compensates, also if it had not come to that: nothing goes forward. For its session and
        its concurrency key it stands in line again, as the last: who has them by now goes first.

        Raises:
            RunNotFound: there is none.
            CompensationNotFailed: it is no saga, or has another status.
            NameTaken: a live run has its name by now.
        """
        ...
