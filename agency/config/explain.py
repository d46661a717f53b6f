"""Say what the settings are: the values in force, the default file, the reference page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from agency.config import catalogue, connections
from agency.config.catalogue import Setting
from agency.config.load import FLAGS, Loaded
from agency.config.schema import Settings
from agency.core.records import dataclass
from agency.errors import InvalidInput

SHIPPED = {"llm.provider": "auto"}
"""Settings that the checked-in ``config.toml`` sets to something else than the default."""

_SHIPPED_REASON = "so that the first start needs no model"
_WIDTH = 100
_HEAD = """\
# The configuration of Agency: every setting, with its default.
#
# A later source wins: default, this file, environment, command line. In the environment each
# setting is AGENCY_SECTION__KEY, for example AGENCY_SERVER__PORT=8081. What is unknown or wrong is
# refused at start, all of it at once: `agency config check`. What is in force, and where each value
# comes from: `agency config show --origin`."""
_PAGE_HEAD = """\
# Configuration

This page is generated from `agency/config/schema.py` by `make docs`.

A later source wins: default, file, environment, command line.
The file is the one named by `--config`, else by `CONFIG_PATH`, else `config.toml` in the current
directory, else none.
Unknown sections, keys and `AGENCY_…__…` variables are refused, and all faults are reported at once.
Lists in the environment are separated by commas, or written as JSON.

Relative paths in the file, and in the defaults, start from the folder of the file (without a file,
from the current directory); relative paths from the environment or the command line start from the
current directory; relative `sqlite:` URLs start from `[server] data_dir`.
"""


_TABLE_HEAD = (
    "| setting | default | takes | means | beside the file |",
    "| --- | --- | --- | --- | --- |",
)

_FEATURES_PAGE = """\
## [features]

Workflows that are switched off, or on: `NAME = true` or `NAME = false`.
A workflow that is not named is on.
One that is off refuses new runs, by whichever door, with `workflow_disabled`; its runs that were
accepted before go on.
In `NAME` upper and lower case, dashes, dots and underscores are the same.
In the environment it is `FEATURE_<NAME>_AGENT` or `AGENCY_FEATURES__<NAME>`, with `true`, `1`,
`yes` or `on`, or their opposites.
"""


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting in force.

    Attributes:
        name: For example ``server.host``.
        value: JSON value.
        origin: ``default``, ``config.toml:12``, ``env HOST`` or ``flag --host``.
    """

    name: str
    value: Any
    origin: str

    @property
    def literal(self) -> str:
        """The value as it would be written in TOML."""
        return _literal(self.value)


def explain(loaded: Loaded) -> Sequence[Explained]:
    """List all settings in force, in the order of the schema; sections that people name last."""
    return [
        Explained(name, _value_of(loaded.settings, name), str(origin))
        for name, origin in loaded.origins.items()
    ]


def _value_of(settings: Settings, name: str) -> Any:  # noqa: ANN401  as the schema says
    section, _, key = name.rpartition(".")
    group, named = catalogue.group_of(section)
    record = getattr(settings, catalogue.field_of(group))
    if group == catalogue.FEATURES:
        return record[key]
    value = getattr(record[named] if named else record, key)
    # What servers are handed may be secret, also where it stands in the open.
    if name == "mcp.server_url":
        return connections.shown("url", value)
    return connections.shown(key, value) if group == connections.GROUP else value


def describe_faults(error: InvalidInput) -> str:
    """Write an error with all its faults, one to a line, and what to do."""
    lines = [error.message]
    for fault in error.faults:
        hint = f" {fault.hint}" if fault.hint else ""
        lines.append(f"  {fault.where}: {fault.what}{hint}")
    if error.hint:
        lines.append(error.hint)
    return "\n".join(lines)


def write_default() -> str:
    """Write the text of ``config.toml``: every setting with its comment."""
    parts = [_HEAD]
    for section, record in catalogue.sections().items():
        parts.append(f"\n# {record.__doc__}\n[{section}]")
        parts.extend(_entry(one) for one in _settings_of(section))
    comment = textwrap.fill(catalogue.FEATURES_HELP, _WIDTH - 2)
    parts.append(f"\n# {comment}\n[{catalogue.FEATURES}]\n# knowledge = false")
    return "\n".join(parts) + "\n"


def write_reference() -> str:
    """Write ``docs/reference/configuration.md``."""
    parts = [_PAGE_HEAD]
    for section, record in catalogue.sections().items():
        parts.append(f"## [{section}]\n\n{record.__doc__}\n")
        parts += [*_TABLE_HEAD, *map(_row, _settings_of(section))]
        parts.append("")
    for group, (record, names) in catalogue.NAMED.items():
        if not names:
            own = catalogue.settings_of_named(group, "NAME").values()
            parts.append(f"## [{group}.NAME]\n\n{record.__doc__}\n")
            parts += [*_TABLE_HEAD, *map(_row, own), ""]
    parts.append(_FEATURES_PAGE)
    return "\n".join(parts)


def _settings_of(section: str) -> list[Setting]:
    return [one for one in catalogue.settings().values() if one.section == section]


def _entry(setting: Setting) -> str:
    comment = textwrap.wrap(
        setting.help, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )
    if setting.choices:
        comment.append(f"# One of: {', '.join(setting.choices)}.")
    if setting.name not in SHIPPED:
        return "\n".join([*comment, f"{setting.key} = {_literal(setting.default)}"])
    line = f"{setting.key} = {_literal(SHIPPED[setting.name])}"
    default = _literal(setting.default)
    return "\n".join(
        [*comment, f"{line}  # differs from the default, {default}, {_SHIPPED_REASON}"]
    )


def _row(setting: Setting) -> str:
    ways = [f"`{variable}`" for variable in setting.variables]
    if setting.name in FLAGS:
        ways.append(f"`{FLAGS[setting.name]}`")
    cells = [
        f"`{setting.key}`",
        f"`{_literal(setting.default)}`",
        _takes(setting),
        setting.help.replace("|", "\\|"),
        ", ".join(ways),
    ]
    return f"| {' | '.join(cells)} |"


def _takes(setting: Setting) -> str:
    if setting.choices:
        return ", ".join(f"`{_literal(choice)}`" for choice in setting.choices)
    bounds = []
    if setting.minimum is not None:
        bounds.append(f"from {setting.minimum}")
    if setting.maximum is not None:
        bounds.append(f"to {setting.maximum}")
    return " ".join([str(setting.kind), *bounds])


def _literal(value: object) -> str:
    """Write a value in TOML, which agrees with JSON for all kinds that settings have."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}" if value >= 10_000 and value % 1000 == 0 else str(value)
    return json.dumps(value, ensure_ascii=False)
