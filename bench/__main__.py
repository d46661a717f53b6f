"""``python -m bench [--only NAME] [--quick] [--json FILE] [--strict]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from bench.contender import ROOT, Laboratory
from bench.counts import build_shim
from bench.places import open_places
from bench.report import Outcome
from bench.workloads import WORKLOADS

PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"


def main() -> int:
    """Measure; 1 if ``--strict`` and a target was missed."""
    given = _parse()
    machine = _machine()
    print(
        "Counts are of fsync and fdatasync calls and of bytes of pwrite, by a preloaded library. "
        "Rates are medians; disks drift, so compare within one table only.\n"
        + ", ".join(f"{name} {value}" for name, value in machine.items())
        + "\n",
        flush=True,
    )
    outcomes = []
    with open_places() as places:
        shim = build_shim(places[-1].folder)
        laboratory = Laboratory(
            places,
            shim=shim,
            peers_python=PEERS_PYTHON if PEERS_PYTHON.exists() else None,
            is_quick=given.quick,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        if shim is None:
            laboratory.skipped["counts of syncs and bytes"] = "there is no C compiler"
        if len(places) == 1:
            laboratory.skipped["RAM disk"] = "/dev/shm is not there"
        for name in given.only or WORKLOADS:
            started_s = time.monotonic()
            outcome = WORKLOADS[name](laboratory)
            outcomes.append(outcome)
            elapsed = f"{time.monotonic() - started_s:.0f} s"
            print("\n".join([f"== {name} ({elapsed})", *outcome.lines(), ""]), flush=True)
        for name, reason in laboratory.skipped.items():
            print(f"skipped: {name}: {reason}")
    if given.json is not None:
        given.json.write_text(_document(machine, given.quick, outcomes, laboratory.skipped))
    if os.getloadavg()[0] > (os.cpu_count() or 1):
        print("note: the machine was busy: rates and latencies suffer, counts do not")
    missed = [target for outcome in outcomes for target in outcome.targets if not target.is_met]
    print(f"{len(missed)} targets missed or not measured")
    return 1 if given.strict and missed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(WORKLOADS), help="repeatable")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work, roughly?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args()


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
    }


def _document(
    machine: dict[str, Any], is_quick: bool, outcomes: list[Outcome], skipped: dict[str, str]
) -> str:
    return json.dumps(
        {
            "machine": machine,
            "is_quick": is_quick,
            "workloads": [outcome.document() for outcome in outcomes],
            "skipped": skipped,
        },
        indent=1,
    )


if __name__ == "__main__":
    sys.exit(main())
