"""What became of a request, from errors of the SDK and of HTTP to ours.

This module loads the SDK; see `agency.tools.a2a.agents` for when.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
from a2a.client.errors import A2AClientError
from a2a.utils import errors as sdk
from google.protobuf.json_format import Error as ProtobufError

from agency.core.retry_after import read_retry_after_s
from agency.errors import (
    AgencyError,
    RemoteAgentAway,
    RemoteAgentDenied,
    RemoteAgentRefused,
    RemoteAgentSilent,
    RemoteAgentUnfit,
    RemoteAgentUnreachable,
    RemoteTaskNotFound,
)
from agency.tools.a2a.http import NotAllowed, Unusable

SAID_CHARACTERS_MAX = 500
"""Of what a foreign system says of its errors."""

MALFORMED = (
    ProtobufError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    RecursionError,
    NotImplementedError,
)
"""What the SDK raises of answers that are not what it expects."""

RAISED = (
    A2AClientError,
    sdk.A2AError,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    NotAllowed,
    Unusable,
    TimeoutError,
    *MALFORMED,
)
"""All that a request may raise, beside being cancelled."""

_AWAY = frozenset({408, 425, 429, 502, 503, 504})
_NOWHERE = frozenset({404, 405, 406, 410, 415, 421})
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_ALL_FAILED = ("", "All connection attempts failed")
"""What is said by HTTP's library when each of the addresses of a host refuses."""
_CHAIN_MAX = 10


def told(agent: str, error: Exception, *, task_id: str = "", timeout_s: float = 0) -> AgencyError:
    """Tell an error as ours.

    Args:
        task_id: Of the task that was asked about, if it was one.
        timeout_s: What was waited for at most, in seconds.
    """
    for one in _chain(error):
        match one:
            case NotAllowed():
                return RemoteAgentRefused(f"The agent at {agent!r} {str(one).rstrip('.')}.")
            case Unusable():
                return RemoteAgentUnfit(agent, str(one))
            case sdk.TaskNotFoundError() if task_id:
                return RemoteTaskNotFound(agent, task_id)
            case sdk.MethodNotFoundError() if task_id and _is_nowhere(error):
                # Of 0.3 over HTTP+JSON the SDK knows no other word for it.
                return RemoteTaskNotFound(agent, task_id)
            case sdk.A2AError() if not isinstance(one, A2AClientError):
                return _refused(agent, one)
            case httpx.HTTPStatusError():
                return _by_status(agent, one.response)
    away = _away(error, timeout_s)
    if away is not None:
        reason, hint = away
        return _kind_of_absence(error)(agent, reason, hint=hint)
    said = plain(str(error)) or type(error).__name__
    return RemoteAgentUnfit(agent, f"answers with what is no A2A: {said}")


def _is_nowhere(error: Exception) -> bool:
    return any(
        isinstance(one, httpx.HTTPStatusError) and one.response.status_code == 404
        for one in _chain(error)
    )


def _kind_of_absence(error: Exception) -> type[RemoteAgentUnreachable]:
    chain = list(_chain(error))
    if any(isinstance(one, _NOT_CONNECTED) for one in chain):
        return RemoteAgentAway
    is_late = any(isinstance(one, httpx.TimeoutException | TimeoutError) for one in chain)
    return RemoteAgentSilent if is_late else RemoteAgentUnreachable


def _away(error: Exception, timeout_s: float) -> tuple[str, str] | None:
    """Tell why nobody was reached, with what to do; None when somebody was."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLError):
            hint = (
                "Its certificate must be valid for its name, and signed by whom this machine "
                "trusts; is it https at all?"
            )
            return f"no encrypted connection: {plain(str(one))}", hint
    for one in chain:
        if isinstance(one, httpx.TimeoutException | TimeoutError):
            return f"no answer{f' within {timeout_s:g} s' if timeout_s else ' in time'}", ""
        if isinstance(one, httpx.TransportError):
            said = plain(str(one))
            return "nobody answers there" if said in _ALL_FAILED else said, ""
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and those behind it, the outermost first."""
    found: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _refused(agent: str, error: sdk.A2AError) -> AgencyError:
    said = plain(error.message)
    match error:
        case sdk.VersionNotSupportedError():
            return RemoteAgentUnfit(agent, f"speaks another version of A2A: {said}")
        case sdk.InternalError() | sdk.InvalidAgentResponseError():
            return RemoteAgentUnfit(agent, f"has failed: {said}")
        case _:
            return RemoteAgentUnfit(agent, f"refuses the request: {said}")


def _by_status(agent: str, response: httpx.Response) -> AgencyError:
    status = response.status_code
    said = f"it answers with {status} {plain(response.reason_phrase)}".strip()
    if status in {401, 403}:
        asked = plain(response.headers.get("www-authenticate", ""))
        return RemoteAgentDenied(agent, f"{said}{f', and asks for {asked!r}' if asked else ''}")
    if status in _AWAY:
        return RemoteAgentUnreachable(
            agent,
            said,
            retry_after_s=read_retry_after_s(
                response.headers.get("retry-after", ""), now=datetime.now(UTC)
            ),
        )
    if 300 <= status < 400:
        place = plain(response.headers.get("location", ""))
        return RemoteAgentUnfit(
            agent,
            f"redirects to {place!r}, and redirects are not followed",
            hint="Use the address that it leads to, if that is whom you mean.",
        )
    if status == 413:
        return RemoteAgentUnfit(
            agent,
            f"refuses the request: {said}",
            hint="The message is too large for it: send less, or a link to what is large.",
        )
    if status >= 500:
        return RemoteAgentUnfit(agent, f"has failed: {said}")
    if status in _NOWHERE:
        return RemoteAgentUnfit(
            agent,
            f"speaks no A2A there: {said}",
            hint="Look whether the address is right: a card is at "
            "ADDRESS/.well-known/agent-card.json, and another Agency lists its agents at /a2a.",
        )
    return RemoteAgentUnfit(agent, f"refuses the request: {said}")


def plain(text: str) -> str:
    """Bring a foreign text into one short line."""
    clean = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(clean.split())[:SAID_CHARACTERS_MAX].rstrip(".")
