"""Offers to MCP clients: how functions are marked, collected and found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from agency import McpCall, mcp_prompt, mcp_resource, mcp_tool, workflow
from agency.engine.offers import Elicit, Offer, Offers, offer_of
from agency.engine.registry import load_registry
from agency.errors import InvalidInput, OfferNameTaken


async def plain(call: McpCall) -> str:
    return ""


def place(template: str) -> Offer:
    return Offer(kind="resource", name=template, title="", description="", function=plain)


def offers(*functions: Callable[..., Any]) -> Offers:
    made = Offers()
    for function in functions:
        offer = offer_of(function)
        assert offer is not None
        made.add(offer)
    return made


def test_arguments_are_made_of_the_parameters() -> None:
    @mcp_tool("draw")
    async def draw(
        call: McpCall,
        colour: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Colour"})],
        size: int = 3,
    ) -> str:
        """Draw something."""
        return colour * size

    offer = offers(draw).list("tool")[0]

    assert "Draw something." == offer.description
    assert ["colour"] == offer.arguments["required"]
    assert "Colour" == offer.arguments["properties"]["colour"]["x-mcp-header"]
    assert offer.arguments["additionalProperties"] is False
    assert {"colour": "red", "size": 3} == offer.read({"colour": "red"})
    with pytest.raises(InvalidInput) as refused:
        offer.read({"size": "x", "weight": 1})
    assert {"/colour", "/size", "/weight"} == {fault.where for fault in refused.value.faults}


def test_schema_that_is_written_by_hand_is_kept_and_checked() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    @mcp_tool("by_hand", input_schema=schema)
    async def by_hand(call: McpCall, **arguments: Any) -> str:
        return ""

    offer = offers(by_hand).list("tool")[0]

    assert schema == offer.arguments
    assert {"a": 1, "b": 2} == offer.read({"a": 1, "b": 2})
    with pytest.raises(InvalidInput):
        offer.read({})


@pytest.mark.parametrize(
    ("template", "uri", "found"),
    [
        ("x://{a}-{b}/{c}", "x://1-2-3/4", {"a": "1", "b": "2-3", "c": "4"}),
        ("x://{a}.json", "x://1.tar.json", {"a": "1.tar"}),
        ("x://{a}]^{b}]", "x://1]^2]", {"a": "1", "b": "2"}),
        ("x://{a}-{b}", "x://1/2", None),
    ],
    ids=["several", "suffix", "odd", "none"],
)
def test_places_end_where_what_is_between_them_begins(template: str, uri: str, found: Any) -> None:
    assert found == place(template).match(uri)


def test_address_of_any_length_is_read_once() -> None:
    """Else each place would be tried with each length: this would take for ever."""
    assert place("x://{a}-{b}-{c}-").match("x://" + "-" * 100_000 + "/") is None


def test_places_next_to_one_another_are_refused() -> None:
    async def found(call: McpCall, a: str, b: str) -> str:
        return a + b

    with pytest.raises(InvalidInput, match="between"):
        mcp_resource("x://{a}{b}")(found)


def test_address_is_matched_by_its_places() -> None:
    @mcp_resource("shop://{shop}/price/{sku}")
    async def price(call: McpCall, shop: str, sku: str) -> str:
        return ""

    @mcp_resource("shop://main/price/all")
    async def everything(call: McpCall) -> str:
        return ""

    found = offers(price, everything)

    match = found.find_resource("shop://main/price/a%2F1")
    assert match is not None
    assert {"shop": "main", "sku": "a/1"} == match[1]
    exact = found.find_resource("shop://main/price/all")
    assert exact is not None
    assert "shop://main/price/all" == exact[0].name
    assert found.find_resource("shop://main/price/a/1") is None
    assert found.find_resource("shop://main/price/") is None


@pytest.mark.parametrize(
    "mark",
    [
        pytest.param(lambda: mcp_tool("with space")(plain), id="tool-name"),
        pytest.param(lambda: mcp_tool("x" * 129)(plain), id="long-name"),
        pytest.param(lambda: mcp_tool("")(plain), id="no-name"),
        pytest.param(lambda: mcp_resource("no-scheme")(plain), id="address"),
        pytest.param(lambda: mcp_resource("agency://runs/x")(plain), id="our-address"),
        pytest.param(lambda: mcp_resource("a://{b}")(plain), id="no-parameter"),
        pytest.param(lambda: mcp_prompt("")(plain), id="prompt-name"),
        pytest.param(lambda: mcp_prompt("p", complete={"x": ["y"]})(plain), id="completion"),
        pytest.param(lambda: mcp_tool("t")(lambda call: None), id="not-async"),  # type: ignore[type-var]
    ],
)
def test_mark_that_cannot_be_used_is_refused(mark: Callable[[], Any]) -> None:
    with pytest.raises(InvalidInput):
        mark()


def test_two_offers_of_a_kind_need_two_names() -> None:
    @mcp_tool("same")
    async def one(call: McpCall) -> str:
        return ""

    @mcp_tool("same")
    async def two(call: McpCall) -> str:
        return ""

    @mcp_prompt("same")
    async def three(call: McpCall) -> str:
        return ""

    assert 2 == len([*offers(one, three).list("tool"), *offers(one, three).list("prompt")])
    with pytest.raises(OfferNameTaken):
        offers(one, two)


def test_offers_are_collected_from_authors_files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from agency import mcp_tool, workflow\n"
        "@mcp_tool('both')\n@workflow('both')\nasync def both(ctx): ...\n"
        "@mcp_tool('tool')\nasync def tool(call): ...\n"
    )
    (tmp_path / "twice.py").write_text(
        "from agency import mcp_tool\n@mcp_tool('tool')\nasync def tool(call): ...\n"
    )

    registry = load_registry([tmp_path])

    assert ["both", "tool"] == [offer.name for offer in registry.offers.list("tool")]
    assert ["both"] == [definition.name for definition in registry]
    assert ["OfferNameTaken"] == [one.reason.partition(":")[0] for one in registry.failures]


def test_form_is_made_of_a_model_or_taken_as_it_is() -> None:
    written = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}

    assert written == Elicit(message="?", schema=written).requested_schema()
    assert {"ok": True} == Elicit(message="?", schema=written).decode({"ok": True})
    with pytest.raises(InvalidInput):
        Elicit(message="?", schema=written).decode({})


def test_workflow_alone_is_no_offer() -> None:
    @workflow("alone")
    async def alone(ctx: object) -> None: ...

    assert offer_of(alone) is None
