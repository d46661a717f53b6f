"""The system prompt: from the configuration, or from a file that is read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger(__name__)

PROMPT_BYTES_MAX = 64 * 1024
"""Longest system prompt; a longer file is a mistake, and would fill the context."""


class SystemPrompt:
    """Hands out the system prompt that is in force now."""

    def __init__(self, text: str, file: str) -> None:
        """Take the text, and the path of a file that is read when the text is empty."""
        self._fixed = text.strip()
        self._path = Path(file) if file else None
        self._stamp: tuple[int, int] | None = None
        self._text = ""

    def load(self) -> str:
        """Return the prompt, empty if there is none; the file is read only when it has changed.

        A file that cannot be read, or is too long, is logged and the last good text stays in
        force.
        """
        if self._fixed or self._path is None:
            return self._fixed
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._stamp, self._text = None, ""
            return ""
        except OSError as error:
            log.warning("system prompt cannot be read", extra={"error": str(error)})
            return self._text
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload(self._path, status.st_size)
        return self._text

    def _reload(self, path: Path, size_bytes: int) -> None:
        if size_bytes > PROMPT_BYTES_MAX:
            log.warning(
                "system prompt is too long",
                extra={"path": str(path), "bytes": size_bytes, "max": PROMPT_BYTES_MAX},
            )
            return
        try:
            self._text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("system prompt cannot be read", extra={"error": str(error)})
            return
        log.info("system prompt loaded", extra={"path": str(path), "characters": len(self._text)})
