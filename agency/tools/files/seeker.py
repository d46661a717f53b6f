"""Looks for a pattern in files; run as a program of its own, because it may have to be killed.

Patterns come from models, and a pattern can take for ever (``(a+)+$``); nothing can stop one in the
thread that it runs in. The program imports nothing of Agency but ``core/beneath.py``, by its path:
it starts in some 20 ms. Standard input is one JSON object, standard output one for each line.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FILE_BYTES_MAX = 8 << 20
LINE_CHARACTERS_MAX = 300
SKIPPED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv"})
"""Folders that are only looked into when they are asked for."""


def load_beneath(path: str) -> ModuleType:
    """Load ``core/beneath.py`` alone."""
    spec = importlib.util.spec_from_file_location("beneath", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files(
    beneath: ModuleType, descriptor: int, above: str, depth: int
) -> Iterator[tuple[str, int]]:
    """Walk through a folder: each plain file's path and an open descriptor, closed afterwards."""
    with os.scandir(descriptor) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = f"{above}{name}"
        try:
            looked = os.lstat(name, dir_fd=descriptor)
            if stat.S_ISDIR(looked.st_mode):
                is_skipped = name in SKIPPED or path == ".agency/packages"
                if depth < beneath.DEPTH_MAX and not is_skipped:
                    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                    below = os.open(name, flags, dir_fd=descriptor)
                    try:
                        yield from files(beneath, below, f"{path}/", depth + 1)
                    finally:
                        os.close(below)
            elif stat.S_ISREG(looked.st_mode):
                file = beneath.open_regular(name, dir_fd=descriptor)
                try:
                    yield path, file
                finally:
                    os.close(file)
        except OSError:
            continue  # gone meanwhile, or not to be read


def fits(path: str, glob: str) -> bool:
    """Tell whether a path fits a pattern; one without a slash is for the name alone."""
    if not glob:
        return True
    if "/" in glob:
        return fnmatch.fnmatch(path, glob.removeprefix("./").replace("**/", "*"))
    return fnmatch.fnmatch(path.rpartition("/")[2], glob)


def search(wanted: dict[str, Any], beneath: ModuleType) -> None:
    """Look, and write what is found."""
    pattern = re.compile(wanted["pattern"], re.IGNORECASE if wanted["ignore_case"] else 0)
    matches, looked, skipped = 0, 0, 0
    for path, file in candidates(wanted, beneath):
        if not fits(path, wanted["glob"]):
            continue
        if os.fstat(file).st_size > FILE_BYTES_MAX:
            skipped += 1
            continue
        content = beneath.read_all(file, FILE_BYTES_MAX)
        if b"\0" in content[:8192]:
            continue
        looked += 1
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if pattern.search(line):
                matches += 1
                # Bytes that are no UTF-8 would be half characters, which no reader takes.
                shown = path.encode(errors="surrogateescape").decode(errors="replace")
                tell(path=shown, line=number, text=line.strip()[:LINE_CHARACTERS_MAX])
                if matches >= wanted["matches_max"]:
                    tell(end="many", looked=looked, skipped=skipped)
                    return
    tell(end="all", looked=looked, skipped=skipped)


def candidates(wanted: dict[str, Any], beneath: ModuleType) -> Iterator[tuple[str, int]]:
    """Open what is to be looked through: a folder with all below it, or one file."""
    root = Path(wanted["folder"])
    parts = beneath.split(wanted["path"])
    try:
        with beneath.folder(root, parts) as descriptor:
            above = "".join(f"{part}/" for part in parts)
            yield from files(beneath, descriptor, above, len(parts))
    except beneath.Unreachable:
        with beneath.file(root, wanted["path"]) as file:
            yield "/".join(parts), file


def tell(**said: object) -> None:
    """Write one line."""
    print(json.dumps(said), flush=True)  # noqa: T201  it is how the programs talk


def main() -> None:
    """Read what is wanted, look, and say how it went."""
    wanted = json.load(sys.stdin)
    beneath = load_beneath(wanted["beneath"])
    try:
        search(wanted, beneath)
    except re.error as error:
        tell(end="pattern", why=str(error))
    except FileNotFoundError:
        tell(end="missing")
    except OSError as error:
        tell(end="path", why=error.strerror or str(error))


if __name__ == "__main__":
    main()
