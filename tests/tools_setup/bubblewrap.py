"""bubblewrap for the tests: the system's, or one unpacked beside the environment.

Run as ``python -m tests.tools_setup.bubblewrap FOLDER`` it unpacks Debian's package there where the
system has none. bwrap needs no setuid bit and no installation. Where that does not work the tests
that need it are skipped, and say why.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".venv" / "tools" / "bubblewrap"
_PROGRAM = "usr/bin/bwrap"


def find_bubblewrap() -> str | None:
    """Find bwrap; None when neither the system nor the tests have it."""
    unpacked = FOLDER / _PROGRAM
    return shutil.which("bwrap") or (str(unpacked) if unpacked.exists() else None)


def unpack(folder: Path) -> str:
    """Unpack Debian's package into a folder; tell what became of it, in one sentence."""
    if shutil.which("bwrap"):
        return "bubblewrap: the system's is used."
    if not all(map(shutil.which, ("apt-get", "dpkg-deb"))):
        return "bubblewrap: neither bwrap nor apt-get is here; tests that need it are skipped."
    with tempfile.TemporaryDirectory() as place:
        got = subprocess.run(
            ["apt-get", "download", "bubblewrap"],
            cwd=place,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        packages = list(Path(place).glob("bubblewrap_*.deb"))
        if got.returncode or not packages:
            why = (got.stderr or got.stdout).strip().splitlines()[-1:] or ["no reason was given"]
            return f"bubblewrap: it could not be downloaded ({why[0]}); its tests are skipped."
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", packages[0], folder], timeout=60, check=True)
    return f"bubblewrap: unpacked into {folder}."


if __name__ == "__main__":
    sys.stdout.write(unpack(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER) + "\n")
