"""Reading runs, snapshots and tokens; `Store.check`."""

from __future__ import annotations

import pytest

from agency.core.ids import new_id
from agency.domain.principal import Token
from agency.domain.run import LIVE, RunStatus
from agency.domain.wait import WaitKind, WaitOutcome
from agency.errors import (
    RunNotFound,
    SnapshotLive,
    SnapshotNotFound,
    TokenNameTaken,
    TokenNotFound,
)
from agency.ports.store import RunFilter, SnapshotFilter, Store
from tests.contract.making import (
    T0,
    answer,
    at,
    claim,
    end,
    finish,
    ids,
    make_run,
    record,
    start,
    start_claimed,
    start_suspended,
    suspend,
    wait_for,
    wait_for_event,
)


async def test_unknown_run_is_not_found(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await store.runs.get(new_id())
    assert await store.runs.find_named("nobody") is None


async def test_open_waits_are_read_oldest_first(store: Store) -> None:
    claimed = await start_claimed(store)
    keys = [f"w{i}" for i in (3, 1, 2)]
    for key in keys:
        await record(store, claimed, waits=[wait_for_event(key, show={"ä": [1, "\0"]})])
    await answer(store, claimed.run_id, "w1")

    waits = (await store.runs.get(claimed.run_id)).waits

    assert ["w3", "w2"] == [wait.key for wait in waits]
    assert {"ä": [1, "\0"]} == waits[0].show


async def test_name_gives_the_live_run_else_the_newest(store: Store) -> None:
    old = await start_claimed(store, name="n")
    await finish(store, old)
    newer = await start_claimed(store, name="n")

    live = await store.runs.find_named("n")
    await finish(store, newer)
    ended = await store.runs.find_named("n")

    assert live is not None
    assert ended is not None
    assert (newer.run_id, newer.run_id) == (live.run.id, ended.run.id)
    assert RunStatus.COMPLETED is ended.run.status


async def test_runs_are_listed_newest_first_in_pages(store: Store) -> None:
    runs = [await start(store) for _ in range(5)]

    first = await store.runs.list(RunFilter(), before=None, limit=3)
    rest = await store.runs.list(RunFilter(), before=first[-1].number, limit=3)

    assert ids(runs)[::-1] == ids([*first, *rest])


@pytest.mark.parametrize(
    "statuses", [(), (RunStatus.CANCELLED,), (RunStatus.PENDING, RunStatus.CANCELLED)]
)
@pytest.mark.parametrize("workflow", ["a", "b", "unknown"])
async def test_runs_of_a_workflow_are_listed_newest_first_in_pages(
    store: Store, workflow: str, statuses: tuple[RunStatus, ...]
) -> None:
    wanted = []
    for i in range(40):
        run = await start(store, workflow="b" if i % 7 == 3 else "a")
        status = RunStatus.PENDING
        if i % 3 == 0:
            await end(store, run.id)
            status = RunStatus.CANCELLED
        if run.workflow == workflow and (status in statuses or not statuses):
            wanted.append(run.id)
    which = RunFilter(workflow=workflow, statuses=frozenset(statuses))

    found: list[str] = []
    before: int | None = None
    while page := await store.runs.list(which, before=before, limit=3):
        found += ids(page)
        before = page[-1].number

    assert wanted[::-1] == found


async def test_runs_are_filtered(store: Store) -> None:
    named = await start(store, name="n")
    other = await start(store, workflow="other")
    session = await start(store, session_id="s")
    parent = await start_claimed(store)
    child = make_run(session_id="t")
    await record(store, parent, children=[child])
    ended = await start(store, name="gone", workflow="other")
    await end(store, ended.id)
    suspended, _ = await start_suspended(store, wait_for_event("a"), session_id="s2")

    async def listed(**which: object) -> list[str]:
        return ids(await store.runs.list(RunFilter(**which), before=None, limit=50))  # type: ignore[arg-type]

    assert [named.id] == await listed(name="n")
    assert [ended.id, other.id] == await listed(workflow="other")
    assert [ended.id] == await listed(workflow="other", is_named=True)
    assert [session.id] == await listed(session_id="s")
    assert [child.id] == await listed(parent_id=parent.run_id)
    assert [] == await listed(parent_id=parent.run_id, session_id="s")
    assert [ended.id, named.id] == await listed(is_named=True)
    assert 5 == len(await listed(is_named=False))
    assert [ended.id] == await listed(statuses=frozenset({RunStatus.CANCELLED}))
    assert [suspended.run_id, parent.run_id] == await listed(
        statuses=frozenset({RunStatus.SUSPENDED, RunStatus.RUNNING, RunStatus.FAILED})
    )
    assert 6 == len(await listed(statuses=LIVE))
    assert [other.id] == await listed(statuses=LIVE, workflow="other")
    assert [suspended.run_id] == await listed(
        statuses=frozenset({RunStatus.SUSPENDED}), session_id="s2"
    )
    assert [] == await listed(statuses=frozenset({RunStatus.FAILED}), name="n")


async def test_listing_by_status_is_paged(store: Store) -> None:
    runs = [await start(store) for _ in range(6)]
    for run in runs[::2]:
        await end(store, run.id)
    which = RunFilter(statuses=frozenset({RunStatus.CANCELLED, RunStatus.PENDING}))

    first = await store.runs.list(which, before=None, limit=4)
    rest = await store.runs.list(which, before=first[-1].number, limit=4)

    assert ids(runs)[::-1] == ids([*first, *rest])


async def test_counts_follow_every_change(store: Store) -> None:
    assert {} == await store.runs.count_by_status()
    first = await start_claimed(store)
    second = await start(store)
    await start_suspended(store, wait_for_event("a"))
    assert {
        RunStatus.RUNNING: 1,
        RunStatus.PENDING: 1,
        RunStatus.SUSPENDED: 1,
    } == await store.runs.count_by_status()

    await finish(store, first)
    await end(store, second.id)

    assert {
        RunStatus.COMPLETED: 1,
        RunStatus.CANCELLED: 1,
        RunStatus.SUSPENDED: 1,
    } == await store.runs.count_by_status()


async def test_snapshot_shows_its_waits_as_they_are_now(store: Store) -> None:
    claimed, first = await start_suspended(
        store, wait_for("a", WaitKind.INPUT, show={"prompt": "?"}), wait_for_event("b")
    )
    await answer(store, claimed.run_id, "a", {"big": "x" * 100_000})
    again = await claim(store, claimed.run_id)
    await suspend(store, again, wait_for_event("c"))

    snapshot = await store.snapshots.get(first)

    assert (True, "suspended") == (snapshot.spent, snapshot.run_status)
    assert [("a", WaitOutcome.ANSWERED), ("b", None)] == [
        (wait.key, wait.outcome) for wait in snapshot.waits
    ]
    assert {"big": "x" * 100_000} == snapshot.waits[0].payload
    assert {"prompt": "?"} == snapshot.waits[0].show


async def test_unknown_snapshot_is_not_found(store: Store) -> None:
    with pytest.raises(SnapshotNotFound):
        await store.snapshots.get(new_id())
    with pytest.raises(SnapshotNotFound):
        await store.snapshots.delete(new_id())


async def test_snapshots_are_listed_newest_first_in_pages(store: Store) -> None:
    made = [(await start_suspended(store, wait_for_event("a")))[1] for _ in range(5)]

    first = await store.snapshots.list(SnapshotFilter(), before=None, limit=3)
    rest = await store.snapshots.list(SnapshotFilter(), before=first[-1].id, limit=3)

    assert made[::-1] == [snapshot.id for snapshot in [*first, *rest]]


async def test_snapshots_are_filtered(store: Store) -> None:
    named, first = await start_suspended(store, wait_for_event("a"), name="n")
    other = await start(store, name="m")
    await store.runs.hold(other.id, reason="look", snapshot_id="held", now=T0)

    async def listed(**which: str) -> list[str]:
        found = await store.snapshots.list(SnapshotFilter(**which), before=None, limit=9)
        return [snapshot.id for snapshot in found]

    assert [first] == await listed(run_name="n")
    assert ["held"] == await listed(reason="look")
    assert [first] == await listed(run_id=named.run_id)
    assert [] == await listed(run_id=named.run_id, run_name="m")
    assert [] == await listed(run_id=named.run_id, reason="look")
    assert ["held", first] == await listed()


async def test_snapshots_go_on_after_a_deleted_one(store: Store) -> None:
    claimed, first = await start_suspended(store, wait_for_event("a"))
    await answer(store, claimed.run_id, "a")
    await suspend(store, await claim(store, claimed.run_id), wait_for_event("b"))
    await store.snapshots.delete(first)

    assert [] == list(await store.snapshots.list(SnapshotFilter(), before=first, limit=9))


async def test_newest_snapshot_of_a_live_run_cannot_be_deleted(store: Store) -> None:
    claimed, first = await start_suspended(store, wait_for_event("a"))
    await answer(store, claimed.run_id, "a")
    second = await suspend(store, await claim(store, claimed.run_id), wait_for_event("b"))
    assert second is not None

    await store.snapshots.delete(first)
    with pytest.raises(SnapshotLive):
        await store.snapshots.delete(second)
    await end(store, claimed.run_id)
    await store.snapshots.delete(second)

    assert [] == list(await store.snapshots.list(SnapshotFilter(), before=None, limit=9))


def make_token(name: str) -> Token:
    return Token(name=name, prefix="agency_ab", secret_hash=f"hash of {name}", created_at=T0)


async def test_tokens_are_added_listed_and_revoked(store: Store) -> None:
    first, second = make_token("b"), make_token("a")
    await store.tokens.add(first)
    await store.tokens.add(second)
    with pytest.raises(TokenNameTaken):
        await store.tokens.add(make_token("a"))
    assert [first, second] == list(await store.tokens.list())

    await store.tokens.revoke("b", now=at(1))
    with pytest.raises(TokenNotFound):
        await store.tokens.revoke("b", now=at(1))
    await store.tokens.add(make_token("b"))

    assert ["a", "b"] == [token.name for token in await store.tokens.list()]


async def test_check_tells_that_reads_and_writes_get_through(store: Store) -> None:
    assert await store.check(timeout_s=5)


async def test_runs_are_listed_by_principal(store: Store) -> None:
    own = [await start(store, principal="ann") for _ in range(2)]
    await start(store, principal="bob")
    claimed = await start_claimed(store, principal="ann")
    await finish(store, claimed)

    found = await store.runs.list(RunFilter(principal="ann"), before=None, limit=10)
    completed = RunFilter(principal="ann", statuses=frozenset({RunStatus.COMPLETED}))
    ended = await store.runs.list(completed, before=None, limit=10)

    assert {*ids(own), claimed.run_id} == {run.id for run in found}
    assert [claimed.run_id] == [run.id for run in ended]


async def test_run_tells_when_its_status_last_changed(store: Store) -> None:
    run = await start(store)
    assert [run.created_at] * 2 == [
        run.changed_at,
        (await store.runs.get(run.id)).run.changed_at,
    ]

    (claimed,) = await store.runs.claim(owner="boot", now=at(7), limit=1)

    assert at(7) == claimed.changed_at == (await store.runs.get(run.id)).run.changed_at
