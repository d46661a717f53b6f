from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.unit.cli.playing import Agency, Ended, PlayedDaemon, run_agency


@pytest.fixture
def daemon() -> Iterator[PlayedDaemon]:
    played = PlayedDaemon()
    yield played
    played.close()


@pytest.fixture
def agency(daemon: PlayedDaemon, tmp_path: Path) -> Agency:
    """Run a command line against the played daemon, in an empty directory."""

    def run(
        *arguments: str,
        stdin: str | bytes | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Ended:
        return run_agency(
            arguments, tmp_path, stdin=stdin, environ={"AGENCY_URL": daemon.url, **(environ or {})}
        )

    return run
