"""MCP servers in the settings and in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agency.config.connections import setups_of
from agency.config.explain import explain
from agency.config.load import load
from agency.domain.connection import ConnectionSetup
from agency.errors import ConfigurationInvalid

SERVER = '{"command": "srv", "args": ["x"], "env": {"PORT": 80}}'


def loaded(
    tmp_path: Path, text: str = "", **environ: str
) -> Mapping[str, tuple[ConnectionSetup, bool]]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    return setups_of(load(file, environ=environ, current=tmp_path).settings)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"a": {SERVER}}}',
        f'{{"mcpServers": {{"a": {SERVER}}}}}',
        f'[{{"name": "a", "kind": "mcp_stdio", "config": {SERVER}}}]',
        '[{"name": "a", "id": "x", "type": "stdio", "command": "srv", "args": ["x"], '
        '"env": {"PORT": "80"}}]',
    ],
    ids=["by name", "as others", "list with config", "flat list"],
)
def test_variable_is_read_in_each_form(tmp_path: Path, text: str) -> None:
    wanted = ConnectionSetup(command="srv", args=["x"], env={"PORT": "80"}, readable=[], hosts=[])

    (setup, is_active) = loaded(tmp_path, MCP_CONNECTIONS=text)["a"]

    assert (wanted.command, wanted.args, wanted.env) == (setup.command, setup.args, setup.env)
    assert is_active


def test_disabled_server_is_known_and_not_opened(tmp_path: Path) -> None:
    text = '{"mcpServers": {"a": {"url": "https://h/mcp", "disabled": true}}}'

    (setup, is_active) = loaded(tmp_path, MCP_CONNECTIONS=text)["a"]

    assert ("https://h/mcp", False) == (setup.url, is_active)


def test_variable_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    text = '[mcp.servers.a]\ncommand = "one"\ntrust_hints = true\n[mcp.servers.b]\ncommand = "two"'

    found = loaded(tmp_path, text, MCP_CONNECTIONS='{"a": {"command": "other"}}')

    assert ("other", False) == (found["a"][0].command, found["a"][0].trust_hints)
    assert "two" == found["b"][0].command


def test_server_url_is_a_connection_of_its_own(tmp_path: Path) -> None:
    found = loaded(tmp_path, '[mcp]\nserver_url = "http://localhost:9/mcp"')

    assert "http://localhost:9/mcp" == found["mcp"][0].url


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("1", "neither an object nor a list"),
        ('{"a": 1}', "not an object"),
        ('[{"command": "x"}]', "no name"),
        ('[{"name": "a", "command": "x"}, {"name": "a", "command": "y"}]', "twice"),
        ('{"a": {"kind": "http_api", "url": "http://h/"}}', "http_api"),
        ('{"a": {"type": "sse", "url": "http://h/"}}', "sse"),
        ('{"a": {"type": "stdioo", "command": "x"}}', "Did you mean 'stdio'?"),
        ('{"a": {"comand": "x"}}', "Did you mean 'command'?"),
        ('{"a": {}}', "Either a command or a url"),
        ('{"a__b": {"command": "x"}}', "cannot be the name of a connection"),
        ('{"a b": {"command": "x"}}', "cannot be the name of a section"),
    ],
    ids=lambda text: "".join(letter for letter in str(text) if letter.isalnum())[:24],
)
def test_fault_in_the_variable_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        loaded(tmp_path, MCP_CONNECTIONS=text)

    assert told in str([(fault.what, fault.hint) for fault in raised.value.faults])


def test_value_that_may_be_secret_is_in_no_fault(tmp_path: Path) -> None:
    for text in ('{"a": {"env": {"TOKEN": ["canary"]}}}', '"canary', '{"a": "canary"}'):
        with pytest.raises(ConfigurationInvalid) as raised:
            loaded(tmp_path, MCP_CONNECTIONS=text)
        assert "canary" not in str(raised.value.faults)


def test_value_that_may_be_secret_is_not_explained(tmp_path: Path) -> None:
    text = (
        '{"a": {"command": "x", "args": ["--token", "canary"], "env": {"API_KEY": "canary"}},'
        '"b": {"url": "https://me:canary@h/?token=canary", "headers": {"Authorization": "canary"}}}'
    )
    file = tmp_path / "config.toml"
    file.write_text('[mcp]\nserver_url = "https://h/mcp?token=canary"\n')
    with pytest.raises(ConfigurationInvalid) as raised:
        load(file, environ={"MCP_CONNECTIONS": text}, current=tmp_path)
    assert "canary" not in str(raised.value.faults)
    text = text.replace("me:canary@", "")
    shown = explain(load(file, environ={"MCP_CONNECTIONS": text}, current=tmp_path))

    assert "canary" not in str(shown)
    assert "***" in str(shown)
