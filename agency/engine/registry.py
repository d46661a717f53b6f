"""The workflows that a daemon knows, by name."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from agency.engine.definition import MARK, Definition, make_definition
from agency.engine.hooks import HOOK_MARK, Hook
from agency.engine.modules import load_module, module_name
from agency.errors import Conflict, HookNameTaken, WorkflowNotFound


class WorkflowNameTaken(Conflict):
    code = "workflow_name_taken"
    hint = "Give one of the two another name."

    def __init__(self, name: str, source: str, other: str) -> None:
        super().__init__(f"The workflow {name!r} of {source!r} is also defined in {other!r}.")
        self.name = name


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A file that could not be loaded; the daemon runs without it.

    Attributes:
        path: The file.
        reason: One line.
        traceback: The whole traceback, for the log.
    """

    path: str
    reason: str
    traceback: str


class Registry:
    """Definitions and hooks by name, and the files that failed to load."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}
        self.hooks: dict[str, Hook] = {}
        self.failures: list[LoadFailure] = []

    def add(self, definition: Definition) -> None:
        """Register a definition.

        Raises:
            WorkflowNameTaken: another one has its name.
        """
        known = self._definitions.get(definition.name)
        if known is not None:
            raise WorkflowNameTaken(definition.name, definition.source, known.source)
        self._definitions[definition.name] = definition

    def add_function(self, function: Callable[..., Any]) -> None:
        """Register a function that ``workflow`` or ``on_update`` has marked, or both."""
        hook: Hook | None = getattr(function, HOOK_MARK, None)
        if hook is not None:
            self.add_hook(replace(hook, source=inspect.getsourcefile(function) or ""))
        if hook is None or hasattr(function, MARK):
            self.add(make_definition(function))

    def add_hook(self, hook: Hook) -> None:
        """Register a hook.

        Raises:
            HookNameTaken: another one has its name.
        """
        known = self.hooks.get(hook.name)
        if known is not None:
            raise HookNameTaken(hook.name, hook.source, known.source)
        self.hooks[hook.name] = hook

    def find(self, name: str) -> Definition | None:
        return self._definitions.get(name)

    def get(self, name: str) -> Definition:
        """Find a definition by name.

        Raises:
            WorkflowNotFound: there is none.
        """
        definition = self._definitions.get(name)
        if definition is None:
            raise WorkflowNotFound(name)
        return definition

    def __iter__(self) -> Iterator[Definition]:
        return iter(sorted(self._definitions.values(), key=lambda definition: definition.name))

    def __len__(self) -> int:
        return len(self._definitions)


def load_registry(paths: Sequence[str | Path], *, built_in: Sequence[Definition] = ()) -> Registry:
    """Load authors' files and collect the workflows that they mark.

    The names of those that are built in are taken: a file that uses one fails to load.

    A path that does not exist and a file that fails to load are recorded in ``failures``; the
    others are loaded all the same. Of a folder all ``*.py`` are taken, but those whose names
    begin with an underscore.
    """
    registry = Registry()
    for definition in built_in:
        registry.add(definition)
    for path in paths:
        for file in _files(Path(path), registry):
            _load(file, registry)
    return registry


def _files(path: Path, registry: Registry) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))
    if path.is_file():
        return [path]
    registry.failures.append(LoadFailure(str(path), "There is no such file or folder.", ""))
    return []


def _load(file: Path, registry: Registry) -> None:
    try:
        module = load_module(file, module_name(file))
        for function in _marked(module):
            registry.add_function(function)
    except (Exception, SystemExit):  # noqa: BLE001  an author's file must not stop the daemon
        kind, error, _ = sys.exc_info()
        name = kind.__name__ if kind else "error"
        registry.failures.append(LoadFailure(str(file), f"{name}: {error}", traceback.format_exc()))


def _marked(module: ModuleType) -> list[Callable[..., Any]]:
    """Marked functions that the module itself defines, not those that it imports."""
    return [
        value
        for value in vars(module).values()
        if callable(value)
        and (hasattr(value, MARK) or hasattr(value, HOOK_MARK))
        and getattr(value, "__module__", "") == module.__name__
    ]
