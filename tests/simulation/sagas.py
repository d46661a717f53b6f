"""Sagas made by chance: legs one after another and beside each other, some of which fail.

Their shapes are always the same; what becomes of each leg is drawn from the input of its run, so
that each try of it, in each life, meets the same fate.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from agency import Permanent, Retry, current_step
from agency.errors import OutcomeUnknown
from agency.workflows.saga.leg import Child, Leg, LegContext
from agency.workflows.saga.saga import Saga
from tests.simulation.programs import Programs
from tests.simulation.witness import Witness

SAGAS = 8
LEGS_MAX = 5
_AGAIN = Retry(attempts=3, base_s=0.2)


@dataclass
class LegNotes:
    """What was seen outside of one leg of one run.

    Attributes:
        place: Stage that it belongs to; those of one stage go beside each other.
        has_undo: It can be taken back.
        keys: Keys of the steps that have acted for it, on the way forward.
        done: How often its action has had its effect, or may have had.
        undoing: How often its compensation was tried.
        undone: How often its compensation has had its effect.
    """

    place: int
    has_undo: bool
    keys: set[str] = field(default_factory=set)
    done: int = 0
    undoing: int = 0
    undone: int = 0


class Sagas:
    """The sagas, and what the world has seen of their runs."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._notes: dict[str, dict[str, LegNotes]] = {}
        self._plans = [_draw(number) for number in range(SAGAS)]

    def forget(self) -> None:
        """A new seed begins."""
        self._notes = {}

    def make(self) -> list[Saga]:
        """Make them, for one life."""
        return [self._make(number, plan) for number, plan in enumerate(self._plans)]

    def _make(self, number: int, plan: list[list[str]]) -> Saga:
        saga = Saga(f"saga-{number}", version="1")
        count = 0
        for place, kinds in enumerate(plan):
            legs = []
            for kind in kinds:
                count += 1
                legs.append(self._leg(f"leg{count}", kind, place))
            if len(legs) == 1:
                saga.add(legs[0])
            else:
                saga.parallel(*legs)
        return saga

    def _leg(self, name: str, kind: str, place: int) -> Leg:
        do: Any = functools.partial(self._act, place=place, has_undo=kind != "kept")
        undo: Any = self._undo
        if kind == "child":
            do = undo = Child(workflow="life", input=_child_input)
        elif kind == "thread":
            do = functools.partial(self._act_in_thread, place=place)
        return Leg(
            id=name,
            do=do,
            undo=None if kind == "kept" else undo,
            retry=_AGAIN,
            undo_retry=_AGAIN,
            timeout_s=4.0 if kind == "brief" else None,
            effect="once" if kind == "once" else "repeatable",
        )

    # --- what legs do -----------------------------------------------------------------------

    async def _act(self, context: LegContext, *, place: int, has_undo: bool) -> dict[str, Any]:
        serial = self._begin(context, place, has_undo=has_undo)
        await asyncio.sleep(self._programs.source.random() * _fate(context, "time") * 8.0)
        self._fail_as_drawn(context)
        return {"serial": serial}

    def _act_in_thread(self, context: LegContext, *, place: int) -> dict[str, Any]:
        serial = self._begin(context, place, has_undo=True)
        self._fail_as_drawn(context)
        return {"serial": serial}

    def _fail_as_drawn(self, context: LegContext) -> None:
        fate = _fate(context, "do")
        if fate < 0.12:
            raise Permanent("it is refused")
        if fate < 0.2 and context.attempt < 3:
            raise OSError("try again")
        if fate < 0.26:
            raise OutcomeUnknown("nobody knows")

    async def _undo(self, context: LegContext, result: Any) -> None:
        info = current_step()
        witness = self._programs.witness
        witness.begin(info.run_id, info.key)
        if witness.is_blind:
            return
        # None: the process died, or the run was stopped, between the word of it and its beginning.
        notes = self._notes.get(context.run_id, {}).get(context.leg)
        if notes is not None:
            notes.undoing += 1
            self._check_order(context, notes)
        await asyncio.sleep(self._programs.source.random())
        fate = _fate(context, "undo")
        if fate < 0.12:
            raise Permanent("it cannot be taken back")
        if fate < 0.25 and context.attempt < 3:
            raise OSError("try again")
        if notes is not None and not witness.is_blind:
            notes.undone += 1

    def _begin(self, context: LegContext, place: int, *, has_undo: bool) -> int:
        info = current_step()
        witness = self._programs.witness
        serial = witness.begin(info.run_id, info.key, is_once=False)
        if witness.is_blind:
            return serial
        legs = self._notes.setdefault(context.run_id, {})
        notes = legs.setdefault(context.leg, LegNotes(place, has_undo))
        notes.keys.add(info.key)
        notes.done += 1
        if any(leg.undoing for leg in legs.values()):
            witness.fault(f"a leg was done after others were taken back: {context.leg}")
        if any(leg.place > place for leg in legs.values()):
            witness.fault(f"a leg was done after a later one: {context.leg}")
        return serial

    def _check_order(self, context: LegContext, notes: LegNotes) -> None:
        """Those after it were taken back before it, as far as they were done."""
        for name, other in self._notes[context.run_id].items():
            is_left = other.has_undo and not other.undoing
            if other.place > notes.place and is_left and self._is_recorded(context.run_id, other):
                self._programs.witness.fault(
                    f"{context.leg} was taken back before {name} of {context.run_id}"
                )

    def _is_recorded(self, run_id: str, notes: LegNotes) -> bool:
        connection = self._programs.witness.connection
        assert connection is not None
        return _has_result(connection, run_id, notes)

    # --- at the end -------------------------------------------------------------------------

    def check(self, witness: Witness, connection: sqlite3.Connection) -> None:
        """Each saga has ended as its legs have."""
        for run_id, status, error in connection.execute(
            "SELECT id, status, error FROM runs WHERE kind = 'saga'"
        ):
            legs = self._notes.get(run_id, {})
            details = json.loads(error)["details"] if error is not None else None
            self._check_run(witness, connection, run_id, status, details or {}, legs)

    def _check_run(
        self,
        witness: Witness,
        connection: sqlite3.Connection,
        run_id: str,
        status: str,
        details: dict[str, Any],
        legs: dict[str, LegNotes],
    ) -> None:
        place = f"{run_id} ({status})"
        match status:
            case "completed":
                for name, notes in legs.items():
                    if notes.undoing:
                        witness.fault(f"{name} was taken back of a saga that is done: {place}")
                    if not _has_result(connection, run_id, notes):
                        witness.fault(f"{name} was not done of a saga that is done: {place}")
            case "compensated" | "compensation_failed":
                failed = {error["leg"] for error in details["compensation_errors"]}
                if failed != set(details["legs_left"]) or bool(failed) == (status == "compensated"):
                    witness.fault(f"it tells another story than it ended as: {place} {details}")
                for name, notes in legs.items():
                    is_done = _has_result(connection, run_id, notes)
                    if is_done and notes.has_undo and not notes.undone and name not in failed:
                        witness.fault(f"a compensation was skipped: {name} of {place}")
                    is_told = name in details["compensated_legs"]
                    if is_told and notes.has_undo and not notes.undone:
                        witness.fault(f"{name} is told to be taken back, and is not: {place}")
            case "dead_letter":
                pass  # it has crashed too often; a retry goes on from there
            case _:
                done = [name for name, notes in legs.items() if notes.done]
                if done:
                    witness.fault(f"legs were done and not taken back: {done} of {place}")


