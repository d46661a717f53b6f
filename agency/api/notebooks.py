"""``/api/v1/notebooks``: documents that agents can look into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name
from agency.api.memory import Question
from agency.api.memory_shape import document_json, notebook_json, recollection_json
from agency.core.context import CORRELATION_ID
from agency.core.ids import is_id
from agency.domain.memory import NOTEBOOK_NAME, RECALLED_ROWS_MAX
from agency.domain.run import Run
from agency.engine.runs import StartRequest
from agency.errors import DocumentNotFound, DocumentTooLarge, NotebookNotFound, ShuttingDown
from agency.web.addresses import notebook_path, run_path
from agency.web.answers import SERVICES, json_answer, principal_of
from agency.web.bodies import Body, read_body
from agency.web.files import read_whole
from agency.web.paging import cut_page, parse_number_cursor, parse_text_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "notebooks"
PATH = "/api/v1/notebooks"
ADD = "notebook_add"

Agents = Annotated[
    list[Name],
    Field(max_length=100, description="Agents that may look into it; `*` is all of them."),
]
Description = Annotated[str, Field(max_length=1000)]


class NotebookBody(Body):
    """A notebook that is to be made."""

    name: Annotated[str, Field(json_schema_extra={"pattern": f"^{NOTEBOOK_NAME.pattern}$"})]
    description: Description = Field(default="", description="What it is about, for agents.")
    agents: Agents = Field(default_factory=list)


class NotebookChange(Body):
    """What is to be changed of a notebook; what is left out stays."""

    description: Description | None = None
    agents: Agents | None = None


class NotebookQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


class DocumentQuery(Query):
    title: Annotated[Name, Field(description="What it is called.")]
    source: Annotated[
        str, Field(max_length=500, description="Where it is from: a path, an address.")
    ] = ""


class SearchQuery(Query):
    query: Annotated[Question, Field(description="What to look for.")]
    limit: Annotated[int, Field(ge=1, le=RECALLED_ROWS_MAX, description="Results.")] | None = None


async def list_notebooks(request: web.Request) -> web.Response:
    """List notebooks by name."""
    query = read_query(request, NotebookQuery)
    after = parse_text_cursor("notebooks", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].memory.notebooks.list(after=after, limit=query.limit + 1)
    page, cursor = cut_page("notebooks", rows, query.limit, lambda notebook: notebook.name)
    return json_answer({"notebooks": [notebook_json(one) for one in page], "next_cursor": cursor})


async def make_notebook(request: web.Request) -> web.Response:
    """Make a notebook."""
    body = await read_body(request, NotebookBody)
    notebook = await request.app[SERVICES].memory.add_notebook(
        body.name,
        description=body.description,
        agents=body.agents,
        by=principal_of(request).name,
    )
    headers = {"Location": notebook_path(notebook.name)}
    return json_answer(notebook_json(notebook), status=201, headers=headers)


async def show_notebook(request: web.Request) -> web.Response:
    """Read one notebook."""
    found = await request.app[SERVICES].memory.notebooks.get(_name(request))
    return json_answer(notebook_json(found))


async def change_notebook(request: web.Request) -> web.Response:
    """Change what a notebook is about, or who may look into it."""
    body = await read_body(request, NotebookChange)
    notebook = await request.app[SERVICES].memory.notebooks.change(
        _name(request), description=body.description, agents=body.agents
    )
    return json_answer(notebook_json(notebook))


async def delete_notebook(request: web.Request) -> web.Response:
    """Delete a notebook with its documents."""
    name = _name(request)
    await request.app[SERVICES].memory.delete_notebook(name)
    return json_answer({"name": name, "deleted": True})


async def list_documents(request: web.Request) -> web.Response:
    """List the documents of a notebook, the newest first."""
    query = read_query(request, NotebookQuery)
    before = parse_number_cursor("documents", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].memory.notebooks.documents(
        _name(request), before=before, limit=query.limit + 1
    )
    page, cursor = cut_page("documents", rows, query.limit, lambda document: document.number)
    return json_answer({"documents": [document_json(one) for one in page], "next_cursor": cursor})


async def add_document(request: web.Request) -> web.Response:
    """Take a document in; a run splits it and makes it searchable."""
    query = read_query(request, DocumentQuery)
    services = request.app[SERVICES]
    if services.is_stopping():
        raise ShuttingDown
    name = _name(request)
    bytes_max = services.settings.memory.document_bytes_max
    data = await read_whole(request, bytes_max=bytes_max, too_large=DocumentTooLarge(bytes_max))
    document, is_new = await services.memory.add_document(
        name,
        data,
        title=query.title,
        source=query.source,
        media_type=request.headers.get("Content-Type", ""),
        principal=principal_of(request).name,
    )
    answer = document_json(document)
    answer["run_id"] = None
    # Also for one that is there already: what was cut off between the two is done now.
    if document.passages is None or document.embedded < document.passages:
        run = await _start(request, name, document.id)
        answer["run_id"] = run.id
        answer["links"] = {**answer["links"], "run": run_path(run.id)}
    headers = {"Location": answer["links"]["self"]}
    return json_answer(answer, status=202 if is_new else 200, headers=headers)


async def _start(request: web.Request, notebook: str, document_id: str) -> Run:
    started = await request.app[SERVICES].runs.start(
        StartRequest(
            workflow=ADD,
            input={"notebook": notebook, "document_id": document_id},
            # One document after the other, so that none is embedded twice.
            concurrency_key=f"notebook:{notebook}",
            correlation_id=CORRELATION_ID.get(),
            principal=principal_of(request).name,
        )
    )
    return started.run


async def show_document(request: web.Request) -> web.Response:
    """Read what is known of a document."""
    name, document_id = _name(request), _document_id(request)
    found = await request.app[SERVICES].memory.notebooks.document(name, document_id)
    return json_answer(document_json(found))


async def show_text(request: web.Request) -> web.Response:
    """Read a document's text, in which the positions of passages are."""
    name, document_id = _name(request), _document_id(request)
    notebooks = request.app[SERVICES].memory.notebooks
    await notebooks.document(name, document_id)
    text = await notebooks.text(document_id)
    return web.Response(
        text=text,
        content_type="text/plain",
        charset="utf-8",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


async def delete_document(request: web.Request) -> web.Response:
    """Delete a document."""
    name, document_id = _name(request), _document_id(request)
    await request.app[SERVICES].memory.delete_document(name, document_id)
    return json_answer({"id": document_id, "deleted": True})


async def search_notebook(request: web.Request) -> web.Response:
    """Find what a notebook says."""
    query = read_query(request, SearchQuery)
    found = await request.app[SERVICES].memory.search(
        _name(request), query.query, limit=query.limit
    )
    return json_answer(recollection_json(found))


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    if NOTEBOOK_NAME.fullmatch(name) is None:
        raise NotebookNotFound(name[:128].encode("utf-8", "replace").decode())
    return name


def _document_id(request: web.Request) -> str:
    text = request.match_info["document_id"]
    if not is_id(text):
        raise DocumentNotFound(text[:128].encode("utf-8", "replace").decode())
    return text.lower()


def routes() -> Sequence[Route]:
    """List what is served here."""
    one = PATH + "/{name}"
    document = one + "/documents/{document_id}"
    missing = (errors.NotebookNotFound,)
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_notebooks,
            operation="list_notebooks",
            summary="List notebooks by name",
            tag=TAG,
            query=NotebookQuery,
            answers={200: "NotebookPageAnswer"},
        ),
        Route(
            method="POST",
            path=PATH,
            answer=make_notebook,
            operation="make_notebook",
            summary="Make a notebook",
            tag=TAG,
            body=NotebookBody,
            answers={201: "NotebookAnswer"},
            problems=(errors.NotebookExists, errors.TooManyNotebooks, errors.StoreFull),
            examples={"for all agents": {"name": "manual", "agents": ["*"]}},
        ),
        Route(
            method="GET",
            path=one,
            answer=show_notebook,
            operation="show_notebook",
            summary="Read a notebook",
            tag=TAG,
            answers={200: "NotebookAnswer"},
            problems=missing,
        ),
        Route(
            method="PATCH",
            path=one,
            answer=change_notebook,
            operation="change_notebook",
            summary="Change what a notebook is about, or who may look into it",
            tag=TAG,
            body=NotebookChange,
            answers={200: "NotebookAnswer"},
            problems=missing,
            examples={"for one agent": {"agents": ["support"]}},
        ),
        Route(
            method="DELETE",
            path=one,
            answer=delete_notebook,
            operation="delete_notebook",
            summary="Delete a notebook with its documents",
            tag=TAG,
            answers={200: "NotebookDeletedAnswer"},
            problems=missing,
        ),
        Route(
            method="GET",
            path=one + "/search",
            answer=search_notebook,
            operation="search_notebook",
            summary="Find what a notebook says",
            description="Passages with where they are: document, heading, and characters of its "
            "text.",
            tag=TAG,
            query=SearchQuery,
            answers={200: "RecollectionAnswer"},
            problems=missing,
        ),
        Route(
            method="GET",
            path=one + "/documents",
            answer=list_documents,
            operation="list_documents",
            summary="List the documents of a notebook, the newest first",
            tag=TAG,
            query=NotebookQuery,
            answers={200: "DocumentPageAnswer"},
            problems=missing,
        ),
        Route(
            method="POST",
            path=one + "/documents",
            answer=add_document,
            operation="add_document",
            summary="Add a document to a notebook",
            description="The body is the document: text, Markdown or HTML, in UTF-8. It is found "
            "by its words when the run `notebook_add` has split it, and by meaning when that has "
            "completed. The same document twice is one.",
            tag=TAG,
            query=DocumentQuery,
            answers={200: "NewDocumentAnswer", 202: "NewDocumentAnswer"},
            problems=(
                *missing,
                errors.DocumentTooLarge,
                errors.DocumentUnreadable,
                errors.TooManyDocuments,
                errors.BodyLate,
                errors.BodyMalformed,
                errors.WorkflowDisabled,
                errors.QueueFull,
                errors.StoreFull,
                errors.ShuttingDown,
            ),
            takes="text/markdown",
        ),
        Route(
            method="GET",
            path=document,
            answer=show_document,
            operation="show_document",
            summary="Read what is known of a document",
            tag=TAG,
            answers={200: "DocumentAnswer"},
            problems=(*missing, errors.DocumentNotFound),
        ),
        Route(
            method="GET",
            path=document + "/text",
            answer=show_text,
            operation="show_document_text",
            summary="Read a document's text, in which the positions of passages are",
            tag=TAG,
            answers={200: None},
            problems=(*missing, errors.DocumentNotFound),
            gives="text/plain",
        ),
        Route(
            method="DELETE",
            path=document,
            answer=delete_document,
            operation="delete_document",
            summary="Delete a document",
            tag=TAG,
            answers={200: "DocumentDeletedAnswer"},
            problems=(*missing, errors.DocumentNotFound),
        ),
    )
