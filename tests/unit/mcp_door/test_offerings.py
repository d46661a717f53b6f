"""Lists of several sources, put together and cut into pages."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    Tool,
)

from agency.mcp.caller import Caller
from agency.mcp.offerings import PAGE_ITEMS_MAX, Context, Offerings, make_cursor

ADA = Caller(principal="ada", has_token=True)


class Shelf:
    """Resources ``NAME-0`` and so on, some on each page."""

    def __init__(self, name: str, count: int, page: int) -> None:
        self._uris = [f"{name}:{index}" for index in range(count)]
        self._page = page

    async def resources(
        self, caller: Caller, cursor: str | None
    ) -> tuple[Sequence[Resource], str | None]:
        begin = int(cursor or 0)
        end = begin + self._page
        page = [Resource(name=uri, uri=uri) for uri in self._uris[begin:end]]
        return page, str(end) if end < len(self._uris) else None

    async def templates(self) -> Sequence[ResourceTemplate]:
        return ()

    async def read(
        self, ctx: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult | None:
        return None

    async def has(self, caller: Caller, uri: str) -> bool:
        return uri in self._uris


class Tools:
    """Tools of the names that it is made with."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def tools(self, caller: Caller) -> Sequence[Tool]:
        return [Tool(name=name, input_schema={"type": "object"}) for name in self._names]

    async def call(self, ctx: Context, params: object) -> None:
        return None


async def pages(offerings: Offerings) -> list[list[str]]:
    found: list[list[str]] = []
    cursor = None
    while True:
        page, cursor = await offerings.list_resources(ADA, cursor)
        found.append([one.uri for one in page])
        if cursor is None:
            return found


async def test_first_page_has_something_of_each_source_up_to_one_that_has_more() -> None:
    offerings = Offerings(resources=[Shelf("a", 2, 10), Shelf("b", 5, 2), Shelf("c", 1, 10)])

    found = await pages(offerings)

    assert found == [["a:0", "a:1", "b:0", "b:1"], ["b:2", "b:3"], ["b:4", "c:0"]]


async def test_nothing_is_one_empty_page() -> None:
    assert await pages(Offerings()) == [[]]


async def test_tools_come_in_pages_and_each_name_once() -> None:
    many = [f"t{index}" for index in range(PAGE_ITEMS_MAX + 3)]
    offerings = Offerings(tools=[Tools("t0", "own"), Tools(*many)])

    first, cursor = await offerings.list_tools(ADA, None)
    second, end = await offerings.list_tools(ADA, cursor)

    names = [one.name for one in (*first, *second)]
    assert (len(first), end) == (PAGE_ITEMS_MAX, None)
    assert names == ["t0", "own", *many[1:]]


@pytest.mark.parametrize(
    "cursor",
    ["", "!", "bm8", make_cursor("x"), make_cursor([-1, None]), make_cursor([0, 5])],
    ids=["empty", "sign", "text", "word", "below", "number"],
)
async def test_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    offerings = Offerings(resources=[Shelf("a", 2, 1)], tools=[Tools("a")])

    with pytest.raises(MCPError, match="cursor"):
        await offerings.list_resources(ADA, cursor)
    with pytest.raises(MCPError, match="cursor"):
        await offerings.list_tools(ADA, cursor)
