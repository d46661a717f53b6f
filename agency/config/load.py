"""Read the settings: defaults, then the file, then the environment, then the command line.

All faults are found before any is reported, each with the place where it was written.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from agency.config import catalogue, connections, model_names, places, remote_agents
from agency.config.catalogue import Setting
from agency.config.lines import Path as Path_
from agency.config.lines import find_lines, line_of
from agency.config.replaced import replaced_in
from agency.config.schema import Settings
from agency.config.values import Unsuitable, check, read
from agency.core.names import feature_of, is_queue_name
from agency.core.records import dataclass
from agency.core.suggestions import nearest
from agency.errors import ConfigurationInvalid, Fault

FILE_NAME = "config.toml"
"""Taken from the current directory when no other file is named, if it is there."""

FILE_BYTES_MAX = 1 << 20
"""A larger file is not a configuration but a mistake, and is not read."""

FLAGS: Mapping[str, str] = {
    "server.host": "--host",
    "server.port": "--port",
    "server.data_dir": "--data-dir",
    "logging.level": "--log-level",
}
"""Settings that the command line can set, and how they are called there."""

_PREFIX = "AGENCY_"
_FEATURE_HINT = "Use the name of a workflow: up to 64 letters, digits and dashes."


class Source(StrEnum):
    """Where a value comes from; a later one wins over an earlier one."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value comes from.

    Attributes:
        place: ``config.toml:12``, the variable's or the flag's name; empty for a default.
    """

    source: Source
    place: str = ""

    def __str__(self) -> str:
        match self.source:
            case Source.DEFAULT:
                return "default"
            case Source.FILE:
                return self.place
            case Source.ENVIRONMENT:
                return f"env {self.place}"
            case Source.FLAG:
                return f"flag {self.place}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read.

    Attributes:
        settings: Checked; paths in it are absolute and the database has its place.
        origins: By name, ``server.host``; all settings are in it.
        path: The file, absolute; None when there was none.
        ignored: Environment variables that are set and have no effect here, with what takes
            their place; see `agency.config.replaced`.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    path: Path | None
    ignored: Mapping[str, str] = field(default_factory=dict)


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, str] | None = None,
    current: Path | None = None,
) -> Loaded:
    """Read all settings.

    Args:
        path: File that must exist; None takes ``CONFIG_PATH``, else ``config.toml`` in the current
            directory if it is there, else no file.
        environ: Environment variables.
        flags: Values from the command line by the settings' names; they win.
        current: Directory that relative paths on the command line and in the environment start
            from; None for the process's own.

    Raises:
        ConfigurationInvalid: something is wrong; ``faults`` lists all of it.
    """
    here = current or Path.cwd()
    file = _choose_file(path, environ, here)
    reading = _Reading()
    if file is not None:
        reading.take_file(file, shown=_show(file, here))
    reading.take_environment(environ)
    reading.take_flags(flags or {})
    base = file.parent if file is not None else here
    loaded = _build(reading, file, base=base, here=here, home=environ.get("HOME", ""))
    return replace(loaded, ignored=replaced_in(environ))


def _choose_file(path: Path | None, environ: Mapping[str, str], here: Path) -> Path | None:
    if path is None and environ.get("CONFIG_PATH"):
        path = Path(environ["CONFIG_PATH"])
    if path is not None:
        return here / path
    usual = here / FILE_NAME
    return usual if usual.exists() else None


def _show(file: Path, here: Path) -> str:
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


class _Reading:
    """Values and faults, collected source by source."""

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = {}
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self._faults: list[Fault] = []
        self._add(catalogue.settings())

    def _add(self, settings: Mapping[str, Setting]) -> None:
        for name, setting in settings.items():
            if name not in self.settings:
                self.settings[name] = setting
                self.values[name] = setting.default
                self.origins[name] = Origin(Source.DEFAULT)

    def raise_faults(self) -> None:
        """Raise everything that was wrong so far, if anything was."""
        if self._faults:
            number = len(self._faults)
            word = "one fault" if number == 1 else f"{number} faults"
            raise ConfigurationInvalid(f"The configuration has {word}.", faults=self._faults)

    def named(self, group: str) -> list[str]:
        """List the sections ``[group.NAME]`` that are there."""
        sections = {one.section for one in self.settings.values()}
        named = (catalogue.group_of(one) for one in sections)
        return sorted(name for part, name in named if part == group and name)

    def fault(self, where: str, what: str, hint: str = "") -> None:
        self._faults.append(Fault(where, what, hint))

    def is_faulty(self, name: str) -> bool:
        """Tell whether something was wrong with a setting so far."""
        return any(fault.where.rpartition(" ")[2] == name for fault in self._faults)

    # --- the file

    def take_file(self, file: Path, *, shown: str) -> None:
        text = self._read_text(file, shown)
        if text is None:
            return
        # Imported late: `agency --version` does not read a file.
        import tomli

        try:
            document = tomli.loads(text)
        except tomli.TOMLDecodeError as error:
            self.fault(f"{shown}:{error.lineno}", f"This is not TOML: {error.msg}.")
            return
        lines = find_lines(text)
        for section, table in document.items():
            where = f"{shown}:{line_of((section,), lines)} {section}"
            if section not in _known_sections():
                self.fault(where, *_no_section(section))
            elif not isinstance(table, dict):
                self.fault(where, f"[{section}] must be a section, and is {table!r}.")
            elif section in catalogue.NAMED:
                self._take_group((section,), table, shown, lines)
            elif section == catalogue.FEATURES:
                self._take_features(table, shown, lines)
            else:
                rest = self._take_inner(section, table, shown, lines)
                self._take_section((section,), rest, shown, lines)

    def _take_inner(
        self, section: str, table: Mapping[str, object], shown: str, lines: Mapping[Path_, int]
    ) -> Mapping[str, object]:
        """Take the groups inside of a section, ``[section.inner.NAME]``, and hand back the rest."""
        rest = dict(table)
        for group in catalogue.NAMED:
            outer, _, inner = group.partition(".")
            if outer == section and inner in rest:
                tables = rest.pop(inner)
                where = f"{shown}:{line_of((section, inner), lines)} {group}"
                if isinstance(tables, dict):
                    self._take_group((section, inner), tables, shown, lines)
                else:
                    self.fault(where, f"[{group}.NAME] must be a section.")
        return rest

    def _take_group(
        self, path: Path_, tables: Mapping[str, object], shown: str, lines: Mapping[Path_, int]
    ) -> None:
        """Take the sections ``[group.NAME]``."""
        group = ".".join(path)
        for name, table in tables.items():
            where = f"{shown}:{line_of((*path, name), lines)} {group}.{name}"
            if not isinstance(table, dict):
                what = f"[{group}] holds sections, [{group}.NAME], and {name!r} is {table!r}."
                self.fault(where, what)
            elif not is_queue_name(name):
                hint = "Use up to 64 letters, digits, dashes and underscores."
                self.fault(where, f"{name!r} cannot be the name of a section.", hint)
            else:
                self._add(catalogue.settings_of_named(group, name))
                self._take_section((*path, name), table, shown, lines)

    def _take_features(
        self, table: Mapping[str, object], shown: str, lines: Mapping[Path_, int]
    ) -> None:
        """Take ``[features]``: names of workflows, with true or false."""
        for key, value in table.items():
            place = f"{shown}:{line_of((catalogue.FEATURES, key), lines)}"
            where = f"{place} {catalogue.FEATURES}.{key}"
            name = feature_of(key)
            if not is_queue_name(name):
                self.fault(where, f"{key!r} cannot be the name of a feature.", _FEATURE_HINT)
            elif f"{catalogue.FEATURES}.{name}" in self.settings:
                self.fault(where, f"The feature {name!r} is there twice.")
            else:
                self._take_feature(name, Origin(Source.FILE, place), where, value, is_text=False)

    def _take_feature(
        self,
        name: str,
        origin: Origin,
        where: str,
        value: object,
        *,
        is_text: bool,
    ) -> None:
        setting = catalogue.feature(name)
        self._add({setting.name: setting})
        self._take(setting, origin, where, value, is_text=is_text)

    def _take_section(
        self,
        section: Path_,
        table: Mapping[str, object],
        shown: str,
        lines: Mapping[Path_, int],
    ) -> None:
        for key, value in table.items():
            line = line_of((*section, key), lines)
            self._take_entry(".".join((*section, key)), value, f"{shown}:{line}")

    def _read_text(self, file: Path, shown: str) -> str | None:
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                self.fault(shown, "This is not a file.")
                return None
            if status.st_size > FILE_BYTES_MAX:
                self.fault(shown, f"The file has more than {FILE_BYTES_MAX} bytes.")
                return None
            content = file.read_bytes()
        except OSError as error:
            self.fault(shown, f"The file cannot be read: {error.strerror}.")
            return None
        try:
            # Some editors begin a file with a byte order mark, which TOML does not know.
            return content.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self.fault(f"{shown}:{line}", "The file must be written in UTF-8.")
            return None

    def _take_entry(self, name: str, value: object, place: str) -> None:
        setting = self.settings.get(name)
        if setting is None:
            self.fault(f"{place} {name}", *_no_setting(name, self.settings))
            return
        self._take(setting, Origin(Source.FILE, place), f"{place} {name}", value, is_text=False)

    # --- environment and command line

    def take_environment(self, environ: Mapping[str, str]) -> None:
        known = set()
        for setting in self.settings.values():
            known.add(setting.variables[0])
            for variable in setting.variables:
                text = environ.get(variable)
                # Other programs' variables (HOST, PORT) count as absent when they are empty.
                if text is None or (not text and variable in setting.aliases):
                    continue
                self._take(setting, Origin(Source.ENVIRONMENT, variable), variable, text)
                break
        self._take_connections(environ.get(connections.VARIABLE, ""))
        # AGENCY_URL and its like belong to others; AGENCY_SERVER_PORT can only be meant for us.
        flat = {_flat(variable) for variable in known}
        features: dict[str, str] = {}
        for variable in sorted(environ):
            if environ[variable] and (feature := catalogue.feature_in(variable)):
                self._take_variable(feature, variable, environ[variable], features)
                continue
            if not variable.startswith(_PREFIX) or variable in known:
                continue
            if "__" in variable or _flat(variable) in flat:
                likely = nearest(variable, known)
                hint = f"Did you mean {likely}?" if likely else ""
                self.fault(variable, "No setting has this environment variable.", hint)

    def _take_connections(self, text: str) -> None:
        """Take ``MCP_CONNECTIONS``: a server in there replaces the file's of that name."""
        if not text.strip():
            return
        origin = Origin(Source.ENVIRONMENT, connections.VARIABLE)
        try:
            servers = connections.read(text)
        except Unsuitable as error:
            self.fault(connections.VARIABLE, error.what, error.hint)
            return
        for name, entries in servers.items():
            where = f"{connections.VARIABLE} {name}"
            if not is_queue_name(name):
                hint = "Use up to 64 letters, digits, dashes and underscores."
                self.fault(where, f"{name!r} cannot be the name of a section.", hint)
                continue
            own = catalogue.settings_of_named(connections.GROUP, name)
            for setting in own.values():
                self.settings[setting.name] = setting
                self.values[setting.name] = setting.default
                self.origins[setting.name] = Origin(Source.DEFAULT)
            for key, value in entries.items():
                full = f"{connections.GROUP}.{name}.{key}"
                if full in own:
                    self._take(own[full], origin, f"{where}.{key}", value, is_text=False)
                else:
                    self.fault(f"{where}.{key}", *_no_setting(full, self.settings))

    def _take_variable(self, feature: str, variable: str, text: str, seen: dict[str, str]) -> None:
        """Take a variable that switches a feature; of two that disagree both are told."""
        if not is_queue_name(feature):
            self.fault(variable, "This cannot be the name of a feature.", _FEATURE_HINT)
            return
        other = seen.setdefault(feature, variable)
        origin = Origin(Source.ENVIRONMENT, variable)
        before = self.values.get(f"{catalogue.FEATURES}.{feature}")
        self._take_feature(feature, origin, variable, text, is_text=True)
        if other != variable and before != self.values[f"{catalogue.FEATURES}.{feature}"]:
            self.fault(variable, f"This says something else than {other}.")

    def take_flags(self, flags: Mapping[str, str]) -> None:
        for name, text in flags.items():
            flag = FLAGS.get(name, name)
            self._take(catalogue.settings()[name], Origin(Source.FLAG, flag), flag, text)

    def _take(
        self,
        setting: Setting,
        origin: Origin,
        where: str,
        value: Any,  # noqa: ANN401  whatever was written
        *,
        is_text: bool = True,
    ) -> None:
        try:
            accepted = read(setting, value) if is_text else check(setting, value)
        except Unsuitable as error:
            self.fault(where, error.what, error.hint)
            return
        self.values[setting.name] = accepted
        self.origins[setting.name] = origin


