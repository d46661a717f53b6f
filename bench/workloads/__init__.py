"""The workloads, each in a file of its own, by the name that ``--only`` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.contender import Laboratory
from bench.report import Outcome
from bench.workloads import (
    a2a,
    agents,
    agents_loop,
    fleet,
    full,
    growing_state,
    http,
    many_runs,
    mcp,
    million,
    one_run,
    queue,
    queue_http,
    sandbox,
    suspended,
    updates,
)

WORKLOADS: Mapping[str, Callable[[Laboratory], Outcome]] = {
    "one-run": one_run.measure,
    "many-runs": many_runs.measure,
    "suspended": suspended.measure,
    "growing-state": growing_state.measure,
    "http": http.measure,
    "updates": updates.measure,
    "queue": queue.measure,
    "queue-http": queue_http.measure,
    "fleet": fleet.measure,
    "million": million.measure,
    "full": full.measure,
    "agents": agents.measure,
    "agents-loop": agents_loop.measure,
    "sandbox": sandbox.measure,
    "mcp": mcp.measure,
    "a2a": a2a.measure,
}
