"""Runs that go from one database to another: copies, moves, and files that are not whole."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from agency import Context, current_step, workflow
from agency.domain.run import RunStatus
from agency.engine.export_file import Parts
from agency.engine.transfers import Export, ImportWish
from agency.errors import (
    ExportCorrupt,
    ExportFormatUnknown,
    ExportTaken,
    NameTaken,
    ReceiptConfirmed,
    RunEndWanted,
    RunIdTaken,
    SnapshotSpent,
    WorkflowNotFound,
)
from tests.integration.engine.house import House, crashed, open_house
from tests.integration.engine.world import World

WISH = ImportWish()


@asynccontextmanager
async def two_houses(
    path: Path, *functions: Callable[..., Any]
) -> AsyncIterator[tuple[House, House]]:
    async with AsyncExitStack() as stack:
        houses = []
        for name in ("here", "there"):
            (path / name).mkdir()
            houses.append(await stack.enter_async_context(open_house(path / name, *functions)))
        yield houses[0], houses[1]


async def written(house: House, export: Export) -> bytes:
    return b"".join([line async for line in house.engine.transfers.lines(export)])


async def exported(house: House, run_id: str) -> bytes:
    snapshot_id = (await house.suspended(run_id)).snapshot_id
    assert snapshot_id is not None
    return await written(house, await house.engine.transfers.export_snapshot(snapshot_id))


async def moved(house: House, run_id: str) -> tuple[str, bytes]:
    snapshot_id = (await house.suspended(run_id)).snapshot_id
    assert snapshot_id is not None
    receipt = await house.engine.transfers.move(snapshot_id)
    file = await written(house, await house.engine.transfers.export_moved(receipt.id))
    assert receipt.size_bytes == len(file)
    return receipt.id, file


async def bring_in(house: House, file: bytes, wish: ImportWish = WISH) -> tuple[str, bool]:
    run, is_new = await house.engine.transfers.bring_in(io.BytesIO(file), wish)
    return run.id, is_new


def asking(world: World) -> Callable[..., Any]:
    @workflow("order", version="1")
    async def order(ctx: Context, sku: str) -> list[Any]:
        quote = await ctx.step("quote", world.do, sku)
        address = await ctx.input("Where to?")
        return [quote, address, await ctx.step("ship", world.do, "ship"), ctx.random()]

    return order


async def test_parts_of_a_file_are_read_anew_when_the_store_begins_again(tmp_path: Path) -> None:
    """A group of transactions that is undone is carried out once more, imports included."""
    async with two_houses(tmp_path, asking(World())) as (here, _):
        parts = Parts(io.BytesIO(await exported(here, await here.start("order", "a"))))

    first = list(parts)

    assert first
    assert first == list(parts)


async def test_copy_goes_on_elsewhere_and_the_original_here(tmp_path: Path) -> None:
    world = World()
    async with two_houses(tmp_path, asking(world)) as (here, there):
        run_id = await here.start("order", "x", name="mine")
        file = await exported(here, run_id)

        copy_id, is_new = await bring_in(there, file)
        (wait,) = (await there.suspended(copy_id)).waits
        assert "Where to?" == wait.show["prompt"]
        await there.resume(copy_id, "there")
        await here.resume(run_id, "here")
        copy, original = (await there.ended(copy_id)).run, (await here.ended(run_id)).run

    assert (True, run_id) == (is_new, copy.forked_from)
    assert ("there", "here") == (copy.output[1], original.output[1])
    assert copy.output[3] == original.output[3]
    assert {"x": 1, "ship": 2} == world.calls
    assert (None, copy_id) == (copy.name, copy.id)


async def test_same_file_is_one_copy_unless_another_is_asked_for(tmp_path: Path) -> None:
    async with two_houses(tmp_path, asking(World())) as (here, there):
        file = await exported(here, await here.start("order", "x"))

        outcomes = await asyncio.gather(*(bring_in(there, file) for _ in range(5)))
        other = await bring_in(there, file, ImportWish(again=True))

    assert 1 == len({run_id for run_id, _ in outcomes})
    assert 1 == sum(is_new for _, is_new in outcomes)
    assert other[1]
    assert other[0] != outcomes[0][0]


async def test_moved_run_keeps_id_name_and_keys_and_ends_here(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def charge(where: str) -> None:
        seen.append((where, current_step().idempotency_key))

    @workflow("order", version="1")
    async def order(ctx: Context, input: Any) -> Any:
        await ctx.wait_event("go")
        await ctx.step("charge", charge, "there")
        return await ctx.wait_event("kept")

    async with two_houses(tmp_path, order) as (here, there):
        run_id = await here.start(
            "order", 1, name="mine", idempotency_key="k", request_hash="h", tags={"a": "b"}
        )
        await here.suspended(run_id)
        await here.runs.send(run_id, name="kept", payload="from before")

        receipt_id, file = await moved(here, run_id)
        ended = (await here.runs.get(run_id)).run
        assert (RunStatus.CANCELLED, "moved") == (ended.status, ended.error and ended.error.code)
        assert receipt_id == ended.error.details["receipt_id"] if ended.error else False

        assert (run_id, True) == await bring_in(there, file)
        with pytest.raises(ExportTaken):
            await bring_in(there, file)
        await there.runs.send(run_id, name="go", payload=None)
        run = (await there.ended(run_id)).run
        known = await there.runs.start(_request("order", 1, "k", "h"))

    assert ("mine", {"a": "b"}, "from before") == (run.name, run.tags, run.output)
    assert run_id == known.run.id
    from agency.core.ids import derive_id

    assert [("there", derive_id(run_id, "0", "charge#1"))] == seen


def _request(name: str, value: Any, key: str, digest: str) -> Any:
    from agency.engine.runs import StartRequest

    return StartRequest(workflow=name, input=value, idempotency_key=key, request_hash=digest)


async def test_file_of_a_move_is_the_same_until_its_arrival_is_confirmed(tmp_path: Path) -> None:
    world = World()
    path = tmp_path / "one"
    path.mkdir()
    order = asking(world)
    async with open_house(path, order) as house:
        run_id = await house.start("order", "x")
        snapshot_id = (await house.suspended(run_id)).snapshot_id
        assert snapshot_id is not None
        receipt_id, file = await moved(house, run_id)
        again = await house.engine.transfers.move(snapshot_id)
        assert receipt_id == again.id
        copy = crashed(path, tmp_path / "two")

    async with open_house(copy, order) as house:
        transfers = house.engine.transfers
        assert file == await written(house, await transfers.export_moved(receipt_id))
        await transfers.confirm(receipt_id)
        await transfers.confirm(receipt_id)
        with pytest.raises(ReceiptConfirmed):
            await transfers.export_moved(receipt_id)


async def test_move_of_a_run_that_has_gone_on_is_refused(tmp_path: Path) -> None:
    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.wait_event("a")
        await ctx.wait_event("b")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        first = (await house.suspended(run_id)).snapshot_id
        assert first is not None
        await house.runs.send(run_id, name="a", payload=None)
        await house.until(run_id, lambda d: d.snapshot_id not in {None, first})
        with pytest.raises(SnapshotSpent):
            await house.engine.transfers.move(first)


async def test_run_that_is_to_end_is_not_moved_away_from_its_end(tmp_path: Path) -> None:
    async def charge() -> None:
        raise OSError("no answer")

    @workflow("w", version="1")
    async def w(ctx: Context) -> None:
        await ctx.step("charge", charge, effect="once")
        await ctx.wait_event("more")

    async with open_house(tmp_path, w) as house:
        run_id = await house.start("w")
        await house.suspended(run_id)
        await house.runs.cancel(run_id)
        snapshot_id = (await house.until(run_id, lambda d: d.run.ending is not None)).snapshot_id
        assert snapshot_id is not None
        with pytest.raises(RunEndWanted):
            await house.engine.transfers.move(snapshot_id)
        await house.resume(run_id, {"decision": "done"})
        run = (await house.ended(run_id)).run

    assert "cancelled" == run.status


async def test_only_one_move_of_many_ends_the_run(tmp_path: Path) -> None:
    async with open_house(tmp_path, asking(World())) as house:
        run_id = await house.start("order", "x")
        snapshot_id = (await house.suspended(run_id)).snapshot_id
        assert snapshot_id is not None
        outcomes = await asyncio.gather(
            *(house.engine.transfers.move(snapshot_id) for _ in range(20)), return_exceptions=True
        )

    receipts = {one.id for one in outcomes if not isinstance(one, BaseException)}
    assert 1 == len(receipts)


async def test_moved_timer_keeps_its_moment_and_a_child_is_started_anew(tmp_path: Path) -> None:
    world = World()

    @workflow("child", version="1")
    async def child(ctx: Context) -> str:
        await ctx.step("child", world.do, "child")
        return str(await ctx.wait_event("on"))

    @workflow("w", version="1")
    async def w(ctx: Context) -> Any:
        return await ctx.gather(child=ctx.call("child"), slept=ctx.sleep(timedelta(hours=1)))

    async with two_houses(tmp_path, w, child) as (here, there):
        run_id = await here.start("w")
        waits = {wait.kind: wait for wait in (await here.suspended(run_id)).waits}
        await here.suspended(waits["child"].target)  # type: ignore[index]
        _, file = await moved(here, run_id)
        old = (await here.ended(waits["child"].target)).run  # type: ignore[index]
        await bring_in(there, file)
        again = await there.until(run_id, lambda d: len(d.waits) == 2)
        moved_waits = {wait.kind: wait for wait in again.waits}
        await there.suspended(moved_waits["child"].target)  # type: ignore[index]

    assert RunStatus.CANCELLED == old.status
    assert waits["timer"].due_at == moved_waits["timer"].due_at  # type: ignore[index]
    assert 2 == world.calls["child"]


async def test_effect_in_doubt_stays_in_doubt_elsewhere(tmp_path: Path) -> None:
    async def charge() -> None:
        raise OSError("no answer")

    @workflow("w", version="1")
    async def w(ctx: Context) -> str:
        await ctx.step("charge", charge, effect="once")
        return "charged"

    async with two_houses(tmp_path, w) as (here, there):
        run_id = await here.start("w")
        await here.suspended(run_id)
        _, file = await moved(here, run_id)
        await bring_in(there, file)
        (wait,) = (await there.suspended(run_id)).waits
        await there.resume(run_id, {"decision": "done"})
        run = (await there.ended(run_id)).run

    assert ("decision", "charged") == (wait.kind, run.output)


async def test_moved_run_may_come_home_as_a_copy_only(tmp_path: Path) -> None:
    async with open_house(tmp_path, asking(World())) as house:
        run_id = await house.start("order", "x", name="mine")
        _, file = await moved(house, run_id)
        with pytest.raises(RunIdTaken):
            await bring_in(house, file)
        copy_id, _ = await bring_in(house, file, ImportWish(is_copy=True))
        await house.resume(copy_id, "home")
        assert "home" == (await house.ended(copy_id)).run.output[1]


async def test_name_that_is_taken_there_refuses_the_whole_file(tmp_path: Path) -> None:
    async with two_houses(tmp_path, asking(World())) as (here, there):
        _, file = await moved(here, await here.start("order", "x", name="mine"))
        other = await there.start("order", "y", name="mine")
        await there.suspended(other)
        with pytest.raises(NameTaken):
            await bring_in(there, file)
        await there.runs.cancel(other)
        await bring_in(there, file)


async def test_workflow_that_is_not_there_refuses_the_file(tmp_path: Path) -> None:
    async with open_house(tmp_path, asking(World())) as house:
        file = await exported(house, await house.start("order", "x"))
    other = tmp_path / "other"
    other.mkdir()
    async with open_house(other) as house:
        with pytest.raises(WorkflowNotFound):
            await bring_in(house, file)


def _changed(file: bytes, line: int, **members: Any) -> bytes:
    lines = file.splitlines(keepends=True)
    lines[line] = orjson.dumps({**orjson.loads(lines[line]), **members}) + b"\n"
    return b"".join(lines)


async def test_file_that_is_not_whole_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with two_houses(tmp_path, asking(World())) as (here, there):
        file = await exported(here, await here.start("order", "x"))
        lines = file.splitlines(keepends=True)
        broken = {
            "empty": b"",
            "no JSON": b"hello\n",
            "cut off": file[:-20],
            "without its end": b"".join(lines[:-1]),
            "without a line": b"".join([*lines[:2], *lines[3:]]),
            "a line twice": b"".join([*lines[:3], lines[2], *lines[3:]]),
            "turned round": b"".join([*lines[:2], *lines[:1:-1]]),
            "with more behind": file + b"{}\n",
            "a changed result": file.replace(b'"body":"x"', b'"body":"y"'),
            "a changed input": _changed(file, 1, input="y"),
            "a kind that is none": _changed(file, 2, kind="status"),
            "an id that is none": _changed(file, 1, id="x"),
            "a seed that is none": _changed(file, 1, seed=-1),
            "a moment that is none": _changed(file, 2, at="soon"),
            "no run": b"".join([lines[0], *lines[2:]]),
        }
        assert b'"body":"x"' in file
        for what, text in broken.items():
            with pytest.raises((ExportCorrupt, ExportFormatUnknown)) as raised:
                await bring_in(there, text)
            assert raised.value.message, what
        with pytest.raises(ExportFormatUnknown, match="agency-snapshot/2"):
            await bring_in(there, _changed(file, 0, format="agency-snapshot/2"))
        assert {} == {
            status: count
            for status, count in (await there.store.runs.count_by_status()).items()
            if count
        }
        assert (await bring_in(there, file))[1]


async def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    async with two_houses(tmp_path, asking(World())) as (here, there):
        file = await exported(here, await here.start("order", "x"))
        for position in range(0, len(file), 7):
            changed = bytearray(file)
            changed[position] ^= 0x01
            with pytest.raises((ExportCorrupt, ExportFormatUnknown)):
                await bring_in(there, bytes(changed))


async def test_large_results_travel_with_their_run(tmp_path: Path) -> None:
    async def large(size: int) -> str:
        return "x" * size

    @workflow("w", version="1")
    async def w(ctx: Context) -> int:
        sizes = [len(await ctx.step("large", large, size)) for size in (10, 200_000, 3_000_000)]
        await ctx.wait_event("on")
        return sum(sizes)

    async with two_houses(tmp_path, w) as (here, there):
        run_id = await here.start("w")
        copy_id, _ = await bring_in(there, await exported(here, run_id))
        await there.suspended(copy_id)
        await there.runs.send(copy_id, name="on", payload=None)
        assert 3_200_010 == (await there.ended(copy_id)).run.output
