"""Control flow of a run: how an author's coroutine is left without having ended.

These are `BaseException`s, so that an author's ``except Exception`` does not swallow them; should
even they be swallowed, every further call of the context raises again.
"""

from __future__ import annotations

from typing import Any

from agency.domain.run import RunStatus


class Control(BaseException):
    """Root of the exceptions that leave an author's coroutine."""


class Dropped(Control):
    """The run leaves memory: it is suspended, was put back, or its claim is over."""


class Parked(Control):
    """The run is suspended and its coroutine lingers; nothing may be done without a claim."""


class Broken(Control):
    """Something of the run could not be recorded: it fails, whatever its code is doing."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class RunEnding(Control):
    """The run's end was asked for: cancelled, or past its deadline."""

    def __init__(self, status: RunStatus) -> None:
        super().__init__(status.value)
        self.status = status


class ContinuedAs(Control):
    """The run ends and a successor with another input starts."""

    def __init__(self, successor_input: Any) -> None:  # noqa: ANN401  JSON value
        super().__init__()
        self.successor_input = successor_input


class LimitReached(Control):
    """An interpreter has used up a budget and ends with what it has."""

    def __init__(self, output: Any) -> None:  # noqa: ANN401  JSON value
        super().__init__()
        self.output = output


class Mismatch(Control):
    """The code asks for another thing than the one that the journal has recorded next."""

    def __init__(self, *, branch: str, recorded: str, asked: str) -> None:
        super().__init__(f"recorded {recorded!r}, asked {asked!r}")
        self.branch = branch
        self.recorded = recorded
        self.asked = asked

    @property
    def difference(self) -> dict[str, str]:
        """What is shown to whoever decides how the run goes on."""
        return {"branch": self.branch, "recorded": self.recorded, "asked": self.asked}
