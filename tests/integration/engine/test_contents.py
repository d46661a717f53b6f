"""Content that runs hand out before their end, refusals and authorizations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agency import Context, Rejected, bytes_part, workflow
from agency.core import json
from agency.domain.content import Content, content_of, data_part, text_part
from agency.domain.run import RunStatus
from agency.errors import InvalidInput
from tests.integration.engine.house import House, crashed, open_house


@workflow("report")
async def report(ctx: Context) -> str:
    await ctx.deliver("log", "begun ", is_last=False)
    await ctx.deliver("log", {"rows": 3}, bytes_part(b"x", media_type="image/png"), append=True)
    await ctx.input("Go on?")
    await ctx.deliver("log", "other")
    return "done"


@workflow("beside")
async def beside(ctx: Context) -> list[Any]:
    async def tell(text: str) -> str:
        await ctx.deliver("a/b", text)
        await ctx.input("Go on?", name=f"ask-{text}")
        return text

    return list(await ctx.gather(tell("one"), tell("two")))


@workflow("refuse")
async def refuse(ctx: Context, how: str) -> None:
    def look() -> None:
        raise Rejected("That is not ours to do.")

    if how == "step":
        await ctx.step("look", look)
    look()


@workflow("sign-in")
async def sign_in(ctx: Context) -> str:
    await ctx.authorize("Sign in at the bank.", url="https://bank.example/in")
    return "in"


@workflow("faulty")
async def faulty(ctx: Context) -> list[str]:
    refused = []
    for name, parts in (("", ["x"]), ("n" * 129, ["x"]), ("n", [])):
        try:
            await ctx.deliver(name, *parts)
        except InvalidInput as error:
            refused.append(error.code)
    return refused


async def contents(house: House, run_id: str) -> list[tuple[str, Content]]:
    entries = await house.runs.entries(run_id, after=0, limit=100)
    return [
        (entry.key, content_of(json.decode(entry.body)))
        for entry in entries
        if entry.key.startswith("content/")
    ]


async def test_content_is_recorded_once_whatever_is_replayed(tmp_path: Path) -> None:
    expected = [
        ("content/log#1", Content(parts=[text_part("begun ")], name="log", is_last=False)),
        (
            "content/log#2",
            Content(
                parts=[data_part({"rows": 3}), bytes_part(b"x", media_type="image/png")],
                name="log",
                append=True,
            ),
        ),
    ]
    (tmp_path / "one").mkdir()
    async with open_house(tmp_path / "one", report) as house:
        run_id = await house.start("report")
        await house.suspended(run_id)
        assert expected == await contents(house, run_id)
        copy = crashed(tmp_path / "one", tmp_path / "two")
    async with open_house(copy, report) as house:
        await house.resume(run_id, "yes")
        assert "done" == (await house.ended(run_id)).run.output
        told = await contents(house, run_id)
    assert [*expected, ("content/log#3", Content(parts=[text_part("other")], name="log"))] == told


async def test_branches_that_hand_out_the_same_name_count_for_themselves(tmp_path: Path) -> None:
    async with open_house(tmp_path, beside) as house:
        run_id = await house.start("beside")
        await house.suspended(run_id)
        for name in ("ask-two", "ask-one"):  # each replay meets them in another order
            await house.resume(run_id, "yes", wait=name)
            detail = await house.settled(run_id)
        assert ["one", "two"] == detail.run.output
        told = await contents(house, run_id)

    assert {"content/gather#1.0/a-b#1": "one", "content/gather#1.1/a-b#1": "two"} == {
        key: content.parts[0].text for key, content in told
    }


async def test_refusal_ends_the_run_with_its_own_code_wherever_it_is_raised(tmp_path: Path) -> None:
    async with open_house(tmp_path, refuse) as house:
        for how in ("here", "step"):
            run = (await house.run("refuse", how, max_attempts=3)).run
            assert run.error is not None
            assert (RunStatus.FAILED, "rejected", "That is not ours to do.") == (
                run.status,
                run.error.code,
                run.error.message,
            )


async def test_authorization_is_a_question_that_any_answer_ends(tmp_path: Path) -> None:
    async with open_house(tmp_path, sign_in) as house:
        run_id = await house.start("sign-in")
        (wait,) = (await house.suspended(run_id)).waits
        snapshot_id = (await house.suspended(run_id)).snapshot_id
        assert snapshot_id is not None
        await house.runs.resume(snapshot_id, input=None, has_input=True)
        assert "in" == (await house.ended(run_id)).run.output

    assert {"url": "https://bank.example/in"} == wait.show["authorization"]
    assert "Sign in at the bank." == wait.show["prompt"]


async def test_content_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    async with open_house(tmp_path, faulty) as house:
        assert ["invalid_input"] * 3 == (await house.run("faulty")).run.output
