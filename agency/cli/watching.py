"""Following a run while people or programs look on: each step and each change is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agency.cli.follow import Follower, exit_code_for
from agency.cli.output import ExitCode, Output
from agency.cli.results import explain, report, tell_interrupted
from agency.documents import RunDocument, StepDocument

_SHOWN_CHARACTERS = 100
"""Of a step's result on its line: the whole is in `agency runs show --steps --json`."""

_SIGNS = {"step": "+", "failure": "x", "attempt": "~", "wait": "…", "child": ">"}
"""Kinds of entries that are told; the others are book-keeping."""


def watch(follower: Follower, output: Output, run_id: str) -> ExitCode:
    """Follow a run to its end, and report it.

    For people the steps are told on stderr and the output is written to stdout. With ``--json``
    each line of stdout is an object: ``{"update": "step", "step": …}``, ``{"update": "run",
    "run": …}`` after each change, and at last ``{"update": "end", "run": …}``.
    """
    if not output.is_json:
        story = _Story(follower, output)
        return report(output, follower.until_ended(run_id, on_step=story.step, on_change=story.run))
    run = follower.until_ended(
        run_id,
        on_step=lambda step: output.line({"update": "step", "step": step}),
        on_change=lambda run: output.line({"update": "run", "run": run}),
    )
    output.line({"update": "end", "run": run})
    explain(output, run)
    return exit_code_for(run)


def follow_started(
    follower: Follower,
    output: Output,
    started: Mapping[str, Any],
    *,
    no_wait: bool,
    is_watched: bool = False,
    tell: Callable[[Output, RunDocument], ExitCode] = report,
) -> ExitCode:
    """Name a run that was just started, and follow it to where it stops, or leave it.

    Args:
        no_wait: Only its id is printed; with ``--json`` what the start was answered with.
        is_watched: Each step and each change is told.
        tell: Writes what it came to.

    Raises:
        KeyboardInterrupt: it is left to itself, which was said.
    """
    run_id = started["run_id"]
    if no_wait:
        if output.is_json:
            output.document(started)
        else:
            output.text(run_id)
        return ExitCode.OK
    try:
        output.note(f"run {run_id}")
        if is_watched:
            return watch(follower, output, run_id)
        return tell(output, follower.until_stopped(run_id))
    except KeyboardInterrupt:
        tell_interrupted(output, run_id)
        raise


class _Story:
    """Tells people what happens."""

    def __init__(self, follower: Follower, output: Output) -> None:
        self._follower = follower
        self._output = output
        self._status = ""
        self._progress: Any = None

    def step(self, step: StepDocument) -> None:
        sign = _SIGNS.get(step["kind"])
        if sign is not None:
            result, is_step = result_of(step), step["kind"] == "step"
            tail = f"{' = ' if is_step else ': '}{result}" if result else ""
            self._output.note(f"{sign} {step['key']}{tail}")

    def run(self, run: RunDocument) -> None:
        if run["progress"] is not None and run["progress"] != self._progress:
            self._progress = run["progress"]
            self._output.note(f"  {_progress(self._progress)}")
        if run["status"] != self._status:
            self._status = run["status"]
            self._output.note(f"  {self._status}")
        self._follower.tell(run)


def result_of(step: StepDocument) -> str:
    """Write a step's result, or why it failed, on one line of bounded length; else nothing."""
    body = step["body"]
    if step["kind"] in {"failure", "attempt"} and isinstance(body, dict):
        return _shortened(str(body.get("message") or body.get("code") or "failed"))
    if step["kind"] != "step" or body is None:
        return ""
    import orjson

    return _shortened(body if isinstance(body, str) else orjson.dumps(body).decode())


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _progress(progress: Any) -> str:  # noqa: ANN401  JSON value
    if not isinstance(progress, dict):
        return str(progress)
    done, total, note = progress.get("done"), progress.get("total"), progress.get("note")
    count = f"{done}/{total}" if total else f"{done}"
    return f"{count} {note}" if note else count
