"""The driver for bubblewrap: namespaces of its own for each command, and the filter of calls.

The view of the file system is made anew: only what is named is there. bwrap itself runs in a clean
environment and takes its orders from a descriptor, so that neither secrets nor paths are in a list
of processes. Between bwrap and the command stands one line of shell that sets the resource limits;
a Python in its place would take longer than all the rest.

Where no new ``/proc`` can be mounted, because parts of the outer one are covered (containers,
``ProtectKernelTunables=``), the variant without one is used: everything else is the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from agency.core.records import dataclass
from agency.domain.tool import Capability, Level
from agency.errors import SandboxFailed
from agency.ports.sandbox import Command
from agency.tools.sandbox import layout
from agency.tools.sandbox.cgroups import Cgroup, Cgroups
from agency.tools.sandbox.layout import Surroundings
from agency.tools.sandbox.plan import CPU_GRACE_S, Descriptors, Plan, ProxyPlace, whole
from agency.tools.sandbox.seccomp import Sockets, make_filter

NAME = "bubblewrap"

_SHELL = "/bin/sh"
_BEGUN = b"\x06"
_LIMIT = """\
printf '\\006' || exit 125
ulimit -c 0
[ -z "$1" ] || { ulimit -S -t "$1"; ulimit -H -t "$2"; }
[ -z "$3" ] || ulimit -f "$3"
[ -z "$4" ] || ulimit -d "$4"
[ -z "$5" ] || ulimit -u "$5" 2>/dev/null || ulimit -p "$5"
shift 5
exec "$@"
"""
"""A sign of life, limits and then the command. Processes are ``-u`` in bash and ``-p`` in dash.

