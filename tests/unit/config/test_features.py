from __future__ import annotations

from pathlib import Path

import pytest

from agency.config.explain import explain
from agency.config.load import load
from agency.errors import ConfigurationInvalid


def features(folder: Path, text: str = "", **environ: str) -> dict[str, bool]:
    (folder / "config.toml").write_text(text)
    return dict(load(None, environ=environ, current=folder).settings.features)


def faults(folder: Path, text: str = "", **environ: str) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        features(folder, text, **environ)
    return [f"{one.where}: {one.what}" for one in caught.value.faults]


def test_nothing_is_switched_when_nothing_is_said(tmp_path: Path) -> None:
    assert {} == features(tmp_path)


@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        *[(text, True) for text in ("true", "1", "YES", "on")],
        *[(text, False) for text in ("false", "0", "no", "Off")],
    ],
)
def test_variables_of_the_guide_switch_agents(tmp_path: Path, *, text: str, is_on: bool) -> None:
    found = features(tmp_path, FEATURE_AVAILABILITY_AGENT=text)

    assert {"availability": is_on} == found


def test_environment_wins_over_the_file_however_the_name_is_spelt(tmp_path: Path) -> None:
    text = "[features]\nNightly_Report = false\nknowledge = false\n"

    found = features(tmp_path, text, FEATURE_NIGHTLY_REPORT_AGENT="true")

    assert {"nightly-report": True, "knowledge": False} == found


def test_features_are_shown_with_their_origin(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[features]\nknowledge = false\n")

    loaded = load(None, environ={"AGENCY_FEATURES__ORDER": "off"}, current=tmp_path)

    shown = {one.name: (one.value, one.origin) for one in explain(loaded)}
    assert (False, "config.toml:2") == shown["features.knowledge"]
    assert (False, "env AGENCY_FEATURES__ORDER") == shown["features.order"]


def test_all_that_is_wrong_with_features_is_told(tmp_path: Path) -> None:
    text = (
        '[features]\nknowledge = "no"\nnightly-report = true\nnightly_report = false\n"" = true\n'
    )

    found = faults(tmp_path, text, FEATURE_ORDER_AGENT="perhaps")

    assert [
        "config.toml:2 features.knowledge: It must be true or false, and is 'no'.",
        "config.toml:4 features.nightly_report: The feature 'nightly-report' is there twice.",
        "config.toml:5 features.: '' cannot be the name of a feature.",
        "FEATURE_ORDER_AGENT: It must be true or false, and is 'perhaps'.",
    ] == found


def test_variables_that_disagree_are_refused(tmp_path: Path) -> None:
    found = faults(tmp_path, FEATURE_ORDER_AGENT="1", AGENCY_FEATURES__ORDER="0")

    assert ["FEATURE_ORDER_AGENT: This says something else than AGENCY_FEATURES__ORDER."] == found


def test_misspelt_section_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        features(tmp_path, "[feature]\nknowledge = false\n")

    assert "Did you mean [features]?" == caught.value.faults[0].hint


def test_variables_without_effect_are_found_and_their_values_are_not(tmp_path: Path) -> None:
    environ = {"JWT_SECRET": "abcdef0123456789", "DB_HOST": "127.0.0.1", "DB_PORT": "", "PATH": "/"}

    ignored = load(None, environ=environ, current=tmp_path).ignored

    assert {"JWT_SECRET", "DB_HOST"} == set(ignored)
    assert "abcdef" not in str(ignored)
