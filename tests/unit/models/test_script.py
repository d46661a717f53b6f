from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.errors import ConfigurationInvalid
from agency.models.rehearsal.script import load_script, parse_script


def faults_of(text: str, name: str = "script.toml") -> dict[str, str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        parse_script(text.encode(), Path(name))
    assert name in caught.value.message
    return {
        fault.where.removeprefix(name).removeprefix(": "): f"{fault.what} {fault.hint}"
        for fault in caught.value.faults
    }


def test_all_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text("""
[[rules]]
name = "adder"
when = { contains = "ADD", matches = "\\\\d", turn = 2, model = "m", tool_offered = "add" }
thinking = "hm"
reply = "on it"
tool_calls = [{ name = "add", arguments = { a = 1 }, id = "c1" }]
ended_by = "length"
delay_s = 0.5
times = 3

[[rules]]
when = { tool_result = "add" }
fail = "model_busy"
""")

    adder, busy = load_script(path).rules

    assert adder.place == "rules[0] (adder)"
    assert adder.when.contains == "ADD"
    assert adder.when.matches is not None
    assert adder.when.turn == 2
    assert adder.tool_calls[0].arguments == {"a": 1}
    assert (adder.ended_by, adder.delay_s, adder.times) == ("length", 0.5, 3)
    assert busy.fail == "model_busy"
    assert busy.when.tool_result == "add"


def test_json_is_read_by_the_name_of_the_file() -> None:
    text = json.dumps({"rules": [{"reply": "hi"}]})

    assert parse_script(text.encode(), Path("s.json")).rules[0].reply == "hi"


def test_all_faults_are_reported_at_once_with_their_places() -> None:
    faults = faults_of("""
rule = 1
[[rules]]
replay = "typo"
reply = 7
delay_s = -1
times = 1.5
when = { matches = "(", turn = 0, contain = "x" }
tool_calls = [{ arguments = 3 }, 4]
[[rules]]
fail = "model_tired"
[[rules]]
fail = "model_busy"
reply = "both"
[[rules]]
name = "empty"
""")

    assert "'rules'" in faults["rule"]
    assert "'reply'" in faults["rules[0].replay"]
    assert faults["rules[0].reply"].startswith("It is a text")
    assert "0 to 3600" in faults["rules[0].delay_s"]
    assert "whole number" in faults["rules[0].times"]
    assert "regular expression" in faults["rules[0].when.matches"]
    assert "from 1" in faults["rules[0].when.turn"]
    assert "'contains'" in faults["rules[0].when.contain"]
    assert "rules[0].tool_calls[0].name" in faults
    assert "rules[0].tool_calls[0].arguments" in faults
    assert "rules[0].tool_calls[1]" in faults
    assert "model_busy" in faults["rules[1].fail"]
    assert "fails or answers" in faults["rules[2]"]
    assert "no answer" in faults["rules[3]"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.toml", "a = \n", "line 1"),
        ("s.json", '{"rules": [}', "line 1 column"),
        ("s.toml", "rules = 3", "list of rules"),
        ("s.json", "[]", "table"),
    ],
)
def test_text_that_is_no_script_names_the_place(name: str, text: str, said: str) -> None:
    assert any(said in fault for fault in faults_of(text, name).values())


def test_bytes_that_are_no_text_are_a_fault() -> None:
    with pytest.raises(ConfigurationInvalid, match="not TOML"):
        parse_script(b"\xff", Path("s.toml"))


def test_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="No such file"):
        load_script(tmp_path / "none.toml")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rules", "when", "reply", "tool_calls", "name", "arguments", "turn"])
            | st.text(string.ascii_letters, max_size=3),
            parts,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_json_is_a_script_or_has_faults(value: Any) -> None:
    text = json.dumps({"rules": value}).encode()
    try:
        parse_script(text, Path("s.json"))
    except ConfigurationInvalid as error:
        assert error.faults  # noqa: PT017  either end is lawful