def _known_sections() -> frozenset[str]:
    outer = {group for group in catalogue.NAMED if "." not in group}
    return frozenset({*catalogue.sections(), *outer, catalogue.FEATURES})


def _flat(variable: str) -> str:
    return variable.replace("__", "_")


def _no_section(section: str) -> tuple[str, str]:
    what = f"There is no section [{section}]."
    likely = nearest(section, [*catalogue.sections(), catalogue.FEATURES])
    if likely:
        return what, f"Did you mean [{likely}]?"
    return what, _elsewhere(section)


def _no_setting(name: str, settings: Mapping[str, Setting]) -> tuple[str, str]:
    section, _, key = name.rpartition(".")
    what = f"There is no setting {key!r} in [{section}]."
    own = [one.key for one in settings.values() if one.section == section]
    likely = nearest(key, own)
    return what, f"Did you mean {likely!r}?" if likely else _elsewhere(key)


def _elsewhere(key: str) -> str:
    """Say in which section the key would be known."""
    homes = [f"[{one.section}]" for one in catalogue.settings().values() if one.key == key]
    return f"{key!r} is a setting of {' and '.join(homes)}." if homes else ""


def _build(reading: _Reading, file: Path | None, *, base: Path, here: Path, home: str) -> Loaded:
    values, origins = reading.values, reading.origins
    for setting in reading.settings.values():
        if setting.form != "path":
            continue
        source = origins[setting.name].source
        # What is typed is meant from where one stands; what is written, from where it stands.
        start = here if source in {Source.ENVIRONMENT, Source.FLAG} else base
        values[setting.name] = places.make_absolute(values[setting.name], start, home=home)
    _place_database(reading, home=home)
    for name, what, hint in connections.faults(values, reading.named(connections.GROUP)):
        reading.fault(_where(name, origins[name]), what, hint)
    for name, what, hint in model_names.faults(values, reading.named("providers")):
        reading.fault(_where(name, origins[name]), what, hint)
    for name, what, hint in remote_agents.faults(values, reading.named(remote_agents.GROUP)):
        # What was refused counts as absent, and is told already.
        if not reading.is_faulty(name):
            reading.fault(_where(name, origins[name]), what, hint)
    reading.raise_faults()
    by_section: dict[str, dict[str, Any]] = {}
    for setting in reading.settings.values():
        by_section.setdefault(setting.section, {})[setting.key] = values[setting.name]
    sections: dict[str, Any] = {group: {} for group in catalogue.NAMED}
    sections[catalogue.FEATURES] = by_section.pop(catalogue.FEATURES, {})
    for section, entries in by_section.items():
        group, name = catalogue.group_of(section)
        if name:
            sections[group][name] = catalogue.NAMED[group][0](**entries)
        else:
            sections[section] = catalogue.sections()[section](**entries)
    fields = {catalogue.field_of(section): made for section, made in sections.items()}
    return Loaded(Settings(**fields), origins, file)


def _place_database(reading: _Reading, *, home: str) -> None:
    values, origins = reading.values, reading.origins
    named = "store.url" if values["store.url"] else "memory.database_url"
    if values[named]:
        values["store.url"] = values[named]
        origins["store.url"] = origins[named]
    try:
        database = places.find_database(
            values["store.url"] or places.DATABASE, Path(values["server.data_dir"]), home=home
        )
    except Unsuitable as error:
        reading.fault(_where(named, origins[named]), error.what, error.hint)
    else:
        values["store.url"] = places.make_url(database)


def _where(name: str, origin: Origin) -> str:
    if origin.source is Source.DEFAULT:
        return name
    return f"{origin.place} {name}" if origin.source is Source.FILE else origin.place
