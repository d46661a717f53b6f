"""Results that fit into a prompt: head and tail of a long one, and where the whole of it is."""

from __future__ import annotations

from agency.ports.workspace import Workspace

_HEAD_SHARE = 0.6
"""What comes first says more about what a result is than what comes last."""


def excerpt(text: str, characters_max: int, where: str) -> str:
    """Cut a text to its head and tail, at ends of lines where some are near.

    Args:
        where: Sentence that says how to see the rest.
    """
    if len(text) <= characters_max:
        return text
    head_size = int(characters_max * _HEAD_SHARE)
    tail_size = characters_max - head_size
    head, tail = text[:head_size], text[len(text) - tail_size :]
    if (cut := head.rfind("\n")) > head_size // 2:
        head = head[:cut]
    if -1 < (cut := tail.find("\n")) < tail_size // 2:
        tail = tail[cut + 1 :]
    left_out = text[len(head) : len(text) - len(tail)]
    lines = left_out.count("\n")
    return f"{head}\n[… {len(left_out)} characters, {lines} lines left out. {where} …]\n{tail}"


async def bounded(workspace: Workspace, name: str, text: str, characters_max: int) -> str:
    """Bound a result; the whole of a long one is put into a file that `read_file` reads."""
    if len(text) <= characters_max:
        return text
    path = await workspace.keep_text(name, text)
    return excerpt(text, characters_max, f"The whole is in {path}: see it with read_file")
