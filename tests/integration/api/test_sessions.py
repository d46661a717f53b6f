"""Sessions over HTTP: listed, paged, forked, exported, deleted."""

from __future__ import annotations

import json

import pytest

from tests.integration.api.conftest import Daemon

PATH = "/api/v1/sessions"


async def talk(daemon: Daemon, session: str, *messages: str) -> None:
    for message in messages:
        body = {"message": message, "session_id": session}
        assert 200 == (await daemon.ask("POST", "/api/v1/agent/process", json=body)).status


async def texts(daemon: Daemon, session: str, **query: str) -> list[str]:
    answer = await daemon.ask("GET", f"{PATH}/{session}/messages", params=query)
    return [message["content"]["text"] for message in answer.json["messages"]]


async def test_session_is_there_once_something_was_said(daemon: Daemon) -> None:
    assert 404 == (await daemon.ask("GET", f"{PATH}/trip")).status
    await talk(daemon, "trip", "Where to?")

    shown = (await daemon.ask("GET", f"{PATH}/trip")).json
    listed = (await daemon.ask("GET", PATH)).json

    assert ("trip", None, "Where to?", 2, None, 0) == tuple(
        shown[name]
        for name in ("session_id", "title", "first_message", "messages", "live_run_id", "forks")
    )
    assert {"sessions": [shown], "next_cursor": None} == listed


async def test_sessions_and_messages_are_paged(daemon: Daemon) -> None:
    for n in range(3):
        await talk(daemon, f"s{n}", *(f"{n}-{m}" for m in range(3)))

    first = (await daemon.ask("GET", PATH, params={"limit": "2"})).json
    rest = (await daemon.ask("GET", PATH, params={"cursor": first["next_cursor"]})).json
    page = (await daemon.ask("GET", f"{PATH}/s0/messages", params={"limit": "4"})).json
    more = await daemon.ask(
        "GET", f"{PATH}/s0/messages", params={"cursor": page["next_cursor"], "limit": "2"}
    )

    assert ["s2", "s1", "s0"] == [one["session_id"] for one in first["sessions"] + rest["sessions"]]
    assert [1, 2, 3, 4] == [message["position"] for message in page["messages"]]
    assert ([5, 6], None) == (
        [message["position"] for message in more.json["messages"]],
        more.json["next_cursor"],
    )
    assert ["0-2"] == (await texts(daemon, "s0", after="4"))[:1]


async def test_fork_goes_on_with_what_was_said_before(daemon: Daemon) -> None:
    await talk(daemon, "trip", "one", "two")

    forked = await daemon.ask(
        "POST", f"{PATH}/trip/fork", json={"position": 2, "session_id": "by train", "title": "T"}
    )
    await talk(daemon, "by train", "three")
    prompt = [message.content for message in daemon.provider.requests[-1].messages]

    assert 201 == forked.status
    assert f"{PATH}/by%20train" == forked.headers["Location"]
    assert ("trip", 2, "T") == tuple(forked.json[n] for n in ("parent_id", "forked_at", "title"))
    assert ["one", "three"] == [text for text in prompt if text in {"one", "two", "three"}]
    assert 4 == len(await texts(daemon, "trip"))
    assert 4 == len(await texts(daemon, "by%20train"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"position": 3}, 404),
        ({"position": 0}, 422),
        ({"position": 1 << 60}, 422),
        ({"session_id": "trip"}, 409),
        ({"session_id": "a\nb"}, 422),
        ({"title": "x" * 201}, 422),
        ({"at": 1}, 422),
    ],
    ids=range(7),
)
async def test_fork_that_cannot_be_is_refused(
    daemon: Daemon, body: dict[str, object], status: int
) -> None:
    await talk(daemon, "trip", "one")

    answer = await daemon.ask("POST", f"{PATH}/trip/fork", json=body)

    assert status == answer.status, answer.text
    assert 1 == len((await daemon.ask("GET", PATH)).json["sessions"])


async def test_session_is_renamed(daemon: Daemon) -> None:
    await talk(daemon, "trip", "one")

    named = await daemon.ask("PATCH", f"{PATH}/trip", json={"title": "Lisbon"})
    taken = await daemon.ask("PATCH", f"{PATH}/trip", json={"title": ""})
    missing = await daemon.ask("PATCH", f"{PATH}/other", json={"title": "x"})

    assert ("Lisbon", None, 404) == (named.json["title"], taken.json["title"], missing.status)


async def test_export_is_whole_and_forks_export_what_they_share(daemon: Daemon) -> None:
    await talk(daemon, "trip", "one", "tw```o")
    await daemon.ask("POST", f"{PATH}/trip/fork", json={"position": 3, "session_id": "fork"})

    export = await daemon.ask("GET", f"{PATH}/fork/export")
    transcript = await daemon.ask("GET", f"{PATH}/fork/transcript")

    head, *messages, end = [json.loads(line) for line in export.text.splitlines()]
    assert ("agency-session", 1, "fork") == (
        head["format"],
        head["version"],
        head["session"]["session_id"],
    )
    assert ["user", "assistant", "user"] == [message["role"] for message in messages]
    assert {"end": True, "messages": 3} == end
    assert transcript.headers["Content-Type"].startswith("text/markdown")
    assert transcript.text.startswith("# one\n")
    assert "## User\n\ntw```o" in transcript.text
    assert 404 == (await daemon.ask("GET", f"{PATH}/nothing/export")).status


async def test_deleted_session_is_gone(daemon: Daemon) -> None:
    await talk(daemon, "trip", "one")
    await daemon.ask("POST", f"{PATH}/trip/fork", json={"session_id": "fork"})

    gone = await daemon.ask("DELETE", f"{PATH}/trip")
    again = await daemon.ask("DELETE", f"{PATH}/trip")

    assert {"session_id": "trip", "deleted": True, "kept_for_forks": 1} == gone.json
    assert 404 == again.status
    assert ["one"] == (await texts(daemon, "fork"))[:1]


async def test_session_of_a_live_run_is_not_deleted(daemon: Daemon) -> None:
    await talk(daemon, "trip", "one")
    start = {"workflow": "asks", "session_id": "trip"}
    run = await daemon.ask("POST", "/api/v1/runs", json=start)
    assert run.status == 202, run.text

    refused = await daemon.ask("DELETE", f"{PATH}/trip")

    assert (409, "session_in_use") == (refused.status, refused.json["code"])
    assert run.json["run_id"] == (await daemon.ask("GET", f"{PATH}/trip")).json["live_run_id"]


@pytest.mark.parametrize("session", ["%00", "%FF%FE", "a%2Fb", "x" * 2000, "%01" + "1"])
async def test_strange_ids_are_not_found(daemon: Daemon, session: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/messages"), ("GET", "/export")):
        assert 404 == (await daemon.ask(method, f"{PATH}/{session}{path}")).status
