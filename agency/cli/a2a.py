"""``agency a2a``: agents of other systems, looked at and called.

A name means an agent of the daemon's settings: the daemon has its token, and a call of it is a run,
which survives the command and the daemon. An address means any agent; it is called from here, needs
no daemon, and is forgotten when the command ends.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from agency.cli.follow import Follower, Limit
from agency.cli.invocation import Invocation, daemon_options, pass_invocation
from agency.cli.output import ExitCode, Output
from agency.cli.parameters import SPAN, read_json
from agency.cli.results import report
from agency.cli.runs import collect
from agency.cli.tree import Noun, Verb
from agency.cli.watching import follow_started
from agency.core.ids import new_id
from agency.documents import RunDocument
from agency.domain.content import Part, bytes_part, data_part, text_part
from agency.domain.remote import CALL_WORKFLOW, RemoteTask, text_of

FILE_BYTES_MAX = 8 << 20
FILES_MAX = 32
_STATES_FAILED = frozenset({"failed", "rejected", "cancelled"})


@click.group(
    cls=Noun,
    places={
        "list": "agency.cli.a2a:list_",
        "card": "agency.cli.a2a:card",
        "send": "agency.cli.a2a:send",
        "get": "agency.cli.a2a:get",
        "cancel": "agency.cli.a2a:cancel",
        "push": "agency.cli.peers:push",
        "peers": "agency.cli.peers:peers",
    },
    examples=(
        "agency a2a list",
        "agency a2a card https://agents.example.org/weather",
        'agency a2a send weather "Will it rain in Oslo tomorrow?"',
        'agency a2a send https://agents.example.org/weather "And in Bergen?" --stream',
    ),
)
@daemon_options
def a2a() -> None:
    """Look at agents of other systems, and call them.

    NAME is one of the daemon's [a2a.agents.NAME], an address is any agent.
    """


def _personal_options(command: Any) -> Any:  # noqa: ANN401  click's own
    """Add the options for agents that are called by their address."""
    bearer = click.option(
        "--bearer",
        envvar="A2A_TOKEN",
        default="",
        help="Token for an agent's address; better A2A_TOKEN, which no one else sees.",
    )
    allow = click.option(
        "--allow", multiple=True, metavar="HOST", help="A host that the card may lead to, too."
    )
    return bearer(allow(command))


def _is_address(agent: str) -> bool:
    return "://" in agent


def _open(bearer: str, allow: Sequence[str]) -> Any:  # noqa: ANN401  loaded late
    """Make what speaks with agents by their address."""
    from agency.daemon.local import remote

    if not bearer.isascii() or not bearer.isprintable() or bearer.startswith(("secret://",)):
        raise click.UsageError("--bearer takes the token itself, in plain characters.")
    try:
        return remote.open_agents(bearer, list(allow))
    except ValueError as error:
        raise click.UsageError(f"--allow: {error}") from error


@click.command("list", cls=Verb, examples=("agency a2a list", "agency a2a list --json"))
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most.")
@daemon_options
@pass_invocation
def list_(invocation: Invocation, limit: int) -> ExitCode:
    """List the agents of the daemon's settings, and whether they can be reached."""
    client, output = invocation.client(), invocation.output
    found, cursor = collect(
        lambda cursor, rows: client.remote_agents(limit=min(rows, 50), cursor=cursor), limit
    )
    if output.is_json:
        output.document({"remote_agents": found, "next_cursor": cursor})
        return ExitCode.OK
    output.table(
        ("name", "state", "speaks", "skills", "address", "reason"),
        [
            (
                one["name"],
                "ready" if one["reachable"] else "away",
                f"{one['protocol']} {one['binding']}".strip() or "-",
                ", ".join(one["skills"]) or "-",
                one["url"],
                one["reason"] or "-",
            )
            for one in found
        ],
    )
    if not found:
        output.note("There are none. Add one to the configuration as [a2a.agents.NAME].")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=("agency a2a card weather", "agency a2a card https://agents.example.org/weather"),
)
@click.argument("agent", metavar="NAME|URL")
@_personal_options
@daemon_options
@pass_invocation
def card(invocation: Invocation, agent: str, bearer: str, allow: tuple[str, ...]) -> ExitCode:
    """Show what an agent says of itself. With --json the card as it came."""
    output = invocation.output
    if _is_address(agent):
        from agency.api.remote_shape import card_json
        from agency.daemon.local import remote

        agents = _open(bearer, allow)
        found: Any = card_json(agent, asyncio.run(remote.read_card(agents, agent)))
    else:
        found = invocation.client().remote_card(agent, is_fresh=True)
    if output.is_json:
        output.document(found["document"])
        return ExitCode.OK
    rows = {
        "name": found["name"],
        "version": found["version"],
        "says": " ".join(found["description"].split()),
        "speaks": f"A2A {found['protocol']}, {found['binding']}, at {found['url']}",
        "streams": "yes" if found["streams"] else "no",
        "signature": "checked" if found["is_verified"] else "not checked",
    }
    for key, value in rows.items():
        output.text(f"{key + ':':<11} {value}")
    for one in found["skills"]:
        said = " ".join(one["description"].split())
        output.text(f"{'skill:':<11} {one['name']}{f': {said}' if said else ''}")
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        'agency a2a send weather "Will it rain in Oslo tomorrow?"',
        'agency a2a send https://agents.example.org/weather "And in Bergen?" --stream',
        'agency a2a send translator Translate. --file letter.txt --data \'{"to": "no"}\'',
        'agency a2a send weather "Oslo" --task 3f2a --context 9c1d',
    ),
)
@click.argument("agent", metavar="NAME|URL")
@click.argument("text", required=False, default="")
@click.option("--data", help="A JSON value that goes with it; @FILE, or - for stdin.")
@click.option(
    "--file",
    "paths",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that goes with it.",
)
@click.option("--context", default="", help="Go on with that conversation.")
@click.option("--task", default="", help="Answer that task.")
@click.option("--stream", "is_streamed", is_flag=True, help="Print what comes as it comes.")
@click.option("--no-wait", is_flag=True, help="Print the id of the task, or run, and do not wait.")
@click.option("--timeout", type=SPAN, help="Longest wait (90s, 5m).")
@_personal_options
@daemon_options
@pass_invocation
def send(  # noqa: PLR0913, PLR0917  one for each option
    invocation: Invocation,
    agent: str,
    text: str,
    data: str | None,
    paths: tuple[Path, ...],
    context: str,
    task: str,
    timeout: float | None,
    bearer: str,
    allow: tuple[str, ...],
    *,
    is_streamed: bool,
    no_wait: bool,
) -> ExitCode:
    """Send a message to an agent, and print what it answers.

    To a NAME it is sent by a run of the daemon, which goes on when this command is interrupted. To
    an address it is sent from here.
    """
    if no_wait and (is_streamed or timeout is not None):
        raise click.UsageError("--no-wait goes together with neither --stream nor --timeout.")
    value = None if data is None else read_json(data, "--data")
    files = _read_files(paths)
    if not (text or files or data is not None):
        raise click.UsageError("Give a text, --data or --file.")
    if _is_address(agent):
        parts = [text_part(text)] if text else []
        parts += [data_part(value)] if data is not None else []
        direct = _Direct(invocation.output, _open(bearer, allow), agent, is_streamed=is_streamed)
        return direct.send(
            [*parts, *files], context=context, task=task, waits=not no_wait, timeout_s=timeout
        )
    wanted: dict[str, Any] = {"agent": agent, "message": text, "context_id": context}
    wanted |= {"task_id": task, "data": value}
    if files:
        wanted["files"] = {one.name: {"base64": one.to_json()["base64"]} for one in files}
        if len(wanted["files"]) < len(files):
            raise click.UsageError("--file: two files have the same name.")
    return _send_by_run(
        invocation, wanted, is_streamed=is_streamed, no_wait=no_wait, timeout_s=timeout
    )


