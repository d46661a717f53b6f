"""``/api/v1/secrets`` and ``/api/v1/vault``: names of secrets go out, values only come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit
from agency.core.clock import to_text
from agency.domain.secret import NAME, VALUE_BYTES_MAX
from agency.errors import SecretNotFound
from agency.ports.vault import REFERENCE, SecretInfo, VaultState
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, NoBody, read_body
from agency.web.paging import cut_page, parse_text_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "secrets"
PATH = "/api/v1/secrets"
VAULT = "/api/v1/vault"


class SecretBody(Body):
    """The value of a secret."""

    # Checked by the vault, whose refusals do not repeat it.
    value: Annotated[
        str,
        Field(
            description=f"Text of up to {VALUE_BYTES_MAX} bytes. It is never shown again.",
            json_schema_extra={
                "minLength": 1,
                "maxLength": VALUE_BYTES_MAX,
                "pattern": r"^[^\x00]+$",
                "writeOnly": True,
            },
            repr=False,
        ),
    ]


class SecretQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def list_secrets(request: web.Request) -> web.Response:
    """List secrets by name."""
    query = read_query(request, SecretQuery)
    after = parse_text_cursor("secrets", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].vault.list(after=after, limit=query.limit + 1)
    page, cursor = cut_page("secrets", rows, query.limit, lambda secret: secret.name)
    return json_answer({"secrets": [_secret_json(one) for one in page], "next_cursor": cursor})


async def put_secret(request: web.Request) -> web.Response:
    """Store a value under a name."""
    body = await read_body(request, SecretBody)
    secret, is_new = await request.app[SERVICES].vault.set(
        request.match_info["name"], body.value, principal=principal_of(request).name
    )
    headers = {"Location": f"{PATH}/{secret.name}"} if is_new else {}
    return json_answer(_secret_json(secret), status=201 if is_new else 200, headers=headers)


async def delete_secret(request: web.Request) -> web.Response:
    """Forget a secret."""
    name = request.match_info["name"]
    if NAME.fullmatch(name) is None:
        raise SecretNotFound(name[:128])
    users = await request.app[SERVICES].vault.delete(name)
    return json_answer({"name": name, "deleted": True, "used_by": list(users)})


async def show_vault(request: web.Request) -> web.Response:
    """Tell whether secrets can be used."""
    return json_answer(vault_json(request.app[SERVICES].vault.state))


async def rekey(request: web.Request) -> web.Response:
    """Encrypt all secrets with a new key."""
    await read_body(request, NoBody, may_be_empty=True)
    done = await request.app[SERVICES].vault.rekey()
    return json_answer(
        {
            "key_id": done.key_id,
            "key_source": done.key_source,
            "old_key_id": done.old_key_id,
            "old_key_kept_in": done.old_key_kept_in or None,
            "secrets": done.secrets,
        }
    )


def vault_json(state: VaultState) -> dict[str, Any]:
    """Write how the vault is."""
    return {
        "locked": state.is_locked,
        "reason": state.reason,
        "hint": state.hint,
        "key_id": state.key_id or None,
        "key_source": state.key_source,
    }


def _secret_json(secret: SecretInfo) -> dict[str, Any]:
    return {
        "name": secret.name,
        "reference": REFERENCE + secret.name,
        "created_at": to_text(secret.created_at),
        "updated_at": to_text(secret.updated_at),
        "updated_by": secret.updated_by,
        "used_by": list(secret.used_by),
        "readable": secret.is_readable,
        "redacted": secret.is_redacted,
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{name}"
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_secrets,
            operation="list_secrets",
            summary="List secrets by name",
            description="Values are never shown. Works while the vault is locked, too.",
            tag=TAG,
            query=SecretQuery,
            answers={200: "SecretPageAnswer"},
        ),
        Route(
            method="PUT",
            path=one,
            answer=put_secret,
            operation="put_secret",
            summary="Store a secret, or another value of it",
            description="It is sealed with the key of the vault, which is made for the first one. "
            "Refer to it as `secret://NAME`.",
            tag=TAG,
            body=SecretBody,
            answers={200: "SecretAnswer", 201: "SecretAnswer"},
            problems=(
                errors.VaultLocked,
                errors.SecretsChanged,
                errors.TooManySecrets,
                errors.PlaceNotWritable,
                errors.StoreFull,
            ),
            examples={"a token": {"value": "ghp_example"}},
        ),
        Route(
            method="DELETE",
            path=one,
            answer=delete_secret,
            operation="delete_secret",
            summary="Forget a secret",
            description="The answer names who still refers to it. Works while the vault is locked.",
            tag=TAG,
            answers={200: "SecretDeletedAnswer"},
            problems=(errors.SecretNotFound,),
        ),
        Route(
            method="GET",
            path=VAULT,
            answer=show_vault,
            operation="show_vault",
            summary="Whether secrets can be used",
            tag=TAG,
            answers={200: "VaultAnswer"},
        ),
        Route(
            method="POST",
            path=VAULT + "/rekey",
            answer=rekey,
            operation="rekey_vault",
            summary="Encrypt all secrets with a new key",
            description="All or none, also when the daemon is killed meanwhile. The old key is "
            "kept beside the new one, because copies of the database from before need it.",
            tag=TAG,
            body=NoBody,
            body_may_be_empty=True,
            answers={200: "RekeyedAnswer"},
            problems=(
                errors.VaultLocked,
                errors.RekeyRefused,
                errors.SecretsChanged,
                errors.PlaceNotWritable,
                errors.StoreFull,
            ),
        ),
    )
