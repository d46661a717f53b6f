"""Challenges, grants and what browsers bring back: what can be said of them without a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.tools.mcp.oauth.challenge import Challenge, read_challenge
from agency.tools.mcp.oauth.client import is_document
from agency.tools.mcp.oauth.grant import Grant, Pending, is_secret, parse_grant, to_text
from agency.tools.mcp.oauth.login import is_vain, read_returned

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

CHALLENGES: Mapping[str, tuple[list[str], Challenge]] = {
    "bare": (["Bearer"], Challenge(401, is_bearer=True)),
    "quoted": (
        ['Bearer error="invalid_token", scope="a b", resource_metadata="https://x/y?z=1,2"'],
        Challenge(401, True, "a b", "https://x/y?z=1,2", "invalid_token"),
    ),
    "bare values": (["bearer scope=a, error=x"], Challenge(401, True, "a", "", "x")),
    "escaped": (['Bearer scope="a\\"b"'], Challenge(401, True, 'a"b')),
    "another first": (['Basic realm="scope=no", Bearer scope="a"'], Challenge(401, True, "a")),
    "two lines": (["Negotiate", 'Bearer scope="a"'], Challenge(401, True, "a")),
    "another after": (['Bearer scope="a", Digest scope="b"'], Challenge(401, True, "a")),
    "the name within another": (['Bearer xscope="b", scope="a"'], Challenge(401, True, "a")),
    "no bearer": (['Basic scope="a"'], Challenge(401)),
    "nothing": ([], Challenge(401)),
    "unclosed": (['Bearer scope="a'], Challenge(401, is_bearer=True)),
}


@pytest.mark.parametrize("case", CHALLENGES)
def test_challenge_for_bearer_tokens_is_read(case: str) -> None:
    headers, expected = CHALLENGES[case]

    assert expected == read_challenge(401, headers)


@given(st.lists(st.text(max_size=200), max_size=4))
def test_any_header_is_read(headers: list[str]) -> None:
    assert 403 == read_challenge(403, headers).status


def test_long_header_is_read_in_little_time() -> None:
    assert read_challenge(401, ["Bearer " + 'a="\\' * 100_000]).is_bearer


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
GRANTS = st.builds(
    Grant,
    server=st.text(max_size=30),
    access_token=st.just("") | WORDS,
    refresh_token=st.just("") | WORDS,
    client_secret=st.just("") | WORDS,
    scope=st.text(max_size=20).filter(lambda text: text.isprintable()),
    asked_scope=st.none() | st.just("a b"),
    renew_at=st.none() | st.just(NOW),
    pending=st.none()
    | st.builds(
        Pending,
        state=WORDS,
        verifier=WORDS,
        redirect_uri=st.just("http://127.0.0.1:1/x"),
        wants_iss=st.booleans(),
        began_at=st.just(NOW),
    ),
)


@given(GRANTS)
def test_grant_is_written_and_read(grant: Grant) -> None:
    text = to_text(grant)

    assert grant == parse_grant(text)
    lines = text.split("\n")[1:]
    secrets = (grant.access_token, grant.refresh_token, grant.client_secret)
    assert [secret for secret in secrets if secret] == lines[: sum(map(bool, secrets))]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "{}",
        '{"version":1}',
        '{"version":1,"lines":["access_token"]}',
        '{"version":1,"lines":[]}',
    ],
    ids=["empty", "no JSON", "no version", "no lines", "a line missing", "no server"],
)
def test_what_somebody_has_changed_is_no_grant(text: str) -> None:
    assert parse_grant(text) is None


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "ä", "x" * 20_000])
def test_what_cannot_be_sent_is_no_token(text: str) -> None:
    assert not is_secret(text)


def test_address_or_its_query_is_read() -> None:
    whole = read_returned(" http://127.0.0.1:1/callback?code=a%2Fb&state=c&iss=https%3A%2F%2Fd \n")

    assert ("a/b", "c", "https://d") == (whole.code, whole.state, whole.iss)
    assert whole == read_returned("?code=a%2Fb&state=c&iss=https%3A%2F%2Fd")
    assert "" == read_returned("http://[").state
    assert "" == read_returned("&".join(["a=b"] * 100)).state


def test_only_what_was_not_asked_for_is_worth_asking() -> None:
    grant = Grant(server="s", access_token="t", scope="a", asked_scope="a b")

    assert is_vain(grant, Challenge(403, True, "b", "", "insufficient_scope"))
    assert not is_vain(grant, Challenge(403, True, "b c", "", "insufficient_scope"))
    assert not is_vain(grant, Challenge(401, True, "a", "", "invalid_token"))


def test_document_of_a_client_is_an_https_address_with_a_path() -> None:
    assert is_document("https://example.org/client.json")
    assert not any(map(is_document, ["client", "http://example.org/c", "https://example.org/"]))
