"""``agency topics``: events that are not for one run."""

from __future__ import annotations

from functools import partial

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode
from agency.cli.parameters import SPAN, read_json
from agency.cli.runs import collect, tell_more
from agency.cli.tree import Noun, Verb
from agency.core.ids import new_id


@click.group(
    cls=Noun,
    places={
        "ls": "agency.cli.topics:ls",
        "show": "agency.cli.topics:show",
        "send": "agency.cli.topics:send",
    },
    examples=(
        "agency topics ls",
        "agency topics send orders paid --payload '{\"order\": 17}'",
        "agency topics send prices --broadcast --payload 12",
    ),
)
@daemon_options
def topics() -> None:
    """See topics, and send events to whoever waits at them."""


@click.command(cls=Verb, examples=("agency topics ls",))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@daemon_options
@pass_invocation
def ls(invocation: Invocation, limit: int) -> ExitCode:
    """List the topics that have events or waits, by name."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(lambda cursor, rows: client.topics(limit=rows, cursor=cursor), limit)
    if output.is_json:
        output.document({"topics": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("topic", "events", "bytes", "waits"),
        [
            (one["topic"], str(one["events"]), str(one["size_bytes"]), str(one["waits"]))
            for one in found
        ],
    )
    if cursor is not None:
        output.note(f"These are the first {len(found)}; there are more. See them with --limit.")
    return ExitCode.OK


@click.command(cls=Verb, examples=("agency topics show orders", "agency topics show orders --json"))
@click.argument("topic")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Events.")
@daemon_options
@pass_invocation
def show(invocation: Invocation, topic: str, limit: int) -> ExitCode:
    """Show one topic with its newest events."""
    client, output = invocation.client(), invocation.output
    found = client.topic(topic)
    events, cursor = collect(
        lambda cursor, rows: client.topic_events(topic, limit=rows, cursor=cursor), limit
    )
    if output.is_json:
        output.document({**found, "newest": events, "next_cursor": cursor})
        return ExitCode.OK
    output.text(f"topic:     {found['topic']}")
    output.text(f"events:    {found['events']} kept, {found['size_bytes']} bytes")
    output.text(f"waits:     {found['waits']}")
    output.text("")
    output.table(
        ("event", "name", "mode", "taken", "created", "expires"),
        [
            (
                event["event_id"],
                event["name"],
                event["mode"],
                "yes" if event["is_taken"] else "no",
                event["created_at"],
                event["expires_at"],
            )
            for event in events
        ],
    )
    tell_more(output, len(events), cursor)
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency topics send orders paid --payload '{\"order\": 17}'",
        "agency topics send prices --broadcast --payload @prices.json --keep 1h",
    ),
)
@click.argument("topic")
@click.argument("name", metavar="EVENT", required=False)
@click.option("--payload", help="JSON, @FILE, or - for stdin; null if it is left out.")
@click.option("--broadcast", is_flag=True, help="For all who wait, not for one.")
@click.option("--keep", "keep_s", type=SPAN, help="How long it is kept for waits to come (1h).")
@daemon_options
@pass_invocation
def send(
    invocation: Invocation,
    topic: str,
    name: str | None,
    payload: str | None,
    keep_s: float | None,
    *,
    broadcast: bool,
) -> ExitCode:
    """Send an event to a topic. EVENT is what runs wait for; by default the topic's own name."""
    value = None if payload is None else read_json(payload, "--payload")
    client, output = invocation.client(), invocation.output
    # With a key the event may be sent again when the answer is lost, and counts once.
    deliver = partial(
        client.publish,
        topic,
        value,
        name=name,
        mode="broadcast" if broadcast else None,
        keep_s=keep_s,
        idempotency_key=new_id(),
    )
    sent = Follower(client, output, Limit(None)).delivered(deliver)
    if output.is_json:
        output.document(sent)
    else:
        output.text(sent["event_id"])
    return ExitCode.OK
