"""What the official suite for MCP servers wants to find, offered in the ordinary way.

The suite (npm ``@modelcontextprotocol/conformance``) calls tools, reads resources and gets prompts
of fixed names and checks what comes back. A daemon has them only when its settings name this file:

    [workflows]
    paths = ["examples/conformance/mcp_fixtures.py"]

    [publish]
    workflows = ["slow_compute", "confirm_delete", "multi_input", "protocol_error_job"]
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from agency import (
    Content,
    Context,
    Elicit,
    McpCall,
    McpMessage,
    Part,
    Retry,
    Roots,
    Sample,
    StartRun,
    bytes_part,
    mcp_prompt,
    mcp_resource,
    mcp_tool,
    resource_part,
    text_part,
    workflow,
)

RED_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJg"
    "gg=="
)
"""A picture of one pixel."""

SILENCE = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=")
"""A sound of no length."""

STEP_S = 0.05
"""What the suite calls a short while."""


# --- workflows: what is followed as a task --------------------------------------------------


class Named(BaseModel):
    """Whom to greet."""

    name: str


class Slow(BaseModel):
    """How long to take."""

    seconds: float
    label: str = ""


class File(BaseModel):
    """What is to be deleted."""

    filename: str


class Confirmation(BaseModel):
    """Whether it is really wanted."""

    confirm: bool


class Person(BaseModel):
    """Who it is."""

    name: str
    confirm: bool = True


@workflow("slow_compute")
async def slow_compute(ctx: Context, input: Slow) -> str:
    """Take some seconds."""
    if input.seconds > 0:
        await ctx.sleep(input.seconds)
    return f"Computed {input.label} in {input.seconds:g} s."


@workflow("confirm_delete")
async def confirm_delete(ctx: Context, input: File) -> str:
    """Ask before something is deleted."""
    wanted = await ctx.input(f"Delete {input.filename}?", schema=Confirmation)
    return f"{input.filename}: {'deleted' if wanted.confirm else 'kept'}"


@workflow("multi_input")
async def multi_input(ctx: Context) -> str:
    """Ask two things at once."""
    people = await ctx.gather(
        first=ctx.input("Who is the first?", schema=Person, name="first"),
        second=ctx.input("Who is the second?", schema=Person, name="second"),
    )
    return ", ".join(person.name for person in people.values())


@workflow("protocol_error_job", retry=Retry(attempts=2, base_s=0.01))
async def protocol_error_job(ctx: Context) -> str:
    """Be given up: no try of it succeeds."""
    await ctx.sleep(0.5)
    raise ConnectionError("This run is meant to be given up.")


@workflow("failing_work")
async def failing_work(ctx: Context) -> str:
    """Fail after a second."""
    await ctx.sleep(1)
    raise RuntimeError("This job is meant to fail.")


@workflow("slow_greeting")
async def slow_greeting(ctx: Context, input: Named) -> str:
    """Greet somebody after a while."""
    await ctx.sleep(1)
    return f"Hello, {input.name}!"


@mcp_tool("greet")
async def greet(call: McpCall, name: str) -> str:
    """Greet somebody, at once: what is no run is never a task."""
    return f"Hello, {name}!"


@mcp_tool("failing_job", as_task=True)
async def failing_job(call: McpCall) -> StartRun:
    """Fail, as a task."""
    return StartRun(workflow="failing_work")


@mcp_tool("test_tool_with_task", as_task=True)
async def tool_with_task(call: McpCall) -> StartRun:
    """Ask first, and go on as a task."""
    person = await call.elicit("What is your name?", _form(name="string"), key="user_name")
    name = person.content["name"] if person else "nobody"
    return StartRun(workflow="slow_greeting", input={"name": name})


# --- tools: what a result is made of --------------------------------------------------------


@mcp_tool("test_simple_text")
async def simple_text(call: McpCall) -> str:
    """Answer with a text."""
    return "This is a simple text response for testing."


@mcp_tool("test_image_content")
async def image_content(call: McpCall) -> Part:
    """Answer with a picture."""
    return bytes_part(RED_PIXEL, media_type="image/png")


@mcp_tool("test_audio_content")
async def audio_content(call: McpCall) -> Part:
    """Answer with a sound."""
    return bytes_part(SILENCE, media_type="audio/wav")


@mcp_tool("test_embedded_resource")
async def embedded_resource(call: McpCall) -> Part:
    """Answer with a resource."""
    return resource_part(
        "test://embedded-resource",
        "This is an embedded resource content.",
        media_type="text/plain",
    )


@mcp_tool("test_multiple_content_types")
async def multiple_content_types(call: McpCall) -> Content:
    """Answer with several things."""
    return Content(
        parts=[
            text_part("Multiple content types test:"),
            bytes_part(RED_PIXEL, media_type="image/png"),
            resource_part(
                "test://mixed-content-resource",
                '{"test":"data","value":123}',
                media_type="application/json",
            ),
        ]
    )


@mcp_tool("test_tool_with_logging")
async def tool_with_logging(call: McpCall) -> str:
    """Log while it works."""
    await call.log("info", "Tool execution started")
    await asyncio.sleep(STEP_S)
    await call.log("info", "Tool processing data")
    await asyncio.sleep(STEP_S)
    await call.log("info", "Tool execution completed")
    return "Logged three lines."


@mcp_tool("test_logging_tool")
async def logging_tool(call: McpCall) -> str:
    """Log once."""
    await call.log("info", "One line")
    return "Logged a line, if that was wanted."


@mcp_tool("test_tool_with_progress")
async def tool_with_progress(call: McpCall) -> str:
    """Tell how far it is."""
    for done in (0, 50, 100):
        await call.progress(done, 100)
        await asyncio.sleep(STEP_S)
    return "Told three times how far it is."


@mcp_tool("test_error_handling")
async def error_handling(call: McpCall) -> str:
    """Fail."""
    raise RuntimeError("This tool intentionally returns an error for testing")


@mcp_tool("test_reconnection")
async def reconnection(call: McpCall) -> str:
    """Close the stream, and answer on the next one."""
    await asyncio.sleep(STEP_S)
    await call.close_stream()
    await asyncio.sleep(STEP_S)
    return "Answered after the stream was closed."


JSON_SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@mcp_tool("json_schema_2020_12_tool", input_schema=JSON_SCHEMA_2020_12)
async def json_schema(call: McpCall, **arguments: Any) -> dict[str, Any]:
    """Take what a schema with all words of its draft allows."""
    return arguments


@mcp_tool("test_x_mcp_header")
async def x_mcp_header(
    call: McpCall,
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
    query: str = "",
) -> str:
    """Take an argument that stands in a header as well."""
    return f"region={region} query={query}"


# --- tools: what a client is asked ----------------------------------------------------------


def _form(**fields: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": list(fields),
    }


@mcp_tool("test_sampling")
async def sampling(call: McpCall, prompt: str) -> str:
    """Ask the client's model."""
    reply = await call.sample(prompt, tokens_max=100)
    return f"LLM response: {reply.text}"


