"""What authors offer to MCP clients, what runs ask them, and runs as tasks: against a daemon."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import FileUrl

from tests.integration.mcp_door.wire import REVISION, accepted, answer, ask, call, request, task
from tests.processes import Daemons, daemons_in, get, post

OFFERED = Path(__file__).with_name("offered.py")
GUARD_S = 20
MODES = ["legacy", REVISION]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon that all tests of this file share."""
    folder = tmp_path_factory.mktemp("daemon")
    with daemons_in(folder) as daemons:
        yield start(daemons)


def start(daemons: Daemons) -> str:
    """Start a daemon that has what these tests offer."""
    (daemons.folder / "config.toml").write_text(
        f'[server]\ndata_dir = "var"\n[workflows]\npaths = ["{OFFERED}"]\n'
        '[publish]\nworkflows = ["*"]\n'
    )
    daemons.start()
    address: str = daemons.announced()["url"]
    return address


def settled(url: str, run_id: str) -> Any:
    """Wait until a run has ended or waits for somebody."""
    status, run = get(f"{url}/api/v1/runs/{run_id}", headers={"Prefer": f"wait={GUARD_S}"})
    assert 200 == status
    return run


def text_of(result: Any) -> str:
    if isinstance(result, types.CallToolResult):
        assert isinstance(result.content[0], types.TextContent)
        return result.content[0].text
    text: str = result["content"][0]["text"]
    return text


class Person:
    """Sits before a client, and answers forms in turn.

    Attributes:
        shown: What was asked.
    """

    def __init__(self, *answers: types.ElicitResult) -> None:
        self.answers = list(answers)
        self.shown: list[str] = []

    async def __call__(self, context: object, params: Any) -> types.ElicitResult:
        self.shown.append(params.message)
        return self.answers.pop(0)


def filled(**content: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content=content)


# --- offers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_client_of_either_protocol_uses_what_authors_offer(url: str, mode: str) -> None:
    async with asyncio.timeout(GUARD_S), Client(f"{url}/mcp", mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        added = await client.call_tool("add", {"a": 2})
        drawn = await client.call_tool("draw", {})
        price = await client.read_resource("shop://price/a%2F1")
        logo = await client.read_resource("shop://logo")
        prompt = await client.get_prompt("review", {"text": "Hm."})
        listed = await client.list_resources()
        templates = await client.list_resource_templates()
        skus = await client.complete(
            types.ResourceTemplateReference(type="ref/resource", uri="shop://price/{sku}"),
            {"name": "sku", "value": "a"},
        )
        tones = await client.complete(
            types.PromptReference(type="ref/prompt", name="review"), {"name": "tone", "value": "k"}
        )

    assert "Add up" == tools["add"].title
    assert ["a"] == tools["add"].input_schema["required"]
    assert tools["add"].output_schema is not None
    assert {"total": 3} == added.structured_content
    assert ["text", "image"] == [block.type for block in drawn.content]
    assert isinstance(price.contents[0], types.TextResourceContents)
    assert {"sku": "a/1", "price": 3} == json.loads(price.contents[0].text)
    assert isinstance(logo.contents[0], types.BlobResourceContents)
    assert b"\x89PNG" == base64.b64decode(logo.contents[0].blob)
    assert ["assistant", "user"] == [message.role for message in prompt.messages]
    assert "shop://logo" in [str(resource.uri) for resource in listed.resources]
    assert "shop://price/{sku}" in [one.uri_template for one in templates.resource_templates]
    assert ["a-1", "a-2"] == skus.completion.values
    assert ["kind", "keen"] == tones.completion.values


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        pytest.param("add", {"a": "x"}, "/a", id="type"),
        pytest.param("add", {"a": 1, "c": 2}, "/c", id="unknown"),
        pytest.param("fail", {"how": "raise"}, "It does not want to.", id="raised"),
        pytest.param("fail", {"how": "exit"}, "SystemExit", id="exit"),
        pytest.param("fail", {"how": "type"}, "not JSON", id="not-json"),
        pytest.param("ask_deep", {}, "not plain", id="deep-form"),
    ],
)
def test_what_goes_wrong_in_an_offer_is_its_own_error(
    url: str, tool: str, arguments: dict[str, Any], told: str
) -> None:
    result = call(url, tool, arguments)

    assert result["isError"] is True
    assert told in text_of(result)
    assert 200 == get(f"{url}/health")[0]


