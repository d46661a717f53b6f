"""What agents remember, as JSON."""

from __future__ import annotations

from typing import Any

from agency.core.clock import to_text
from agency.domain.memory import (
    Block,
    Document,
    Fact,
    Notebook,
    Recalled,
    Recollection,
)
from agency.web.addresses import notebook_path


def block_json(block: Block) -> dict[str, Any]:
    """Write a version of a block of core memory."""
    return {
        "name": block.name,
        "version": block.version,
        "text": block.text,
        "changed_at": to_text(block.changed_at),
        "changed_by": block.principal,
        "run_id": block.run_id,
        "reason": block.reason,
    }


def fact_json(fact: Fact) -> dict[str, Any]:
    """Write a fact."""
    return {
        "id": fact.id,
        "text": fact.text,
        "source": fact.source,
        "created_at": to_text(fact.created_at),
        "created_by": fact.principal,
        "run_id": fact.run_id,
        "session_id": fact.session_id,
    }


def notebook_json(notebook: Notebook) -> dict[str, Any]:
    """Write a notebook."""
    path = notebook_path(notebook.name)
    return {
        "name": notebook.name,
        "description": notebook.description,
        "agents": list(notebook.agents),
        "documents": notebook.documents,
        "created_at": to_text(notebook.created_at),
        "created_by": notebook.created_by,
        "links": {"self": path, "documents": f"{path}/documents"},
    }


def document_json(document: Document) -> dict[str, Any]:
    """Write a document of a notebook, without its text."""
    path = f"{notebook_path(document.notebook)}/documents/{document.id}"
    return {
        "id": document.id,
        "notebook": document.notebook,
        "title": document.title,
        "source": document.source,
        "media_type": document.media_type,
        "sha256": document.hash,
        "size_bytes": document.size_bytes,
        "passages": document.passages,
        "embedded": document.embedded,
        "created_at": to_text(document.created_at),
        "created_by": document.created_by,
        "links": {
            "self": path,
            "text": f"{path}/text",
            "notebook": notebook_path(document.notebook),
        },
    }


def recollection_json(found: Recollection) -> dict[str, Any]:
    """Write what memory has answered."""
    return {"results": [_recalled_json(one) for one in found.found], "notes": list(found.notes)}


def _recalled_json(recalled: Recalled) -> dict[str, Any]:
    passage = recalled.passage
    chunk = passage.chunk
    return {
        "kind": passage.kind,
        "id": passage.id,
        "text": passage.text,
        "score": recalled.score,
        "found_by": list(recalled.found_by),
        "source": passage.source,
        "created_at": to_text(passage.created_at),
        "run_id": passage.run_id,
        "session_id": passage.session_id,
        "notebook": passage.notebook or None,
        "title": passage.title or None,
        "heading": chunk.heading if chunk is not None else None,
        "position": chunk.position if chunk is not None else None,
        "start": chunk.start if chunk is not None else None,
        "stop": chunk.stop if chunk is not None else None,
    }
