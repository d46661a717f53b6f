"""Looking at pictures: the agent asks about one, and the model of the role ``vision`` answers.

So a model that cannot see works with pictures, too, and none stays in the conversation, where it
would take room in every turn.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agency.core import beneath
from agency.domain.tool import ToolOutput
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.errors import BudgetUsedUp, StepFailed
from agency.ports.model import ChatMessage, ChatRequest, Role, ToolSpec
from agency.workflows.agent import cutoff
from agency.workflows.agent.own_tools import Done, Own

if TYPE_CHECKING:
    from pathlib import Path

    from agency.workflows.agent.loop import Loop

IMAGE_BYTES_MAX = 8 << 20
"""Largest picture; servers take some 5 to 20 MB, and it is held in memory for the call."""
QUESTION_CHARACTERS_MAX = 4000

_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")


class LookAtImage(Own):
    """Asks a model that sees about a picture in the workspace."""

    spec = ToolSpec(
        name="look_at_image",
        description="Ask a question about a picture in the workspace (PNG, JPEG, GIF, WebP).",
        parameters={
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "File, relative to the workspace."},
                "question": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": QUESTION_CHARACTERS_MAX,
                    "description": "What you want to know of it.",
                },
            },
            "required": ["path", "question"],
        },
    )

    async def perform(self, loop: Loop, label: str, arguments: Mapping[str, Any]) -> Done:
        """Have the picture looked at; the answer is recorded before it is used."""
        look = functools.partial(_look, loop, str(arguments["path"]), str(arguments["question"]))
        try:
            seen = await loop.ctx.perform(
                StepCall(name=f"{label}-look", function=look, retry=MODEL_RETRY)
            )
        except StepFailed as error:
            return Done(output=ToolOutput(content=error.message, is_error=True))
        usage = {"turns": 0, "tool_calls": 0, "tokens": seen["tokens"], "seconds": seen["seconds"]}
        output = ToolOutput(content=seen["said"], is_error=seen["is_error"], is_untrusted=True)
        return Done(output=output, more={"usage": usage})


async def _look(loop: Loop, path: str, question: str) -> dict[str, Any]:
    if loop.workspace is None:
        return _told("This daemon keeps no files.")
    root = await loop.workspace.open(loop.state.version)
    image = await asyncio.to_thread(_read, root, path)
    if isinstance(image, str):
        return _told(image)
    request = ChatRequest(
        model="",
        messages=[ChatMessage(role="user", content=question, images=[image])],
        tokens_max=loop.means.settings.tokens_max or None,
        turn_key=loop.turn_key,
    )
    try:
        reply = await cutoff.chat(loop, Role.VISION, request)
    except BudgetUsedUp as error:
        return _told(error.message) | {"seconds": error.seconds}
    return {
        "said": loop.means.redact(reply.content),
        "is_error": False,
        "tokens": (reply.prompt_tokens or 0) + (reply.reply_tokens or 0),
        "seconds": reply.elapsed_s,
        "provider": reply.provider,
        "model": reply.model,
        "passed_over": [
            {"provider": one.provider, "model": one.model, "code": one.code, "reason": one.reason}
            for one in reply.passed_over
        ],
    }


def _told(what: str) -> dict[str, Any]:
    return {"said": what, "is_error": True, "tokens": 0, "seconds": 0.0}


def _read(root: Path, path: str) -> bytes | str:
    """Read a picture; a sentence when it is none. Blocking."""
    try:
        with beneath.file(root, path) as file:
            size_bytes = os.fstat(file).st_size
            if size_bytes > IMAGE_BYTES_MAX:
                return f"{path!r} has {size_bytes} bytes; {IMAGE_BYTES_MAX} are the most."
            content = beneath.read_all(file, size_bytes)
    except OSError as error:
        return f"{path!r} cannot be read: {error.strerror or error}."
    if content.startswith(_BEGINNINGS) or (content[:4], content[8:12]) == (b"RIFF", b"WEBP"):
        return content
    return f"{path!r} is no picture of a kind that models read (PNG, JPEG, GIF, WebP)."
