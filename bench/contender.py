"""Contenders: each measured in a child process of its own, round by round, in turns."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.counts import counting_environ
from bench.places import Place, stamp_processor

ROOT = Path(__file__).parents[1]
CHILD_S = 240.0
"""Longest time of one child; whatever takes longer is reported as failed."""
_UNSTEADY = 2.0
"""Where the sync times before and after differ by this factor, the disk changed in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something that does a workload.

    Attributes:
        target: ``module:function`` that does it and answers with measurements.
        setting: How durable it is, as it was set, for the table.
        steps: Steps that it does, for rates.
        is_peer: Runs in the peers' environment.
        module: Import name that must be there, for a peer.
        programs: Commands that must be there: the servers that a peer needs.
    """

    name: str
    target: str
    setting: str
    steps: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_peer: bool = False
    module: str = ""
    programs: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement: what the child answered, and how fast disk and processor were around it.

    Attributes:
        loop_ms: What `stamp_processor` took; of before and after the faster one.
    """

    contender: str
    place: str
    round: int
    steps: int
    stamp_before_ms: float
    stamp_after_ms: float
    loop_ms: float
    answer: Mapping[str, Any]

    @property
    def is_steady(self) -> bool:
        low, high = sorted((self.stamp_before_ms, self.stamp_after_ms))
        # Below 0.02 ms there is no disk, and the ratio says nothing.
        return high < max(low, 0.02) * _UNSTEADY

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / float(self.answer["elapsed_s"])

    def per_step(self, name: str) -> float | None:
        value = self.answer.get(name)
        return None if value is None else float(value) / self.steps


class Laboratory:
    """Runs contenders, and keeps what came out.

    Attributes:
        skipped: Why something was not measured, by name.
    """

    def __init__(
        self,
        places: Sequence[Place],
        *,
        shim: Path | None,
        peers_python: Path | None,
        is_quick: bool,
        say: Callable[[str], None],
    ) -> None:
        self.places = places
        self.shim = shim
        self.is_quick = is_quick
        self.say = say
        self.skipped: dict[str, str] = {}
        self._peers_python = peers_python
        self._has: dict[str, bool] = {}

    def place(self, name: str) -> Place | None:
        """Find a place by its name; on a machine without a RAM disk there is no ``ram``."""
        return next((place for place in self.places if place.name == name), None)

    def present(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Leave out peers that are not installed, and say so."""
        found = []
        for contender in contenders:
            missing = [name for name in contender.programs if shutil.which(name) is None]
            if contender.is_peer and not self._is_installed(contender.module):
                self.skipped[contender.name] = (
                    f"{contender.module} is not installed; `make bench` does it"
                )
            elif missing:
                self.skipped[contender.name] = f"there is no {' and no '.join(missing)}"
            else:
                found.append(contender)
        return found

    def _is_installed(self, module: str) -> bool:
        if self._peers_python is None:
            return False
        if module not in self._has:
            code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
            found = subprocess.run([self._peers_python, "-c", code], cwd=ROOT, check=False)
            self._has[module] = found.returncode == 0
        return self._has[module]

    def rounds(
        self, place: Place, contenders: Sequence[Contender], *, rounds: int
    ) -> Sequence[Sample]:
        """Measure all contenders in turns; the order turns from round to round."""
        samples: list[Sample] = []
        present = self.present(contenders)
        for number in range(rounds):
            turned = present[number % len(present) :] + present[: number % len(present)]
            stamp_ms, loop_ms = place.stamp(), stamp_processor()
            for contender in turned:
                answer = self.run(place, contender)
                before_ms, stamp_ms = stamp_ms, place.stamp()
                loop_before_ms, loop_ms = loop_ms, stamp_processor()
                if answer is None:
                    continue
                samples.append(
                    Sample(
                        contender=contender.name,
                        place=place.name,
                        round=number,
                        steps=contender.steps,
                        stamp_before_ms=before_ms,
                        stamp_after_ms=stamp_ms,
                        loop_ms=min(loop_before_ms, loop_ms),
                        answer=answer,
                    )
                )
        return samples

    def run(self, place: Place, contender: Contender) -> Mapping[str, Any] | None:
        """Run one contender once in a child; None, with a reason in `skipped`, if it fails."""
        folder = place.folder / "work"
        folder.mkdir()
        result = place.folder / "result.json"
        counts_file = place.folder / "counts"
        python = self._peers_python if contender.is_peer else Path(sys.executable)
        arguments = {"folder": str(folder), **contender.arguments}
        command = [
            str(python),
            "-m",
            "bench.child",
            contender.target,
            json.dumps(arguments),
            str(result),
        ]
        environ = {**os.environ, **counting_environ(self.shim, counts_file)}
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environ,
                capture_output=True,
                text=True,
                timeout=CHILD_S,
                check=False,
            )
            if done.returncode != 0:
                self._failed(contender, f"exit code {done.returncode}: {done.stderr[-500:]}")
                return None
            answer: Mapping[str, Any] = json.loads(result.read_text())
            return answer
        except subprocess.TimeoutExpired:
            self._failed(contender, f"it took longer than {CHILD_S:g} s")
            return None
        finally:
            shutil.rmtree(folder)
            result.unlink(missing_ok=True)
            counts_file.unlink(missing_ok=True)

    def _failed(self, contender: Contender, reason: str) -> None:
        if contender.name not in self.skipped:
            self.say(f"{contender.name} failed: {reason}")
        self.skipped[contender.name] = f"failed: {reason}"


def of(samples: Sequence[Sample], name: str) -> list[Sample]:
    """Pick one contender's samples, in the order of rounds."""
    return [sample for sample in samples if sample.contender == name]


def median_ratio(samples: Sequence[Sample], ours: str, other: str) -> tuple[float, int] | None:
    """Compare two contenders' rates, paired by round.

    Pairs in which the disk changed its speed are left out, unless all are like that.

    Returns:
        The median of ours divided by the other's, and the number of pairs; None without a pair.
    """
    others = {sample.round: sample for sample in of(samples, other)}
    pairs = [
        (sample, others[sample.round]) for sample in of(samples, ours) if sample.round in others
    ]
    steady = [pair for pair in pairs if pair[0].is_steady and pair[1].is_steady] or pairs
    if not steady:
        return None
    return statistics.median(mine.rate / theirs.rate for mine, theirs in steady), len(steady)


def median_of(samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> float | None:
    """Take the median of what is known of each sample."""
    known = [found for sample in samples if (found := value(sample)) is not None]
    return statistics.median(known) if known else None