@pytest.mark.parametrize("uri", ["shop://price/none", "shop://price/a/b", "shop://nothing"])
def test_resource_that_is_not_there_is_told_with_its_address(url: str, uri: str) -> None:
    error = ask(url, "resources/read", {"uri": uri}, name=uri)["error"]

    assert types.INVALID_PARAMS == error["code"]
    assert uri == error["data"]["uri"]


def test_prompt_whose_arguments_are_missing_is_refused(url: str) -> None:
    error = ask(url, "prompts/get", {"name": "review"}, name="review")["error"]

    assert types.INVALID_PARAMS == error["code"]
    assert "/text" == error["data"]["faults"][0]["where"]


def test_offer_learns_who_calls(url: str) -> None:
    token = token_for(url, "caller")

    assert {"principal": "caller", "client": "wire", "can": True} == call(
        url, "who_am_i", token=token
    )["structuredContent"]
    assert "local" == call(url, "who_am_i", can={})["structuredContent"]["principal"]


@pytest.mark.parametrize("mode", MODES)
async def test_offer_asks_one_thing_after_the_other(url: str, mode: str) -> None:
    person = Person(filled(name="Al"), filled(age=7))
    async with (
        asyncio.timeout(GUARD_S),
        Client(f"{url}/mcp", mode=mode, elicitation_callback=person) as client,
    ):
        result = await client.call_tool("introduce", {})

    assert "Al is 7" == text_of(result)
    assert ["Name?", "Age of Al?"] == person.shown


@pytest.mark.parametrize("mode", MODES)
async def test_offer_asks_the_clients_model_and_where_it_works(url: str, mode: str) -> None:
    async def sample(context: object, params: Any) -> types.CreateMessageResult:
        text = types.TextContent(type="text", text=params.messages[0].content.text.upper())
        return types.CreateMessageResult(role="assistant", content=text, model="tiny")

    async def roots(context: object) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///work"))])

    async with (
        asyncio.timeout(GUARD_S),
        Client(
            f"{url}/mcp", mode=mode, sampling_callback=sample, list_roots_callback=roots
        ) as client,
    ):
        result = await client.call_tool("sample_it", {})

    assert "tiny: SAY SOMETHING. in file:///work" == text_of(result)


def test_client_that_cannot_be_asked_is_told_what_it_lacks(url: str) -> None:
    error = ask(url, "tools/call", {"name": "introduce", "arguments": {}}, can={})["error"]

    assert types.MISSING_REQUIRED_CLIENT_CAPABILITY == error["code"]
    assert {"elicitation": {}} == error["data"]["requiredCapabilities"]


# --- what runs ask --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_run_asks_the_client_that_waits_for_it(url: str, mode: str) -> None:
    person = Person(filled(street="Elm", number=3), filled(decision="approve"))
    async with (
        asyncio.timeout(GUARD_S),
        Client(f"{url}/mcp", mode=mode, elicitation_callback=person) as client,
    ):
        result = await client.call_tool("deliver", {"input": "box"})

    assert "box to Elm 3: sent" == text_of(result)
    assert ["Where to?", 'Deliver?\n\n{"parcel":"box"}\n\nRisk: medium.'] == person.shown


@pytest.mark.parametrize("mode", MODES)
async def test_what_does_not_fit_is_asked_again_with_the_reason(url: str, mode: str) -> None:
    person = Person(
        filled(street="Elm", number="three"),
        filled(street="Elm", number=3),
        types.ElicitResult(action="decline"),
    )
    async with (
        asyncio.timeout(GUARD_S),
        Client(f"{url}/mcp", mode=mode, elicitation_callback=person) as client,
    ):
        result = await client.call_tool("deliver", {"input": "box"})

    assert "box to Elm 3: kept" == text_of(result)
    assert "That does not fit: /value/number" in person.shown[1]
    assert person.shown[1].endswith("Where to?")


