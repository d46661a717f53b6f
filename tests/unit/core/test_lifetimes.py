import asyncio

from agency.core.lifetimes import running


def refuse(error: BaseException) -> None:
    raise AssertionError(f"the loop failed: {error}")


async def test_loop_runs_beside_the_body_and_stops_when_asked() -> None:
    seen = []

    async def serve(stop: asyncio.Event) -> None:
        seen.append("began")
        await stop.wait()
        seen.append("ended")

    async with running(serve, name="loop", grace_s=1, on_failure=refuse):
        await asyncio.sleep(0)
        seen.append("body")

    assert ["began", "body", "ended"] == seen


async def test_stubborn_loop_is_cancelled_after_its_grace() -> None:
    cancelled = []

    async def serve(stop: asyncio.Event) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async with running(serve, name="loop", grace_s=0.01, on_failure=refuse):
        await asyncio.sleep(0)

    assert [True] == cancelled


async def test_failure_of_the_loop_is_told_at_once() -> None:
    told: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def serve(stop: asyncio.Event) -> None:
        raise ValueError("broken")

    async with running(serve, name="loop", grace_s=1, on_failure=told.set_result):
        error = await told

    assert isinstance(error, ValueError)
