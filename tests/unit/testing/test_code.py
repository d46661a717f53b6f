"""Calls of time and chance are found by what is called, whatever it is named."""

from __future__ import annotations

import datetime as dates
import random
import time
import uuid
from collections.abc import Callable
from datetime import date, datetime
from random import randint as draw
from typing import Any

import pytest

from agency.testing.code import unsteady_calls


async def plain(ctx: Any) -> Any:
    moment = ctx.now()
    return moment, time.monotonic(), str(datetime.fromisoformat("2026-01-01")), random.Random(1)


async def with_steps(ctx: Any) -> Any:
    def step() -> float:
        return time.time()

    return await ctx.step("step", step), await ctx.step("other", lambda: uuid.uuid4().hex)


async def by_module(ctx: Any) -> Any:
    return dates.datetime.now(dates.UTC)


async def by_class(ctx: Any) -> Any:
    return [date.today() for _ in range(2)]  # noqa: DTZ011


async def by_alias(ctx: Any) -> Any:
    if draw(1, 6) > 3:
        return uuid.uuid4()
    return time.time_ns()


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (plain, []),
        (with_steps, []),
        (by_module, ["dates.datetime.now(): take ctx.now()"]),
        (by_class, ["date.today(): take ctx.now()"]),
        (
            by_alias,
            [
                "draw(): take ctx.random()",
                "uuid.uuid4(): take ctx.uuid()",
                "time.time_ns(): take ctx.now()",
            ],
        ),
    ],
)
def test_unsteady_calls_are_named(function: Callable[..., Any], found: list[str]) -> None:
    assert found == [call.partition(" calls ")[2] for call in unsteady_calls(function)]


def test_place_of_a_call_is_its_line() -> None:
    (call,) = unsteady_calls(by_module)

    assert f"test_code.py:{by_module.__code__.co_firstlineno + 1} " in call


def test_function_without_a_file_is_passed_over() -> None:
    scope: dict[str, Any] = {"time": time}
    exec("async def made(ctx):\n    return time.time()", scope)

    assert [] == list(unsteady_calls(scope["made"]))
