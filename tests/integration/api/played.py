"""What the tests' daemon works on: a played model server and small workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from agency import Context, Retry, workflow
from agency.errors import (
    AgencyError,
    ContextTooLong,
    Failed,
    ModelCrashed,
    ModelNotFound,
    ModelRefused,
    ModelTimedOut,
    Permanent,
)
from agency.models.vectors import hashed_vector
from agency.ports.model import (
    CallProgress,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Health,
    ModelInfo,
)


class SomethingNew(Failed):
    """An error that the doors have never heard of."""

    code = "something_new"


FAILURES: dict[str, Callable[[], AgencyError]] = {
    "model_crashed": lambda: ModelCrashed("It crashed.", hint="Look."),
    "model_refused": lambda: ModelRefused("It refused.", hint="Look."),
    "something_new": lambda: SomethingNew("It failed.", hint="Look."),
    "permanent": lambda: Permanent("It failed.", hint="Look."),
    "model_timed_out": lambda: ModelTimedOut("total", 1.0, "Look."),
    "context_too_long": lambda: ContextTooLong("It is too long.", hint="Look."),
    "model_not_found": lambda: ModelNotFound("m"),
}


class PlayedProvider:
    """A provider that does what the message says, and whose health is what the test says.

    ``fail CODE`` raises that error, ``limit`` never comes to an end of its reply, ``hang`` never
    replies and sets ``is_asked``, ``speak WORDS`` says them one by one once ``may_speak`` is set;
    everything else is echoed.
    """

    name = "rehearsal"
    resource = "model:rehearsal"
    is_rehearsal = True

    def __init__(self) -> None:
        self.health_now = Health(reachable=True)
        self.is_hanging = False
        self.looks = 0
        self.requests: list[ChatRequest] = []
        self.embedded: list[str] = []
        self.embedding_error: AgencyError | None = None
        self.embedding_characters_max = 1_000_000
        self.embedding_calls_max = 1_000_000
        self.is_stuck = asyncio.Event()
        self.is_asked = asyncio.Event()
        self.may_speak = asyncio.Event()
        self.may_speak.set()

    async def chat(
        self,
        request: ChatRequest,
        *,
        on_token: Callable[[str], None] | None = None,
        on_progress: Callable[[CallProgress], None] | None = None,
    ) -> ChatReply:
        self.requests.append(request)
        said = [message.content for message in request.messages if message.role == "user"][-1]
        if said.startswith("fail "):
            raise FAILURES[said.removeprefix("fail ")]()
        if said.startswith("speak "):
            await self.may_speak.wait()
            words = said.removeprefix("speak ").split()
            for word in words:
                assert on_token is not None
                on_token(f"{word} ")
        if said == "hang":
            self.is_asked.set()
            await asyncio.Event().wait()
        return ChatReply(
            content=f"You said: {said}",
            model="played",
            provider=self.name,
            ended_by="length" if said == "limit" else "stop",
        )

    async def embed(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.embedding_calls_max -= 1
        if self.embedding_calls_max < 0:
            self.is_stuck.set()
            await asyncio.Event().wait()
        self.embedded += texts
        if self.embedding_error is not None:
            raise self.embedding_error
        if max(map(len, texts)) > self.embedding_characters_max:
            raise ContextTooLong("It is too long.", hint="Look.")
        return [hashed_vector(text) for text in texts]

    async def models(self) -> Sequence[ModelInfo]:
        return [ModelInfo(name="played")]

    async def context(self, model: str) -> ContextLimits:
        return ContextLimits(configured=8192)

    async def capabilities(self, model: str) -> frozenset[str] | None:
        return None

    async def health(self) -> Health:
        self.looks += 1
        if self.is_hanging:
            await asyncio.Event().wait()
        return self.health_now


@workflow("echo")
async def echo(ctx: Context, input: Any) -> Any:
    return input


@workflow("number")
async def number(ctx: Context, input: float) -> float:
    return input


@workflow("asks")
async def asks(ctx: Context, input: Any) -> Any:
    return {"name": await ctx.input("Your name?")}


@workflow("listens")
async def listens(ctx: Context) -> Any:
    return {"paid": await ctx.wait_event("paid")}


@workflow("both")
async def both(ctx: Context) -> Any:
    return await ctx.gather(name=ctx.input("Your name?"), paid=ctx.wait_event("paid"))


async def written(size: int) -> str:
    return "x" * size


@workflow("counts")
async def counts(ctx: Context, input: int) -> int:
    size = await ctx.wait_event("paid") or 0
    for _ in range(input):
        await ctx.step("count", written, size)
    return input


async def never() -> None:
    await asyncio.Event().wait()


@workflow("hangs")
async def hangs(ctx: Context) -> None:
    await ctx.step("forever", never)


class Flaky:
    """What the workflow ``flaky`` needs from outside: broken, or slow until it is told to go on."""

    def __init__(self) -> None:
        self.is_broken = False
        self.go_on = asyncio.Event()

    def reset(self) -> None:
        self.is_broken = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def do(self) -> str:
        await self.go_on.wait()
        if self.is_broken:
            raise OSError("It is broken.")
        return "done"


FLAKY = Flaky()


@workflow("flaky", retry=Retry(attempts=2, base_s=0))
async def flaky(ctx: Context, input: Any) -> Any:
    return await ctx.step("flaky", FLAKY.do)


@workflow("ships")
async def ships(ctx: Context, input: Any) -> Any:
    ok = await ctx.approve(
        "Ship it?", show=input, risk="low", expires_s=3600, schema=int, name="ship"
    )
    return {"approved": ok.approved, "value": ok.value, "comment": ok.comment, "by": ok.decided_by}


@workflow("how-many")
async def how_many(ctx: Context) -> int:
    number: int = await ctx.input("How many?", schema=int)
    return number


@workflow("follows")
async def follows(ctx: Context, region: str) -> Any:
    return await ctx.wait_event("price", topic="prices", where={"region": region})


WORKFLOWS = (echo, number, asks, listens, both, hangs, counts, flaky, ships, how_many, follows)