def _has_result(connection: sqlite3.Connection, run_id: str, notes: LegNotes) -> bool:
    marks = ", ".join("?" * len(notes.keys))
    row = connection.execute(
        "SELECT 1 FROM journal JOIN runs ON runs.number = journal.run WHERE runs.id = ?"
        f" AND journal.kind = 1 AND journal.key IN ({marks})",
        (run_id, *sorted(notes.keys)),
    ).fetchone()
    return row is not None


def _draw(number: int) -> list[list[str]]:
    """Draw the stages of a saga, each with the kinds of its legs."""
    source = random.Random(f"saga {number}")
    kinds = ("plain", "plain", "plain", "brief", "kept", "child", "thread", "once")
    stages: list[list[str]] = []
    left = source.randint(2, LEGS_MAX)
    while left > 0:
        width = min(left, source.choice([1, 1, 1, 2, 3]))
        stages.append([source.choice(kinds) for _ in range(width)])
        left -= width
    return stages


def _fate(context: LegContext, what: str) -> float:
    return random.Random(f"{context.input['seed']} {context.leg} {what}").random()


def _child_input(context: LegContext) -> dict[str, int]:
    seed = random.Random(f"{context.input['seed']} {context.leg}").randrange(1 << 30)
    return {"seed": seed, "depth": 2, "turns": 0}