def _read_files(paths: Sequence[Path]) -> list[Part]:
    """Read what goes with a message.

    Raises:
        click.UsageError: there are too many, one is too large, or it cannot be read.
    """
    if len(paths) > FILES_MAX:
        raise click.UsageError(f"--file can be given {FILES_MAX} times.")
    parts = []
    for path in paths:
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise click.UsageError(f"--file: {path} has more than {FILE_BYTES_MAX} bytes.")
            content = path.read_bytes()
        except OSError as error:
            raise click.UsageError(f"--file: {path}: {error.strerror}.") from error
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        parts.append(bytes_part(content, media_type=media_type, name=path.name))
    return parts


def _send_by_run(
    invocation: Invocation,
    wanted: dict[str, Any],
    *,
    is_streamed: bool,
    no_wait: bool,
    timeout_s: float | None,
) -> ExitCode:
    client, output = invocation.client(), invocation.output
    follower = Follower(client, output, Limit(timeout_s))
    # A key of our own, so that the request may be sent again when its answer is lost.
    start = partial(client.start, CALL_WORKFLOW, wanted, wait_s=0, idempotency_key=new_id())
    started = follower.delivered(start)
    return follow_started(
        follower, output, started, no_wait=no_wait, is_watched=is_streamed, tell=_tell_end
    )