@mcp_tool("test_missing_capability", needs=("sampling",))
async def missing_capability(call: McpCall) -> str:
    """Need what a client may lack."""
    return "The client can sample."


@mcp_tool("test_elicitation")
async def elicitation(call: McpCall, message: str) -> str:
    """Ask for a name and an address."""
    form = {
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    }
    reply = await call.elicit(message, form)
    return f"User response: action={reply.action}, content={reply.content}"


@mcp_tool("test_streaming_elicitation")
async def streaming_elicitation(call: McpCall) -> str:
    """Tell how far it is, and ask in the middle."""
    await call.progress(1, 2)
    reply = await call.elicit("Go on?", _form(ok="boolean"))
    return f"action={reply.action}"


@mcp_tool("test_elicitation_sep1034_defaults")
async def elicitation_defaults(call: McpCall) -> str:
    """Ask with defaults."""
    form = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": {"type": "boolean", "default": True},
        },
        "required": [],
    }
    reply = await call.elicit("Is that right?", form)
    return f"Elicitation completed: action={reply.action}, content={reply.content}"


@mcp_tool("test_elicitation_sep1330_enums")
async def elicitation_enums(call: McpCall) -> str:
    """Ask for choices."""
    plain = ["option1", "option2", "option3"]
    titled = [
        {"const": "value1", "title": "First Option"},
        {"const": "value2", "title": "Second Option"},
        {"const": "value3", "title": "Third Option"},
    ]
    form = {
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": plain},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        },
        "required": [],
    }
    reply = await call.elicit("Choose.", form)
    return f"Elicitation completed: action={reply.action}, content={reply.content}"


@mcp_tool("test_input_required_result_elicitation")
async def input_elicitation(call: McpCall) -> str:
    """Ask for a name."""
    reply = await call.elicit("What is your name?", _form(name="string"), key="user_name")
    return f"Hello, {reply.content['name'] if reply else 'nobody'}!"


@mcp_tool("test_input_required_result_sampling")
async def input_sampling(call: McpCall) -> str:
    """Ask the client's model for a capital."""
    reply = await call.sample(
        "What is the capital of France?", tokens_max=100, key="capital_question"
    )
    return reply.text


@mcp_tool("test_input_required_result_list_roots")
async def input_list_roots(call: McpCall) -> str:
    """Ask where the client works."""
    return ", ".join(root.uri for root in await call.roots(key="client_roots"))


