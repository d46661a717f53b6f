"""Having Ollama fetch a model.

Source: notes on Ollama 0.33 and its docs: one JSON object a line, an error as its last line with
status 200, ``{"status": "success"}`` at the end. Layers that are there in part go on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from agency.errors import AgencyError, ModelNotFound, ModelPullFailed, ModelRefused, ModelTimedOut
from agency.models.ollama.faults import shortened
from agency.models.ollama.reply import parse_line
from agency.ports.model import PullProgress

if TYPE_CHECKING:
    from agency.models.ollama.wire import Wire

STALL_LIMIT_S = 300.0
"""A download that says nothing for so long hangs; a healthy one says something each 60 ms, and
checking a large layer takes a minute or two."""

_UNKNOWN = ("file does not exist", "not found", "manifest unknown", "404")
_NO_ROOM = ("no space left", "not enough space", "disk quota")
_TOO_OLD = ("requires a newer version",)
_FORBIDDEN = ("unauthorized", "access denied", "invalid model name", "403")


async def pull(
    wire: Wire,
    model: str,
    *,
    on_progress: Callable[[PullProgress], None],
    refuse: Callable[[int, bytes], AgencyError],
) -> None:
    """Fetch ``model``; see `agency.ports.model.Puller`.

    Args:
        wire: To the server.
        model: Name.
        on_progress: Is called for each line.
        refuse: Makes an error of an answer that is not 200.
    """
    try:
        async with asyncio.timeout(STALL_LIMIT_S) as limit:
            body = {"model": model, "stream": True}
            async with wire.exchange("POST", "/api/pull", body) as answer:
                if answer.status != 200 or answer.is_page:
                    raise _clearer(refuse(answer.status, await answer.body()), model)
                async with aclosing(answer.lines()) as lines:
                    async for text in lines:
                        limit.reschedule(asyncio.get_running_loop().time() + STALL_LIMIT_S)
                        line = parse_line(text, model)
                        if line.get("error"):
                            raise pull_error(str(line["error"]), model)
                        on_progress(_progress(line))
                        if line.get("status") == "success":
                            return
    except TimeoutError:
        raise ModelTimedOut(
            "total", STALL_LIMIT_S, hint="The download has stalled; look at the server's network."
        ) from None
    raise ModelPullFailed(f"The download of {model!r} ended before it was finished.")


def pull_error(text: str, model: str) -> AgencyError:
    """Decide what an error line of a download means, by the server's words."""
    lowered = text.lower()
    said = shortened(text)
    if any(words in lowered for words in _NO_ROOM):
        return ModelRefused(
            f"The model server has no room for {model!r}: {said}.",
            hint="Free space where it keeps its models, for example with `ollama rm MODEL`, and "
            "pull again: what was fetched is kept.",
        )
    if any(words in lowered for words in _TOO_OLD):
        return ModelRefused(
            f"The model server is too old for {model!r}: {said}.", hint="Update Ollama."
        )
    if any(words in lowered for words in _UNKNOWN):
        error = ModelNotFound(model)
        error.message = f"There is no model {model!r} to fetch: {said}."
        error.hint = "Look at its name and tag on https://ollama.com/library."
        error.args = (error.message,)
        return error
    if any(words in lowered for words in _FORBIDDEN):
        return ModelRefused(
            f"The model server will not fetch {model!r}: {said}.",
            hint="Look at the name, and whether the model is public.",
        )
    return ModelPullFailed(f"The model server could not fetch {model!r}: {said}.")


def _clearer(error: AgencyError, model: str) -> AgencyError:
    """Read a refusal in the words of a download, where it has some."""
    if isinstance(error, ModelNotFound):
        return pull_error("not found", model)
    return error


def _progress(line: Mapping[str, Any]) -> PullProgress:
    return PullProgress(
        status=str(line.get("status") or ""),
        digest=str(line.get("digest") or ""),
        completed_bytes=_whole(line.get("completed")),
        total_bytes=_whole(line.get("total")),
    )


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
