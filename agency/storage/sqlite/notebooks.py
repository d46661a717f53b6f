"""Notebooks on SQLite; the promises are those of `agency.ports.memory.NotebookStore`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from agency.core.clock import from_micros, to_micros
from agency.core.json import decode
from agency.domain.memory import Chunk, Collection, Document, NewDocument, Notebook
from agency.errors import (
    DocumentNotFound,
    NotebookExists,
    NotebookNotFound,
    TooManyDocuments,
    TooManyNotebooks,
)
from agency.storage.sqlite.passages import collection_of
from agency.storage.sqlite.readers import Readers
from agency.storage.sqlite.space import Space
from agency.storage.sqlite.transaction import Row, Transaction
from agency.storage.sqlite.writer import Writer

NOTEBOOKS_MAX = 1000
"""Notebooks of one store: a question may go to all that an agent sees."""

_NUMBER_MAX = (1 << 63) - 1


class SqliteNotebooks:
    """Notebooks in a SQLite database."""

    def __init__(self, writer: Writer, readers: Readers, space: Space) -> None:
        self._writer = writer
        self._readers = readers
        self._space = space

    async def add(
        self, name: str, *, id: str, description: str, agents: Sequence[str], by: str, now: datetime
    ) -> Notebook:
        """Make a notebook; see `NotebookStore.add`."""
        self._space.check()
        row = {"id": id, "name": name, "description": description, "by": by, "now": to_micros(now)}
        work = partial(_add, row=row, agents=tuple(agents))
        return _notebook_of(await self._writer.submit(work))

    async def get(self, name: str) -> Notebook:
        """Read one; see `NotebookStore.get`."""
        row = await self._readers.one("get_notebook", (name,))
        if row is None:
            raise NotebookNotFound(name)
        return _notebook_of(row)

    async def list(self, *, after: str | None, limit: int) -> Sequence[Notebook]:
        """Read notebooks by name; see `NotebookStore.list`."""
        rows = await self._readers.all("list_notebooks", {"after": after or "", "limit": limit})
        return [_notebook_of(row) for row in rows]

    async def seen_by(self, agent: str, *, limit: int) -> Sequence[Notebook]:
        """Read what is shared with an agent; see `NotebookStore.seen_by`."""
        rows = await self._readers.all("list_notebooks_seen", {"agent": agent, "limit": limit})
        return [_notebook_of(row) for row in rows]

    async def change(
        self, name: str, *, description: str | None, agents: Sequence[str] | None
    ) -> Notebook:
        """Change a notebook; see `NotebookStore.change`."""
        shared = None if agents is None else tuple(agents)
        work = partial(_change, name=name, description=description, agents=shared)
        return _notebook_of(await self._writer.submit(work))

    async def delete(self, name: str, *, now: datetime) -> None:
        """Delete a notebook; see `NotebookStore.delete`."""
        await self._writer.submit(partial(_delete, name=name, now=to_micros(now)))

    async def add_document(
        self, notebook: str, new: NewDocument, *, documents_max: int, now: datetime
    ) -> tuple[Document, bool]:
        """Store a document; see `NotebookStore.add_document`."""
        self._space.check()
        work = partial(
            _add_document,
            notebook=notebook,
            new=new,
            documents_max=documents_max,
            now=to_micros(now),
        )
        row, is_new = await self._writer.submit(work)
        return _document_of(row), is_new

    async def document(self, notebook: str, document_id: str) -> Document:
        """Read one document; see `NotebookStore.document`."""
        parameters = {"notebook": notebook, "id": document_id}
        row = await self._readers.one("get_document", parameters)
        if row is None:
            await self.get(notebook)
            raise DocumentNotFound(document_id)
        return _document_of(row)

    async def text(self, document_id: str) -> str:
        """Read a document's text; see `NotebookStore.text`."""
        row = await self._readers.one("load_document_text", (document_id,))
        if row is None:
            raise DocumentNotFound(document_id)
        text: str = row[0]
        return text

    async def documents(
        self, notebook: str, *, before: int | None, limit: int
    ) -> Sequence[Document]:
        """Read documents; see `NotebookStore.documents`."""
        parameters = {
            "notebook": notebook,
            "before": _NUMBER_MAX if before is None else before,
            "limit": limit,
        }
        rows = await self._readers.all("page_documents", parameters)
        if not rows:
            await self.get(notebook)
        return [_document_of(row) for row in rows]

    async def add_chunks(
        self, document_id: str, chunks: Sequence[Chunk], *, is_last: bool
    ) -> Collection:
        """Store pieces of a document; see `NotebookStore.add_chunks`."""
        self._space.check()
        work = partial(_add_chunks, document_id=document_id, chunks=chunks, is_last=is_last)
        return collection_of(await self._writer.submit(work))

    async def delete_document(self, notebook: str, document_id: str, *, now: datetime) -> None:
        """Delete a document; see `NotebookStore.delete_document`."""
        work = partial(_hide_document, notebook=notebook, id=document_id, now=to_micros(now))
        await self._writer.submit(work)


