"""``/api/v1/memory``: what agents remember, for those whom they work for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, StringConstraints

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name
from agency.api.memory_shape import block_json, fact_json, recollection_json
from agency.api.run_shape import accepted_json, location
from agency.api.starting import replayed, start
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.memory import (
    BLOCK_NAME,
    FACT_CHARACTERS_MAX,
    QUERY_CHARACTERS_MAX,
    RECALLED_ROWS_MAX,
    Asker,
    Isolation,
    NewBlock,
    Scope,
)
from agency.engine.runs import StartRequest
from agency.errors import BlockNotFound, Fault, InvalidInput
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_number_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "memory"
PATH = "/api/v1/memory"
REEMBED = "memory_reembed"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TEXT_CHARACTERS_MAX = 100_000
"""Longer texts are refused before they are looked at; blocks have a limit of their own."""

Question = Annotated[
    str, StringConstraints(min_length=1, max_length=QUERY_CHARACTERS_MAX, pattern=r"\S")
]
Whose = Annotated[
    Name | None,
    Field(description="Of whom, where `[memory] isolation` keeps callers or sessions apart."),
]


class ScopeQuery(Query):
    principal: Whose = None
    session: Whose = None


class FactsQuery(ScopeQuery):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class RecallQuery(ScopeQuery):
    query: Annotated[Question, Field(description="What to look for.")]
    limit: Annotated[int, Field(ge=1, le=RECALLED_ROWS_MAX, description="Results.")] | None = None


class BlockBody(Body):
    """A block of core memory as it is to be."""

    text: Annotated[str, Field(max_length=_TEXT_CHARACTERS_MAX)] = Field(
        description="An empty one removes the block."
    )
    expected: Annotated[int, Field(ge=0, le=(1 << 53) - 1)] | None = Field(
        default=None, description="Version that was changed; 409 if there is a newer one."
    )
    reason: Annotated[str, Field(max_length=1000)] = ""


class RevertBody(Body):
    """Which version is to come back."""

    version: Annotated[int, Field(ge=1, le=(1 << 53) - 1)]
    reason: Annotated[str, Field(max_length=1000)] = ""


class FactBody(Body):
    """A fact that is to be remembered."""

    text: Annotated[str, Field(min_length=1, max_length=FACT_CHARACTERS_MAX, pattern=r"\S")]
    source: Annotated[str, Field(max_length=500)] = Field(
        default="", description="Where it is from."
    )


class ReembedBody(Body):
    """Which model the vectors are to be of."""

    model: Name | None = Field(
        default=None, description="MODEL or PROVIDER/MODEL; by default that of the settings."
    )


async def show_memory(request: web.Request) -> web.Response:
    """Show an agent's core memory, and how it stands in a prompt."""
    query = read_query(request, ScopeQuery)
    scope, core = _scope(request, query), request.app[SERVICES].memory.core
    blocks = await core.blocks(scope)
    return json_answer(
        {
            **_scope_json(scope),
            "blocks": [block_json(one) for one in blocks],
            "characters_max": core.characters_max,
            "prompt": await core.render(scope),
        }
    )


async def put_block(request: web.Request) -> web.Response:
    """Write a block of core memory."""
    query, body = read_query(request, ScopeQuery), await read_body(request, BlockBody)
    new = NewBlock(
        name=request.match_info["block"],
        text=body.text or None,
        principal=principal_of(request).name,
        reason=body.reason,
        expected=body.expected,
    )
    block = await request.app[SERVICES].memory.core.change(_scope(request, query), new)
    return json_answer(block_json(block))


async def list_versions(request: web.Request) -> web.Response:
    """List the versions of a block, the newest first."""
    query = read_query(request, FactsQuery)
    before = parse_number_cursor("versions", query.cursor) if query.cursor is not None else None
    name = _block(request)
    rows = await request.app[SERVICES].memory.core.history(
        _scope(request, query), name, before=before, limit=query.limit + 1
    )
    if not rows and before is None:
        raise BlockNotFound(name)
    page, cursor = cut_page("versions", rows, query.limit, lambda block: block.version)
    return json_answer({"versions": [block_json(one) for one in page], "next_cursor": cursor})


