"""``/api/v1/db``: how large the database is, whether it is sound, and what may be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.db_shape import check_json, given_json, pass_json, stats_json
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, NoBody, read_body
from agency.web.routes import Route

TAG = "db"
PATH = "/api/v1/db"

CHECK_S_MAX = 600.0
"""Longest check: while a table is read, the log beside the database grows."""
VACUUM_BYTES_MAX = 1 << 40


class CheckBody(Body):
    """How long may be looked."""

    timeout_s: Annotated[float, Field(gt=0, le=CHECK_S_MAX)] = Field(
        default=60.0, description="Tables for which there is no time are told."
    )


class VacuumBody(Body):
    """How much is to be given back."""

    bytes_max: Annotated[int, Field(ge=1, le=VACUUM_BYTES_MAX)] = Field(
        default=1 << 30, description="At most so many bytes."
    )


async def show_stats(request: web.Request) -> web.Response:
    """Tell how large the database is."""
    return json_answer(stats_json(await request.app[SERVICES].retention.stats()))


async def check(request: web.Request) -> web.Response:
    """Look through the database for damage."""
    body = await read_body(request, CheckBody, may_be_empty=True)
    result = await request.app[SERVICES].retention.check(timeout_s=body.timeout_s)
    return json_answer(check_json(result))


async def vacuum(request: web.Request) -> web.Response:
    """Give free space back to the disk."""
    body = await read_body(request, VacuumBody, may_be_empty=True)
    given = await request.app[SERVICES].retention.vacuum(bytes_max=body.bytes_max)
    return json_answer(given_json(given))


async def prune(request: web.Request) -> web.Response:
    """Delete what has expired, now."""
    await read_body(request, NoBody, may_be_empty=True)
    return json_answer(pass_json(await request.app[SERVICES].retention.make_pass()))


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path=PATH + "/stats",
            answer=show_stats,
            operation="show_db_stats",
            summary="Tell how large the database is",
            description="It costs the same however large it is: rows are counted up to a bound.",
            tag=TAG,
            answers={200: "StatsAnswer"},
            problems=(errors.ReadTooLong,),
        ),
        Route(
            method="POST",
            path=PATH + "/check",
            answer=check,
            operation="check_db",
            summary="Look through the database for damage",
            description="Table by table, while everything goes on. The request lasts as long.",
            tag=TAG,
            body=CheckBody,
            body_may_be_empty=True,
            answers={200: "CheckAnswer"},
        ),
        Route(
            method="POST",
            path=PATH + "/vacuum",
            answer=vacuum,
            operation="vacuum_db",
            summary="Give free space back to the disk",
            description="In small steps, while everything goes on. Four mebibytes stay, to be used "
            "again.",
            tag=TAG,
            body=VacuumBody,
            body_may_be_empty=True,
            answers={200: "VacuumAnswer"},
            problems=(errors.StoreFull,),
        ),
        Route(
            method="POST",
            path=PATH + "/prune",
            answer=prune,
            operation="prune_db",
            summary="Delete now what has expired",
            description="As `[retention]` says, and as it is done by itself every so often.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "PruneAnswer"},
            problems=(errors.StoreFull, errors.ReadTooLong, errors.ShuttingDown),
        ),
    )
