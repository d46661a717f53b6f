"""Where programs are on this machine, and which processes are whose."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

_PROC = Path("/proc")
_HEAD_BYTES = 256


@cache
def boot_of_machine() -> str:
    """Tell the machine's present start from others; empty where the system does not say."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_ticks(pid: int) -> int:
    """Tell when a process began, in ticks since the machine's start; 0 if it is not known.

    Source: proc(5), /proc/pid/stat, field 22.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b") ")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def kill_group(pid: int) -> None:
    """Kill a process group, if there is something of it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def marked(variable: str, marks: Iterable[str]) -> Sequence[int]:
    """Find the processes that have one of the marks in the environment they were started with.

    Empty where there is no ``/proc``, and without those of other users.
    """
    wanted = [f"{variable}={mark}".encode() for mark in marks]
    if not wanted or not _PROC.is_dir():
        return []
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(one in variables for one in wanted):
            found.append(int(entry.name))
    return found


def find_program(name: str, folder: Path, path: str) -> Path | None:
    """Find a program by its name, or from the folder that it is started in; None if it is not."""
    place = str(folder / name) if "/" in name else name
    found = shutil.which(place, path=path)
    return None if found is None else Path(found)


def readable_of(argv: Sequence[str], readable: Sequence[str], home: Path) -> Sequence[Path]:
    """List what a program must be able to read to be run at all, and what else it may.

    That is where it is installed (``node_modules``, a Python environment), the interpreter of a
    script and of the environment it is in, and scripts among its arguments.
    """
    found = [Path(one) for one in readable]
    program = Path(argv[0])
    for one in [program, *_interpreters(program), *map(Path, argv[1:])]:
        if one.is_absolute() and one.is_file():
            for place in (one, one.resolve()):
                found += _home_of(place, home)
    return list(dict.fromkeys(found))


def _home_of(program: Path, home: Path) -> Sequence[Path]:
    """Find the folder that a program is installed in: that of ``bin``, or its own."""
    folder = program.parent
    if folder.name in {"bin", ".bin"} and not home.is_relative_to(folder.parent):
        return [folder.parent]
    if home.is_relative_to(folder):
        return [program]
    return [folder]


def _interpreters(program: Path) -> Sequence[Path]:
    """Find what a script is run by; for an environment of Python also the Python below it."""
    try:
        with program.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return []
    found = []
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        found += [Path(os.fsdecode(word)) for word in words if word.startswith(b"/")]
    for one in [program, *found]:
        settings = one.parent.parent / "pyvenv.cfg"
        with contextlib.suppress(OSError, UnicodeDecodeError):
            for line in settings.read_text().splitlines():
                key, _, value = line.partition("=")
                if key.strip() == "home":
                    found.append(Path(value.strip()) / "python3")
    return found
