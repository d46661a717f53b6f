"""Restrictions of the shipped unit, set by hand, around a program that reports on the sandbox.

Run as root with a variant, a state directory and the program bwrap. It makes its own namespace of
mounts, so that nothing of the machine is changed, becomes ``nobody``, and prints what is found.
Variants: ``shipped``; ``tunables`` as with ``ProtectKernelTunables=``; ``namespaces`` as with
``RestrictNamespaces=``.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x44000
_PR_CAPBSET_DROP = 24
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    variant, state_dir, bwrap = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    libc = ctypes.CDLL(None, use_errno=True)
    hide(libc, variant, state_dir)
    become_nobody(libc)
    filter_calls(libc, variant)
    sys.stdout.write(json.dumps(asyncio.run(report(state_dir, bwrap))))


def hide(libc: ctypes.CDLL, variant: str, state_dir: Path) -> None:
    """ProtectSystem=strict, ProtectHome=, PrivateTmp= and StateDirectory=."""
    check(libc.unshare(_CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
    mount("--bind", state_dir, state_dir)
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in points:
        free = ("/dev", "/proc", "/sys", str(state_dir))
        if not point.startswith(free):
            mount("-o", "remount,bind,ro", point)
    for home in ("/home", "/root", "/run/user"):
        if Path(home).is_dir():
            mount("-t", "tmpfs", "-o", "mode=000,ro", "tmpfs", home)
    if not str(state_dir).startswith("/tmp/"):
        mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp")
    if variant == "tunables":
        for path in ("/proc/sys", "/proc/irq", "/proc/bus"):
            if Path(path).is_dir():
                mount("--bind", path, path)
                mount("-o", "remount,bind,ro", path)


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def become_nobody(libc: ctypes.CDLL) -> None:
    """User=, CapabilityBoundingSet= and NoNewPrivileges=."""
    for capability in range(64):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.environ["HOME"] = "/nonexistent"
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def filter_calls(libc: ctypes.CDLL, variant: str) -> None:
    """RestrictAddressFamilies=, SystemCallArchitectures=, and RestrictNamespaces= of a variant."""
    from agency.tools.sandbox import seccomp

    known = seccomp._MACHINES[os.uname().machine]
    families = (seccomp.AF_UNIX, seccomp.AF_INET, seccomp.AF_INET6, seccomp.AF_NETLINK)
    program = [
        seccomp._load(seccomp._ARCHITECTURE_AT),
        seccomp._op(seccomp._EQUAL, known.audit, jt=1),
        seccomp._fail(),
        seccomp._load(seccomp._NUMBER_AT),
        *seccomp._judged(known, "socket", seccomp._none_of(0, families)),
    ]
    if variant == "namespaces":
        new = seccomp._op(seccomp._ANY_BIT, seccomp._NEW_NAMESPACES, jf=1)
        for name in ("clone", "unshare"):
            program += seccomp._judged(known, name, [seccomp._load(seccomp._argument(0)), new])
        program += [
            seccomp._op(seccomp._EQUAL, known.calls["clone3"], jf=1),
            seccomp._fail(38),
        ]
    code = b"".join([*program, seccomp._op(seccomp._RETURN, seccomp._ALLOW)])

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

    check(libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(Program(len(code) // 8, code)), 0, 0))


def check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


async def report(state_dir: Path, bwrap: str) -> dict[str, object]:
    from agency.config.schema import Sandbox, Server, Settings
    from agency.ports.sandbox import Command
    from agency.tools.sandbox.sandbox import make_sandbox

    settings = Settings(server=Server(data_dir=str(state_dir)), sandbox=Sandbox(bubblewrap=bwrap))
    sandbox = make_sandbox(settings)
    await sandbox.ready()
    told: dict[str, object] = {
        "driver": sandbox.name,
        "levels": {str(each): str(level) for each, level in sandbox.levels.items()},
        "fix": sandbox.fix,
        "tried": [f"{each.driver}: {each.reason} ({each.fix})" for each in sandbox.choice.tried],
        "met": dict(sandbox.choice.met),
    }
    folder = state_dir / "workspace"
    folder.mkdir()
    if sandbox.choice.driver is not None:
        for name, hosts in (("plain", ()), ("hosts", ("example.org",))):
            argv = ["sh", "-c", "echo $((6*7)) > made && cat made"]
            end = await sandbox.run(Command(argv=argv, folder=folder, hosts=hosts))
            told[name] = [end.code, end.output.decode()]
    return told


if __name__ == "__main__":
    main()
