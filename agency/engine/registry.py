"""The workflows that a daemon knows, by name."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from agency.core.names import feature_of
from agency.core.records import dataclass
from agency.domain.run import RunKind
from agency.engine.definition import DECLARES, MARK, Definition, make_definition
from agency.engine.hooks import HOOK_MARK, Hook
from agency.engine.modules import load_module, module_name
from agency.engine.offers import OFFER_MARK, Offers, offer_of
from agency.errors import HookNameTaken, WorkflowDisabled, WorkflowNameTaken, WorkflowNotFound
from agency.ports.tool import ToolCalls

DECLARED = (".json", ".yaml", ".yml")
"""Suffixes of files that declare a workflow without code."""


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


ReadDeclared = Callable[[Path, "Registry"], Definition]
"""Makes a definition of a file, over the functions of a registry."""


class Registry:
    """Definitions and hooks by name, and the files that failed to load.

    Of definitions that are stored there may be older versions as well, for the runs that are
    pinned to them.

    Attributes:
        modules: Authors' files that were loaded, by the stems of their names.
        offers: What authors offer to MCP clients beside workflows.
        tool_calls: Makes the calls of tools that declared workflows name; None where there are no
            tools.
    """

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}
        self._pinned: dict[tuple[str, str], Definition] = {}
        self.hooks: dict[str, Hook] = {}
        self.offers = Offers()
        self.modules: dict[str, list[ModuleType]] = {}
        self.failures: list[LoadFailure] = []
        self.tool_calls: ToolCalls | None = None
        self._switches: Mapping[str, bool] = {}
        self._listeners: dict[object, Callable[[], None]] = {}

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` whenever other workflows are there; gives what ends it.

        It is called in the middle of the change and must not block.
        """
        token = object()
        self._listeners[token] = changed

        def leave() -> None:
            self._listeners.pop(token, None)

        return leave

    def _tell(self) -> None:
        for changed in tuple(self._listeners.values()):
            changed()

    def add(self, definition: Definition) -> None:
        """Register a definition.

        Raises:
            WorkflowNameTaken: another one has its name.
        """
        known = self._definitions.get(definition.name)
        if known is not None:
            raise WorkflowNameTaken(definition.name, definition.source, known.source)
        self._definitions[definition.name] = definition
        self._tell()

    def add_function(self, function: Callable[..., Any]) -> None:
        """Register a function by its marks: ``workflow``, ``on_update``, an offer; or several."""
        hook: Hook | None = getattr(function, HOOK_MARK, None)
        if hook is not None:
            self.add_hook(replace(hook, source=inspect.getsourcefile(function) or ""))
        offer = offer_of(function)
        if offer is not None:
            self.offers.add(offer)
        if (hook is None and offer is None) or hasattr(function, MARK):
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

    def replace(self, definition: Definition) -> None:
        """Register a stored definition, in the place of its last version if there is one.

        Raises:
            WorkflowNameTaken: one that is not stored has its name.
        """
        known = self._definitions.get(definition.name)
        if known is not None and not known.is_stored:
            raise WorkflowNameTaken(definition.name, definition.source, known.source)
        self._definitions[definition.name] = definition
        self.pin(definition)
        self._tell()

    def pin(self, definition: Definition) -> None:
        """Keep a version for the runs that are pinned to it."""
        self._pinned[definition.name, definition.version] = definition

    def remove(self, name: str) -> Definition | None:
        """Forget a stored definition with all its versions; gives the newest."""
        for key in [key for key in self._pinned if key[0] == name]:
            del self._pinned[key]
        known = self._definitions.get(name)
        if known is None or not known.is_stored:
            return None
        del self._definitions[name]
        self._tell()
        return known

    def find(self, name: str) -> Definition | None:
        return self._definitions.get(name)

    def find_version(self, name: str, version: str, kind: RunKind) -> Definition | None:
        """Find what a run is worked on with: the stored version, else the loaded code.

        Code is checked and not kept, so of it there is one version. What has the name by now and
        is of another kind is not it.
        """
        pinned = self._pinned.get((name, version))
        if pinned is not None:
            return pinned
        known = self._definitions.get(name)
        return known if known is not None and known.kind is kind and not known.is_stored else None

    def find_function(self, place: str) -> Callable[..., Any] | None:
        """Find ``module:function`` among authors' files; nothing is ever imported for it.

        The module is the stem of the file's name. None if there is no such function, or if two
        files of that name are loaded.
        """
        stem, _, name = place.partition(":")
        modules = self.modules.get(stem, [])
        if len(modules) != 1 or name.startswith("_"):
            return None
        found = vars(modules[0]).get(name)
        is_own = getattr(found, "__module__", "") == modules[0].__name__
        return found if callable(found) and is_own and not isinstance(found, type) else None

    def get(self, name: str) -> Definition:
        """Find a definition by name.

        Raises:
            WorkflowNotFound: there is none.
        """
        definition = self._definitions.get(name)
        if definition is None:
            raise WorkflowNotFound(name)
        return definition

    def get_enabled(self, name: str) -> Definition:
        """Find a definition of which a new run may be made.

        Raises:
            WorkflowNotFound: there is none.
            WorkflowDisabled: it is switched off.
        """
        definition = self.get(name)
        if not self.is_enabled(name):
            raise WorkflowDisabled(name)
        return definition

    def switch(self, features: Mapping[str, bool]) -> Sequence[str]:
        """Switch workflows on and off by the names of their features; others are on.

        Returns:
            Names that no workflow has now. One that is defined later heeds them.
        """
        self._switches = {feature_of(name): is_on for name, is_on in features.items()}
        self._tell()
        known = {feature_of(name) for name in self._definitions}
        return sorted(name for name in features if feature_of(name) not in known)

    def is_enabled(self, name: str) -> bool:
        """Tell whether new runs of a workflow are taken."""
        return not self._switches or self._switches.get(feature_of(name), True)

    def __iter__(self) -> Iterator[Definition]:
        return iter(sorted(self._definitions.values(), key=lambda definition: definition.name))

    def __len__(self) -> int:
        return len(self._definitions)


