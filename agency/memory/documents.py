"""Documents as they are handed in, and as they are read."""

from __future__ import annotations

import hashlib

from agency.core.ids import new_id
from agency.domain.memory import NewDocument
from agency.errors import DocumentTooLarge, DocumentUnreadable
from agency.memory.pages import text_of_page

MEDIA_TYPES = {
    "text/plain": "text/plain",
    "text/markdown": "text/markdown",
    "text/x-markdown": "text/markdown",
    "text/html": "text/html",
    "application/xhtml+xml": "text/html",
}
"""What is read, and as what."""

_MAGIC = {
    b"%PDF-": "a PDF; make text of it first, for example with `pdftotext -layout`",
    b"PK\x03\x04": "an archive, or an office document; export it as text, Markdown or HTML",
    b"\xd0\xcf\x11\xe0": "an office document; export it as text, Markdown or HTML",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x1f\x8b": "compressed; unpack it first",
}


def read_document(
    data: bytes, *, title: str, source: str, media_type: str, principal: str, bytes_max: int
) -> NewDocument:
    """Check a document and read its text; for pages in HTML this takes a while.

    Args:
        media_type: As it was given; empty to find out from what is in it.

    Raises:
        DocumentTooLarge: it has more than ``bytes_max`` bytes.
        DocumentUnreadable: it is no text in UTF-8, has nothing in it, or is of a kind that is not
            read.
    """
    if len(data) > bytes_max:
        raise DocumentTooLarge(bytes_max)
    found = next((what for magic, what in _MAGIC.items() if data.startswith(magic)), "")
    if found:
        raise DocumentUnreadable(f"The document is {found}.")
    kind = _kind_of(data, media_type)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentUnreadable(
            f"The document is no text in UTF-8 (byte {error.start + 1})."
        ) from error
    if "\0" in text:
        raise DocumentUnreadable("The document holds NUL characters, so it is no text.")
    digest = hashlib.sha256(b"\0".join([kind.encode(), title.encode(), source.encode(), data]))
    text = text_of_page(text) if kind == "text/html" else text
    if not text.strip():
        raise DocumentUnreadable("There is no text in the document.")
    return NewDocument(
        id=new_id(),
        title=title,
        source=source,
        media_type=kind,
        text=text,
        hash=digest.hexdigest(),
        principal=principal,
    )


def _kind_of(data: bytes, media_type: str) -> str:
    given = media_type.partition(";")[0].strip().lower()
    if given in {"", "application/octet-stream"}:
        head = data[:1024].lstrip().lower()
        is_page = head.startswith((b"<!doctype html", b"<html")) or b"<body" in head
        return "text/html" if is_page else "text/markdown"
    if given not in MEDIA_TYPES:
        raise DocumentUnreadable(
            f"Documents of the type {given[:100]!r} are not read; {', '.join(sorted(MEDIA_TYPES))} "
            "are."
        )
    return MEDIA_TYPES[given]
