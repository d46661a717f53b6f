"""Bodies of requests: read within limits, and checked with all their faults at once."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from agency.core import json
from agency.core.limits import BODY_READ_S, JSON_DEPTH_MAX
from agency.errors import BodyLate, BodyMalformed, BodyTooLarge, ContentTypeRefused
from agency.web.answers import SERVICES
from agency.web.faults import invalid_input


class Body(BaseModel):
    """Root of the models of bodies: exact types, no unknown members."""

    # Built at first use: building all of them would cost a tenth of the time to ready.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class NoBody(Body):
    """Nothing: no body at all, or an object without members.

    What would be ignored is refused: whoever sends ``dry_run`` to what has none wants no deed.
    """


_CODINGS = frozenset({"identity", "gzip", "deflate"})
"""Codings that the HTTP library takes off wherever it is installed; their size is bounded, too."""

_Model = TypeVar("_Model", bound=Body)


async def read_body(
    request: web.Request, model: type[_Model], *, may_be_empty: bool = False
) -> _Model:
    """Read a JSON object and check it.

    Args:
        may_be_empty: No body at all counts as ``{}``.

    Raises:
        BodyTooLarge: it is longer than ``[server] body_bytes_max``; the rest was not read.
        BodyLate: it did not come in time.
        ContentTypeRefused: it says that it is something else than JSON, or in an unknown coding.
        BodyMalformed: it is not JSON, not UTF-8, nested too deeply, or empty.
        InvalidInput: it does not fit the model; ``faults`` has all that is wrong.
    """
    raw = await read_raw(request)
    if not raw and may_be_empty:
        return model.model_validate({})
    check_json(request)
    if not raw:
        raise BodyMalformed("The body is empty; a JSON object is needed.")
    value = _parse(raw)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_input(error, model, "body") from error


async def read_raw(request: web.Request) -> bytes:
    """Read a body as it came, without the coding that it was sent in.

    Raises:
        BodyTooLarge, BodyLate: as `read_body`.
        ContentTypeRefused: it is in an unknown coding.
        BodyMalformed: it cannot be decoded, or the caller hung up.
    """
    bytes_max = request.app[SERVICES].settings.server.body_bytes_max
    length = request.content_length
    if length is not None and length > bytes_max:
        raise BodyTooLarge(bytes_max)
    _check_coding(request)
    try:
        if request.content.is_eof():
            return await request.read()  # it is all there, as short ones are
        async with asyncio.timeout(BODY_READ_S):
            return await request.read()
    except TimeoutError as error:
        raise BodyLate(BODY_READ_S) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise BodyTooLarge(bytes_max) from error
    except web.RequestPayloadError as error:
        raise BodyMalformed(f"The body cannot be decoded from {_coding(request)!r}.") from error
    except ConnectionError as error:
        # Nobody reads this, but it is not a fault of ours, either.
        raise BodyMalformed("The caller hung up before the body was whole.") from error


def _check_coding(request: web.Request) -> None:
    if _coding(request) not in _CODINGS:
        raise ContentTypeRefused(f"Content-Encoding: {_coding(request)}")


def _coding(request: web.Request) -> str:
    return request.headers.get("Content-Encoding", "identity").strip().lower()


def check_json(request: web.Request) -> None:
    """Refuse a body that is said to be something else than JSON.

    Raises:
        ContentTypeRefused: it is.
    """
    # Without the header the body is taken for JSON. What browsers send for pages of other sites
    # is refused by its Origin before it comes here; the check of the type is a second fence.
    given = request.headers.get("Content-Type")
    if given is None:
        return
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if not is_json or ("charset=" in charset and "charset=utf-8" not in charset):
        raise ContentTypeRefused(given)


def _parse(raw: bytes) -> Any:  # noqa: ANN401  JSON enters here
    try:
        value = json.decode(raw)
    except json.NotJson as error:
        raise BodyMalformed(f"The body is not JSON: {error}.") from error
    if is_deep(raw, value):
        raise BodyMalformed(f"The body is nested deeper than {JSON_DEPTH_MAX} levels.")
    return value


def check_depth(raw: bytes) -> None:
    """Refuse JSON that is nested too deeply, for readers of their own, who tell what is no JSON.

    Raises:
        BodyMalformed: it is nested deeper than `JSON_DEPTH_MAX`.
    """
    if raw.count(b"[") + raw.count(b"{") <= JSON_DEPTH_MAX:
        return
    try:
        value = json.decode(raw)
    except json.NotJson:
        return
    if is_deep(raw, value):
        raise BodyMalformed(f"The body is nested deeper than {JSON_DEPTH_MAX} levels.")


def is_deep(raw: bytes, value: Any) -> bool:  # noqa: ANN401  JSON value
    """Tell whether a JSON value is nested deeper than `JSON_DEPTH_MAX`; ``raw`` is what it was."""
    # Counting is cheap; only a body with this many brackets can be too deep.
    if raw.count(b"[") + raw.count(b"{") <= JSON_DEPTH_MAX:
        return False
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(JSON_DEPTH_MAX):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True
