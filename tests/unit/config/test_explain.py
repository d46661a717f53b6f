from __future__ import annotations

from pathlib import Path

import pytest
import tomli

from agency.config.catalogue import NAMED, Kind, sections, settings
from agency.config.explain import SHIPPED, describe_faults, explain, write_default, write_reference
from agency.config.load import load
from agency.errors import ConfigurationInvalid


def test_default_file_holds_every_setting_with_its_default() -> None:
    document = tomli.loads(write_default())

    for group in NAMED:
        tables = document.pop(group, {})
        document |= {f"{group}.{name}": table for name, table in tables.items()}
    assert {} == document.pop("features")
    assert sorted(sections()) == sorted(document)
    for name, setting in settings().items():
        wanted = SHIPPED.get(name, setting.default)
        assert wanted == document[setting.section].pop(setting.key), name
    assert all(not table for table in document.values())


def test_default_file_says_which_line_differs() -> None:
    marked = [line for line in write_default().splitlines() if "differs from the default" in line]

    assert ['provider = "auto"'] == [line.split("  #")[0] for line in marked]


def test_default_file_loads_to_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(write_default())

    loaded = load(None, environ={"AGENCY_LLM__PROVIDER": "ollama"}, current=tmp_path)

    (tmp_path / "config.toml").unlink()
    assert load(None, environ={}, current=tmp_path).settings == loaded.settings


def test_every_setting_is_explained_with_its_origin(tmp_path: Path) -> None:
    loaded = load(None, environ={"PORT": "1"}, current=tmp_path)

    found = {one.name: (one.value, one.literal, one.origin) for one in explain(loaded)}

    assert list(settings()) == list(found)
    assert (1, "1", "env PORT") == found["server.port"]
    assert (False, "false", "default") == found["llm.allow_remote"]


def test_reference_names_every_setting_and_its_variables() -> None:
    page = write_reference()

    for setting in settings().values():
        assert f"| `{setting.key}` |" in page
        for variable in setting.variables:
            assert f"`{variable}`" in page


def test_faults_are_described_one_to_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(None, environ={"PORT": "a", "AGENCY_LLM__NUM_CTX": "1"}, current=tmp_path)

    assert [
        "The configuration has 2 faults.",
        "  PORT: It must be a whole number, and is 'a'.",
        "  AGENCY_LLM__NUM_CTX: It must be 256 or more, and is 1.",
        "Check the file with `agency config check`.",
    ] == describe_faults(caught.value).splitlines()


def test_every_kind_of_setting_is_in_use_or_known() -> None:
    assert {setting.kind for setting in settings().values()} <= set(Kind)
