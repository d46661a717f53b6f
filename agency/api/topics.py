"""``/api/v1/topics``: events that are not for one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from agency import errors
from agency.api.fields import LIMIT_DEFAULT, Cursor, Limit, Name
from agency.api.starting import idempotency_key_of
from agency.core.clock import to_text
from agency.core.ids import derive_id
from agency.core.limits import NAME_CHARACTERS_MAX
from agency.domain.topic import Topic, TopicEvent, TopicMode
from agency.engine.topics import check_topic
from agency.errors import TopicNotFound
from agency.web.addresses import topic_path
from agency.web.answers import SERVICES, json_answer
from agency.web.bodies import Body, read_body
from agency.web.paging import cut_page, make_cursor, parse_number_cursor, parse_text_cursor
from agency.web.queries import Query, read_query
from agency.web.routes import Route

TAG = "topics"
PATH = "/api/v1/topics"


class TopicEventBody(Body):
    """An event for a topic. The same ``event_id`` twice counts once while the first is kept."""

    name: Name | None = Field(
        default=None, description="What runs wait for; by default the topic's own name."
    )
    payload: Any = Field(default=None, description="What they are told.")
    event_id: Name | None = Field(default=None, description="Made when it is not given.")
    mode: Annotated[TopicMode, Field(strict=False)] = Field(
        default=TopicMode.QUEUE,
        description="`queue`: exactly one wait takes it; `broadcast`: all do.",
    )
    keep_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Seconds that it is kept for waits to come; `[engine] topic_keep_s` at most.",
    )


class TopicQuery(Query):
    limit: Limit = LIMIT_DEFAULT
    cursor: Cursor = None


async def publish(request: web.Request) -> web.Response:
    """Publish an event; it is durable, and those who wait are told."""
    topic: str = request.match_info["name"]
    check_topic(topic)
    body = await read_body(request, TopicEventBody)
    key = idempotency_key_of(request)
    event_id = body.event_id
    if event_id is None and key is not None:
        event_id = derive_id("topic", topic, key)
    published = await request.app[SERVICES].topics.publish(
        topic,
        body.payload,
        name=body.name,
        event_id=event_id,
        mode=body.mode,
        keep_s=body.keep_s,
    )
    answer = {
        "event_id": published.event_id,
        "topic": topic,
        "name": body.name or topic,
        "mode": body.mode,
        "is_new": published.is_new,
        "links": {"topic": topic_path(topic)},
    }
    return json_answer(answer, status=202, headers={"Location": topic_path(topic)})


async def list_topics(request: web.Request) -> web.Response:
    """List the topics that have events or waits, by name."""
    query = read_query(request, TopicQuery)
    after = parse_text_cursor("topics", query.cursor) if query.cursor is not None else None
    rows = await request.app[SERVICES].topics.list(after=after, limit=query.limit + 1)
    page = rows[: query.limit]
    cursor = make_cursor("topics", page[-1].name) if len(rows) > query.limit else None
    return json_answer({"topics": [_topic_json(topic) for topic in page], "next_cursor": cursor})


async def show_topic(request: web.Request) -> web.Response:
    """Read one topic."""
    return json_answer(_topic_json(await request.app[SERVICES].topics.get(_topic(request))))


async def list_events(request: web.Request) -> web.Response:
    """List a topic's events that have not expired, newest first."""
    topic = _topic(request)
    query = read_query(request, TopicQuery)
    before = parse_number_cursor("topic_events", query.cursor) if query.cursor is not None else None
    topics = request.app[SERVICES].topics
    rows = await topics.events(topic, before=before, limit=query.limit + 1)
    page, cursor = cut_page("topic_events", rows, query.limit, lambda event: event.number)
    return json_answer({"events": [_event_json(event) for event in page], "next_cursor": cursor})


def _topic(request: web.Request) -> str:
    topic = request.match_info["name"]
    if len(topic) > NAME_CHARACTERS_MAX or not topic.isprintable():
        raise TopicNotFound(topic[:NAME_CHARACTERS_MAX])
    return topic


def _topic_json(topic: Topic) -> dict[str, Any]:
    return {
        "topic": topic.name,
        "events": topic.events,
        "size_bytes": topic.size_bytes,
        "waits": topic.waits,
        "links": {"self": topic_path(topic.name), "events": f"{topic_path(topic.name)}/events"},
    }


def _event_json(event: TopicEvent) -> dict[str, Any]:
    return {
        "event_id": event.id,
        "topic": event.topic,
        "name": event.name,
        "mode": event.mode,
        "payload": event.payload,
        "created_at": to_text(event.created_at),
        "expires_at": to_text(event.expires_at),
        "is_taken": event.is_taken,
        "is_spreading": event.is_spreading,
    }


def routes() -> Sequence[Route]:
    """List what is served here."""
    return (
        Route(
            method="GET",
            path=PATH,
            answer=list_topics,
            operation="list_topics",
            summary="List the topics that have events or waits, by name",
            tag=TAG,
            query=TopicQuery,
            answers={200: "TopicPageAnswer"},
        ),
        Route(
            method="GET",
            path=f"{PATH}/{{name}}",
            answer=show_topic,
            operation="show_topic",
            summary="Read a topic",
            tag=TAG,
            answers={200: "TopicAnswer"},
            problems=(errors.TopicNotFound,),
        ),
        Route(
            method="GET",
            path=f"{PATH}/{{name}}/events",
            answer=list_events,
            operation="list_topic_events",
            summary="List a topic's events, newest first",
            description="Taken ones are there until they expire, without their payload.",
            tag=TAG,
            query=TopicQuery,
            answers={200: "TopicEventPageAnswer"},
            problems=(errors.TopicNotFound,),
        ),
        Route(
            method="POST",
            path=f"{PATH}/{{name}}/events",
            answer=publish,
            operation="publish_event",
            summary="Publish an event in a topic",
            description="A topic needs no making.",
            tag=TAG,
            body=TopicEventBody,
            answers={202: "PublishedAnswer"},
            problems=(errors.TopicFull, errors.ValueTooLarge),
            examples={"price": {"name": "price", "payload": {"sku": "A-1", "price": 12}}},
            is_idempotent=True,
        ),
    )
