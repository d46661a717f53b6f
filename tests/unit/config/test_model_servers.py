"""Settings of further model servers and of roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.config.load import Loaded, load
from agency.errors import ConfigurationInvalid

LAB = """\
[llm]
provider = "lab"
[providers.lab]
base_url = "http://localhost:8000/v1"
api_key = "secret://lab-key"
headers = ["X-Team: research", "X-Api-Key: env://LAB_KEY", "Authorization: Bearer secret://lab"]
[roles]
chat = ["lab/qwen3", "ollama/llama3.2"]
"""


def read(folder: Path, text: str) -> Loaded:
    file = folder / "config.toml"
    file.write_text(text)
    return load(file, environ={}, current=folder)


def faults_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(folder, text)
    return [f"{fault.where}: {fault.what} {fault.hint}".strip() for fault in caught.value.faults]


def test_section_describes_a_server_and_roles_name_its_models(tmp_path: Path) -> None:
    settings = read(tmp_path, LAB).settings

    assert "openai" == settings.providers["lab"].kind
    assert "secret://lab-key" == settings.providers["lab"].api_key
    assert ["lab/qwen3", "ollama/llama3.2"] == settings.roles.chat
    assert "lab" == settings.llm.provider


@pytest.mark.parametrize(
    "line",
    [
        'api_key = "sk-canary-1"',
        'api_key = ["sk-canary-1"]',
        'api_key = "secret://"',
        'headers = ["Authorization: Bearer sk-canary-1"]',
        'headers = ["X-Api-Key: sk-canary-1"]',
        'headers = ["sk-canary-1"]',
        'headers = "sk-canary-1"',
        'headers = ["X-A: sk-canary-1\\r\\nX-B: c"]',
        'base_url = "http://me:sk-canary-1@localhost/v1"',
    ],
)
def test_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    base = "" if line.startswith("base_url") else 'base_url = "http://localhost:8000/v1"\n'

    faults = faults_of(tmp_path, f"[providers.lab]\n{base}{line}\n")

    assert faults
    assert "canary" not in "".join(faults)


def test_server_without_an_address_and_with_a_taken_name_is_refused(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "[providers.ollama]\n[providers.lab]\n")

    assert any("cannot be called 'ollama'" in fault for fault in faults)
    assert any("providers.lab.base_url: It must not be empty" in fault for fault in faults)


def test_provider_that_is_nowhere_described_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    text = LAB.replace('provider = "lab"', 'provider = "labs"')

    faults = faults_of(tmp_path, text)

    assert [
        "config.toml:2 llm.provider: It must be one of 'ollama', 'auto', 'rehearsal', 'lab', "
        "and is 'labs'. Did you mean 'lab'?"
    ] == faults