def _tell_end(output: Output, run: RunDocument) -> ExitCode:
    answer = run.get("output")
    if output.is_json or run["status"] != "completed" or not isinstance(answer, dict):
        return report(output, run)
    _tell_answer(output, answer["content"], answer["context_id"])
    return ExitCode.OK


class _Direct:
    """A message to an address, and what is shown of what becomes of it."""

    def __init__(self, output: Output, agents: Any, url: str, *, is_streamed: bool) -> None:  # noqa: ANN401
        self._output = output
        self._agents = agents
        self._url = url
        self._is_streamed = is_streamed
        self._state = ""
        self._shown: list[Any] = []

    def send(
        self, parts: list[Part], *, context: str, task: str, waits: bool, timeout_s: float | None
    ) -> ExitCode:
        """Send it, wait, and print what came."""
        from agency.daemon.local import remote

        message = remote.make_message(new_id(), parts, context_id=context, task_id=task)
        sending = remote.send(
            self._agents,
            self._url,
            message,
            waits=waits,
            timeout_s=timeout_s,
            on_change=self._show,
        )
        found = asyncio.run(sending)
        if not waits and found.id:
            if self._output.is_json:
                from agency.api.remote_shape import task_json

                self._output.document(task_json(found))
            else:
                self._output.text(found.id)
            return ExitCode.OK
        return tell_task(self._output, found, self._url, shown=self._shown)

    def _show(self, task: RemoteTask) -> None:
        """Show a change: its texts as data, its state to people."""
        if task.state.value != self._state:
            self._state = task.state.value
            if not self._output.is_json:
                said = text_of(task.said)
                self._output.note(f"{self._state}{f': {said}' if said else ''}")
        if self._is_streamed and not self._output.is_json:
            parts = [part.to_json() for one in task.artifacts for part in one.parts]
            # The task as it is, with all that was told before, or only what is new.
            new = parts[len(self._shown) :] if _begins(parts, self._shown) else parts
            self._shown += new
            _tell_parts(self._output, new)


def _begins(parts: Sequence[Any], first: Sequence[Any]) -> bool:
    return list(parts[: len(first)]) == list(first)


def _not_shown(parts: Sequence[Any], shown: Sequence[Any]) -> Sequence[Any]:
    """Give what is not printed yet of a whole, whose pieces may have come otherwise divided."""
    if _begins(parts, shown):
        return parts[len(shown) :]
    whole, before = (
        "".join(one["text"] for one in told if one["kind"] == "text") for told in (parts, shown)
    )
    if not whole.startswith(before):
        return parts
    rest = [{"kind": "text", "text": whole[len(before) :]}] if whole != before else []
    return [*rest, *(one for one in parts if one["kind"] != "text" and one not in shown)]


