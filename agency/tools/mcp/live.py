"""Calls of one session: made, followed, held while somebody is asked, and judged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Protocol

import mcp_types as types
from mcp.client.client import Client
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError

from agency.core.clock import monotonic_s
from agency.core.ids import new_id
from agency.core.records import dataclass
from agency.domain.tool import Asks, Question, ToolOutput
from agency.errors import AgencyError
from agency.tools.mcp import asking, tasks
from agency.tools.mcp.asking import NotAskable
from agency.tools.mcp.calls import (
    ROUNDS_MAX,
    BrokenOff,
    CallRequest,
    NotDone,
    Parked,
    Rounds,
    Tasked,
    TimedOut,
    Unwelcome,
    parse_state,
)
from agency.tools.mcp.refusals import Refusals
from agency.tools.mcp.results import failed, media_of, output_of
from agency.tools.mcp.sent import META_KEY, Sent

log = logging.getLogger(__name__)

PARK_S = 600.0
"""How long a server holds a call for an answer; then the call is given up, and made again."""

ALONE_S = 15.0
"""How long a question of which nobody knows whose it is waits until only one call is left."""

DOUBTED_MAX = 16
"""Such questions of one server at once; further ones are refused."""

CANCEL_S = 2.0
"""How long a call may take to leave after it was cancelled."""

PROGRESS_PAUSE_S = 0.2
"""Shortest time between two lines of progress of one call."""

PROGRESS_CHARACTERS_MAX = 2000

_STATE_PAUSE_S = (0.05, 0.1, 0.2, 0.25)
_UNANSWERED = object()

# What the SDK says in the place of a server.
_GONE = "Session terminated"
_CLOSED = "Connection closed"
_STATUS = "Server returned an error response"
_STREAM = "SSE stream "


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Whom a session tells, and what it may do.

    Attributes:
        on_tools: Takes the tools whenever they were read.
        redact, redact_json: Take secrets out of what servers say.
    """

    on_tools: Callable[[Sequence[types.Tool]], None]
    redact: Callable[[str], str]
    redact_json: Callable[[Any], Any]
    elicitation: bool
    sampling: bool
    roots: bool


@dataclass(slots=True, eq=False)
class _Open:
    """A question that a server holds a call for."""

    question: Question
    digest: str
    answer: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class _Live:
    """A call under way.

    Attributes:
        prepared: Answers by the digests of their questions, from an earlier try.
        wake: Resolved when the call has ended or the server asks.
        media: Files in which pictures and recordings of the result are.
    """

    request: CallRequest
    prepared: dict[str, Any]
    id: str = field(default_factory=new_id)
    task: asyncio.Task[Any] | None = None
    wake: asyncio.Future[None] | None = None
    open: dict[str, _Open] = field(default_factory=dict)
    expiry: asyncio.TimerHandle | None = None
    asked: int = 0
    media: Mapping[int, str] = field(default_factory=dict)

    def tell(self, *_: object) -> None:
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)

    def hear_end(self, task: asyncio.Task[Any]) -> None:
        """Wake who follows it; of a call that waits for an answer nobody looks how it ended."""
        if not task.cancelled():
            task.exception()
        self.tell()

    def answer_all(self, value: Any) -> None:  # noqa: ANN401  an answer, or that there is none
        for one in self.open.values():
            if not one.answer.done():
                one.answer.set_result(value)
        self.open.clear()


class Owner(Protocol):
    """What calls need of the session that they are in."""

    @property
    def client(self) -> Client: ...

    @property
    def is_modern(self) -> bool: ...

    @property
    def reason(self) -> str: ...

    @property
    def is_lost(self) -> bool: ...

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]: ...

    def lose(self, reason: str) -> None: ...

    def probe(self) -> None: ...

    def hear(self) -> None: ...

    async def read_tools(self) -> None: ...


