"""The map of the code names every room, and in the engine every file."""

from __future__ import annotations

import re

from tests.docs.page import ROOT

MAP = (ROOT / "ARCHITECTURE.md").read_text()


def test_every_room_is_on_the_map() -> None:
    table = "\n".join(line for line in MAP.splitlines() if line.startswith("| `"))
    named = {name.partition("/")[0] for name in re.findall(r"`([\w./]+)`", table)}
    rooms = {
        path.name
        for path in (ROOT / "agency").iterdir()
        if path.suffix == ".py" or any(file.stat().st_size for file in path.rglob("*.py"))
    }

    # Neither is a room: an entry point, and a number.
    assert rooms - {"__main__.py", "version.py"} <= named


def test_every_file_of_the_engine_is_explained() -> None:
    section = MAP.partition("### The engine, file by file")[2].partition("\n## ")[0]
    files = {path.stem for path in (ROOT / "agency/engine").glob("*.py")} - {"__init__"}

    assert set() == files - set(re.findall(r"`(\w+)`", section))


def test_every_file_of_the_agent_is_explained() -> None:
    section = MAP.partition("### The agent, file by file")[2].partition("\n## ")[0]
    files = {path.stem for path in (ROOT / "agency/workflows/agent").glob("*.py")} - {"__init__"}

    assert set() == files - set(re.findall(r"`(\w+)`", section))


def test_every_path_on_the_map_is_there() -> None:
    paths = set(re.findall(r"`((?:\w+/)+\w+\.py)`", MAP))

    assert [] == sorted(path for path in paths if not (ROOT / "agency" / path).exists())
