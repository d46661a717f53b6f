"""Hosts, origins and the store around the token store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.config.schema import Server
from agency.domain.principal import Token
from agency.errors import HostRefused
from agency.web.access import Access, host_name, is_loopback
from agency.web.tokens import TOKENS_KEPT_S, CachedTokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ListedTokens:
    """Tokens in a list; counts how often it is read."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.reads = 0

    async def add(self, token: Token) -> None:
        self.tokens.append(token)

    async def list(self) -> Sequence[Token]:
        self.reads += 1
        return list(self.tokens)

    async def revoke(self, name: str, *, now: datetime) -> None:
        self.tokens = [token for token in self.tokens if token.name != name]


def token(name: str) -> Token:
    return Token(name=name, prefix="agy_", secret_hash="0" * 64, created_at=NOW)


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8080", "localhost"),
        ("localhost.:1", "localhost"),
        ("127.0.0.1:", "127.0.0.1"),
        ("[::1]:8080", "::1"),
        ("[::1", ""),
        ("[::1]x", ""),
        ("a:b", ""),
        ("a:1:2", ""),
        ("", ""),
    ],
)
def test_the_port_is_cut_off_a_host(authority: str, name: str) -> None:
    assert host_name(authority) == name


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.255.0.3", "::1"])
def test_names_of_this_machine(name: str) -> None:
    assert is_loopback(name)


@given(st.text())
def test_no_other_name_is_loopback(name: str) -> None:
    assert not is_loopback(name + ".example")


@pytest.mark.parametrize(
    ("server", "needs"),
    [
        (Server(), False),
        (Server(host="localhost"), False),
        (Server(host="::1"), False),
        (Server(host="[::1]"), False),
        (Server(host="0.0.0.0"), True),
        (Server(host="::"), True),
        (Server(host="box.example"), True),
        (Server(allowed_hosts=["box.example"]), True),
    ],
)
def test_only_a_plain_loopback_needs_no_token(server: Server, needs: bool) -> None:
    assert Access(server, ListedTokens()).needs_token is needs


def test_remembered_hosts_are_bounded() -> None:
    access = Access(Server(), ListedTokens())

    for number in range(10_000):
        with pytest.raises(HostRefused):
            access.check_host({"Host": f"h{number}.example"}, is_http_10=False)

    access.check_host({"Host": "localhost"}, is_http_10=False)


async def test_the_list_is_kept_for_a_moment() -> None:
    inner, now = ListedTokens(), [0.0]
    tokens = CachedTokens(inner, now_s=lambda: now[0])

    for _ in range(5):
        await tokens.list()
    now[0] += TOKENS_KEPT_S
    await tokens.list()

    assert inner.reads == 2


async def test_a_change_counts_at_once() -> None:
    tokens = CachedTokens(ListedTokens(), now_s=lambda: 0.0)
    await tokens.list()

    await tokens.add(token("a"))
    added = [found.name for found in await tokens.list()]
    await tokens.revoke("a", now=NOW)

    assert added == ["a"]
    assert await tokens.list() == []


async def test_a_list_that_was_read_before_a_change_is_not_kept() -> None:
    class Slow(ListedTokens):
        async def list(self) -> Sequence[Token]:
            found = await super().list()
            if self.reads == 1:
                await tokens.revoke("a", now=NOW)
            return found

    inner = Slow()
    tokens = CachedTokens(inner, now_s=lambda: 0.0)
    inner.tokens.append(token("a"))

    await tokens.list()

    assert await tokens.list() == []
