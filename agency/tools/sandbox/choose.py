"""Which driver this machine's commands run in: the best that the probe proves.

What is configured is never replaced by something weaker: where it does not work nothing is run,
and the choice says why, and what to do.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from agency.config.schema import Sandbox as SandboxSettings
from agency.core.records import dataclass
from agency.domain.tool import Capability, Level
from agency.errors import SandboxFailed
from agency.tools.sandbox import diagnosis
from agency.tools.sandbox.bubblewrap import NAME as BUBBLEWRAP
from agency.tools.sandbox.bubblewrap import Bubblewrap, parse_version
from agency.tools.sandbox.cgroups import Cgroups
from agency.tools.sandbox.confined import LANDLOCK, NONE, SEATBELT, Bare, Landlock, Seatbelt
from agency.tools.sandbox.kernel import landlock_abi
from agency.tools.sandbox.layout import Surroundings
from agency.tools.sandbox.plan import OUTER_ENVIRONMENT, Driver
from agency.tools.sandbox.probe import NOTHING, Found, probe

UNAVAILABLE = "unavailable"
"""Name of the driver where none works."""

_VERSION_S = 5.0

_CORE = (Capability.FILE_READ, Capability.FILE_WRITE, Capability.NETWORK)
"""A driver that lets one of these pass is none that ``auto`` takes."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A driver that was not taken, and why."""

    driver: str
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What the probe has decided.

    Attributes:
        driver: None when none works.
        met: What each attempt of the probe has met, by its name.
    """

    driver: Driver | None
    levels: Mapping[Capability, Level]
    fix: str
    tried: Sequence[Tried] = ()
    met: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As the port says it, or ``unavailable``."""
        return UNAVAILABLE if self.driver is None else self.driver.name


def choose(
    settings: SandboxSettings, surroundings: Surroundings, cgroups: Cgroups | None
) -> Choice:
    """Probe drivers, the best first, and take the first that holds; blocks meanwhile."""
    if settings.driver == NONE:
        fix = 'The sandbox is switched off: remove [sandbox] driver = "none".'
        return Choice(Bare(surroundings=surroundings), NOTHING, fix)
    tried: list[Tried] = []
    for name in _names(settings.driver):
        try:
            for driver in _variants(name, settings, surroundings, cgroups):
                found = _try(driver, surroundings, tried, has_cgroup=_has_cgroup(driver))
                if found is None:
                    continue
                open_ones = [each for each in _CORE if found.levels[each] is Level.ABSENT]
                if open_ones and settings.driver == "auto":
                    reason = f"it does not bound {', '.join(open_ones)}"
                    tried.append(Tried(name, reason, ""))
                    continue
                fix = diagnosis.why_partial(
                    name,
                    found.levels,
                    has_proc=found.has_proc,
                    has_cgroup=_has_cgroup(driver),
                    better=[each.fix for each in tried],
                )
                return Choice(driver, found.levels, fix, tuple(tried), found.met)
        except _Missing as missing:
            tried.append(Tried(name, missing.reason, missing.fix))
    fix = " ".join(dict.fromkeys(each.fix for each in tried if each.fix))
    return Choice(None, NOTHING, fix, tuple(tried))


class _Missing(Exception):
    """What a driver stands on is not there."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


def _names(wanted: str) -> Sequence[str]:
    if wanted != "auto":
        return (wanted,)
    return (SEATBELT,) if sys.platform == "darwin" else (BUBBLEWRAP, LANDLOCK)


def _has_cgroup(driver: Driver) -> bool:
    return isinstance(driver, Bubblewrap) and driver.cgroups is not None


def _try(
    driver: Driver, surroundings: Surroundings, tried: list[Tried], *, has_cgroup: bool
) -> Found | None:
    try:
        return probe(driver, surroundings.scratch, has_cgroup=has_cgroup)
    except SandboxFailed as error:
        fix = ""
        if isinstance(driver, Bubblewrap):
            fix = diagnosis.why_no_namespaces(str(driver.program), error.message)
        tried.append(Tried(driver.name, error.message, fix))
        return None


def _variants(
    name: str, settings: SandboxSettings, surroundings: Surroundings, cgroups: Cgroups | None
) -> Iterator[Driver]:
    """Make a driver, and those like it that ask for less of the machine."""
    if name == BUBBLEWRAP:
        program = _find_bubblewrap(settings.bubblewrap)
        whole = Bubblewrap(
            program=program,
            version=_version_of(program),
            surroundings=surroundings,
            tmp_bytes_max=settings.tmp_bytes_max,
            cgroups=cgroups,
        )
        yield whole
        yield replace(whole, has_proc=False)
    elif name == LANDLOCK:
        abi = landlock_abi()
        if abi < 1:
            raise _Missing("the kernel has no Landlock, or it is switched off", diagnosis.LANDLOCK)
        yield Landlock(surroundings=surroundings, abi=abi)
    else:
        found = shutil.which("sandbox-exec")
        if found is None:
            raise _Missing(f"there is no sandbox-exec on {platform.system()}", "")
        yield Seatbelt(surroundings=surroundings, program=Path(found))


def _find_bubblewrap(configured: str) -> Path:
    if configured:
        if not Path(configured).is_file():
            raise _Missing(f"[sandbox] bubblewrap: there is no {configured}", diagnosis.INSTALL)
        return Path(configured)
    found = shutil.which("bwrap")
    if found is None:
        raise _Missing("bwrap is not in PATH", diagnosis.INSTALL)
    return Path(found)


def _version_of(program: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run(  # noqa: S603  configured, or found in PATH
            [str(program), "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_S,
            check=True,
            env=OUTER_ENVIRONMENT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _Missing(f"{program} --version failed: {error}", diagnosis.INSTALL) from error
    try:
        return parse_version(said.stdout)
    except SandboxFailed as error:
        raise _Missing(error.message, diagnosis.INSTALL) from error
