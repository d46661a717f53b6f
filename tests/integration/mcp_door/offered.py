"""What the daemons of these tests are given: workflows that ask, and offers to MCP clients."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from agency import (
    Content,
    Context,
    McpCall,
    McpMessage,
    Part,
    Retry,
    StartRun,
    bytes_part,
    mcp_prompt,
    mcp_resource,
    mcp_tool,
    text_part,
    workflow,
)


class Address(BaseModel):
    """Where to."""

    street: str
    number: int


@workflow("deliver")
async def deliver(ctx: Context, input: str) -> str:
    """Ask where to, whether at all, and tell."""
    address = await ctx.input("Where to?", schema=Address)
    may = await ctx.approve("Deliver?", show={"parcel": input})
    return f"{input} to {address.street} {address.number}: {'sent' if may else 'kept'}"


@workflow("ask_name")
async def ask_name(ctx: Context) -> str:
    """Ask one thing."""
    name = await ctx.input("Who?", schema=str)
    return f"Hello, {name}!"


@workflow("two_questions")
async def two_questions(ctx: Context) -> str:
    """Ask two things at once."""
    both = await ctx.gather(
        a=ctx.input("A?", schema=str, name="a"), b=ctx.input("B?", schema=str, name="b")
    )
    return f"{both['a']} and {both['b']}"


@workflow("wait_for_go")
async def wait_for_go(ctx: Context) -> str:
    """Wait for an event, which no client is asked for."""
    await ctx.wait_event("go")
    return "gone"


@workflow("given_up", retry=Retry(attempts=2, base_s=0.01))
async def given_up(ctx: Context) -> str:
    """Be given up."""
    await ctx.wait_event("go")
    raise ConnectionError("It cannot be reached.")


class Sum(BaseModel):
    """What came out."""

    total: int


@mcp_tool("add", title="Add up")
async def add(call: McpCall, a: int, b: int = 1) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@mcp_tool("draw")
async def draw(call: McpCall) -> Content:
    """Draw something."""
    return Content(parts=[text_part("Here it is."), bytes_part(b"\x89PNG", media_type="image/png")])


@mcp_tool("who_am_i")
async def who_am_i(call: McpCall) -> dict[str, Any]:
    """Tell who calls."""
    return {"principal": call.principal, "client": call.client, "can": call.can("elicitation")}


@mcp_tool("fail")
async def fail(call: McpCall, how: str) -> object:
    """Fail in some way."""
    if how == "exit":
        raise SystemExit(3)
    if how == "type":
        return {1, 2}
    raise ValueError("It does not want to.")


@mcp_tool("introduce")
async def introduce(call: McpCall) -> str:
    """Ask for a name, and then for the age of who has it."""
    name = await call.elicit("Name?", Named, key="name")
    if not name:
        return f"name: {name.action}"
    age = await call.elicit(f"Age of {name.content.name}?", Aged, key="age")
    return f"{name.content.name} is {age.content.age}"


class Named(BaseModel):
    name: str


class Aged(BaseModel):
    age: int
    born: int | None = None


class Deep(BaseModel):
    named: Named


@mcp_tool("ask_deep")
async def ask_deep(call: McpCall) -> str:
    """Ask for what no form has."""
    return str(await call.elicit("Well?", Deep))


@mcp_tool("hand_on")
async def hand_on(call: McpCall) -> StartRun:
    """Ask, and go on as a run that asks as well."""
    reply = await call.elicit("What?", {"type": "object", "properties": {"it": {"type": "string"}}})
    return StartRun(workflow="deliver", input=reply.content["it"])


@mcp_tool("wait_on")
async def wait_on(call: McpCall) -> StartRun:
    """Go on as a run that waits."""
    return StartRun(workflow="wait_for_go")


@mcp_tool("sample_it")
async def sample_it(call: McpCall) -> str:
    """Ask the client's model, and where it works."""
    reply = await call.sample("Say something.")
    roots = await call.roots()
    return f"{reply.model}: {reply.text} in {roots[0].uri}"


@mcp_resource("shop://price/{sku}", complete={"sku": ["a-1", "a-2", "b-1"]})
async def price(call: McpCall, sku: str) -> dict[str, Any]:
    """The price of something."""
    if sku == "none":
        raise KeyError(sku)
    return {"sku": sku, "price": 3}


@mcp_resource("shop://logo", media_type="image/png")
async def logo(call: McpCall) -> bytes:
    """The picture of the shop."""
    return b"\x89PNG"


@mcp_prompt("review", complete={"tone": lambda begun: [one for one in ("kind", "keen") if begun]})
async def review(call: McpCall, text: str, tone: str = "kind") -> list[McpMessage | str | Part]:
    """Have a text reviewed."""
    return [
        McpMessage(content=f"Be {tone}.", role="assistant"),
        text_part(f"Review: {text}"),
    ]
