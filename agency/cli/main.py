"""The command ``agency``: where it begins and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agency.version import VERSION


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, and return its exit code (``agency.cli.output.ExitCode``)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        # Answered before click is imported, which takes as long as all the rest.
        sys.stdout.write(f"agency {VERSION}\n")
        return 0
    from agency.cli.commands import run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