@pytest.mark.parametrize("mode", MODES)
async def test_question_that_is_declined_stays_open_for_others(url: str, mode: str) -> None:
    person = Person(types.ElicitResult(action="decline"))
    async with (
        asyncio.timeout(GUARD_S),
        Client(f"{url}/mcp", mode=mode, elicitation_callback=person) as client,
    ):
        result = await client.call_tool("ask_name", {})

    assert result.structured_content is not None
    assert "suspended" == result.structured_content["status"]
    assert "run_answer" in result.structured_content["next"]


async def test_form_is_withdrawn_when_another_answers(url: str) -> None:
    shown, withdrawn = asyncio.Event(), asyncio.Event()

    async def ponder(context: object, params: object) -> types.ElicitResult:
        shown.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            withdrawn.set()
            raise
        raise AssertionError

    async with (
        asyncio.timeout(GUARD_S),
        Client(f"{url}/mcp", mode="legacy", elicitation_callback=ponder) as client,
    ):
        calling = asyncio.create_task(client.call_tool("ask_name", {}))
        await shown.wait()
        _, inbox = await asyncio.to_thread(get, f"{url}/api/v1/runs?workflow=ask_name&limit=1")
        run_id = inbox["runs"][0]["id"]
        await asyncio.to_thread(
            call, url, "run_answer", {"run_id": run_id, "value": "Somebody else"}
        )
        result = await calling
        await withdrawn.wait()

    assert "Hello, Somebody else!" == text_of(result)


async def test_client_without_forms_gets_where_the_run_is(url: str) -> None:
    async with asyncio.timeout(GUARD_S), Client(f"{url}/mcp", mode="legacy") as client:
        result = await client.call_tool("ask_name", {})

    assert result.structured_content is not None
    assert "Who?" == result.structured_content["waits"][0]["show"]["prompt"]


FORMS: dict[str, Any] = {"elicitation": {}}


def test_call_that_is_sent_again_goes_on_with_its_run(url: str) -> None:
    first = call(url, "ask_name", can=FORMS)
    again = {
        "requestState": first["requestState"],
        "inputResponses": {key: accepted(answer="Al") for key in first["inputRequests"]},
    }

    second = call(url, "ask_name", can=FORMS, again=again)
    third = call(url, "ask_name", can=FORMS, again=again)

    assert "input_required" == first["resultType"]
    assert "Hello, Al!" == text_of(second)
    # Whoever has not seen the answer may send the same again: the run is not started twice.
    assert second["_meta"]["agency/run_id"] == third["_meta"]["agency/run_id"]


def test_state_is_only_taken_back_from_whom_it_was_given_to(url: str) -> None:
    ann, bob = token_for(url, "ann-state"), token_for(url, "bob-state")
    first = call(url, "ask_name", can=FORMS, token=ann)
    state = first["requestState"]

    def sent(token: str, text: str, tool: str = "ask_name") -> Any:
        params = {"name": tool, "arguments": {}, "requestState": text}
        return ask(url, "tools/call", params, can=FORMS, token=token)

    refused = [
        sent(bob, state),
        sent("", state),
        sent(ann, state[:-4] + "AAAA"),
        sent(ann, "v1.AAAA"),
        sent(ann, state, tool="two_questions"),
    ]

    assert [types.INVALID_PARAMS] * 5 == [one["error"]["code"] for one in refused]
    assert "input_required" == sent(ann, state)["result"]["resultType"]


def test_offer_that_has_asked_goes_on_as_one_run(url: str) -> None:
    def started() -> set[str]:
        _, found = get(f"{url}/api/v1/runs?workflow=deliver&limit=500")
        return {run["id"] for run in found["runs"]}

    before = started()
    first = call(url, "hand_on", can=FORMS)
    again = {
        "requestState": first["requestState"],
        "inputResponses": {"input": accepted(it="ball")},
    }

    second = call(url, "hand_on", can=FORMS, again=again)
    repeated = call(url, "hand_on", can=FORMS, again=again)

    assert "Where to?" == next(iter(second["inputRequests"].values()))["params"]["message"]
    assert list(second["inputRequests"]) == list(repeated["inputRequests"])
    assert 1 == len(started() - before)


