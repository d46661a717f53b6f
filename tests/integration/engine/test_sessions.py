"""One live run per session: a message to one that waits for input is its answer."""

from pathlib import Path

import pytest

from agency import Context, workflow
from agency.engine.runs import StartRequest
from agency.errors import InvalidInput, SessionBusy
from tests.integration.engine.house import open_house


@workflow("talk", version="1")
async def talk(ctx: Context, request: dict[str, str]) -> str:
    return str(await ctx.input("Your name?", schema=str))


@workflow("listen", version="1")
async def listen(ctx: Context, request: dict[str, str]) -> str:
    return str(await ctx.wait_event("news"))


def say(message: object, *, key: str | None = None, workflow: str = "talk") -> StartRequest:
    return StartRequest(
        workflow=workflow,
        input={"message": message},
        session_id="s",
        idempotency_key=key,
        request_hash=str(message) if key is not None else None,
    )


async def test_message_to_a_run_that_waits_for_input_is_its_answer(tmp_path: Path) -> None:
    async with open_house(tmp_path, talk) as house:
        run_id = (await house.runs.start(say("hello"))).run.id
        await house.suspended(run_id)
        with pytest.raises(InvalidInput):
            await house.runs.start(say(5))
        answered = await house.runs.start(say("Bob"))
        assert (True, False, run_id) == (answered.answered, answered.is_new, answered.run.id)
        assert "Bob" == (await house.ended(run_id)).run.output


async def test_message_to_a_run_that_waits_for_something_else_is_refused(tmp_path: Path) -> None:
    async with open_house(tmp_path, listen) as house:
        run_id = (await house.runs.start(say("hello", workflow="listen"))).run.id
        await house.suspended(run_id)
        with pytest.raises(SessionBusy):
            await house.runs.start(say("Bob", workflow="listen"))
