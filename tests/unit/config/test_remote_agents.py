"""Agents of other systems in the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.config.load import load
from agency.errors import ConfigurationInvalid

GOOD = '[a2a.agents.weather]\nurl = "https://example.org/a"\ntoken = "secret://weather"\n'


def read(folder: Path, text: str) -> list[str]:
    """Give the faults of a configuration."""
    (folder / "config.toml").write_text(text)
    try:
        load(folder / "config.toml", environ={}, current=folder)
    except ConfigurationInvalid as error:
        return [fault.where.rpartition(" ")[2] + ": " + fault.what for fault in error.faults]
    return []


def test_agents_are_sections_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(GOOD)

    settings = load(tmp_path / "config.toml", environ={}, current=tmp_path).settings

    assert "https://example.org/a" == settings.a2a_agents["weather"].url
    assert "ask" == settings.a2a_agents["weather"].permission


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[a2a.agents.weather]\n", "a2a.agents.weather.url"),
        (GOOD.replace("https", "ftp"), "a2a.agents.weather.url"),
        (GOOD.replace("secret://weather", "sk-1234"), "a2a.agents.weather.token"),
        (GOOD + 'permission = "perhaps"\n', "a2a.agents.weather.permission"),
        (GOOD + 'headers = ["X-Token: plain"]\n', "a2a.agents.weather.headers"),
        (GOOD + "tokn = 1\n", "a2a.agents.weather.tokn"),
        ('[a2a]\nallowed_agents = ["https://example.org"]\n', "a2a.allowed_agents"),
        ("[a2a]\nhops_max = 0\n", "a2a.hops_max"),
    ],
    ids=["no-url", "scheme", "token", "permission", "header", "misspelt", "host", "hops"],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    faults = read(tmp_path, text)

    assert [where] == [fault.partition(":")[0] for fault in faults]
    assert not any("sk-1234" in fault for fault in faults)
