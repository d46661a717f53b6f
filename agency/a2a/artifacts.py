"""What a task has made: content that it has handed out, its output, the files of its workspace."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from a2a.types import a2a_pb2 as pb

from agency.a2a.parts import JSON_MEDIA_TYPE, fit, parts_to
from agency.domain.content import (
    DELIVERED,
    Content,
    Part,
    bytes_part,
    content_of,
    data_part,
    is_content,
    link_part,
    text_part,
)
from agency.domain.run import Run, RunKind
from agency.domain.task import Task
from agency.errors import InvalidInput, RunFileNotFound, WorkspaceLost
from agency.ports.task import HandedOut, TaskStore
from agency.ports.workspace import Workspaces
from agency.web.addresses import run_file_path, run_path

OUTPUT = "output"
"""Id of the artifact that is a run's output; it replaces content that was handed out under it."""

FILES_MAX = 100
"""Files of an agent's workspace that are artifacts; the rest is found over REST."""

INLINE_BYTES_MAX = 256 * 1024
"""Bytes of such files that are in the answer itself; what is beyond them is linked to."""


Made = Mapping[str, Sequence[Part]]
"""Parts by the artifact that they are."""


class Artifacts:
    """Makes the artifacts of tasks."""

    def __init__(self, tasks: TaskStore, workspaces: Workspaces | None) -> None:
        self._tasks = tasks
        self._workspaces = workspaces

    async def of(self, task: Task, *, address: str) -> Made:
        """Give all that a task has made up to the moment of which it is; links begin so."""
        made: dict[str, list[Part]] = {}
        if task.has_contents:
            for one in await self._tasks.contents(task.run.number, after=0, through=task.seen):
                content = content_at(one, task.run, address=address)
                if content.append and content.name in made:
                    made[content.name].extend(content.parts)
                else:
                    made[content.name] = list(content.parts)
        made |= await self.of_output(task.run, address=address)
        return made

    async def of_output(self, run: Run, *, address: str) -> dict[str, list[Part]]:
        """Give the parts of what a run has ended with, by the artifact that they are."""
        output = run.output
        if output is None:
            return {}
        content = content_in(output)
        if content is not None:
            return {content.name or OUTPUT: list(content.parts)}
        if run.kind is RunKind.AGENT and isinstance(output, Mapping) and "response" in output:
            return await self._of_agent(run, output, address)
        part = text_part(output) if isinstance(output, str) else data_part(output)
        return {OUTPUT: [part]}

    async def _of_agent(
        self, run: Run, output: Mapping[str, Any], address: str
    ) -> dict[str, list[Part]]:
        answer = [text_part(str(output["response"]))]
        if output.get("answer") is not None:
            answer.append(data_part(output["answer"]))
        made = {OUTPUT: answer}
        room = INLINE_BYTES_MAX
        for path in list(output.get("files", ()))[-FILES_MAX:]:
            part = await self._file(run.id, str(path), room, address)
            if part is not None:
                room -= len(part.raw)
                made[f"file:{part.name}"] = [part]
        return made

    async def _file(self, run_id: str, path: str, room: int, address: str) -> Part | None:
        """Give a file of a run, or where it is; None if it is not there any more."""
        if self._workspaces is None:
            return None
        media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        # Bytes of a path that are no UTF-8 have no place on the wire.
        name = path.encode("utf-8", "replace").decode()
        try:
            file, pieces = await self._workspaces.read(run_id, path)
            if file.size_bytes > room:
                url = address + run_file_path(run_id, path)
                return link_part(url, media_type=media_type, name=name)
            return bytes_part(await _joined(pieces), media_type=media_type, name=name)
        except (RunFileNotFound, WorkspaceLost):
            return None


async def _joined(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def content_at(one: HandedOut, run: Run, *, address: str) -> Content:
    """Give a piece of content, or where it is if it is one too many to be handed over."""
    if one.content is not None:
        return one.content
    url = f"{address}{run_path(run.id)}/steps?after={one.number - 1}&limit=1"
    name = one.key.removeprefix(DELIVERED).rpartition("#")[0]
    return Content(parts=[link_part(url, media_type=JSON_MEDIA_TYPE)], name=name, append=True)


def artifact_to(name: str, parts: Sequence[Part], accepted: Sequence[str] = ()) -> pb.Artifact:
    """Write an artifact; its name is its id, and of a file its path."""
    return pb.Artifact(
        artifact_id=name,
        name=name.removeprefix("file:"),
        parts=parts_to(fit(parts, accepted)),
    )


def message_output(run: Run) -> Content | None:
    """Give what a run has ended with if that is an answer to its caller and no work."""
    content = content_in(run.output)
    return content if content is not None and content.is_message else None


def content_in(output: Any) -> Content | None:  # noqa: ANN401  JSON value
    """Read the content that an output is; None when it only looks like some, or not even that."""
    if not is_content(output):
        return None
    try:
        return content_of(output)
    except InvalidInput:
        return None
