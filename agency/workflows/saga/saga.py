"""Sagas as their authors write them: legs in order, each with what takes it back."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from agency.core import json
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.run import RunKind
from agency.engine.codec import Codec, checking_codec, codec_for
from agency.engine.definition import DECLARES, Definition, syntax_hash
from agency.engine.retry import NO_RETRY, Retry
from agency.engine.steps import Effect
from agency.errors import InvalidInput
from agency.workflows.saga.leg import (
    UNDO_RETRY,
    Child,
    Leg,
    LegContext,
    Stage,
    Undo,
    UndoFailed,
)

LEGS_MAX = 100
"""Legs of one saga: more are several sagas, each a leg of another."""

PARALLEL_LEGS_MAX = 50
"""Legs beside each other."""

Function = TypeVar("Function", bound=Callable[[LegContext], Any])


class Saga:
    """A saga: legs that are all done, or those that were done are taken back.

    Made at the top of a file of workflows it is loaded with it, and is a workflow as any other:
    started by its name, or called as a child by ``ctx.call``.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str | None = None,
        timeout_s: float | None = None,
        input: Any = Any,  # noqa: ANN401  the word of the API; a type
        output: Callable[[LegContext], Any] | None = None,
        description: str = "",
    ) -> None:
        """Make a saga without legs.

        Args:
            name: What it is called from outside.
            version: Recorded with each run; by default a hash of what its legs do.
            timeout_s: A run that has not completed this long after its start is compensated.
            input: Type of the input; any JSON without it.
            output: Makes the output from the results; by default they are the output.
            description: For people.

        Raises:
            InvalidInput: the name cannot be used.
        """
        if not name or len(name) > NAME_CHARACTERS_MAX or any(c in name for c in "/?# \n\t"):
            raise InvalidInput(
                f"The saga name {name!r} cannot be used.",
                hint="Use letters, digits, dots, dashes and underscores.",
            )
        self.name = name
        self.timeout_s = timeout_s
        self.description = description
        self.output = output
        self.input_codec: Codec = checking_codec(input)
        self.is_stored = False
        self.source = ""
        # What it was made of, if that was data: JSON.
        self.declaration: Any = None
        self._version = version
        self._stages: list[Stage] = []
        self._groups = 0
        # A file that imports a saga does not define it.
        self.module = str(sys._getframe(1).f_globals.get("__name__", ""))

    @property
    def stages(self) -> Sequence[Stage]:
        """Legs in the order in which they are done; those of a stage beside each other."""
        return self._stages

    @property
    def legs(self) -> Sequence[Leg]:
        return [leg for stage in self._stages for leg in stage.legs]

    def leg(  # noqa: PLR0913  one for each attribute of a leg
        self,
        id: str,
        *,
        name: str = "",
        undo: Undo | None = None,
        retry: Retry = NO_RETRY,
        undo_retry: Retry = UNDO_RETRY,
        timeout_s: float | None = None,
        undo_timeout_s: float | None = None,
        effect: Effect = "repeatable",
        not_done_on: Sequence[type[BaseException]] = (),
        undo_failed: UndoFailed = "unknown",
    ) -> Callable[[Function], Function]:
        """Add the decorated function as the next leg; the arguments are those of `Leg`."""

        def add(do: Function) -> Function:
            self.add(
                Leg(
                    id=id,
                    do=do,
                    undo=undo,
                    name=name,
                    retry=retry,
                    undo_retry=undo_retry,
                    timeout_s=timeout_s,
                    undo_timeout_s=undo_timeout_s,
                    effect=effect,
                    not_done_on=not_done_on,
                    undo_failed=undo_failed,
                )
            )
            return do

        return add

    def add(self, leg: Leg) -> Saga:
        """Add the next leg.

        Raises:
            InvalidInput: another leg has its id, or there are too many.
        """
        self._check([leg])
        self._stages.append(Stage((leg,)))
        return self

    def parallel(self, *legs: Leg) -> Saga:
        """Add legs that are done beside each other. All of them end before anything is taken back.

        Raises:
            InvalidInput: there are fewer than two or too many, or an id is taken.
        """
        if not 2 <= len(legs) <= PARALLEL_LEGS_MAX:
            raise InvalidInput(
                f"The saga {self.name!r} has {len(legs)} legs beside each other.",
                hint=f"2 to {PARALLEL_LEGS_MAX} are possible.",
            )
        self._check(legs)
        self._groups += 1
        self._stages.append(Stage(legs, f"parallel#{self._groups}"))
        return self

    def _check(self, legs: Sequence[Leg]) -> None:
        known = {leg.id for leg in self.legs}
        for leg in legs:
            if leg.id in known or leg.id == "parallel":
                raise InvalidInput(f"The saga {self.name!r} cannot have another leg {leg.id!r}.")
            known.add(leg.id)
        if len(known) > LEGS_MAX:
            raise InvalidInput(f"The saga {self.name!r} has more than {LEGS_MAX} legs.")

    @property
    def version(self) -> str:
        """Version that runs are pinned to."""
        return self._version or self._hash()

    def definition(self) -> Definition:
        """Make the workflow.

        Raises:
            InvalidInput: it has no leg, or its input's type cannot be read from JSON.
        """
        from agency.workflows.saga.interpreter import Interpreter

        if not self._stages:
            raise InvalidInput(f"The saga {self.name!r} has no leg.")
        self.input_codec.schema()
        interpreter = Interpreter(self)
        return Definition(
            name=self.name,
            kind=RunKind.SAGA,
            version=self.version,
            description=self.description,
            run=interpreter.run,
            takes_input=True,
            input_codec=self.input_codec,
            output_codec=codec_for(Any),
            timeout_s=self.timeout_s,
            is_interpreter=True,
            source=self.source or _source(self.module),
            is_stored=self.is_stored,
            compensate=interpreter.compensate,
            outline=interpreter,
        )

    def _hash(self) -> str:
        shape = [
            [stage.group, [[leg.id, _hash(leg.do), _hash(leg.undo)] for leg in stage.legs]]
            for stage in self._stages
        ]
        text = json.encode([shape, _hash(self.output)])
        return hashlib.sha256(text).hexdigest()[:12]


setattr(Saga, DECLARES, True)


def _hash(part: object) -> str:
    match part:
        case None:
            return ""
        case Child():
            return f"{part.workflow}:{_hash(part.input)}"
        case _ if callable(part):
            function = part if inspect.isroutine(part) else type(part)
            return syntax_hash(function)
        case _:
            raise AssertionError(part)


def _source(module: str) -> str:
    return str(getattr(sys.modules.get(module), "__file__", "") or "")
