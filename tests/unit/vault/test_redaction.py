"""Secrets are found in texts as they are, and in the encodings in which they travel."""

from __future__ import annotations

import base64
import html
import json
import re
import time
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.vault.redaction import Redactor, is_redacted

VALUE = 's3cr3t/+="ä&x y\\z'
REFERENCE = "secret://token"
REDACTOR = Redactor([("token", VALUE)])

ENCODED = {
    "plain": VALUE,
    "json": json.dumps(VALUE),
    "json in utf-8": json.dumps(VALUE, ensure_ascii=False),
    "json in json": json.dumps(json.dumps({"a": VALUE})),
    "url": quote(VALUE, safe=""),
    "url path": quote(VALUE),
    "form": quote_plus(VALUE),
    "query": urlencode({"a": VALUE}),
    "lower case escapes": re.sub("%..", lambda found: found[0].lower(), quote(VALUE, safe="")),
    "hex": VALUE.encode().hex(),
    "HEX": VALUE.encode().hex().upper(),
    "html": html.escape(VALUE),
    "repr": repr({"a": VALUE}),
}


@pytest.mark.parametrize("text", ENCODED.values(), ids=ENCODED)
def test_secret_is_found_in_each_encoding(text: str) -> None:
    redacted = REDACTOR.redact(f"before {text} after")

    assert REFERENCE in redacted
    assert text not in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")


@pytest.mark.parametrize("before", ["", "u", "us", "user", "user:"], ids=len)
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"], ids=len)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_secret_is_found_within_base64(before: str, after: str, encode: object) -> None:
    assert callable(encode)
    text = encode(f"{before}{VALUE}{after}".encode()).decode()

    assert REFERENCE in REDACTOR.redact(f"Basic {text}")


@given(st.text(min_size=8, max_size=60), st.text(max_size=9), st.text(max_size=9))
def test_what_is_decoded_never_holds_the_secret(value: str, before: str, after: str) -> None:
    value = value.encode("utf-8", "replace").decode()
    redactor = Redactor([("x", value)])
    whole = (before + value + after).encode("utf-8", "replace")

    assert value not in redactor.redact(f"{before}{value}{after}") or value in "secret://x"
    left = redactor.redact(base64.b64encode(whole).decode())
    assert "secret://x" in left or len(value.encode()) < 8


def test_text_without_secrets_comes_back_as_it_is() -> None:
    text = "nothing to see here " * 100

    assert text is REDACTOR.redact(text)
    assert "" == REDACTOR.redact("")


def test_longer_secret_is_found_before_the_one_that_it_holds() -> None:
    redactor = Redactor([("short", "password"), ("long", "password-of-the-database")])

    assert "a secret://long b secret://short" == redactor.redact(
        "a password-of-the-database b password"
    )


def test_short_values_are_left_alone() -> None:
    redactor = Redactor([("pin", "1234567")])

    assert not is_redacted("1234567")
    assert "1234567" == redactor.redact("1234567")


def test_single_lines_of_a_key_are_found() -> None:
    key = (
        "-----BEGIN KEY-----\nMIIEowIBAAKCAQEAxyz0123\nq9WfHk2l3m4n5o6p7q8r9s\n-----END KEY-----\n"
    )
    redactor = Redactor([("key", key)])

    assert "secret://key" == redactor.redact(key)
    assert "> secret://key" == redactor.redact("> q9WfHk2l3m4n5o6p7q8r9s")
    assert "-----BEGIN KEY-----" == redactor.redact("-----BEGIN KEY-----")


def test_line_feed_at_the_end_does_not_hide_a_value() -> None:
    assert "[secret://x]" == Redactor([("x", "abcdefghij\n")]).redact("[abcdefghij]")


def test_json_is_searched_in_all_its_texts() -> None:
    value = {"a": [VALUE, 1, None, {VALUE: f"-{VALUE}-"}], "b": True}

    assert {"a": [REFERENCE, 1, None, {REFERENCE: f"-{REFERENCE}-"}], "b": True} == (
        REDACTOR.redact_json(value)
    )


def test_search_is_fast_with_many_secrets() -> None:
    redactor = Redactor(
        [(f"s{n}", f"{n:03}-token-of-some-length-{n * 7919:08x}") for n in range(50)]
    )
    text = "The quick brown fox jumps over the lazy dog. " * 90  # 4 KB

    started_s = time.process_time()
    for _ in range(100):
        redactor.redact(text)
    each_s = (time.process_time() - started_s) / 100

    # Measured: 0.3 ms. The bound is for busy machines, and finds what is slower by an order.
    assert each_s < 0.005