async def revert_block(request: web.Request) -> web.Response:
    """Bring an older version of a block back."""
    query, body = read_query(request, ScopeQuery), await read_body(request, RevertBody)
    block = await request.app[SERVICES].memory.core.revert(
        _scope(request, query),
        _block(request),
        body.version,
        principal=principal_of(request).name,
        reason=body.reason,
    )
    return json_answer(block_json(block))


async def list_facts(request: web.Request) -> web.Response:
    """List facts, the newest first."""
    query = read_query(request, FactsQuery)
    before = parse_number_cursor("facts", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].memory.facts.list(
        _scope(request, query), before=before, limit=query.limit + 1
    )
    page, cursor = cut_page("facts", rows, query.limit, lambda fact: fact.number)
    return json_answer({"facts": [fact_json(one) for one in page], "next_cursor": cursor})


async def add_fact(request: web.Request) -> web.Response:
    """Let an agent know something."""
    query, body = read_query(request, ScopeQuery), await read_body(request, FactBody)
    principal = principal_of(request).name
    fact, is_new, note = await request.app[SERVICES].memory.facts.remember(
        _scope(request, query),
        body.text,
        source=body.source or f"said by {principal}",
        principal=principal,
    )
    return json_answer({**fact_json(fact), "note": note}, status=201 if is_new else 200)


async def delete_fact(request: web.Request) -> web.Response:
    """Let an agent forget something."""
    query = read_query(request, ScopeQuery)
    fact_id = request.match_info["fact_id"][:NAME_CHARACTERS_MAX]
    fact_id = fact_id.encode("utf-8", "replace").decode()
    await request.app[SERVICES].memory.facts.forget(_scope(request, query), fact_id)
    return json_answer({"id": fact_id, "deleted": True})


async def recall(request: web.Request) -> web.Response:
    """Find what an agent knows: its facts, and what its notebooks say."""
    query = read_query(request, RecallQuery)
    found = await request.app[SERVICES].memory.recall(
        _asker(request, query), query.query, limit=query.limit
    )
    return json_answer(recollection_json(found))


async def reembed(request: web.Request) -> web.Response:
    """Give everything vectors of one model."""
    body = await read_body(request, ReembedBody, may_be_empty=True)
    given = {} if body.model is None else {"model": body.model}
    started = await start(request, body, StartRequest(workflow=REEMBED, input=given), where_of=str)
    detail = await request.app[SERVICES].runs.get(started.run.id)
    headers = {**location(started.run), **replayed(started)}
    return json_answer(accepted_json(detail), status=202, headers=headers)


def _asker(request: web.Request, query: ScopeQuery) -> Asker:
    agent = request.match_info["agent"]
    if not agent or len(agent) > NAME_CHARACTERS_MAX or _CONTROL.search(agent):
        fault = Fault("agent", "The name of an agent is needed.")
        raise InvalidInput(f"{agent[:128]!r} cannot be the name of an agent.", faults=[fault])
    services = request.app[SERVICES]
    isolation: Literal["agent", "principal", "session"] = services.settings.memory.isolation
    wanted = {Isolation.PRINCIPAL: query.principal, Isolation.SESSION: query.session}
    kind = Isolation(isolation)
    if kind in wanted and wanted[kind] is None:
        what = f"With [memory] isolation = {isolation!r} it has to be said of which {isolation}."
        raise InvalidInput(what, faults=[Fault(isolation, what)])
    return Asker(
        agent=agent.encode("utf-8", "replace").decode(),
        principal=query.principal or principal_of(request).name,
        session_id=query.session,
    )


def _scope(request: web.Request, query: ScopeQuery) -> Scope:
    return request.app[SERVICES].memory.scope(_asker(request, query))


def _scope_json(scope: Scope) -> dict[str, object]:
    return {"agent": scope.agent, "isolation": scope.isolation, "of": scope.of or None}


