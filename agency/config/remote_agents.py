"""Agents of other systems in the settings: what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agency.core.addresses import HostRule, parse_rule

GROUP = "a2a.agents"
"""The group of sections, one for each agent."""

ALL = "*"
"""Entry of ``[a2a] allowed_agents`` that means all public addresses."""

Fault = tuple[str, str, str]
"""Name of the setting, what is wrong, and what to write instead."""


def faults(values: Mapping[str, Any], sections: Sequence[str]) -> Iterator[Fault]:
    """Find what is wrong with ``[a2a.agents.NAME]`` and with the hosts that may be called.

    Args:
        values: All settings by name.
        sections: Names of the sections.
    """
    for name in sections:
        if not values[f"{GROUP}.{name}.url"]:
            yield f"{GROUP}.{name}.url", "The address of the agent is missing.", ""
    for text in values["a2a.allowed_agents"]:
        try:
            parse_allowed([text])
        except ValueError as error:
            yield "a2a.allowed_agents", str(error), ""


def parse_allowed(texts: Sequence[str]) -> tuple[list[HostRule], bool]:
    """Read ``[a2a] allowed_agents``.

    Returns:
        The rules, and whether all public addresses are meant as well.

    Raises:
        ValueError: an entry is no host.
    """
    return [parse_rule(one) for one in texts if one != ALL], ALL in texts
