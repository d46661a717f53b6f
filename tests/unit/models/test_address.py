from __future__ import annotations

import pytest

from agency.errors import ConfigurationInvalid
from agency.models.address import parse_address
from agency.models.ollama.names import canonical_name, is_cloud_name


@pytest.mark.parametrize(
    ("text", "url", "is_loopback"),
    [
        ("http://localhost:11434", "http://localhost:11434", True),
        (" http://localhost:11434/ ", "http://localhost:11434", True),
        ("localhost", "http://localhost:11434", True),
        ("127.0.0.2:99", "http://127.0.0.2:99", True),
        ("0.0.0.0", "http://127.0.0.1:11434", True),
        ("[::1]", "http://[::1]:11434", True),
        ("http://ai.example", "http://ai.example:80", False),
        ("https://ai.example/ollama/", "https://ai.example:443/ollama", False),
        ("192.168.1.5", "http://192.168.1.5:11434", False),
    ],
)
def test_addresses_are_read_as_ollama_reads_them(text: str, url: str, is_loopback: bool) -> None:
    address = parse_address(text)

    assert address.url == url
    assert address.is_loopback is is_loopback
    assert address.is_tls is url.startswith("https")


@pytest.mark.parametrize(
    "text",
    ["", "http://", "ftp://x", "http://x:99999", "http://x:y", "http://u:p@x", "http://x?q", "[::"],
)
def test_what_is_no_address_is_a_fault_that_names_the_setting(text: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="base_url") as caught:
        parse_address(text)

    assert caught.value.faults[0].where == "llm.base_url"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("Llama3.2:Latest", "llama3.2:latest"),
        ("registry.ollama.ai/library/m:7b", "m:7b"),
        ("host:5000/me/m", "host:5000/me/m:latest"),
    ],
)
def test_spellings_of_one_model_come_out_the_same(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical


@pytest.mark.parametrize(
    ("name", "is_cloud"),
    [
        ("m:cloud", True),
        ("m:120b-cloud", True),
        ("me/m:120B-Cloud", True),
        ("cloud", False),
        ("m-cloud:7b", False),
        ("host:5000/m", False),
    ],
)
def test_names_of_the_cloud_are_known_by_their_tag(name: str, is_cloud: bool) -> None:
    assert is_cloud_name(name) is is_cloud
