from __future__ import annotations

from pathlib import Path

import click
import pytest

from agency.cli.parameters import SPAN, read_json


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86400), ("250ms", 0.25), ("0", 0)],
)
def test_span_is_read_in_seconds(text: str, expected_s: float) -> None:
    assert SPAN.convert(text, None, None) == pytest.approx(expected_s)


@pytest.mark.parametrize("text", ["", "soon", "-1", "5 m", "1h30m", "1e3", "s"])
def test_span_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="is not a span"):
        SPAN.convert(text, None, None)


def test_json_is_read_as_typed_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": "ä"}')

    assert read_json('{"a": 1}', "--input") == {"a": 1}
    assert read_json(f"@{file}", "--input") == {"a": "ä"}


@pytest.mark.parametrize("text", ["{a: 1}", "", "@/nowhere/file.json", "@/dev"])
def test_what_is_no_json_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.UsageError):
        read_json(text, "--input")
