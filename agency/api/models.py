"""``/api/v1/models``: the models that there are, what they are fit for, and fetching more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit
from agency.api.model_shape import model_json, provider_json, show_json
from agency.api.run_shape import accepted_json, location
from agency.api.starting import new_detail, replayed, start
from agency.core.records import dataclass
from agency.domain.fitness import FITNESS_ROWS_MAX, Fitness, fitness_name
from agency.engine.runs import StartRequest
from agency.errors import AgencyError, ModelNotFound, ModelUnavailable
from agency.ports.model import Choice, ModelInfo, Provider, Role
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, parse_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route
from agency.web.services import Services

TAG = "models"
PATH = "/api/v1/models"

PULL, CHECK = "model_pull", "model_check"
"""Names of the workflows."""

PROVIDER_WAIT_S = 5.0
"""A server that takes longer to list its models is shown as away."""

Reference = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
        description="`MODEL` or `PROVIDER/MODEL`.",
    ),
]
Key = tuple[str, str]
"""Provider and name of a model, its spellings being one."""


class PullBody(Body):
    """A model to fetch."""

    model: Reference


class CheckBody(Body):
    """A model to check; the default one if none is named."""

    model: Reference | None = None


class ModelsQuery(Query):
    provider: Annotated[
        str | None, Field(max_length=64, description="Only the models of this provider.")
    ] = None
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class ModelQuery(Query):
    model: Reference


@dataclass(frozen=True, slots=True)
class Listed:
    """What one provider says that it has, or why it says nothing."""

    provider: Provider
    models: Sequence[ModelInfo]
    reason: str = ""


async def list_models(request: web.Request) -> web.Response:
    """List the models of all providers, by provider and name."""
    query = read_query(request, ModelsQuery)
    services = request.app[SERVICES]
    after = parse_cursor("models", query.cursor) if query.cursor is not None else ""
    wanted = [one for one in services.providers.values() if query.provider in {None, one.name}]
    found = await asyncio.gather(*(_list(provider) for provider in wanted))
    fitness, roles = await _fitness(services), _roles(services)
    rows = [
        (Choice(provider=one.provider.name, model=model.name), model)
        for one in found
        for model in one.models
    ]
    rest = sorted((row for row in rows if str(row[0]) > after), key=lambda row: str(row[0]))
    page, cursor = cut_page("models", rest[: query.limit + 1], query.limit, lambda row: row[0])
    default = services.provider.name
    return json_answer(
        {
            "models": [
                model_json(
                    choice,
                    model,
                    roles=roles.get(_key(choice), ()),
                    fitness=fitness.get(_key(choice)),
                )
                for choice, model in page
            ],
            "providers": [
                provider_json(
                    one.provider, is_default=one.provider.name == default, reason=one.reason
                )
                for one in found
            ],
            "next_cursor": cursor,
        }
    )


async def show_model(request: web.Request) -> web.Response:
    """Show one model."""
    query = read_query(request, ModelQuery)
    services = request.app[SERVICES]
    choice = services.roles.choices(Role.CHAT, model=query.model)[0]
    listed = await _list(services.providers[choice.provider])
    if listed.reason:
        raise ModelUnavailable(listed.provider.resource, listed.reason)
    model = next((one for one in listed.models if _is(one, choice)), None)
    if model is None and not listed.provider.is_rehearsal:
        raise ModelNotFound(choice.model)
    return json_answer(
        show_json(
            await services.roles.traits(Role.CHAT, model=query.model),
            model or ModelInfo(name=choice.model),
            roles=_roles(services).get(_key(choice), ()),
            fitness=await services.fitness.find(choice.provider, choice.model),
        )
    )


async def pull_model(request: web.Request) -> web.Response:
    """Have a server fetch a model, as a run."""
    body = await read_body(request, PullBody)
    return await _start(request, body, PULL, {"model": body.model})


async def check_model(request: web.Request) -> web.Response:
    """Find out what a model is fit for, as a run."""
    body = await read_body(request, CheckBody, may_be_empty=True)
    wanted = {} if body.model is None else {"model": body.model}
    return await _start(request, body, CHECK, wanted)


async def _start(
    request: web.Request, body: Body, workflow: str, value: Mapping[str, Any]
) -> web.Response:
    wanted = StartRequest(workflow=workflow, input=dict(value))
    # The members of the body have the names of those of the input.
    started = await start(request, body, wanted, where_of=str)
    headers = {**location(started.run), **replayed(started)}
    return json_answer(accepted_json(new_detail(started.run)), status=202, headers=headers)


async def _list(provider: Provider) -> Listed:
    try:
        async with asyncio.timeout(PROVIDER_WAIT_S):
            return Listed(provider, await provider.models())
    except TimeoutError:
        return Listed(provider, (), f"no list within {PROVIDER_WAIT_S:g} s")
    except AgencyError as error:
        return Listed(provider, (), str(getattr(error, "reason", error.message)))


async def _fitness(services: Services) -> Mapping[Key, Fitness]:
    rows = await services.fitness.list(limit=FITNESS_ROWS_MAX)
    return {(one.provider, one.model): one for one in rows}


def _roles(services: Services) -> Mapping[Key, Sequence[str]]:
    """Find what each model is asked for, be it first or as a fallback."""
    found: dict[Key, list[str]] = {}
    for role in Role:
        for choice in services.roles.choices(role):
            found.setdefault(_key(choice), []).append(role.value)
    return found


def _key(choice: Choice) -> Key:
    return choice.provider, fitness_name(choice.model)


def _is(model: ModelInfo, choice: Choice) -> bool:
    return fitness_name(model.name) == fitness_name(choice.model)


def routes() -> Sequence[Route]:
    """List what is served here."""
    starting = (errors.WorkflowDisabled, errors.QueueFull, errors.IdempotencyMismatch)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_models,
            operation="list_models",
            summary="List models by provider and name",
            description="Providers that do not answer are named in `providers`, with the reason.",
            tag=TAG,
            query=ModelsQuery,
            answers={200: "ModelPageAnswer"},
        ),
        Route(
            method="GET",
            path=PATH + "/show",
            answer=show_model,
            operation="show_model",
            summary="Show what a model can do",
            tag=TAG,
            query=ModelQuery,
            answers={200: "ModelShownAnswer"},
            problems=(errors.ModelNotFound, errors.ModelUnavailable),
        ),
        Route(
            method="POST",
            path=PATH + "/pull",
            answer=pull_model,
            operation="pull_model",
            summary="Have a model server fetch a model",
            description="A run of the workflow `model_pull`; its `progress` tells how far it is. "
            "It survives a restart, and cancelling it ends the download; what was fetched is kept.",
            tag=TAG,
            body=PullBody,
            answers={202: "AcceptedAnswer"},
            problems=starting,
            examples={"a model": {"model": "llama3.2"}},
            is_idempotent=True,
        ),
        Route(
            method="POST",
            path=PATH + "/check",
            answer=check_model,
            operation="check_model",
            summary="Find out what a model is fit for",
            description="A run of the workflow `model_check`, some ten short calls. The scores are "
            "kept and steer agents: how many tools they offer, and how they ask for calls.",
            tag=TAG,
            body=CheckBody,
            body_may_be_empty=True,
            answers={202: "AcceptedAnswer"},
            problems=starting,
            examples={"a model": {"model": "llama3.2"}},
            is_idempotent=True,
        ),
    )