def test_replies_that_are_too_large_to_carry_are_refused(url: str) -> None:
    params = {
        "name": "introduce",
        "arguments": {},
        "inputResponses": {"name": accepted(name="x" * 70_000)},
    }

    error = ask(url, "tools/call", params, can=FORMS)["error"]

    assert types.INVALID_PARAMS == error["code"]
    assert "65536 bytes" in error["message"]


async def test_client_that_refuses_to_be_asked_is_told_so(url: str) -> None:
    async def refuse(context: object, params: object) -> types.ErrorData:
        return types.ErrorData(code=-1, message="The user said no.")

    async with (
        asyncio.timeout(GUARD_S),
        Client(
            f"{url}/mcp", mode="legacy", elicitation_callback=refuse, sampling_callback=refuse
        ) as client,
    ):
        sampled = await client.call_tool("sample_it", {})
        asked = await client.call_tool("ask_name", {})

    assert sampled.is_error
    assert "The user said no." in text_of(sampled)
    assert asked.structured_content is not None
    assert "suspended" == asked.structured_content["status"]


async def test_run_of_an_offer_is_cancelled_with_its_call(url: str) -> None:
    def live() -> list[str]:
        path = f"{url}/api/v1/runs?workflow=wait_for_go&status=suspended&limit=500"
        return [run["id"] for run in get(path)[1]["runs"]]

    async with asyncio.timeout(GUARD_S), Client(f"{url}/mcp", mode="legacy") as client:
        before = await asyncio.to_thread(live)
        calling = asyncio.create_task(client.call_tool("wait_on", {}))
        while not (started := set(await asyncio.to_thread(live)) - set(before)):
            await asyncio.sleep(0.02)
        calling.cancel()
        await asyncio.wait([calling])
        run = await asyncio.to_thread(settled, url, started.pop())
        while run["status"] == "suspended":
            run = await asyncio.to_thread(settled, url, run["id"])

    assert "cancelled" == run["status"]


# --- tasks ----------------------------------------------------------------------------------


def test_run_that_asks_is_a_task_that_is_answered(url: str) -> None:
    made = call(url, "deliver", {"input": "box"})
    task_id = made["taskId"]
    asked = task(url, task_id)
    key = next(iter(asked["inputRequests"]))

    unfit = answer(url, task_id, {key: accepted(street="Elm", number="x")})
    done = answer(url, task_id, {key: accepted(street="Elm", number=3), "unknown": {"x": 1}})
    settled(url, task_id)
    approval = task(url, task_id)
    answer(url, task_id, {key: accepted(decision="approve") for key in approval["inputRequests"]})
    settled(url, task_id)
    ended = task(url, task_id)

    assert "task" == made["resultType"]
    assert {"input_required"} == {made["status"], asked["status"], approval["status"]}
    assert types.INVALID_PARAMS == unfit["error"]["code"]
    assert "complete" == done["result"]["resultType"]
    assert "completed" == ended["status"]
    assert "box to Elm 3: sent" == text_of(ended["result"])


def test_task_shows_only_what_is_still_asked(url: str) -> None:
    task_id = call(url, "two_questions")["taskId"]
    first, second = task(url, task_id)["inputRequests"]

    answer(url, task_id, {first: accepted(answer="x")})
    half = task(url, task_id)
    answer(url, task_id, {second: accepted(answer="y"), first: accepted(answer="late")})
    settled(url, task_id)

    assert "input_required" == half["status"]
    assert [second] == list(half["inputRequests"])
    assert "x and y" == text_of(task(url, task_id)["result"])


def test_task_of_a_client_without_forms_works_until_somebody_answers(url: str) -> None:
    can: dict[str, Any] = {"extensions": {"io.modelcontextprotocol/tasks": {}}}

    made = call(url, "ask_name", can=can)

    assert "working" == made["status"]
    assert "run_answer" in made["statusMessage"]
    assert "inputRequests" not in task(url, made["taskId"], can=can)


