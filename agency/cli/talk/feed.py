"""Updates of a run and of its helpers, read aside, so that whoever shows them is never held up.

Each run is read by a thread of its own. A connection that breaks is made again with the id of the
last update (``Last-Event-ID``), so that nothing is missed over a restart of the daemon.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

from agency.client import Client
from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.errors import AgencyError, AnswerLost, DaemonUnreachable, ShuttingDown, TooManyStreams

AWAY_S = 600.0
"""How long a daemon that was there may be away: long enough for an upgrade."""
HELPERS_MAX = 16
"""Helpers of one run that are watched; the daemon has a bound on streams, too."""
UPDATES_MAX = 4096
"""Updates that wait to be shown, for example while a person is asked; then reading waits."""
PAUSE_S = 0.25
PAUSE_S_MAX = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was heard of a run.

    Attributes:
        update: What has happened in it, or None.
        away: Why the daemon cannot be heard now; empty when it can be heard again.
        is_end: Nothing more comes of this run, because of ``error`` if there is one.
    """

    run_id: str
    update: Mapping[str, Any] | None = None
    away: str | None = None
    is_end: bool = False
    error: AgencyError | None = None


class Feed:
    """Reads what happens in some runs."""

    def __init__(self, client: Client) -> None:
        """Begin with none."""
        self._client = client
        self._told: queue.Queue[Told] = queue.Queue(UPDATES_MAX)
        self._followed: set[str] = set()

    def follow(self, run_id: str) -> None:
        """Read a run from its beginning to its end; one that is read already is left alone."""
        if run_id in self._followed or len(self._followed) > HELPERS_MAX:
            return
        self._followed.add(run_id)
        # It may wait in a read when everything else has ended, so nothing waits for it.
        threading.Thread(target=self._read, args=(run_id,), daemon=True).start()

    def next(self, timeout_s: float) -> Told | None:
        """Give what was heard next, None if that was nothing for so long."""
        try:
            return self._told.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _read(self, run_id: str) -> None:
        last, pause_s = 0, PAUSE_S
        away_since_s: float | None = None
        while True:
            try:
                for update in self._client.updates(run_id, after=last, patience_s=0.0):
                    if away_since_s is not None:
                        self._told.put(Told(run_id=run_id, away=""))
                    away_since_s, pause_s = None, PAUSE_S
                    last = update.get("id", last)
                    self._told.put(Told(run_id=run_id, update=update))
            except (AnswerLost, DaemonUnreachable, ShuttingDown, TooManyStreams) as error:
                now_s = monotonic_s()
                if away_since_s is None:
                    away_since_s = now_s
                    self._told.put(Told(run_id=run_id, away=error.message))
                if now_s - away_since_s > AWAY_S:
                    self._told.put(Told(run_id=run_id, is_end=True, error=error))
                    return
            except AgencyError as error:
                self._told.put(Told(run_id=run_id, is_end=True, error=error))
                return
            else:
                if away_since_s is not None:
                    self._told.put(Told(run_id=run_id, away=""))
                self._told.put(Told(run_id=run_id, is_end=True))
                return
            time.sleep(pause_s)
            pause_s = min(PAUSE_S_MAX, pause_s * 2)
