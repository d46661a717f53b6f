"""A sandboxed ``true``: what each driver adds to the same program without one."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from agency.config.schema import Sandbox as SandboxSettings
from agency.config.schema import Server, Settings
from agency.ports.sandbox import Command
from agency.tools.sandbox.kernel import landlock_abi
from agency.tools.sandbox.sandbox import make_sandbox
from bench.contender import Laboratory
from bench.report import Outcome, Table, Target

ROUNDS = 200
TARGET_MS = 15.0

_Call = Callable[[], Awaitable[object]]


def measure(laboratory: Laboratory) -> Outcome:
    """Run ``true`` bare, in a bubblewrap that does as little as it can, and in ours."""
    rounds = 20 if laboratory.is_quick else ROUNDS
    outcome = Outcome(name="sandbox")
    taken = asyncio.run(_measure(laboratory, laboratory.places[-1].folder / "sandbox", rounds))
    rows = [[name, *_figures(values)] for name, values in taken.items()]
    outcome.tables.append(
        Table(
            title=f"`true`, from the call to its end · {rounds} rounds, taking turns",
            columns=("", "least", "median", "p90"),
            rows=rows,
        )
    )
    found = taken.get("bubblewrap")
    outcome.targets.append(
        Target(
            name="a sandboxed true with bubblewrap, median",
            limit=TARGET_MS,
            attained=None if found is None else statistics.median(found),
            unit="ms",
        )
    )
    return outcome


async def _measure(laboratory: Laboratory, folder: Path, rounds: int) -> dict[str, Sequence[float]]:
    folder.mkdir(parents=True)
    calls: dict[str, _Call] = {"bare": _bare("true")}
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        laboratory.skipped["bubblewrap"] = "bwrap is not installed"
    else:
        calls["bwrap --ro-bind / / true"] = _bare(
            bwrap, "--unshare-all", "--ro-bind", "/", "/", "true"
        )
    drivers = [*(["bubblewrap"] if bwrap else ()), *(["landlock"] if landlock_abi() else ())]
    for driver in drivers:
        settings = Settings(
            server=Server(data_dir=str(folder / driver)),
            sandbox=SandboxSettings(driver=driver),
        )
        sandbox = make_sandbox(settings)
        await sandbox.ready()
        if sandbox.choice.driver is None:
            laboratory.skipped[driver] = sandbox.choice.tried[-1].reason
            continue
        workspace = folder / driver / "workspace"
        workspace.mkdir()
        command = Command(argv=["true"], folder=workspace)
        calls[driver] = partial(sandbox.run, command)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started_s = time.perf_counter()
            await call()
            taken[name].append((time.perf_counter() - started_s) * 1e3)
    return dict(taken)


def _bare(*argv: str) -> _Call:
    async def run() -> None:
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.DEVNULL)
        await process.wait()

    return run


def _figures(values: Sequence[float]) -> list[str]:
    ordered = sorted(values)
    picked = (ordered[0], statistics.median(ordered), ordered[len(ordered) * 9 // 10])
    return [f"{value:.1f} ms" for value in picked]