def _add(tx: Transaction, row: dict[str, object], agents: Sequence[str]) -> Row:
    counted = tx.one("count_notebooks")
    assert counted is not None
    name = str(row["name"])
    if tx.one("get_notebook", (name,)) is not None:
        raise NotebookExists(name)
    if counted[0] >= NOTEBOOKS_MAX:
        raise TooManyNotebooks(NOTEBOOKS_MAX)
    owner = {"kind": "notebook", "owner": row["id"], "now": row["now"]}
    tx.change("add_collection", owner)
    collection = tx.one("find_collection", ("notebook", row["id"]))
    assert collection is not None
    added = tx.one("add_notebook", {**row, "collection": collection[0]})
    assert added is not None
    tx.many("share_notebook", [(added[0], agent) for agent in agents])
    return _get(tx, name)


def _change(
    tx: Transaction, name: str, description: str | None, agents: Sequence[str] | None
) -> Row:
    number = _get(tx, name)[0]
    if description is not None:
        tx.change("describe_notebook", {"number": number, "description": description})
    if agents is not None:
        tx.change("unshare_notebook", (number,))
        tx.many("share_notebook", [(number, agent) for agent in agents])
    return _get(tx, name)


def _delete(tx: Transaction, name: str, now: int) -> None:
    hidden = tx.one("hide_notebook", {"name": name, "now": now})
    if hidden is None:
        raise NotebookNotFound(name)
    tx.change("hide_documents_of_deleted", {"notebook": hidden[0], "now": now})


def _get(tx: Transaction, name: str) -> Row:
    row = tx.one("get_notebook", (name,))
    if row is None:
        raise NotebookNotFound(name)
    return row


def _add_document(
    tx: Transaction, notebook: str, new: NewDocument, documents_max: int, now: int
) -> tuple[Row, bool]:
    number = _get(tx, notebook)[0]
    known = tx.one("find_document_hash", {"notebook": number, "hash": new.hash})
    if known is not None:
        return known, False
    counted = tx.one("count_documents", (number,))
    assert counted is not None
    if counted[0] >= documents_max:
        raise TooManyDocuments(notebook, documents_max)
    tx.change(
        "add_document",
        {
            "id": new.id,
            "notebook": number,
            "title": new.title,
            "source": new.source,
            "media_type": new.media_type,
            "hash": new.hash,
            "size_bytes": len(new.text.encode()),
            "now": now,
            "by": new.principal,
            "text": new.text,
        },
    )
    row = tx.one("get_document", {"notebook": notebook, "id": new.id})
    assert row is not None
    return row, True


def _add_chunks(
    tx: Transaction, document_id: str, chunks: Sequence[Chunk], *, is_last: bool
) -> Row:
    found = tx.one("find_document", (document_id,))
    if found is None:
        raise DocumentNotFound(document_id)
    document, collection = found
    for chunk in chunks:
        if tx.one("find_chunk", (document, chunk.position)) is not None:
            continue
        passage = tx.insert("add_passage", (collection, chunk.text))
        tx.change(
            "add_chunk",
            {
                "passage": passage,
                "document": document,
                "position": chunk.position,
                "heading": chunk.heading,
                "start": chunk.start,
                "stop": chunk.stop,
            },
        )
    if is_last:
        tx.change("finish_document", (document,))
    row = tx.one("get_collection", (collection,))
    assert row is not None
    return row


def _hide_document(tx: Transaction, notebook: str, id: str, now: int) -> None:
    if tx.change("hide_document", {"notebook": notebook, "id": id, "now": now}) == 0:
        _get(tx, notebook)
        raise DocumentNotFound(id)


def _notebook_of(row: Row) -> Notebook:
    number, id_, name, description, agents, documents, collection, created_at, created_by = row
    return Notebook(
        number=number,
        id=id_,
        name=name,
        description=description,
        agents=decode(agents),
        documents=documents,
        collection=collection,
        created_at=from_micros(created_at),
        created_by=created_by,
    )


def _document_of(row: Row) -> Document:
    number, id_, notebook, title, source, media_type, hash_, size, passages, embedded = row[:10]
    return Document(
        number=number,
        id=id_,
        notebook=notebook,
        title=title,
        source=source,
        media_type=media_type,
        hash=hash_,
        size_bytes=size,
        passages=passages,
        embedded=embedded,
        created_at=from_micros(row[10]),
        created_by=row[11],
    )
