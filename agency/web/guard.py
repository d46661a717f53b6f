"""What surrounds every request: access, correlation, problems, the log line.

It is one function, because a stack of middlewares costs as much as the requests themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from agency.core.clock import monotonic_s
from agency.core.context import CORRELATION_ID
from agency.core.limits import SLOW_REQUEST_S
from agency.errors import (
    AgencyError,
    BodyLate,
    BodyTooLarge,
    Corrupt,
    DocumentTooLarge,
    InternalError,
    MethodNotAllowed,
    PathNotFound,
    RequestRefused,
)
from agency.web.access import Access
from agency.web.answers import find_principal, set_principal
from agency.web.correlation import ALTERNATIVE, HEADER, CorrelationIds
from agency.web.problems import Problem, problem_answer, problem_of

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

_BODY_LEFT = (BodyTooLarge, BodyLate, DocumentTooLarge)
"""After these the rest of a body may still come, which nobody reads: it is no next request."""


def make_guard(access: Access, public_paths: frozenset[str]) -> Middleware:
    """Make the middleware.

    ``public_paths`` are answered without a token: templates of routes, so that a path with a name
    in it counts only where it is one of those, not where it merely looks like one.
    """
    ids = CorrelationIds()

    @web.middleware
    async def guard(request: web.Request, handler: Answering) -> web.StreamResponse:
        started_s = monotonic_s()
        headers = request.headers
        correlation_id = ids.of(headers)
        CORRELATION_ID.set(correlation_id)
        response: web.StreamResponse
        try:
            access.check_host(headers, is_http_10=request.version < (1, 1))
            access.check_origin(request.method, headers)
            authorization = headers.get("Authorization")
            if authorization is not None:
                set_principal(request, await access.principal(authorization))
            elif access.needs_token and _template(request) not in public_paths:
                await access.principal(None)
            response = await handler(request)
        except AgencyError as error:
            if isinstance(error, Corrupt):
                log.exception("request met a broken thing")
            response = problem_answer(problem_of(error), request)
            if isinstance(error, _BODY_LEFT):
                response.force_close()
        except web.HTTPException as error:
            response = _answer_of_http(error, request)
        except Exception:
            # The one place around a request where everything is caught: a bug costs its caller an
            # answer, not the others the daemon.
            log.exception("request failed")
            response = problem_answer(problem_of(InternalError()), request)
        seal(response, correlation_id)
        if ALTERNATIVE in headers:
            response.headers[ALTERNATIVE] = correlation_id
        _log(request, response.status, monotonic_s() - started_s)
        return response

    return guard


def seal(response: web.StreamResponse, correlation_id: str) -> None:
    """Put the headers on an answer that every answer has."""
    headers = response.headers
    headers[HEADER] = correlation_id
    headers["X-Content-Type-Options"] = "nosniff"
    # Instead of the versions of Python and aiohttp, which only help who looks for holes.
    headers["Server"] = "agency"


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _log(request: web.Request, status: int, elapsed_s: float) -> None:
    is_notable = request.method not in {"GET", "HEAD"} or status >= 400
    level = logging.INFO if is_notable or elapsed_s > SLOW_REQUEST_S else logging.DEBUG
    if log.isEnabledFor(level):
        fields: dict[str, object] = {
            "method": request.method,
            "path": request.rel_url.raw_path,
            "status": status,
            "elapsed_s": round(elapsed_s, 6),
        }
        if (principal := find_principal(request)) is not None:
            fields["principal"] = principal.name
        log.log(level, "request answered", extra=fields)


def _answer_of_http(error: web.HTTPException, request: web.Request) -> web.StreamResponse:
    """Turn what aiohttp raises into a problem; redirects stay what they are."""
    if error.status < 400:
        return error
    path = request.rel_url.raw_path
    if isinstance(error, web.HTTPNotFound):
        return problem_answer(problem_of(PathNotFound(path)), request)
    if isinstance(error, web.HTTPMethodNotAllowed):
        refused = MethodNotAllowed(request.method, path, sorted(error.allowed_methods))
        return problem_answer(problem_of(refused), request)
    detail = f"The request was refused: {error.reason}."
    problem = Problem(status=error.status, code=RequestRefused.code, detail=detail)
    return problem_answer(problem, request)