def tell_task(
    output: Output, task: RemoteTask, agent: str, *, shown: Sequence[Any] = ()
) -> ExitCode:
    """Print a task, and give the code that the command ends with.

    Args:
        shown: Parts of what it has handed out that were printed on the way.
    """
    from agency.api.remote_shape import task_json

    return _tell(output, task_json(task), agent, shown=shown)


def _tell(output: Output, found: Any, agent: str, *, shown: Sequence[Any] = ()) -> ExitCode:  # noqa: ANN401  JSON
    state = found["state"]
    if output.is_json:
        output.document(found)
    elif state in {"input_required", "auth_required"}:
        output.warn(f"The task {found['id']} asks: {found['text'] or found['data']}")
        output.warn(
            f'Answer with `agency a2a send {agent} "…" --task {found["id"]} '
            f"--context {found['context_id']}`."
        )
    elif state in _STATES_FAILED:
        why = f": {found['text']}" if found["text"] else "."
        output.complaint(f"The task {found['id']} is {state}{why}")
    elif state == "completed":
        parts = [part for one in found["artifacts"] for part in one["content"]]
        _tell_answer(output, _not_shown(parts or found["said"], shown), found["context_id"])
    else:
        output.text(found["id"])
        output.note(f"It is {state}. Look again with `agency a2a get {agent} {found['id']}`.")
    if state in _STATES_FAILED:
        return ExitCode.FAILED
    if state == "completed":
        return ExitCode.OK
    return ExitCode.WAITING if state.endswith("_required") else ExitCode.TIMED_OUT


def _tell_answer(output: Output, parts: Sequence[Any], context_id: str) -> None:
    _tell_parts(output, parts)
    if context_id:
        output.note(f"Go on with --context {context_id}.")


def _tell_parts(output: Output, parts: Sequence[Any]) -> None:
    """Print parts: texts as they are, values as JSON, files by their names."""
    for part in parts:
        match part["kind"]:
            case "text":
                output.text(part["text"])
            case "data":
                output.document(part["data"])
            case "link":
                output.text(part["url"])
            case _:
                size = len(part["base64"]) * 3 // 4
                name = part.get("name") or part.get("media_type") or "a file"
                output.note(f"[{name}, about {size} bytes; --json shows it]")


@click.command(
    cls=Verb,
    examples=(
        "agency a2a get weather 3f2a",
        "agency a2a get https://agents.example.org/weather 3f2a --json",
    ),
)
@click.argument("agent", metavar="NAME|URL")
@click.argument("task")
@_personal_options
@daemon_options
@pass_invocation
def get(
    invocation: Invocation, agent: str, task: str, bearer: str, allow: tuple[str, ...]
) -> ExitCode:
    """Show a task of an agent, and what it has handed out."""
    if _is_address(agent):
        from agency.daemon.local import remote

        found = asyncio.run(remote.read_task(_open(bearer, allow), agent, task))
        tell_task(invocation.output, found, agent)
    else:
        _tell(invocation.output, invocation.client().remote_task(agent, task), agent)
    return ExitCode.OK


@click.command(
    cls=Verb,
    examples=(
        "agency a2a cancel weather 3f2a",
        "agency a2a cancel https://agents.example.org/weather 3f2a",
    ),
)
@click.argument("agent", metavar="NAME|URL")
@click.argument("task")
@_personal_options
@daemon_options
@pass_invocation
def cancel(
    invocation: Invocation, agent: str, task: str, bearer: str, allow: tuple[str, ...]
) -> ExitCode:
    """Have a task of an agent ended; one that has ended stays as it is."""
    output = invocation.output
    if _is_address(agent):
        from agency.api.remote_shape import task_json
        from agency.daemon.local import remote

        found: Any = task_json(asyncio.run(remote.cancel_task(_open(bearer, allow), agent, task)))
    else:
        found = invocation.client().cancel_remote_task(agent, task)
    if output.is_json:
        output.document(found)
    else:
        output.note(f"The task {found['id']} is {found['state']}.")
    return ExitCode.OK
