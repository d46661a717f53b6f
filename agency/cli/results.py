"""How the end of a run is told: its output on stdout, everything else on stderr."""

from __future__ import annotations

from collections.abc import Mapping

from agency.cli.follow import exit_code_for, has_ended
from agency.cli.output import ExitCode, Output
from agency.cli.waits import needs_somebody, tell
from agency.documents import RunDocument

REHEARSAL = "This answer is a rehearsal: no language model was asked."


_ENDS: Mapping[str, str] = {
    "failed": "has failed",
    "dead_letter": "has used up its attempts",
    "cancelled": "is cancelled",
    "timed_out": "has timed out",
    "compensated": "was undone",
    "compensation_failed": "could not be undone",
}


def report(output: Output, run: RunDocument) -> ExitCode:
    """Write what a run came to, and give the code that the command ends with."""
    if output.is_json:
        output.document(run)
    elif has_ended(run) and run["output"] is not None:
        output.document(run["output"])
    if run.get("provider") == "rehearsal":
        output.warn(REHEARSAL)
    explain(output, run)
    return exit_code_for(run)


def explain(output: Output, run: RunDocument) -> None:
    """Say why a run has no result, or not a whole one; nothing when it has completed."""
    status, error = run["status"], run.get("error")
    if status == "completed":
        return
    if needs_somebody(run):
        for line in tell(run):
            output.warn(line)
    elif not has_ended(run):
        output.complaint(
            f"The run {run['id']} is {status}; the time to wait for it is over.",
            f"It goes on. Follow it with `agency runs watch {run['id']}`.",
        )
    elif status == "limit_reached":
        found = run.get("output")
        named = found.get("limit") if isinstance(found, dict) else None
        limit = str(named or "steps").replace("_", " ")
        output.complaint(
            f"The run {run['id']} has reached its limit of {limit}.",
            f"It goes on with more: `agency runs retry {run['id']}`.",
        )
    else:
        why = f": {error['message']}" if error is not None else "."
        step = f", in {error['step']}" if error is not None and error.get("step") else ""
        output.complaint(
            f"The run {run['id']} {_ENDS.get(status, f'is {status}')}{step}{why}",
            (error.get("hint") or "") if error is not None else "",
        )


def tell_interrupted(output: Output, run_id: str) -> None:
    """Say what becomes of a run whose watcher has gone."""
    output.warn(
        f"The run {run_id} goes on. Follow it with `agency runs watch {run_id}`, "
        f"or stop it with `agency runs cancel {run_id}`."
    )
