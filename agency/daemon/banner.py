"""What the daemon says about itself when it serves."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from agency.core.records import dataclass
from agency.version import VERSION

log = logging.getLogger(__name__)

_REHEARSAL = "REHEARSAL: no model is asked; answers are made up and labelled so"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A daemon that serves.

    Attributes:
        url: What to open.
        configuration: Path of the file, or empty.
        database: Path of the file.
        provider, model: Who serves model calls, and with what by default.
        workflows: Names of those that can be run.
        failures: Path and one line for each file of workflows that failed to load.
        elapsed_s: Seconds from the start of the process.
    """

    url: str
    configuration: str
    data_dir: str
    database: str
    provider: str
    model: str
    is_rehearsal: bool
    workflows: Sequence[str]
    failures: Sequence[tuple[str, str]]
    elapsed_s: float

    @property
    def status(self) -> str:
        """One line for the service manager."""
        model = "REHEARSAL (no model)" if self.is_rehearsal else f"{self.provider} {self.model}"
        return f"Serving at {self.url}; model: {model}; workflows: {len(self.workflows)}"


def write_banner(serving: Serving) -> str:
    """Write what a person sees in the terminal."""
    model = _REHEARSAL if serving.is_rehearsal else f"{serving.model} by {serving.provider}"
    lines = [
        f"Agency {VERSION} serves at {serving.url}",
        f"  configuration  {serving.configuration or 'none: all defaults'}",
        f"  data           {serving.data_dir}",
        f"  database       {serving.database}",
        f"  model          {model}",
        f"  workflows      {', '.join(serving.workflows) or 'none'}",
    ]
    lines += [f"  NOT LOADED     {path}: {reason}" for path, reason in serving.failures]
    lines.append("  to stop        Ctrl-C, once to finish what runs, twice at once")
    return "\n".join(lines) + "\n"


def log_serving(serving: Serving) -> None:
    """Log the same as fields."""
    log.info(
        "ready",
        extra={
            "version": VERSION,
            "url": serving.url,
            "configuration": serving.configuration,
            "data_dir": serving.data_dir,
            "database": serving.database,
            "provider": serving.provider,
            "model": serving.model,
            "rehearsal": serving.is_rehearsal,
            "workflows": list(serving.workflows),
            "elapsed_s": round(serving.elapsed_s, 3),
        },
    )