def _block(request: web.Request) -> str:
    name = request.match_info["block"]
    if BLOCK_NAME.fullmatch(name) is None:
        raise BlockNotFound(name[:128].encode("utf-8", "replace").decode())
    return name


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{agent}"
    block = one + "/core/{block}"
    return (
        Route(
            method="POST",
            path=PATH + "/reembed",
            answer=reembed,
            operation="reembed_memory",
            summary="Give all memories and notebooks vectors of one model",
            description="A run of `memory_reembed`. Until a memory has all of its new vectors it "
            "is searched by the old ones.",
            tag=TAG,
            body=ReembedBody,
            body_may_be_empty=True,
            answers={202: "AcceptedAnswer"},
            problems=(errors.QueueFull, errors.IdempotencyMismatch, errors.WorkflowDisabled),
            is_idempotent=True,
        ),
        Route(
            method="GET",
            path=one,
            answer=show_memory,
            operation="show_memory",
            summary="Show an agent's core memory",
            description="It is part of each of its prompts, as `prompt` shows.",
            tag=TAG,
            query=ScopeQuery,
            answers={200: "MemoryAnswer"},
        ),
        Route(
            method="PUT",
            path=block,
            answer=put_block,
            operation="put_memory_block",
            summary="Write a block of core memory",
            description="Each change is a version that can be reverted.",
            tag=TAG,
            query=ScopeQuery,
            body=BlockBody,
            answers={200: "BlockAnswer"},
            problems=(
                errors.BlockNotFound,
                errors.BlockChanged,
                errors.TooManyBlocks,
                errors.StoreFull,
            ),
            examples={"who it works for": {"text": "Ann, writes short mails."}},
        ),
        Route(
            method="GET",
            path=block + "/versions",
            answer=list_versions,
            operation="list_memory_versions",
            summary="List the versions of a block, the newest first",
            tag=TAG,
            query=FactsQuery,
            answers={200: "BlockPageAnswer"},
            problems=(errors.BlockNotFound,),
        ),
        Route(
            method="POST",
            path=block + "/revert",
            answer=revert_block,
            operation="revert_memory_block",
            summary="Bring an older version of a block back, as a new one",
            tag=TAG,
            query=ScopeQuery,
            body=RevertBody,
            answers={200: "BlockAnswer"},
            problems=(errors.BlockNotFound, errors.TooManyBlocks, errors.StoreFull),
            examples={"to the first": {"version": 1}},
        ),
        Route(
            method="GET",
            path=one + "/facts",
            answer=list_facts,
            operation="list_facts",
            summary="List what an agent has remembered, the newest first",
            tag=TAG,
            query=FactsQuery,
            answers={200: "FactPageAnswer"},
        ),
        Route(
            method="POST",
            path=one + "/facts",
            answer=add_fact,
            operation="add_fact",
            summary="Let an agent know something",
            description="The same text twice is one fact. `note` says why it is found by its words "
            "only, if the embedding model is away.",
            tag=TAG,
            query=ScopeQuery,
            body=FactBody,
            answers={200: "NewFactAnswer", 201: "NewFactAnswer"},
            problems=(errors.MemoryFull, errors.StoreFull),
            examples={"a fact": {"text": "The invoices are in the blue folder."}},
        ),
        Route(
            method="DELETE",
            path=one + "/facts/{fact_id}",
            answer=delete_fact,
            operation="delete_fact",
            summary="Let an agent forget something",
            tag=TAG,
            query=ScopeQuery,
            answers={200: "FactDeletedAnswer"},
            problems=(errors.FactNotFound,),
        ),
        Route(
            method="GET",
            path=one + "/recall",
            answer=recall,
            operation="recall",
            summary="Find what an agent knows",
            description="By words (BM25) and by meaning (vectors), in one order. `notes` says what "
            "was not searched, and why.",
            tag=TAG,
            query=RecallQuery,
            answers={200: "RecollectionAnswer"},
        ),
    )