bwrap's processes ask the kernel one after the other to be ended with their parents. If the daemon
dies between, whoever asks later is too late, and would work on for nobody. The sign goes through
the pipe of output, which nobody reads any more: that ends it before the command has begun.
"""

_JOIN = 'echo 0 > "$1" || exit 1; shift; exec "$@"'
"""Enter the control group, and become bwrap."""

_BLOCK_BYTES = 512
_KIB = 1024
_OWN_PROCESSES = 4
"""Processes of the sandbox itself that count with the command's: init, and the forwarder's."""

PROXY_PORT = 3128
_PROXY_SOCKET = "/run/agency-proxy"
_FORWARDER = "/run/agency-forward.py"
_HOME = "/tmp/home"  # noqa: S108  the sandbox's own
_TMP = "/tmp"  # noqa: S108  the sandbox's own

_SIZED_SINCE = (0, 7)
"""bwrap can bound the size of a tmpfs since this version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubblewrap:
    """Commands in namespaces of their own.

    Attributes:
        version: Of the program, as far as it matters here.
        has_proc: A new ``/proc`` can be mounted.
    """

    program: Path
    version: tuple[int, ...]
    surroundings: Surroundings
    tmp_bytes_max: int
    cgroups: Cgroups | None = None
    has_proc: bool = True
    name: str = NAME
    proxy_by_path: bool = True

    def plan(
        self,
        command: Command,
        levels: Mapping[Capability, Level],
        *,
        proxy: ProxyPlace | None = None,
    ) -> Plan:
        """Plan a command, see `Driver`."""
        with ExitStack() as closing:
            descriptors = Descriptors(closing)
            group = self._group(command)
            if group is not None:
                closing.callback(group.close)
            status, status_of_child = descriptors.pipe_from_child()
            options = self._options(command, descriptors, status_of_child, proxy)
            argv = [
                *(_joining(group) if group is not None else ()),
                str(self.program),
                "--args",
                str(descriptors.given(b"\0".join(map(os.fsencode, options)) + b"\0", "options")),
                "--",
                *_limiting(command),
                *(_forwarding() if proxy is not None else ()),
                *command.argv,
            ]
            return Plan(
                argv=argv,
                passed=descriptors.passed,
                status=status,
                levels=levels,
                cgroup=group,
                says_signals=True,
                mark=self.surroundings.mark,
                begun=_BEGUN,
                closing=closing.pop_all(),
            )

    def _group(self, command: Command) -> Cgroup | None:
        if self.cgroups is None:
            return None
        processes = whole(command.bounds.processes_max)
        return self.cgroups.open(
            memory_bytes_max=whole(command.bounds.memory_bytes_max),
            processes_max=None if processes is None else processes + _OWN_PROCESSES,
        )

    def _options(
        self, command: Command, descriptors: Descriptors, status: int, proxy: ProxyPlace | None
    ) -> list[str]:
        rules = make_filter(Sockets.NAMESPACE)
        folder = str(command.folder)
        hidden = self.surroundings.hidden
        masks = layout.masked(self._visible(), hidden)
        inner = [path for top in command.readable for path in layout.inside(top, hidden)]
        return [
            *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
            *("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *("--uid", str(layout.USER_ID), "--gid", str(layout.USER_ID)),
            *("--hostname", "sandbox", "--json-status-fd", str(status)),
            *(("--seccomp", str(descriptors.given(rules, "filter"))) if rules else ()),
            # First, so that what is readable may lie in a place that they cover.
            *self._devices(),
            *self._system(),
            *_cover(masks),
            *_shown(command, hidden),
            *(_proxy_options(proxy) if proxy is not None else ()),
            *("--bind", folder, folder, "--chdir", folder),
            # Last, because places for what was bound below them had to be made in them.
            *_closed([*masks, *inner]),
            *("--remount-ro", "/"),
            *_environment(command, has_proxy=proxy is not None),
        ]

    def _system(self) -> list[str]:
        """Show the system's programs, and of ``/etc`` what they need."""
        options: list[str] = []
        for path in layout.system_folders():
            if path.is_symlink():
                options += ["--symlink", str(path.readlink()), str(path)]
            else:
                options += ["--ro-bind", str(path), str(path)]
        options += ["--ro-bind", str(self.surroundings.etc), "/etc"]
        for path in (*layout.interpreter_places(), *self.surroundings.readable):
            options += ["--ro-bind-try", str(path), str(path)]
        return options

    def _devices(self) -> list[str]:
        """Give it devices, processes and places for a moment, none of which outlives it."""
        size = ("--size", str(self.tmp_bytes_max)) if self.version >= _SIZED_SINCE else ()
        return [
            *("--dev", "/dev", *size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
            *(_processes() if self.has_proc else ("--dir", "/proc")),
            *(*size, "--tmpfs", _TMP, "--dir", _HOME),
        ]

    def _visible(self) -> list[Path]:
        return [
            *layout.system_folders(),
            *layout.interpreter_places(),
            *self.surroundings.readable,
        ]


def _processes() -> list[str]:
    """Show it its own processes, and nothing by which the kernel is controlled."""
    options = ["--proc", "/proc"]
    folders, files = layout.kernel_controls()
    for path in folders:
        options += ["--ro-bind", str(path), str(path)]
    for path in files:
        options += ["--ro-bind", "/dev/null", str(path)]
    return options


def _cover(masks: Sequence[Path]) -> list[str]:
    """Cover what is hidden and lies below something visible."""
    options: list[str] = []
    for path in masks:
        if path.is_dir():
            options += ["--tmpfs", str(path)]
        elif path.exists():
            options += ["--ro-bind", "/dev/null", str(path)]
    return options


def _shown(command: Command, hidden: Sequence[Path]) -> list[str]:
    """Show what the command may read, but for what is hidden in it; the outer before the inner."""
    options: list[str] = []
    for path in sorted(command.readable):
        options += ["--ro-bind-try", str(path), str(path), *_cover(layout.inside(path, hidden))]
    return options


def _closed(masks: Sequence[Path]) -> list[str]:
    """Have nobody write to what covers."""
    folders = dict.fromkeys(str(path) for path in masks if path.is_dir())
    return [part for path in folders for part in ("--remount-ro", path)]


def _proxy_options(proxy: ProxyPlace) -> list[str]:
    program = str(layout.own_program("forward.py"))
    return [
        *("--ro-bind", proxy.path, _PROXY_SOCKET),
        *("--ro-bind", program, _FORWARDER),
    ]


def _environment(command: Command, *, has_proxy: bool) -> list[str]:
    url = f"http://127.0.0.1:{PROXY_PORT}"
    proxy = layout.proxy_environment(url, command.hosts) if has_proxy else {}
    environment = {
        **layout.base_environment(home=_HOME, tmp=_TMP),
        **proxy,
        **command.environment,
    }
    options = ["--clearenv"]
    for name, value in environment.items():
        options += ["--setenv", name, value]
    return options


def _joining(group: Cgroup) -> list[str]:
    return [_SHELL, "-c", _JOIN, "sh", str(group.entrance)]


def _limiting(command: Command) -> list[str]:
    bounds = command.bounds
    cpu, file, memory, processes = map(
        whole,
        (
            bounds.cpu_s_max,
            bounds.file_bytes_max,
            bounds.memory_bytes_max,
            bounds.processes_max,
        ),
    )
    values = (
        cpu,
        None if cpu is None else cpu + CPU_GRACE_S,
        None if file is None else max(1, file // _BLOCK_BYTES),
        None if memory is None else max(1, memory // _KIB),
        None if processes is None else processes + _OWN_PROCESSES,
    )
    return [_SHELL, "-c", _LIMIT, "sh", *("" if each is None else str(each) for each in values)]


def _forwarding() -> list[str]:
    python = str(layout.interpreter())
    return [python, "-I", "-S", _FORWARDER, _PROXY_SOCKET, str(PROXY_PORT)]


def parse_version(text: str) -> tuple[int, ...]:
    """Read what ``bwrap --version`` says.

    Raises:
        SandboxFailed: it says something else.
    """
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise SandboxFailed(f"bwrap --version said {text[:100]!r}, which names no version.")
    return tuple(int(each) for each in found.groups(default="0"))