def test_cancelled_task_stays_cancelled(url: str) -> None:
    task_id = call(url, "wait_for_go")["taskId"]

    acknowledged = [ask(url, "tasks/cancel", {"taskId": task_id}) for _ in range(2)]

    assert ["complete"] * 2 == [one["result"]["resultType"] for one in acknowledged]
    settled(url, task_id)
    assert "cancelled" == task(url, task_id)["status"]


def test_task_that_was_given_up_has_failed(url: str) -> None:
    task_id = call(url, "given_up")["taskId"]

    post(f"{url}/api/v1/runs/{task_id}/events", {"name": "go"})
    settled(url, task_id)
    failed = task(url, task_id)

    assert "failed" == failed["status"]
    assert types.INTERNAL_ERROR == failed["error"]["code"]
    assert "result" not in failed


def test_task_of_another_is_not_there(url: str) -> None:
    ann, bob = token_for(url, "ann-task"), token_for(url, "bob-task")
    task_id = call(url, "ask_name", token=ann)["taskId"]

    refused = [
        ask(url, method, {"taskId": task_id, "inputResponses": {}}, token=bob)
        for method in ("tasks/get", "tasks/update", "tasks/cancel")
    ]
    unknown = ask(url, "tasks/get", {"taskId": "nothing"}, token=bob)

    assert [types.INVALID_PARAMS] * 3 == [one["error"]["code"] for one in refused]
    assert unknown["error"]["message"] == refused[0]["error"]["message"]
    assert "input_required" == task(url, task_id, token=ann)["status"]


def test_requests_about_tasks_are_checked(url: str) -> None:
    task_id = call(url, "wait_for_go")["taskId"]
    one = {"taskId": task_id}

    assert -32021 == ask(url, "tasks/get", one, can={})["error"]["code"]
    assert -32020 == ask(url, "tasks/get", one, name="other")["error"]["code"]
    assert -32601 == ask(url, "tasks/list", {})["error"]["code"]
    assert -32601 == ask(url, "tasks/result", one)["error"]["code"]
    assert types.INVALID_PARAMS == ask(url, "tasks/get", {})["error"]["code"]
    assert types.INVALID_PARAMS == ask(url, "tasks/get", {"taskId": "x" * 1000})["error"]["code"]


def test_task_is_followed_over_stdin_and_stdout(url: str) -> None:
    command = [sys.executable, "-m", "agency.cli.main", "--url", url, "mcp", "serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as serving:

        def asked(method: str, params: dict[str, Any]) -> dict[str, Any]:
            assert serving.stdin is not None
            assert serving.stdout is not None
            serving.stdin.write(json.dumps(request(method, params)) + "\n")
            serving.stdin.flush()
            result: dict[str, Any] = json.loads(serving.stdout.readline())["result"]
            return result

        made = asked("tools/call", {"name": "ask_name", "arguments": {}})
        shown = asked("tasks/get", {"taskId": made["taskId"]})
        cancelled = asked("tasks/cancel", {"taskId": made["taskId"]})
        assert serving.stdin is not None
        serving.stdin.close()
        code = serving.wait(timeout=GUARD_S)

    assert ["input_required", "complete"] == [shown["status"], cancelled["resultType"]]
    assert 0 == code


async def test_client_with_a_session_has_no_tasks(url: str) -> None:
    async with asyncio.timeout(GUARD_S), Client(f"{url}/mcp", mode="legacy") as client:
        with pytest.raises(MCPError) as refused:
            await client.session.send_request(
                types.Request[dict[str, Any], str](method="tasks/get", params={"taskId": "x"}),
                types.EmptyResult,
            )

    assert types.METHOD_NOT_FOUND == refused.value.error.code


def token_for(url: str, name: str) -> str:
    """Make a token of that name."""
    status, made = post(f"{url}/api/v1/tokens", {"name": name})
    assert 201 == status
    token: str = made["token"]
    return token
