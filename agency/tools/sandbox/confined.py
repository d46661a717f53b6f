"""The drivers that stand on the launcher: Landlock, sandbox-exec, and none.

They have no namespaces: the command sees the daemon's process numbers and stands in its network,
and what must not be reached is refused by rules.
"""

from __future__ import annotations

import marshal
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from agency.core.records import dataclass
from agency.domain.tool import Capability, Level
from agency.errors import SandboxFailed
from agency.ports.sandbox import Command
from agency.tools.sandbox import layout, seatbelt
from agency.tools.sandbox.layout import Surroundings
from agency.tools.sandbox.plan import Descriptors, Plan, ProxyPlace, limits_of, whole
from agency.tools.sandbox.seccomp import Sockets, make_filter

LANDLOCK, SEATBELT, NONE = "landlock", "sandbox-exec", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landlock:
    """Rules of the kernel for files and ports, the filter of calls, and resource limits.

    Attributes:
        abi: What of Landlock the kernel knows, from 1.
    """

    surroundings: Surroundings
    abi: int
    name: str = LANDLOCK
    proxy_by_path: bool = False

    def plan(
        self,
        command: Command,
        levels: Mapping[Capability, Level],
        *,
        proxy: ProxyPlace | None = None,
    ) -> Plan:
        """Plan a command, see `Driver`."""
        if proxy is not None and levels.get(Capability.NETWORK) is not Level.ABSENT:
            # It is bound to the proxy's port, and not to this machine.
            levels = {**levels, Capability.NETWORK: self._level_with_proxy()}
        with ExitStack() as closing:
            tmp = _private_tmp(self.surroundings, closing)
            orders = _orders(command, tmp, proxy)
            orders["is_restricted"] = True
            orders["landlock"] = {
                "abi": self.abi,
                "files": self._files(command, tmp),
                "ports": [] if proxy is None else [proxy.port],
            }
            orders["filter"] = make_filter(Sockets.NONE if proxy is None else Sockets.TCP)
            return _launched(orders, levels, closing)

    def _level_with_proxy(self) -> Level:
        return Level.PARTIAL if self.abi >= 4 else Level.ABSENT

    def _files(self, command: Command, tmp: Path) -> list[tuple[str, str]]:
        hidden = [*self.surroundings.hidden, self.surroundings.scratch]
        tops = [*layout.system_folders(), *layout.interpreter_places()]
        tops += [*layout.etc_paths(), *self.surroundings.readable]
        shown = [part for top in tops for part in layout.uncovered(top, hidden)]
        asked = [
            part
            for top in command.readable
            for part in layout.uncovered(top, layout.inside(top, hidden))
        ]
        return [
            *((str(path), "read") for path in (*shown, *asked)),
            *((f"/dev/{name}", "device") for name in layout.DEVICES),
            *((str(path), "write") for path in (command.folder, tmp)),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seatbelt:
    """The sandbox of macOS, by its command line."""

    surroundings: Surroundings
    program: Path
    name: str = SEATBELT
    proxy_by_path: bool = False

    def plan(
        self,
        command: Command,
        levels: Mapping[Capability, Level],
        *,
        proxy: ProxyPlace | None = None,
    ) -> Plan:
        """Plan a command, see `Driver`."""
        with ExitStack() as closing:
            tmp = _private_tmp(self.surroundings, closing)
            profile = seatbelt.write_profile(
                readable=[
                    *layout.system_folders(),
                    *layout.interpreter_places(),
                    *self.surroundings.readable,
                    *command.readable,
                ],
                writable=[command.folder, tmp],
                hidden=[*self.surroundings.hidden, self.surroundings.scratch],
                proxy_port=None if proxy is None else proxy.port,
            )
            orders = _orders(command, tmp, proxy)
            orders["argv"] = [str(self.program), "-p", profile, *command.argv]
            return _launched(orders, levels, closing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """No protection: limits of resources, and the end of all that was started."""

    surroundings: Surroundings
    name: str = NONE
    proxy_by_path: bool = False

    def plan(
        self,
        command: Command,
        levels: Mapping[Capability, Level],
        *,
        proxy: ProxyPlace | None = None,
    ) -> Plan:
        """Plan a command, see `Driver`."""
        with ExitStack() as closing:
            tmp = _private_tmp(self.surroundings, closing)
            return _launched(_orders(command, tmp, proxy), levels, closing)


def _private_tmp(surroundings: Surroundings, closing: ExitStack) -> Path:
    """Make a folder for a moment, removed with all that is in it."""
    try:
        tmp = Path(tempfile.mkdtemp(prefix="tmp-", dir=surroundings.scratch))
        (tmp / "home").mkdir()
    except OSError as error:
        raise SandboxFailed(f"No folder for temporary files could be made: {error}.") from error
    closing.callback(shutil.rmtree, tmp, ignore_errors=True)
    return tmp


def _orders(command: Command, tmp: Path, proxy: ProxyPlace | None) -> dict[str, Any]:
    environment = {
        **layout.base_environment(home=str(tmp / "home"), tmp=str(tmp)),
        **(layout.proxy_environment(proxy.url, command.hosts) if proxy is not None else {}),
        **command.environment,
    }
    return {
        "argv": list(command.argv),
        "environment": environment,
        "folder": str(command.folder),
        "limits": limits_of(command.bounds),
        "processes_max": whole(command.bounds.processes_max) or 0,
        "is_restricted": False,
        "landlock": None,
        "filter": None,
    }


def _launched(
    orders: dict[str, Any], levels: Mapping[Capability, Level], closing: ExitStack
) -> Plan:
    descriptors = Descriptors(closing)
    status, orders["status"] = descriptors.pipe_from_child()
    orders["control"], control = descriptors.pipe_of_control()
    given = descriptors.given(marshal.dumps(orders), "orders")
    program = str(layout.own_program("launch.py"))
    return Plan(
        argv=[sys.executable, "-I", "-S", program, str(given)],
        passed=descriptors.passed,
        status=status,
        levels=levels,
        control=control,
        closing=closing.pop_all(),
    )