@mcp_tool("test_input_required_result_request_state")
async def input_request_state(call: McpCall) -> str:
    """Ask, and know the question again."""
    reply = await call.elicit("Please confirm", _form(ok="boolean"), key="confirm")
    return f"state-ok {reply.action}"


@mcp_tool("test_input_required_result_tampered_state")
async def input_tampered_state(call: McpCall) -> str:
    """Ask, and know what was changed on the way."""
    reply = await call.elicit("Please confirm", _form(ok="boolean"), key="confirm")
    return f"state-ok {reply.action}"


@mcp_tool("test_input_required_result_multiple_inputs")
async def input_multiple(call: McpCall) -> str:
    """Ask three things of three kinds at once."""
    replies = await call.ask(
        user_name=Elicit(message="What is your name?", schema=_form(name="string")),
        greeting=Sample(prompt="Generate a greeting", tokens_max=50),
        client_roots=Roots(),
    )
    return ", ".join(replies)


@mcp_tool("test_input_required_result_multi_round")
async def input_multi_round(call: McpCall) -> str:
    """Ask one thing after the other."""
    name = await call.elicit("Step 1: What is your name?", _form(name="string"), key="step1")
    colour = await call.elicit(
        "Step 2: What is your favorite color?", _form(color="string"), key="step2"
    )
    return f"{name.content} likes {colour.content}"


@mcp_tool("test_input_required_result_capabilities")
async def input_capabilities(call: McpCall) -> str:
    """Ask only what the client can be asked."""
    questions: dict[str, Any] = {}
    if call.can("elicitation"):
        questions["user_name"] = Elicit(message="Your name?", schema=_form(name="string"))
    if call.can("sampling"):
        questions["greeting"] = Sample(prompt="Generate a greeting", tokens_max=50)
    return ", ".join(await call.ask(**questions))


@mcp_tool("test_trigger_tool_change")
async def trigger_tool_change(call: McpCall) -> str:
    """Tell all clients that there are other tools."""
    await call.tell_changed("tools")
    return "Told."


@mcp_tool("test_trigger_prompt_change")
async def trigger_prompt_change(call: McpCall) -> str:
    """Tell all clients that there are other prompts."""
    await call.tell_changed("prompts")
    return "Told."


# --- resources ------------------------------------------------------------------------------


@mcp_resource("test://static-text", name="Static text", media_type="text/plain")
async def static_text(call: McpCall) -> str:
    """A text that stays."""
    return "This is the content of the static text resource."


@mcp_resource("test://static-binary", name="Static bytes", media_type="image/png")
async def static_binary(call: McpCall) -> bytes:
    """A picture that stays."""
    return RED_PIXEL


@mcp_resource("test://watched-resource", name="Watched text", media_type="text/plain")
async def watched_resource(call: McpCall) -> str:
    """A text that clients may watch."""
    return "This is watched."


@mcp_resource("test://template/{id}/data", name="Data", media_type="application/json")
async def template_data(call: McpCall, id: str) -> dict[str, Any]:
    """The data of an id."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


# --- prompts --------------------------------------------------------------------------------


@mcp_prompt("test_simple_prompt")
async def simple_prompt(call: McpCall) -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


@mcp_prompt("test_prompt_with_arguments", complete={"arg1": ["paris", "park", "party"]})
async def prompt_with_arguments(
    call: McpCall,
    arg1: Annotated[str, Field(description="First test argument")],
    arg2: Annotated[str, Field(description="Second test argument")],
) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@mcp_prompt("test_prompt_with_embedded_resource")
async def prompt_with_resource(
    call: McpCall,
    resourceUri: Annotated[str, Field(description="Resource to embed")],  # noqa: N803  its name
) -> Sequence[McpMessage]:
    """A prompt that brings a resource with it."""
    embedded = resource_part(
        resourceUri, "Embedded resource content for testing.", media_type="text/plain"
    )
    return [
        McpMessage(content=embedded),
        McpMessage(content="Please process the embedded resource above."),
    ]


@mcp_prompt("test_prompt_with_image")
async def prompt_with_image(call: McpCall) -> Sequence[McpMessage]:
    """A prompt that brings a picture with it."""
    return [
        McpMessage(content=bytes_part(RED_PIXEL, media_type="image/png")),
        McpMessage(content="Please analyze the image above."),
    ]


@mcp_prompt("test_input_required_result_prompt")
async def input_prompt(call: McpCall) -> str:
    """A prompt that asks first."""
    reply = await call.elicit(
        "What context should the prompt use?", _form(context="string"), key="user_context"
    )
    return f"Use this context: {reply.content['context'] if reply else 'none'}"
