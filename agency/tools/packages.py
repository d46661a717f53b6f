"""``install_package``: Python packages in an environment of the run's own.

The environment is not kept with the files of the run: it is large, and can be made again. What was
installed is written down in a file that is kept, so that it can be told when it is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agency.core import beneath, json
from agency.domain.approval import Risk
from agency.domain.tool import Capability, Permission, ToolEffect, ToolOutput
from agency.ports.sandbox import CommandEnd
from agency.ports.tool import ToolContext, ToolRequest
from agency.ports.workspace import OWN
from agency.tools.commands import ENVIRONMENT_FOLDER, MARGIN_S, Commands, Wish
from agency.tools.files.place import failed
from agency.tools.shape import describe, text

PACKAGES_MAX = 20
INSTALL_S = 600.0
"""Longest installation: large packages come over slow lines."""

LIST = f"{OWN}/packages.json"
"""What was installed; it is kept, the environment is not."""

_READY = "ready"
"""A file in the environment that says that it was made to its end."""

# PEP 508, without what would fetch from elsewhere: addresses, paths, options.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
    r"(?:\[[A-Za-z0-9._,\s-]+\])?"
    r"(?:\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
    r"(?:\s*,\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+)*)?"
)


class InstallPackage:
    """Installs Python packages from the configured index, and from nowhere else."""

    spec = describe(
        "install_package",
        "Install Python packages for the python and shell tools.",
        {"packages": text("Names, separated by spaces, for example: requests pandas==2.2.")},
    )
    # Installing again what was half installed comes to the same.
    effect = ToolEffect.RESTORE
    permission = Permission.ASK
    timeout_s = 2 * INSTALL_S + MARGIN_S

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    @property
    def needs(self) -> frozenset[Capability]:
        """As ``[tools] command_needs`` says."""
        return self._commands.needs

    def request(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolRequest:
        """Describe a call; see `Tool.request`."""
        del context
        show = {
            "packages": requirements(arguments["packages"]) or arguments["packages"],
            "index": self._commands.settings.package_index,
            "network": self._hosts(),
        }
        return ToolRequest(question="Install packages?", show=show, risk=Risk.MEDIUM)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        """Install; see `Tool.call`."""
        wanted = requirements(arguments["packages"])
        if not wanted:
            return failed(
                f"{arguments['packages']!r} names no packages. Write names, with versions if need "
                "be, separated by spaces: requests pandas==2.2."
            )
        if len(wanted) > PACKAGES_MAX:
            return failed(f"{len(wanted)} packages are too many at once; {PACKAGES_MAX} may be.")
        folder = await context.workspace.folder()
        made = await self._make_environment(folder, context)
        if made is not None:
            return await self._commands.told(made, context, "environment")
        end = await self._commands.run(self._installing(folder, wanted), context)
        told = await self._commands.told(end, context, "install")
        if end.code != 0:
            return told
        listed = sorted({*listed_packages(folder), *wanted})
        await context.workspace.put(LIST, json.encode(listed))
        return ToolOutput(
            content=f"Installed: {', '.join(wanted)}.",
            sandbox=end.levels,
            structured=told.structured,
        )

    async def _make_environment(self, folder: Path, context: ToolContext) -> CommandEnd | None:
        """Make the run's environment if it is not whole; hand back why it could not be made."""
        if _is_whole(folder):
            return None
        program = (
            "import sys, venv\n"
            "venv.create(sys.argv[1], clear=True, with_pip=True, symlinks=True)\n"
            f"open(sys.argv[1] + '/{_READY}', 'w').close()"
        )
        wish = Wish(
            argv=(self._commands.python, "-c", program, ENVIRONMENT_FOLDER),
            timeout_s=INSTALL_S,
        )
        end = await self._commands.run(wish, context)
        return None if end.code == 0 else end

    def _installing(self, folder: Path, wanted: Sequence[str]) -> Wish:
        index = self._commands.settings.package_index
        parts = urlsplit(index)
        options = [
            "--index-url",
            index,
            "--no-input",
            "--disable-pip-version-check",
            "--no-cache-dir",
        ]
        if parts.scheme == "http":
            options += ["--trusted-host", parts.netloc]
        pip = (str(folder / ENVIRONMENT_FOLDER / "bin" / "python"), "-m", "pip", "install", "-q")
        return Wish(
            argv=(*pip, *options, "--", *wanted),
            timeout_s=INSTALL_S,
            hosts=self._hosts(),
            # Nothing of what the daemon's own user has configured.
            environment={"PIP_CONFIG_FILE": "/dev/null"},
        )

    def _hosts(self) -> list[str]:
        settings = self._commands.settings
        return [urlsplit(settings.package_index).netloc, *settings.package_hosts]


def requirements(text: str) -> list[str]:
    """Take a list of packages apart; empty if anything in it is no name of a package."""
    glued = re.sub(r"\s*(===|==|~=|!=|<=|>=|<|>|,(?=\s*[<>=!~]))\s*", r"\1", text.strip())
    found = [one for one in re.split(r"[\s;]+|,(?![<>=!~])(?![^\[]*\])", glued) if one]
    return found if all(_REQUIREMENT.fullmatch(one) for one in found) else []


def listed_packages(folder: Path) -> list[str]:
    """Read what was installed, also of an environment that is gone."""
    try:
        with beneath.file(folder, LIST) as file:
            found = json.decode(beneath.read_all(file, 1 << 16))
    except (OSError, ValueError):
        return []
    if not isinstance(found, list):
        return []
    return [one for one in found if isinstance(one, str)]


def lost_packages(folder: Path) -> str:
    """Say which packages were installed and are gone; empty when none are."""
    listed = listed_packages(folder)
    if not listed or _is_whole(folder):
        return ""
    return (
        f"The packages that were installed are gone with the folder: {' '.join(listed)}. Install "
        "them again with install_package if you need them"
    )


def _is_whole(folder: Path) -> bool:
    try:
        with beneath.file(folder, f"{ENVIRONMENT_FOLDER}/{_READY}"):
            return True
    except OSError:
        return False
