"""Real MCP servers for the tests, installed beside the environment, apart from it.

Run as ``python -m tests.tools_setup.mcp_servers`` it installs what is not there in the version that
is named here, so that a second time needs no network. What cannot be installed is told, and the
tests that need it are skipped and say why. They are never run through npx, which would load them
when a test runs, and puts a process in between.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[2] / ".venv" / "tools"
NPM = TOOLS / "npm"
PYTHON = TOOLS / "py"

NPM_VERSIONS = {
    "@modelcontextprotocol/server-everything": "2026.8.31",
    "@modelcontextprotocol/server-filesystem": "2026.8.31",
    "@modelcontextprotocol/server-memory": "2026.8.31",
    "@modelcontextprotocol/server-sequential-thinking": "2026.8.31",
}
PYTHON_VERSIONS = {
    "mcp-server-fetch": "2026.10.24",
    "mcp-server-git": "2026.10.19",
    "mcp-server-time": "2026.10.19",
}
PROGRAMS = {
    "everything": NPM / "node_modules/.bin/mcp-server-everything",
    "filesystem": NPM / "node_modules/.bin/mcp-server-filesystem",
    "memory": NPM / "node_modules/.bin/mcp-server-memory",
    "sequential-thinking": NPM / "node_modules/.bin/mcp-server-sequential-thinking",
    "fetch": PYTHON / "bin/mcp-server-fetch",
    "git": PYTHON / "bin/mcp-server-git",
    "time": PYTHON / "bin/mcp-server-time",
}
INSTALL_S = 150
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Whom this machine trusts; Node brings a list of its own, and looks here only if it is told to."""


def find_server(name: str) -> str | None:
    """Find the program of a server; None when it was not installed."""
    program = PROGRAMS[name]
    return str(program) if program.exists() else None


def install_npm() -> str:
    """Install the servers of npm; tell what became of it, in one sentence."""
    missing = [
        f"{name}@{version}" for name, version in NPM_VERSIONS.items() if _npm(name) != version
    ]
    if not missing:
        return "MCP servers of npm: they are there."
    if shutil.which("npm") is None:
        return "MCP servers of npm: npm is not here; tests that need them are skipped."
    NPM.mkdir(parents=True, exist_ok=True)
    # What cannot be reached now is not waited for: the tests say that they are skipped.
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0"]
    options += ["--prefix", str(NPM)]
    return _run("npm", ["npm", "install", *options, *missing])


def _npm(name: str) -> str:
    try:
        return str(
            json.loads((NPM / "node_modules" / name / "package.json").read_text())["version"]
        )
    except (OSError, ValueError, KeyError):
        return ""


def install_python() -> str:
    """Install the servers of PyPI in an environment of their own; tell what became of it."""
    missing = [f"{name}=={version}" for name, version in PYTHON_VERSIONS.items() if not _py(name)]
    if not missing:
        return "MCP servers of PyPI: they are there."
    made = _run("venv", [sys.executable, "-m", "venv", str(PYTHON)])
    pip = [str(PYTHON / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    return _run("PyPI", [*pip, "install", *missing]) if "skipped" not in made else made


def _py(name: str) -> bool:
    """Tell whether a package is there in the version that is named here."""
    folder = f"{name.replace('-', '_')}-{PYTHON_VERSIONS[name]}.dist-info"
    return any(PYTHON.glob(f"lib/*/site-packages/{folder}"))


def _environment() -> dict[str, str]:
    if not AUTHORITIES.exists():
        return dict(os.environ)
    return {"NODE_EXTRA_CA_CERTS": str(AUTHORITIES), **os.environ}


def _run(source: str, command: list[str]) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
            env=_environment(),
        )
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = [str(error)]
    if reason is None:
        return f"MCP servers of {source}: installed."
    why = reason[0] if reason else "no reason was given"
    return f"MCP servers of {source}: not installed ({why}); tests that need them are skipped."


if __name__ == "__main__":
    sys.stdout.write(f"{install_npm()}\n{install_python()}\n")
