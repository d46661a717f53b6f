"""Signs of life of a call that has not brought a token yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agency.ports.model import CallProgress, CallStage

SIGN_EVERY_S = 1.0
"""Pause between two signs, and before the first: what is quicker need not be seen."""

_TEXTS = {
    CallStage.QUEUED: "waiting for a place at the model",
    CallStage.LOADING: "loading model",
    CallStage.READING: "reading the prompt",
}


class Signs:
    """Calls ``on_progress`` once a second until it is told to be quiet."""

    def __init__(
        self, on_progress: Callable[[CallProgress], None] | None, *, provider: str, model: str
    ) -> None:
        """Take who is told; nothing happens before `enter`."""
        self._on_progress = on_progress
        self._provider = provider
        self._model = model
        self._stage = CallStage.QUEUED
        self._began_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Be quiet at the end of the body, however it ends."""
        try:
            yield
        finally:
            self.quiet()

    def enter(self, stage: CallStage) -> None:
        """Begin a stage; the seconds count from here."""
        if self._on_progress is None:
            return
        self._stage = stage
        self._began_at = asyncio.get_running_loop().time()
        self._wait()

    def quiet(self) -> None:
        """Tell nothing more; may be called often."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self.quiet()
        self._timer = asyncio.get_running_loop().call_later(SIGN_EVERY_S, self._tell)

    def _tell(self) -> None:
        assert self._on_progress is not None
        elapsed_s = asyncio.get_running_loop().time() - self._began_at
        self._wait()
        self._on_progress(
            CallProgress(
                stage=self._stage,
                text=f"{_TEXTS[self._stage]} ({elapsed_s:.0f} s)",
                provider=self._provider,
                model=self._model,
                elapsed_s=round(elapsed_s, 3),
            )
        )
