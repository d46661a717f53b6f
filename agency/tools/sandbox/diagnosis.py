"""Why a sandbox cannot be made here, or not wholly, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from agency.domain.tool import Capability, Level

_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_CLONE = Path("/proc/sys/kernel/unprivileged_userns_clone")
_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")

INSTALL = (
    "Install bubblewrap: `apt install bubblewrap`, `dnf install bubblewrap` or "
    "`pacman -S bubblewrap`."
)

APPARMOR = (
    "AppArmor keeps programs from making user namespaces here. Let bwrap make them: "
    "`printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile bwrap {program} "
    "flags=(unconfined) {{\\n  userns,\\n}}\\n' | sudo tee /etc/apparmor.d/bwrap`, then "
    "`sudo apparmor_parser -r /etc/apparmor.d/bwrap`."
)

CLONE = (
    "The kernel keeps users from making namespaces: `sudo sysctl -w "
    "kernel.unprivileged_userns_clone=1`, and the same in /etc/sysctl.d to keep it."
)

NAMESPACES = (
    "The kernel allows no user namespaces: `sudo sysctl -w user.max_user_namespaces=15000`, and "
    "the same in /etc/sysctl.d to keep it."
)

SERVICE = (
    "Whoever started the daemon keeps it from making namespaces: in a unit of systemd remove "
    "RestrictNamespaces= and a SystemCallFilter= without @mount (the unit in packaging/systemd has "
    "neither); a container needs a seccomp profile that allows them."
)

PROC = (
    "Commands run without /proc, because no new one can be mounted: in a unit of systemd remove "
    "ProtectKernelTunables=, ProtectKernelLogs= and ProcSubset=; for a container give it "
    "`--security-opt systempaths=unconfined`."
)

LANDLOCK = (
    "Landlock needs Linux 5.13 or later, and `landlock` in the list of /sys/kernel/security/lsm "
    "(kernel parameter lsm=)."
)

DELEGATE = (
    "To bound memory and processes of a command as a whole, let the service manager delegate a "
    "control group: Delegate=memory pids in the unit, as the one in packaging/systemd has it."
)

ARCHITECTURE = "The filter of system calls is made for x86-64 and arm64 alone."


def why_no_namespaces(program: str, said: str) -> str:
    """Say what to do when bwrap cannot make its namespaces.

    Args:
        said: What bwrap wrote before it ended.
    """
    if _reads(_NAMESPACES) == "0":
        return NAMESPACES
    if _reads(_CLONE) == "0" and os.geteuid() != 0:
        return CLONE
    if _reads(_APPARMOR) == "1" and os.geteuid() != 0:
        return APPARMOR.format(program=program)
    lowered = said.lower()
    if "mount proc" in lowered:
        return PROC
    if any(part in lowered for part in ("namespace", "uid map", "rtm_newaddr", "not permitted")):
        return SERVICE
    return f"bwrap said: {said.strip()[:300] or 'nothing'}"


def why_partial(
    driver: str,
    levels: Mapping[Capability, Level],
    *,
    has_proc: bool,
    has_cgroup: bool,
    better: Sequence[str] = (),
) -> str:
    """Say what would enforce more with a driver that works; empty when everything is enforced.

    Args:
        better: What would make the drivers work that were tried before this one.
    """
    weak = {each for each, level in levels.items() if level is not Level.ENFORCED}
    parts: list[str] = []
    if driver == "landlock" and weak & {Capability.FILE_WRITE, Capability.PROCESSES}:
        parts.append("Landlock bounds less than bubblewrap does.")
        parts.extend(dict.fromkeys(fix for fix in better if fix))
    if not has_proc:
        parts.append(PROC)
    if weak & {Capability.MEMORY, Capability.PROCESSES} and not has_cgroup and driver != "landlock":
        parts.append(DELEGATE)
    if Capability.SYSTEM_CALLS in weak:
        parts.append(ARCHITECTURE)
    return " ".join(parts)


def _reads(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
