"""What came out, as text for people and JSON for programs."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.contender import Contender, Sample, median_of, of
from bench.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure that was promised, and what was attained.

    Attributes:
        limit: What was promised; ``is_floor`` tells whether more or less is better.
        attained: None when it could not be measured.
        note: What the figure rests on.
    """

    name: str
    limit: float
    attained: float | None
    unit: str = ""
    is_floor: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.attained is None:
            return None
        return self.attained >= self.limit if self.is_floor else self.attained <= self.limit

    def line(self) -> str:
        """Write it as one line."""
        verdict = {True: "met", False: "MISSED", None: "not measured"}[self.is_met]
        sign = "≥" if self.is_floor else "≤"
        attained = "-" if self.attained is None else _number(self.attained)
        unit = f" {self.unit}" if self.unit else ""
        note = f" ({self.note})" if self.note else ""
        wanted = f"{sign} {_number(self.limit)}{unit}"
        return f"  {verdict:12}  {self.name}: {attained}{unit}, promised {wanted}{note}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """Write it with columns as wide as what is in them; numbers to the right."""
        all_rows = [list(self.columns), *[list(row) for row in self.rows]]
        widths = [max(len(row[i]) for row in all_rows) for i in range(len(self.columns))]
        lines = [self.title]
        for row in all_rows:
            cells = [
                cell.ljust(width) if position == 0 else cell.rjust(width)
                for position, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  " + "  ".join(cells).rstrip())
        return lines


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a workload has found."""

    name: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Write tables, then targets, then notes."""
        lines: list[str] = []
        for table in self.tables:
            lines += [*table.lines(), ""]
        lines += [target.line() for target in self.targets]
        lines += [f"  note: {note}" for note in self.notes]
        return lines

    def document(self) -> dict[str, Any]:
        """Give everything that was measured, as JSON types."""
        return {
            "workload": self.name,
            "targets": [{**asdict(target), "is_met": target.is_met} for target in self.targets],
            "tables": [asdict(table) for table in self.tables],
            "notes": self.notes,
            "samples": [asdict(sample) for sample in self.samples],
        }


def steps_table(
    title: str, place: Place, contenders: Sequence[Contender], samples: Sequence[Sample]
) -> Table:
    """Compare contenders on one disk: counts first, then processor time, then rates."""
    stamps = [sample.stamp_before_ms for sample in samples]
    stamps += [sample.stamp_after_ms for sample in samples]
    rounds = len({sample.round for sample in samples})
    stamp = (
        f"fdatasync of 4 KiB {statistics.median(stamps):.3f} ms "
        f"({min(stamps):.3f} to {max(stamps):.3f})"
        if stamps
        else "nothing measured"
    )
    loops = [sample.loop_ms for sample in samples]
    if loops:
        stamp += (
            f" · a fixed loop {statistics.median(loops):.1f} ms of processor time "
            f"({min(loops):.1f} to {max(loops):.1f})"
        )
    rows = []
    for contender in contenders:
        found = of(samples, contender.name)
        if not found:
            continue
        rates = [sample.rate for sample in found]
        processor_s = median_of(found, lambda sample: sample.per_step("processor_s"))
        rows.append(
            [
                contender.name,
                contender.setting,
                str(contender.steps),
                _cell(median_of(found, lambda sample: sample.per_step("syncs"))),
                _cell(median_of(found, lambda sample: sample.per_step("written_bytes")), 0),
                _cell(None if processor_s is None else processor_s * 1e6, 0),
                _cell(statistics.median(rates), 0),
                f"{min(rates):.0f} to {max(rates):.0f}",
            ]
        )
    return Table(
        title=f"{title} · {place.title} · {stamp} · {rounds} rounds · "
        f"load {os.getloadavg()[0]:.1f}",
        columns=(
            "",
            "durability",
            "steps",
            "syncs/step",
            "bytes/step",
            "µs CPU/step",
            "steps/s",
            "range",
        ),
        rows=rows,
    )


def _cell(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
