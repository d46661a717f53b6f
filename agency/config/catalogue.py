"""The schema as a list: what each setting is called, takes and means.

Loading, `agency config show`, ``config.toml`` and the reference page all read this list, and it
reads nothing but `agency.config.schema`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from agency.config.schema import Agent, McpServer, ModelProvider, Queue, RemoteAgent, Settings
from agency.core.names import DEFAULT_AGENT, DEFAULT_QUEUE, feature_of
from agency.core.records import dataclass

NAMED: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "queues": (Queue, (DEFAULT_QUEUE,)),
    "agents": (Agent, (DEFAULT_AGENT,)),
    "providers": (ModelProvider, ()),
    "mcp.servers": (McpServer, ()),
    "a2a.agents": (RemoteAgent, ()),
}
"""Groups of sections that people name, with the dataclass of each and those that always are."""


def field_of(group: str) -> str:
    """Give the field of `Settings` that holds a group of named sections."""
    return group.replace(".", "_")


def group_of(section: str) -> tuple[str, str]:
    """Split ``queues.mail`` into the group and the name; the name is empty for other sections."""
    for group in NAMED:
        if section.startswith(f"{group}."):
            return group, section.removeprefix(f"{group}.")
    return section, ""


FEATURES = "features"
"""The section whose keys people name: workflows, with true or false. Those that are not named are
on."""

FEATURES_HELP = "Workflows by name; false refuses new runs of it. Those that are not named are on."

_FEATURE = re.compile(r"FEATURE_([A-Z0-9_]+)_AGENT", re.ASCII)


class Kind(StrEnum):
    """What a setting takes; the value is how it is called in messages."""

    TEXT = "a text"
    CHOICE = "one of the choices"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TRUTH = "true or false"
    LIST = "a list of texts"
    TABLE = "a table of texts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting.

    Attributes:
        section: For example ``server``, or ``queues.default``.
        minimum, maximum: Bounds, both included; None for none.
        aliases: Environment variables that set it beside its own one.
        form: ``path``, ``url``, ``database`` or empty.
    """

    section: str
    key: str
    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    aliases: tuple[str, ...]
    form: str
    is_required: bool

    @property
    def name(self) -> str:
        """For example ``server.host``."""
        return f"{self.section}.{self.key}"

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables that set it; the first one that is there wins."""
        section = self.section.upper().replace(".", "__").replace("-", "_")
        return (f"AGENCY_{section}__{self.key.upper()}", *self.aliases)


@cache
def sections() -> Mapping[str, type]:
    """List the sections with their dataclasses, in the order of the schema.

    Of sections that people name, such as ``queues.NAME``, those are there that always are.
    """
    hints = get_type_hints(Settings)
    found: dict[str, type] = {}
    for part in fields(Settings):
        if part.name == FEATURES:
            continue
        group = next((one for one in NAMED if field_of(one) == part.name), None)
        if group is not None:
            record, names = NAMED[group]
            found |= {f"{group}.{name}": record for name in names}
        else:
            found[part.name] = hints[part.name]
    return found


@cache
def settings() -> Mapping[str, Setting]:
    """List all settings by name, in the order of the schema."""
    found = [
        setting
        for section, record in sections().items()
        for setting in _settings_of(section, record)
    ]
    return {setting.name: setting for setting in found}


def settings_of_named(group: str, name: str) -> Mapping[str, Setting]:
    """List the settings of a section ``group.name`` that somebody has named."""
    record, _ = NAMED[group]
    return {setting.name: setting for setting in _settings_of(f"{group}.{name}", record)}


def feature(name: str) -> Setting:
    """Make the setting that switches a workflow off or on."""
    return Setting(
        section=FEATURES,
        key=name,
        kind=Kind.TRUTH,
        default=True,
        help=FEATURES_HELP,
        choices=(),
        minimum=None,
        maximum=None,
        aliases=(f"FEATURE_{name.upper().replace('-', '_')}_AGENT",),
        form="",
        is_required=False,
    )


def feature_in(variable: str) -> str:
    """Find the feature that an environment variable switches; empty if it is of another kind."""
    found = _FEATURE.fullmatch(variable)
    if found is not None:
        return feature_of(found[1])
    prefix = f"AGENCY_{FEATURES.upper()}__"
    name = variable.removeprefix(prefix)
    return feature_of(name) if name and name != variable else ""


def _settings_of(section: str, record: type) -> list[Setting]:
    hints = get_type_hints(record)
    found = []
    for part in fields(record):
        default = part.default if part.default_factory is MISSING else part.default_factory()
        kind, choices = _kind(hints[part.name])
        more = part.metadata
        found.append(
            Setting(
                section=section,
                key=part.name,
                kind=kind,
                default=default,
                help=more["help"],
                choices=choices or tuple(more.get("choices", ())),
                minimum=more.get("minimum"),
                maximum=more.get("maximum"),
                aliases=tuple(more.get("aliases", ())),
                form=more.get("form", ""),
                is_required=more.get("is_required", False),
            )
        )
    return found


def _kind(hint: Any) -> tuple[Kind, tuple[str, ...]]:  # noqa: ANN401  a type
    if get_origin(hint) is Literal:
        return Kind.CHOICE, get_args(hint)
    kinds: Mapping[Any, Kind] = {
        str: Kind.TEXT,
        bool: Kind.TRUTH,
        int: Kind.WHOLE,
        float: Kind.NUMBER,
        list[str]: Kind.LIST,
        dict[str, str]: Kind.TABLE,
    }
    return kinds[hint], ()
