"""What a call of an agent elsewhere is given."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from agency.core.records import dataclass
from agency.domain.content import (
    Content,
    Part,
    bytes_part,
    content_of,
    data_part,
    text_part,
)
from agency.errors import Fault, InvalidInput
from agency.workflows.agent.records import (
    FILES_BYTES_MAX,
    FILES_MAX,
    MESSAGE_CHARACTERS_MAX,
    EncodedFile,
    FileContent,
    FilePath,
)

AGENT_CHARACTERS_MAX = 2048
ID_CHARACTERS_MAX = 256

_FORBID = ConfigDict(extra="forbid")
_Id = Annotated[str, Field(max_length=ID_CHARACTERS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A task that a call goes on watching: its run before had a journal that became long."""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    task_id: _Id
    context_id: _Id


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInput:
    """What to ask of whom.

    Attributes:
        agent: Name in ``[a2a.agents]``, or an address that the settings allow.
        data: JSON value that is sent beside the message; None for none.
        files: Contents by name: text, or ``{"base64": …}``.
        content: Further parts, as `Content.to_json` writes them.
        context_id: Of a conversation that it goes on with.
        task_id: Of a task there that it answers.
        watched: Set by the workflow itself.
    """

    # A misspelt member would else be dropped in silence.
    __pydantic_config__: ClassVar[ConfigDict] = _FORBID

    agent: Annotated[str, Field(min_length=1, max_length=AGENT_CHARACTERS_MAX)]
    message: Annotated[str, Field(max_length=MESSAGE_CHARACTERS_MAX)] = ""
    data: Any = None
    files: Annotated[Mapping[FilePath, FileContent], Field(max_length=FILES_MAX)] | None = None
    content: dict[str, Any] | None = None
    context_id: _Id = ""
    task_id: _Id = ""
    watched: Watched | None = None


def content_for(call: CallInput) -> Content:
    """Put together what is sent.

    Raises:
        InvalidInput: there is nothing, a file cannot be read, or there is too much.
    """
    parts: list[Part] = []
    if call.message:
        parts.append(text_part(call.message))
    if call.data is not None:
        parts.append(data_part(call.data))
    parts += [_file_part(name, content) for name, content in (call.files or {}).items()]
    if call.content is not None:
        parts += content_of(call.content).parts
    if not parts:
        raise InvalidInput(
            "There is nothing to send.",
            faults=[Fault("/message", "A message, data, files or content are needed.")],
        )
    if sum(len(part.raw) + len(part.text) for part in parts) > FILES_BYTES_MAX:
        raise InvalidInput(f"More than {FILES_BYTES_MAX} bytes are to be sent.")
    return Content(parts=parts)


def _file_part(name: str, content: str | EncodedFile) -> Part:
    media_type = mimetypes.guess_type(name)[0] or ""
    if isinstance(content, str):
        return bytes_part(content.encode(), media_type=media_type or "text/plain", name=name)
    try:
        raw = base64.b64decode(content.base64, validate=True)
    except binascii.Error as error:
        pointer = name.replace("~", "~0").replace("/", "~1")
        fault = Fault(f"/files/{pointer}/base64", f"It is not base64: {error}.")
        raise InvalidInput(f"The file {name!r} cannot be read.", faults=[fault]) from error
    return bytes_part(raw, media_type=media_type or "application/octet-stream", name=name)
