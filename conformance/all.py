"""Run every conformance suite whose place is given, and print a table.

    make conformance TCK_DIR=… TCK_PYTHON=… MCP_CONFORMANCE=… NODE=…

Nothing of the suites is part of this project, and nothing is fetched. What each leg needs, and
what it writes, is said at the top of its own file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Leg:
    """One suite.

    Attributes:
        needs: The variable that says where the suite is.
    """

    name: str
    needs: str
    command: tuple[str, ...]


LEGS = (
    Leg("A2A TCK 1.0", "TCK_DIR", (sys.executable, str(HERE / "a2a_tck.py"), "1.0")),
    Leg("A2A TCK 0.3", "TCK_DIR", (sys.executable, str(HERE / "a2a_tck.py"), "0.3")),
    Leg("MCP server", "MCP_CONFORMANCE", ("sh", str(HERE / "mcp_server.sh"))),
    Leg("MCP client", "MCP_CONFORMANCE", ("sh", str(HERE / "mcp_client.sh"))),
)


def main() -> None:
    """Run what can be run."""
    out = Path(os.environ.get("OUT") or "conformance-report").resolve()
    rows: list[tuple[str, str, str]] = []
    for leg in LEGS:
        if not os.environ.get(leg.needs):
            rows.append((leg.name, "not run", f"{leg.needs} is not given"))
            continue
        print(f"== {leg.name}", flush=True)
        folder = out / leg.name.lower().replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        done = subprocess.run(
            [*leg.command, str(folder)], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout, flush=True)
        last = done.stdout.strip().rpartition("\n")[2]
        result = "ok" if done.returncode == 0 else f"exit {done.returncode}"
        rows.append((leg.name, result, f"{last} ({time.monotonic() - began_s:.0f} s)"))
    for name, result, told in rows:
        print(f"{name:12}  {result:8}  {told}")
    ran = [result for _, result, _ in rows if result != "not run"]
    sys.exit(0 if ran and all(result == "ok" for result in ran) else 1)


if __name__ == "__main__":
    main()
