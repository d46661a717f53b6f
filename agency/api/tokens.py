"""``/api/v1/tokens``: who may call. Only hashes are kept, so a token is shown once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.core.clock import to_text
from agency.core.tokens import NAME, is_name
from agency.domain.principal import Token, make_token
from agency.errors import TokenNotFound
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, read_body
from agency.web.routes import Route

TAG = "tokens"
PATH = "/api/v1/tokens"


class NewTokenBody(Body):
    """A token that is to be made."""

    # Checked by make_token, which says in words what a name is; the pattern is for the document.
    name: Annotated[
        str,
        Field(
            description="What it is called, in lists and logs.",
            json_schema_extra={"pattern": f"^{NAME.pattern}$"},
        ),
    ]


async def make(request: web.Request) -> web.Response:
    """Make a token and show it, once."""
    body = await read_body(request, NewTokenBody)
    services = request.app[SERVICES]
    token, secret = make_token(body.name, at=services.clock.now())
    await services.tokens.add(token)
    # The secret comes last, so that it is not what a glance at a log or a screen meets first.
    return json_answer({**_token_json(token), "token": secret}, status=201)


async def list_tokens(request: web.Request) -> web.Response:
    """List the tokens that work, oldest first."""
    tokens = await request.app[SERVICES].tokens.list()
    return json_answer({"tokens": [_token_json(token) for token in tokens]})


async def revoke(request: web.Request) -> web.Response:
    """Revoke a token; it stops working at once."""
    services = request.app[SERVICES]
    name = request.match_info["name"]
    if not is_name(name):
        raise TokenNotFound(name[:64])
    await services.tokens.revoke(name, now=services.clock.now())
    return json_answer({"name": name, "revoked": True})


def _token_json(token: Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "prefix": token.prefix,
        "created_at": to_text(token.created_at),
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="POST",
            path=PATH,
            answer=make,
            operation="make_token",
            summary="Make an API token",
            description="The answer holds the token. It is not shown again.",
            tag=TAG,
            body=NewTokenBody,
            answers={201: "NewTokenAnswer"},
            problems=(errors.TokenNameTaken,),
            examples={"laptop": {"name": "laptop"}},
        ),
        Route(
            method="GET",
            path=PATH,
            answer=list_tokens,
            operation="list_tokens",
            summary="List the API tokens that work",
            tag=TAG,
            answers={200: "TokenListAnswer"},
        ),
        Route(
            method="DELETE",
            path=PATH + "/{name}",
            answer=revoke,
            operation="revoke_token",
            summary="Revoke an API token",
            description="It stops working at once.",
            tag=TAG,
            answers={200: "RevokedAnswer"},
            problems=(errors.TokenNotFound,),
        ),
    )
