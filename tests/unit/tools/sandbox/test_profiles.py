"""What drivers are told, as text: for bubblewrap, and for macOS, where nothing here can run it."""

from __future__ import annotations

import marshal
import math
import os
from pathlib import Path

import pytest

from agency.domain.tool import Capability, Level
from agency.errors import SandboxFailed
from agency.ports.sandbox import Bounds, Command
from agency.tools.sandbox import layout
from agency.tools.sandbox.bubblewrap import Bubblewrap, parse_version
from agency.tools.sandbox.confined import Seatbelt
from agency.tools.sandbox.layout import Surroundings, masked, uncovered
from agency.tools.sandbox.plan import ProxyPlace
from agency.tools.sandbox.seatbelt import write_profile

LEVELS = dict.fromkeys(Capability, Level.ENFORCED)


def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(
        scratch=tmp_path, etc=tmp_path / "etc", hidden=[Path("/root"), tmp_path / "data"]
    )


def options_of(driver: Bubblewrap, command: Command, **more: ProxyPlace) -> list[str]:
    plan = driver.plan(command, LEVELS, **more)
    try:
        number = int(plan.argv[plan.argv.index("--args") + 1])
        return os.pread(number, 1 << 20, 0).decode().split("\0")
    finally:
        plan.close()


def bubblewrap(tmp_path: Path, version: tuple[int, ...] = (0, 8, 0)) -> Bubblewrap:
    return Bubblewrap(
        program=Path("/usr/bin/bwrap"),
        version=version,
        surroundings=surroundings(tmp_path),
        tmp_bytes_max=1 << 20,
    )


def test_secrets_of_the_environment_are_in_no_list_of_processes(tmp_path: Path) -> None:
    command = Command(argv=["true"], folder=tmp_path, environment={"TOKEN": "canary"})
    driver = bubblewrap(tmp_path)

    plan = driver.plan(command, LEVELS)
    plan.close()

    assert "canary" not in " ".join(plan.argv)
    assert "canary" in options_of(driver, command)


def test_an_old_bubblewrap_is_asked_for_nothing_that_it_does_not_know(tmp_path: Path) -> None:
    command = Command(argv=["true"], folder=tmp_path)

    assert "--size" in options_of(bubblewrap(tmp_path), command)
    assert "--size" not in options_of(bubblewrap(tmp_path, (0, 6, 1)), command)


def test_a_plan_holds_nothing_once_it_is_closed(tmp_path: Path) -> None:
    driver = bubblewrap(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(3):
        driver.plan(Command(argv=["true"], folder=tmp_path), LEVELS).close()

    assert before == len(list(Path("/proc/self/fd").iterdir()))


def test_bounds_without_an_end_set_no_limit(tmp_path: Path) -> None:
    bounds = Bounds(
        timeout_s=math.inf,
        cpu_s_max=math.inf,
        memory_bytes_max=math.inf,  # type: ignore[arg-type]  # as the port allows
        file_bytes_max=math.inf,  # type: ignore[arg-type]  # as the port allows
        processes_max=math.inf,  # type: ignore[arg-type]  # as the port allows
    )
    plan = bubblewrap(tmp_path).plan(Command(argv=["true"], folder=tmp_path, bounds=bounds), LEVELS)
    plan.close()

    assert ["", "", "", "", "", "true"] == list(plan.argv)[-6:]


@pytest.mark.parametrize(
    ("said", "version"),
    [("bubblewrap 0.8.0\n", (0, 8, 0)), ("bubblewrap 0.11", (0, 11, 0)), ("v1.2.3-rc", (1, 2, 3))],
)
def test_versions(said: str, version: tuple[int, ...]) -> None:
    assert version == parse_version(said)


def test_what_names_no_version_is_no_bubblewrap() -> None:
    with pytest.raises(SandboxFailed, match="names no version"):
        parse_version("usage: something else")


def test_the_profile_of_macos_denies_what_it_does_not_name() -> None:
    profile = write_profile(
        readable=[Path("/Users/me/tools"), Path("/usr")],
        writable=[Path("/Users/me/data/w")],
        hidden=[Path("/Users/me/tools/secret"), Path("/Users/me/data"), Path("/Users/me")],
        proxy_port=None,
    )

    lines = profile.splitlines()
    assert ["(version 1)", "(deny default)"] == lines[:2]
    assert "network" not in profile
    assert '(allow file-read* (subpath "/usr"))' in lines
    denied = lines.index('(deny file-read* file-write* (subpath "/Users/me/data"))')
    allowed = lines.index('(allow file-read* file-write* (subpath "/Users/me/data/w"))')
    # The last rule that fits counts: the own folder lies in what is hidden.
    assert denied < allowed
    home, tools, secret = (
        next(at for at, line in enumerate(lines) if f'(subpath "/Users/me{below}"))' in line)
        for below in ("", "/tools", "/tools/secret")
    )
    assert home < tools < secret
    assert profile.count("(") == profile.count(")")


def test_the_profile_of_macos_lets_the_proxy_through_and_nothing_else() -> None:
    profile = write_profile(readable=[], writable=[], hidden=[], proxy_port=4711)

    network = [line for line in profile.splitlines() if "network" in line]
    assert ['(allow network-outbound (remote ip "localhost:4711"))'] == network


def test_a_path_cannot_break_out_of_the_profile_of_macos() -> None:
    evil = Path('/tmp/x")) (allow default) (subpath "\\')

    profile = write_profile(readable=[evil], writable=[], hidden=[], proxy_port=None)

    assert '(subpath "/tmp/x\\")) (allow default) (subpath \\"\\\\"))' in profile


def test_the_command_of_macos_is_told_to_the_launcher(tmp_path: Path) -> None:
    driver = Seatbelt(surroundings=surroundings(tmp_path), program=Path("/usr/bin/sandbox-exec"))

    plan = driver.plan(Command(argv=["echo", "hi"], folder=tmp_path), LEVELS)
    try:
        orders = marshal.loads(os.pread(int(plan.argv[-1]), 1 << 20, 0))
    finally:
        plan.close()

    assert ["/usr/bin/sandbox-exec", "-p"] == orders["argv"][:2]
    assert ["echo", "hi"] == orders["argv"][3:]
    assert "(deny default)" in orders["argv"][2]


def test_hidden_parts_are_left_out_of_a_folder(tmp_path: Path) -> None:
    for name in ("a/hidden", "a/shown", "b"):
        (tmp_path / name).mkdir(parents=True)
    hidden = [tmp_path / "a" / "hidden", Path("/elsewhere")]

    assert [tmp_path / "a" / "shown", tmp_path / "b"] == uncovered(tmp_path, hidden)
    assert [tmp_path / "b"] == uncovered(tmp_path / "b", hidden)
    assert [] == uncovered(tmp_path, [tmp_path])
    assert [tmp_path / "a" / "hidden"] == masked([tmp_path], hidden)


def test_etc_is_shown_without_passwords_and_keys(tmp_path: Path) -> None:
    layout.copy_etc(tmp_path / "etc")

    shown = {str(path.relative_to(tmp_path / "etc")) for path in (tmp_path / "etc").rglob("*")}
    assert {"passwd", "group", "hosts"} <= shown
    assert not {name for name in shown if "shadow" in name or "private" in name or "ssh" in name}
    assert layout.PASSWD == (tmp_path / "etc" / "passwd").read_text()