class Calls:
    """The calls of one session.

    Attributes:
        done: How many the server has answered.
    """

    def __init__(self, owner: Owner, *, hooks: Hooks, sent: Sent, refusals: Refusals) -> None:
        self.done = 0
        self._owner = owner
        self._hooks = hooks
        self._sent = sent
        self._refusals = refusals
        self._live: dict[str, _Live] = {}
        self._fewer = asyncio.Event()
        self._is_exclusive = False
        self._doubted = 0

    @property
    def running(self) -> int:
        """How many are under way, those included that wait for answers."""
        return len(self._live)

    def end(self) -> None:
        """Answer what is still asked: the session ends."""
        for live in self._live.values():
            live.answer_all(_UNANSWERED)
            if live.expiry is not None:
                live.expiry.cancel()

    def holds(self, parked: Parked, key: str) -> bool:
        """Tell whether a call that has asked is still held here."""
        live = self._live.get(parked.id)
        return live is not None and live.request.key == key

    async def call(self, request: CallRequest) -> ToolOutput | Asks:
        """Make a call, or go on with one that was answered.

        Raises:
            NotDone, BrokenOff, TimedOut: as they say.
            InvalidInput: the state is none.
        """
        state = parse_state(request.state)
        if isinstance(state, Parked) and self.holds(state, request.key):
            live = self._live[state.id]
            self._unpark(live, request)
            return await self._follow(live, request)
        if self._owner.is_lost:
            raise NotDone(self._owner.reason)
        await self._take_turn(request.timeout_s)
        prepared = state.all_answers(request.answers) if isinstance(state, Parked) else {}
        live = _Live(request, dict(prepared))
        self._live[live.id] = live
        if isinstance(state, Tasked):
            work = self._look(live, state)
        else:
            work = self._run(live, state if isinstance(state, Rounds) else None)
        live.task = self._owner.spawn(work, "mcp-call")
        live.task.add_done_callback(live.hear_end)
        return await self._follow(live, request)

    async def _take_turn(self, timeout_s: float) -> None:
        """Wait for the others, where questions could not be told apart otherwise."""
        if not self._is_exclusive:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while self._live:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            raise NotDone("another call of the server waits for an answer") from None

    async def _follow(self, live: _Live, request: CallRequest) -> ToolOutput | Asks:
        """Wait until the call has ended or the server asks."""
        assert live.task is not None
        try:
            async with asyncio.timeout(request.timeout_s):
                while not live.task.done() and not live.open:
                    live.wake = asyncio.get_running_loop().create_future()
                    await live.wake
        except TimeoutError:
            await self._give_up(live)
            self._owner.probe()
            raise TimedOut from None
        except asyncio.CancelledError:
            await self._give_up(live)
            raise
        if not live.task.done():
            return self._park(live)
        try:
            return self._outcome(live, live.task)
        finally:
            self._drop(live)

    async def _give_up(self, live: _Live) -> None:
        """Cancel a call; the SDK tells the server."""
        assert live.task is not None
        live.answer_all(_UNANSWERED)
        live.task.cancel()
        try:
            await asyncio.wait([live.task], timeout=CANCEL_S)
        finally:
            self._drop(live)

    def _drop(self, live: _Live) -> None:
        self._live.pop(live.id, None)
        self._sent.forget(live.request.key)
        if live.expiry is not None:
            live.expiry.cancel()
        live.answer_all(_UNANSWERED)
        self._fewer.set()

    def _park(self, live: _Live) -> Asks:
        """Hand out the questions; the server goes on holding the call."""
        loop = asyncio.get_running_loop()
        live.expiry = loop.call_later(PARK_S, self._expire, live)
        state = Parked(
            id=live.id,
            asked={key: one.digest for key, one in live.open.items()},
            answered=live.prepared,
        )
        return Asks(questions=[one.question for one in live.open.values()], state=state.to_json())

    def _expire(self, live: _Live) -> None:
        self._owner.spawn(self._give_up(live), "mcp-expire")

    def _unpark(self, live: _Live, request: CallRequest) -> None:
        if live.expiry is not None:
            live.expiry.cancel()
        live.request = request
        for key, one in live.open.items():
            answer = request.answers.get(key)
            live.prepared[one.digest] = answer
            if not one.answer.done():
                one.answer.set_result(answer)
        live.open.clear()

    async def _run(self, live: _Live, rounds: Rounds | None) -> Any:  # noqa: ANN401  the SDK's
        """Make the call, and answer by itself what needs nobody else."""
        responses = await self._responses(live.request, rounds)
        opaque = None if rounds is None else rounds.request_state
        number = 0 if rounds is None else rounds.number
        while True:
            result = await self._send(live, responses, opaque)
            if isinstance(result, tasks.TaskHandle):
                return self._handed_out(Tasked(id=result.task_id), result.poll_interval_ms)
            if not isinstance(result, types.InputRequiredResult):
                live.media = await self._put_media(live.request, result)
                return result
            number += 1
            if number > ROUNDS_MAX:
                raise NotAskable(f"it asked more than {ROUNDS_MAX} times")
            requests = result.input_requests or {}
            kinds = {key: asking.kind_of(one) for key, one in requests.items()}
            again = Rounds(
                kinds=kinds,
                request_state=result.request_state,
                number=number,
                defaults=self._defaults(kinds, requests),
            )
            if set(kinds.values()) - {asking.ROOTS}:
                questions = [
                    self._question(key, kinds[key], one.params)
                    for key, one in requests.items()
                    if kinds[key] != asking.ROOTS
                ]
                opaque = result.request_state
                if opaque is not None and self._hooks.redact(opaque) != opaque:
                    raise NotAskable("a secret is in its state, which would be recorded")
                return Asks(questions=questions, state=again.to_json())
            if not kinds:
                await asyncio.sleep(_STATE_PAUSE_S[min(number, len(_STATE_PAUSE_S)) - 1])
            responses = await self._responses(live.request, again)
            opaque = result.request_state

    def _handed_out(self, tasked: Tasked, poll_interval_ms: float | None) -> Asks:
        """Hand out a task, so that it is recorded before it is looked at."""
        if self._hooks.redact(tasked.id) != tasked.id:
            raise NotAskable("a secret is in the name of its task, which would be recorded")
        return Asks(
            questions=(),
            state=tasked.to_json(),
            is_begun=True,
            again_s=tasks.pause_s(tasked, poll_interval_ms),
        )

    async def _look(self, live: _Live, tasked: Tasked) -> Any:  # noqa: ANN401  the SDK's, or Asks
        """Answer what a task has asked, and look how it is."""
        session = self._owner.client.session
        responses = await self._responses(live.request, tasked)
        if responses:
            written = {key: asking.written(one) for key, one in responses.items()}
            update = tasks.UpdateParams(task_id=tasked.id, input_responses=written)
            await session.send_request(tasks.UpdateTask(params=update), types.EmptyResult)
            answered = [*tasked.answered, *responses]
            tasked = replace(tasked, kinds={}, defaults={}, answered=answered, looks=0)
        get = tasks.GetTask(params=tasks.TaskParams(task_id=tasked.id))
        detail = await session.send_request(get, tasks.TaskDetail)
        match detail.status:
            case tasks.COMPLETED:
                result = types.CallToolResult.model_validate(detail.result, by_name=False)
                await session.validate_tool_result(live.request.tool, result)
                live.media = await self._put_media(live.request, result)
                return result
            case tasks.FAILED | tasks.CANCELLED:
                raise NotAskable(f"its task has {detail.status}: {tasks.error_text(detail)}")
            case tasks.INPUT_REQUIRED:
                return self._asked_by(tasked, detail)
        if detail.status_message:
            live.request.progress(
                self._hooks.redact(detail.status_message)[:PROGRESS_CHARACTERS_MAX]
            )
        return self._handed_out(replace(tasked, looks=tasked.looks + 1), detail.poll_interval_ms)

    def _asked_by(self, tasked: Tasked, detail: tasks.TaskDetail) -> Asks:
        """Put what a task asks as questions of the run; what was answered is on its way."""
        requests = {
            key: one for key, one in tasks.requests_of(detail).items() if key not in tasked.answered
        }
        kinds = {key: asking.kind_of(one) for key, one in requests.items()}
        asked = replace(
            tasked, kinds=kinds, defaults=self._defaults(kinds, requests), looks=tasked.looks + 1
        )
        questions = [
            self._question(key, kinds[key], one.params)
            for key, one in requests.items()
            if kinds[key] != asking.ROOTS
        ]
        if len(asked.answered) + len(questions) > tasks.QUESTIONS_MAX:
            raise NotAskable(f"its task has asked more than {tasks.QUESTIONS_MAX} questions")
        return replace(self._handed_out(asked, detail.poll_interval_ms), questions=questions)

    async def _put_media(
        self, request: CallRequest, result: types.CallToolResult
    ) -> Mapping[int, str]:
        """Put pictures and sound into the run's workspace; without room there they are told of."""
        kinds = {block.type for block in result.content}
        if request.put is None or not kinds & {"image", "audio"}:
            return {}
        kept = {}
        found = await asyncio.to_thread(media_of, result, request.tool)
        for number, (path, content) in found.items():
            try:
                await request.put(path, content)
            except (AgencyError, OSError) as error:
                log.warning("media not kept", extra={"reason": str(error)})
                break
            kept[number] = path
        return kept

    async def _responses(self, request: CallRequest, rounds: Rounds | Tasked | None) -> Any:  # noqa: ANN401
        """Make the SDK's answers to what was asked; None when nothing was."""
        if rounds is None or not rounds.kinds:
            return None
        return {
            key: await self._roots(request)
            if kind == asking.ROOTS
            else asking.answer_of(kind, request.answers.get(key), rounds.defaults.get(key, {}))
            for key, kind in rounds.kinds.items()
        }

    def _defaults(
        self, kinds: Mapping[str, str], requests: Mapping[str, Any]
    ) -> Mapping[str, Mapping[str, Any]]:
        """Give the defaults of forms, secrets taken out: they are recorded with the state."""
        found = {key: asking.defaults_of(kinds[key], one.params) for key, one in requests.items()}
        return {key: self._hooks.redact_json(one) for key, one in found.items() if one}

    async def _roots(self, request: CallRequest) -> types.ListRootsResult:
        if not self._hooks.roots or request.folder is None:
            return asking.roots_result(None)
        return asking.roots_result(str(await request.folder()))

    async def _send(self, live: _Live, responses: Any, opaque: str | None) -> Any:  # noqa: ANN401
        request = live.request
        send = self._owner.client.session.call_tool
        arguments: dict[str, Any] = {
            "progress_callback": _Progress(request.progress, self._hooks.redact),
            "input_responses": responses,
            "request_state": opaque,
            "meta": {META_KEY: request.key},
            "allow_input_required": True,
            "allow_claimed": True,
        }
        try:
            return await send(request.tool, dict(request.arguments), **arguments)
        except MCPError as error:
            if error.code != types.HEADER_MISMATCH or not self._owner.is_modern:
                raise
            # The list that we have is older than the server's: read it and send once more.
            await self._owner.read_tools()
            return await send(request.tool, dict(request.arguments), **arguments)

    def _outcome(self, live: _Live, task: asyncio.Task[Any]) -> ToolOutput | Asks:
        """Judge how a call has ended."""
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            return self._failure(live, error)
        self._owner.hear()
        self.done += 1
        result = task.result()
        if isinstance(result, Asks):
            return result
        return output_of(
            result,
            redact=self._hooks.redact,
            redact_json=self._hooks.redact_json,
            media=live.media,
        )

    def _failure(self, live: _Live, error: BaseException | None) -> ToolOutput | Asks:
        """Judge a call that raised, by whether it had left and who says so."""
        is_sent = live.request.key in self._sent
        if isinstance(error, MCPError) and not _is_ours(error):
            self._owner.hear()
            self.done += 1
            if error.code == types.URL_ELICITATION_REQUIRED:
                return self._pages_of(error)
            return failed(f"The server refused: {error.message}", redact=self._hooks.redact)
        if isinstance(error, NotAskable):
            return failed(f"The server's question: {error}.", redact=self._hooks.redact)
        if isinstance(error, RuntimeError | ValueError):
            # The SDK has read an answer, and found that it is none, or not what the tool declares.
            told = str(error).splitlines()[0][:500] if str(error) else type(error).__name__
            return failed(f"The server's answer is not valid: {told}", redact=self._hooks.redact)
        reason = self._why(error)
        if error is not None and is_gone(error):
            self._owner.lose("it has forgotten the session")
        elif not isinstance(error, MCPError) or error.message == _CLOSED:
            self._owner.lose(reason)
        else:
            self._owner.probe()
        if is_sent:
            raise BrokenOff(reason)
        if self._is_unwelcome(error):
            raise Unwelcome(reason)
        raise NotDone(reason)

    def _why(self, error: BaseException | None) -> str:
        if self._refusals.reason:
            return self._refusals.reason
        if self._is_unwelcome(error):
            return self._refusals.login
        if isinstance(error, MCPError) and error.message == _STATUS:
            return f"it answered with HTTP {self._refusals.status}"
        if self._owner.is_lost and self._owner.reason:
            return self._owner.reason
        if error is None or (isinstance(error, MCPError) and error.message == _CLOSED):
            return "the connection to the server ended"
        return str(error) or type(error).__name__

    def _is_unwelcome(self, error: BaseException | None) -> bool:
        is_status = isinstance(error, MCPError) and error.message == _STATUS
        return is_status and self._refusals.has_refused

    def _pages_of(self, error: MCPError) -> ToolOutput | Asks:
        """Put the pages that a server wants to be visited first as questions. The call is new then.

        Source: MCP 2025-11-25, elicitation, URLElicitationRequiredError.
        """
        try:
            data = types.ElicitationRequiredErrorData.model_validate(error.error.data)
        except ValueError:
            return failed(f"The server refused: {error.message}", redact=self._hooks.redact)
        questions = [
            self._question(f"page-{number}", asking.URL, one)
            for number, one in enumerate(data.elicitations)
        ]
        return Asks(
            questions=questions, state=Rounds(kinds={}, request_state=None, number=1).to_json()
        )

    # --- what servers ask while they hold a call --------------------------------------------

    async def on_elicit(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        """Put a form or a page to the person; the SDK's callback."""
        del context
        kind = asking.URL if params.mode == "url" else asking.FORM
        answer: types.ElicitResult | types.ErrorData = await self._ask(kind, params)
        return answer

    async def on_sample(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        """Put a conversation to the run's model; the SDK's callback."""
        del context
        answer: types.CreateMessageResult | types.ErrorData = await self._ask(asking.MODEL, params)
        return answer

    async def on_roots(
        self, context: ClientRequestContext
    ) -> types.ListRootsResult | types.ErrorData:
        """Tell the folder of the run, if it is clear which; the SDK's callback."""
        del context
        lives = list(self._live.values())
        # Asked outside of a call, or while several run, nobody can say of which run's.
        if len(lives) != 1:
            return asking.roots_result(None)
        return await self._roots(lives[0].request)

    def _question(self, key: str, kind: str, params: Any) -> Question:  # noqa: ANN401
        """Put a request of the server as a question, secrets taken out: it is shown and recorded.

        Raises:
            NotAskable: it needs what is not offered here.
        """
        question = asking.question_of(key, kind, params)
        redact_json = self._hooks.redact_json
        return replace(
            question,
            prompt=self._hooks.redact(question.prompt),
            schema=redact_json(question.schema),
            messages=redact_json(list(question.messages)),
            options=redact_json(dict(question.options)),
        )

    async def _ask(self, kind: str, params: Any) -> Any:  # noqa: ANN401  an answer, or ErrorData
        live = await self._whose()
        if live is None:
            return _refusal("it cannot be told which call this belongs to")
        live.asked += 1
        if live.asked > ROUNDS_MAX:
            return _refusal(f"more than {ROUNDS_MAX} questions in one call")
        try:
            digest = asking.digest_of(kind, params)
            defaults = asking.defaults_of(kind, params)
            if digest in live.prepared:
                return asking.answer_of(kind, live.prepared[digest], defaults)
            key = f"question-{live.asked}"
            question = self._question(key, kind, params)
            waiting = _Open(question, digest, asyncio.get_running_loop().create_future())
            live.open[key] = waiting
            live.tell()
            answer = await waiting.answer
            if answer is _UNANSWERED:
                return _refusal("nobody has answered")
            return asking.answer_of(kind, answer, defaults)
        except NotAskable as error:
            return _refusal(str(error))

    async def _whose(self) -> _Live | None:
        """Find the call that a question belongs to: servers do not say, so that it must be alone.

        From the first doubt on, this server's calls are made one after another.
        """
        if len(self._live) > 1:
            self._is_exclusive = True
            if self._doubted >= DOUBTED_MAX:
                return None
            self._doubted += 1
            try:
                async with asyncio.timeout(ALONE_S):
                    while len(self._live) > 1:
                        self._fewer.clear()
                        await self._fewer.wait()
            except TimeoutError:
                return None
            finally:
                self._doubted -= 1
        lives = list(self._live.values())
        return lives[0] if len(lives) == 1 else None


class _Progress:
    """Hands on lines of progress, and no more of them than anybody can read."""

    def __init__(self, take: Callable[[str], None], redact: Callable[[str], str]) -> None:
        self._take = take
        self._redact = redact
        self._next_s = 0.0

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        now_s = monotonic_s()
        if now_s < self._next_s:
            return
        self._next_s = now_s + PROGRESS_PAUSE_S
        amount = f"{progress:g}" if total is None else f"{progress:g}/{total:g}"
        told = f"{amount} {self._redact(message)}" if message else amount
        self._take(told[:PROGRESS_CHARACTERS_MAX])


def _refusal(sentence: str) -> types.ErrorData:
    return types.ErrorData(code=types.INVALID_REQUEST, message=sentence)


def is_gone(error: BaseException) -> bool:
    """Tell whether a server of sessions has none of ours (HTTP 404), as after its restart."""
    return isinstance(error, MCPError) and error.message == _GONE


def is_answer(error: BaseException) -> bool:
    """Tell whether an error shows that the server is there."""
    return isinstance(error, ValueError) or (
        isinstance(error, MCPError) and error.message not in {_CLOSED, _STATUS}
    )


def _is_ours(error: MCPError) -> bool:
    """Tell whether the SDK has made the error, of what happened to the connection."""
    told = error.message
    return told in {_GONE, _CLOSED, _STATUS} or told.startswith(_STREAM)