def load_registry(
    paths: Sequence[str | Path],
    *,
    built_in: Sequence[Definition] = (),
    read_declared: ReadDeclared | None = None,
) -> Registry:
    """Load authors' files and collect the workflows that they mark.

    The names of those that are built in are taken: a file that uses one fails to load.

    A path that does not exist and a file that fails to load are recorded in ``failures``; the
    others are loaded all the same. Of a folder all ``*.py`` are taken, but those whose names
    begin with an underscore; and what is declared in JSON or YAML, in files whose names end in
    ``saga.json`` or ``saga.yaml``. ``read_declared`` makes a definition of such a file; it may
    look up functions of the Python files, which are loaded first.
    """
    registry = Registry()
    for definition in built_in:
        registry.add(definition)
    declared: list[Path] = []
    for path in paths:
        for file in _files(Path(path), registry):
            if file.suffix in DECLARED and read_declared is not None:
                declared.append(file)
            elif file.suffix not in DECLARED or not Path(path).is_dir():
                _load(file, registry)
    for file in declared:
        assert read_declared is not None
        with _recording(file, registry):
            registry.add(read_declared(file, registry))
    return registry


def _files(path: Path, registry: Registry) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.glob("*.py") if not file.name.startswith("_"))
        return found + sorted(
            file for suffix in DECLARED for file in path.glob(f"*saga{suffix}") if file.is_file()
        )
    if path.is_file():
        return [path]
    registry.failures.append(LoadFailure(str(path), "There is no such file or folder.", ""))
    return []


def _load(file: Path, registry: Registry) -> None:
    with _recording(file, registry):
        module = load_module(file, module_name(file))
        for function in _marked(module):
            registry.add_function(function)
        for made in _declared(module):
            registry.add(made.definition())
        registry.modules.setdefault(file.stem, []).append(module)


@contextmanager
def _recording(file: Path, registry: Registry) -> Iterator[None]:
    """Record what goes wrong with a file, and go on without it."""
    try:
        yield
    except (Exception, SystemExit):  # noqa: BLE001  an author's file must not stop the daemon
        kind, error, _ = sys.exc_info()
        name = kind.__name__ if kind else "error"
        registry.failures.append(LoadFailure(str(file), f"{name}: {error}", traceback.format_exc()))


def _declared(module: ModuleType) -> list[Any]:
    """Objects that the module itself has made and that are workflows, such as sagas."""
    found = {
        id(value): value
        for value in vars(module).values()
        if getattr(type(value), DECLARES, False) and value.module == module.__name__
    }
    return list(found.values())


def _marked(module: ModuleType) -> list[Callable[..., Any]]:
    """Marked functions that the module itself defines, not those that it imports."""
    return [
        value
        for value in vars(module).values()
        if callable(value)
        and any(hasattr(value, mark) for mark in (MARK, HOOK_MARK, OFFER_MARK))
        and getattr(value, "__module__", "") == module.__name__
    ]
