"""Nothing that is asked often walks a table."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agency.domain.run import RunStatus
from agency.ports.store import RunFilter
from agency.storage.sqlite.runs import _list_statement
from agency.storage.sqlite.statements import load_statements
from agency.storage.sqlite.store import SqliteStore
from tests.contract.making import end, start, start_suspended, wait_for_event, wait_until

WALKS_ON_PURPOSE = {
    "list_runs": "newest first, by number, until the page is full",
    "list_named_runs": "the same over the runs that have a name",
    "list_snapshots": "newest first, by number, until the page is full",
    "list_tokens": "all of the few tokens",
    "list_migrations": "all of the few migrations",
    "count_by_status": "one row per queue, status and workflow",
    "count_running": "the same, when a suspect of crashes is claimed alone",
    "check_read": "the same",
    "list_tables": "the schema",
    "list_suspects": "only runs that have crashed twice, by their own index",
    "not_alone_any_more": "only runs that have crashed twice, by their own index",
    "last_resolution": "the end of an index",
    "list_approvals": "newest first, by number, until the page is full",
    "find_any_topic_event": "the first row",
    "find_spreading": "only events that are being handed on, by their own index",
    "count_schedules": "all of the few schedules",
    "count_secrets": "all of the few secrets",
    "count_other_secrets": "the same",
    "count_notebooks": "all of the few notebooks",
    "list_notebooks_seen": "the same, by name, until the page is full",
    "delete_empty_documents": "only what was deleted, by its own index",
    "list_deleted_chunks": "the same",
    "list_deleted_notebooks": "the same",
    "list_deleted_sessions": "the same",
    "list_old_eras": "only eras that are over",
    "list_unfinished_pushes": "only pushes that are active, once at the start, in pages",
    "count_other_peers": "all of the few peers",
    **{
        f"count_{table}_rows": "until so many are counted that it is enough"
        for table in (
            "runs",
            "journal",
            "waits",
            "events",
            "snapshots",
            "messages",
            "sessions",
            "blobs",
        )
    },
}
TABLES = (
    "runs",
    "journal",
    "waits",
    "events",
    "snapshots",
    "messages",
    "blobs",
    "schedules",
    "firings",
    "approvals",
    "topics",
    "topic_events",
    "topic_positions",
    "sessions",
    "secrets",
    "pushes",
    "peers",
    "core_versions",
    "collections",
    "old_eras",
    "passages",
    "vectors",
    "vector_signs",
    "facts",
    "notebooks",
    "documents",
    "chunks",
)
ALIASES = (
    "run",
    "ready",
    "late",
    "live",
    "old",
    "head",
    "newest",
    "entry",
    "newer",
    "wanted",
    "intent",
    "outcome",
    "own",
    "later",
)


def plan_of(database: sqlite3.Connection, name: str) -> list[str]:
    sql = load_statements()[name]
    named = {place: None for place in _places(sql)}
    count = sql.count("?")
    parameters: object = named if named else (None,) * (1 if "?1" in sql else count)
    rows = database.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()  # type: ignore[arg-type]
    return [detail for *_, detail in rows]


def _places(sql: str) -> set[str]:
    import re

    return set(re.findall(r"(?<!:):([a-z_]+)", sql))


def walked(plan: list[str]) -> list[str]:
    """Steps that look through a table or an index from end to end."""
    return [
        step
        for step in plan
        if any(step.startswith(f"SCAN {name}") for name in (*TABLES, *ALIASES))
        and not step.startswith("SCAN entry")
    ]


def is_planned(sql: str) -> bool:
    return sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))


NAMES = sorted(name for name, sql in load_statements().items() if is_planned(sql))


@pytest.mark.parametrize("name", NAMES)
async def test_statement_walks_no_table(database: sqlite3.Connection, name: str) -> None:
    plan = plan_of(database, name)

    if name not in WALKS_ON_PURPOSE:
        assert [] == walked(plan), plan


async def test_plans_stay_when_statistics_are_there(
    store: SqliteStore, database: sqlite3.Connection
) -> None:
    for i in range(60):
        await start(store, name=f"n{i}", session_id=f"s{i}", deadline_at=None)
        await start_suspended(store, wait_for_event("a"), wait_until("b", i + 1))
    database.execute("ANALYZE")

    walks = {name: walked(plan_of(database, name)) for name in NAMES}

    assert {} == {
        name: steps for name, steps in walks.items() if steps and name not in WALKS_ON_PURPOSE
    }


@pytest.mark.parametrize(
    ("workflow", "statuses"),
    [
        ("unknown", ()),
        ("unknown", ("pending",)),
        ("rare", ()),
        ("rare", ("pending", "cancelled")),
        ("common", ("cancelled",)),
        ("common", ("completed", "failed")),
    ],
)
async def test_what_is_rare_is_found_without_looking_through_the_rest(
    store: SqliteStore, path: Path, workflow: str, statuses: tuple[str, ...]
) -> None:
    for i in range(600):
        run = await start(store, workflow="rare" if i == 300 else "common")
        if i in {2, 300}:
            await end(store, run.id)
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 0

    which = RunFilter(workflow=workflow, statuses=frozenset(map(RunStatus, statuses)))
    parameters = {
        **dict.fromkeys(("name", "session_id", "parent_id", "principal", "is_named")),
        "workflow": workflow,
        "statuses": json.dumps(statuses) if statuses else None,
        "before": 1 << 62,
        "limit": 50,
    }
    with closing(sqlite3.connect(path)) as database:
        database.execute("SELECT 1 FROM runs LIMIT 1").fetchall()  # the schema is read once
        database.set_progress_handler(look, 1)
        found = database.execute(load_statements()[_list_statement(which)], parameters).fetchall()

    assert len(found) <= 1
    # Instructions of SQLite's machine: a walk takes 20 and more for each run.
    assert looks < 1200


@pytest.mark.parametrize(
    "name",
    [
        "look_for_ready",
        "list_lane",
        "promote_delayed",
        "next_available",
        "list_due",
        "find_open_event",
        "find_untaken_event",
        "list_topic_waits",
        "find_queued",
        "find_broadcasts",
        "list_expired_events",
        "list_topic_events",
        "find_spreading",
        "list_approvals",
        "list_approvals_of_run",
        "list_approvals_of_workflow",
        "list_inbox",
        "list_waiting_for_resource",
        "list_overdue",
        "list_runs",
        "list_runs_of_session",
        "list_runs_of_workflow",
        "list_runs_of_parent",
        "list_named_runs",
        "list_snapshots",
        "find_hold_tail",
        "find_hold_head",
    ],
)
async def test_order_comes_from_an_index(database: sqlite3.Connection, name: str) -> None:
    assert [] == [step for step in plan_of(database, name) if "TEMP B-TREE" in step]
