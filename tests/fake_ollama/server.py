"""The fake's HTTP side."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from tests.fake_ollama import checks
from tests.fake_ollama.context import NUM_CTX_DEFAULT, SIGNS_PER_TOKEN, fit, tokens_of
from tests.fake_ollama.gojson import go_json, now_text, omitempty
from tests.fake_ollama.models import DEFAULT_MODELS, FakeModel, find, is_cloud_name
from tests.fake_ollama.pulls import Registry
from tests.fake_ollama.turns import Turn, Turns

VERSION = "0.33.0"
EMBEDDING_WIDTH = 8
LOAD_NS = 101_397_084

Handler = Callable[[web.Request, "Seen"], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Seen:
    """A request that the fake got, and what became of it.

    Attributes:
        body: Parsed JSON, or None.
        dropped: Messages were dropped without a word, because the prompt was too long.
        loaded: The model was loaded, or loaded anew because of another num_ctx.
        is_gone: The client left before the answer was whole.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes = b""
    body: Any = None
    dropped: bool = False
    loaded: bool = False
    is_gone: bool = False
    is_answered: bool = False
    status: int = 0


class FakeOllama:
    """A server on loopback; ``async with FakeOllama(...) as fake`` starts and stops it."""

    def __init__(
        self,
        turns: Sequence[Turn] = (),
        *,
        models: Sequence[FakeModel] = DEFAULT_MODELS,
        port: int = 0,
        piece_delay_s: float = 0.0,
        parallel: int = 1,
        queue_max: int = 512,
        record: Path | None = None,
    ) -> None:
        """Take the script.

        Args:
            turns: Answers in their order; after them the default answer.
            models: What it has.
            port: 0 for a free one, kept over restarts.
            piece_delay_s: Pause before each line, so that a call takes a while.
            parallel: Requests at once per model.
            queue_max: Requests that may wait beside them.
            record: File to which each request's body is appended as a line, for other processes.
        """
        self.turns = Turns(turns)
        self.embed_turns = Turns()
        self.models = list(models)
        self.port = port
        self.seen: list[Seen] = []
        self.gate = asyncio.Event()
        self.holding = asyncio.Event()
        self.left = asyncio.Event()
        self.refuses_host = False
        self.registry = Registry()
        # An old server knows neither truncate nor shift, and cuts prompts in silence.
        self.is_old = False
        # Models differ in what they make of a text.
        self.signs_per_token = SIGNS_PER_TOKEN
        self._piece_delay_s = piece_delay_s
        self._parallel = parallel
        self._queue_max = queue_max
        self._record = record
        self.at_once_max = 0
        self._pending = 0
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._loaded: dict[str, int] = {}
        self._runner: web.AppRunner | None = None
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._root, "HEAD": self._root},
            "/api/version": {"GET": self._version, "HEAD": self._version},
            "/api/tags": {"GET": self._tags, "HEAD": self._tags},
            "/api/ps": {"GET": self._ps},
            "/api/show": {"POST": self._show},
            "/api/chat": {"POST": self._chat},
            "/api/embed": {"POST": self._embed},
            "/api/pull": {"POST": self._pull},
        }

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """Bodies of all that came to ``/api/chat``."""
        return [seen.body for seen in self.seen if seen.path == "/api/chat"]

    def of(self, path: str) -> list[Seen]:
        """All requests to ``path``."""
        return [seen for seen in self.seen if seen.path == path]

    async def start(self) -> None:
        """Listen; after a stop on the same port as before."""
        app = web.Application(client_max_size=256 << 20)
        app.router.add_route("*", "/{rest:.*}", self._dispatch)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop as if killed: what is open is torn, what was loaded is forgotten."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        self._loaded.clear()

    # --- requests ------------------------------------------------------------------------------

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.method, request.path, dict(request.headers))
        self.seen.append(seen)
        try:
            answer = await self._answer(request, seen)
        except (asyncio.CancelledError, ConnectionResetError):
            seen.is_gone = True
            self.left.set()
            raise
        seen.is_answered = True
        seen.status = answer.status
        return answer

    async def _answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        if self.refuses_host or not checks.host_is_known(request.host):
            return web.Response(status=403)
        origin = request.headers.get("Origin")
        if origin is not None and not checks.origin_is_known(origin):
            return web.Response(status=403)
        methods = self._routes.get(request.path)
        if methods is None:
            return web.Response(status=404, text="404 page not found")
        handler = methods.get(request.method)
        if handler is None:
            return web.Response(status=405, text="405 method not allowed")
        if request.method == "POST":
            seen.raw = await request.read()
            if not seen.raw.strip():
                return _error(400, "missing request body")
            try:
                seen.body = json.loads(seen.raw)
            except ValueError:
                return _error(400, "invalid character 'x' looking for beginning of value")
            self._note(seen)
        return await handler(request, seen)

    def _note(self, seen: Seen) -> None:
        if self._record is not None:
            line = {"path": seen.path, "body": seen.body, "at": time.time()}
            with self._record.open("a") as file:
                file.write(json.dumps(line) + "\n")

    # --- what is read --------------------------------------------------------------------------

    async def _root(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        return _json({"version": VERSION})

    async def _tags(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        return _json({"models": [model.listed() for model in self.models]})

    async def _ps(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        loaded = []
        for name, num_ctx in self._loaded.items():
            model = find(self.models, name)
            assert model is not None
            listed = {k: v for k, v in model.listed().items() if k not in ("modified_at",)}
            listed.pop("capabilities")
            loaded.append(
                {
                    **listed,
                    "expires_at": "2026-01-01T00:05:00.123456789+01:00",
                    "size_vram": model.size,
                    "context_length": num_ctx,
                }
            )
        return _json({"models": loaded})

    async def _show(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = seen.body if isinstance(seen.body, dict) else {}
        name = body.get("model") or body.get("name") or ""
        if not name:
            return _error(400, "model is required")
        if is_cloud_name(name):
            return _signed_out()
        model = find(self.models, name)
        if model is None:
            tagged = name if ":" in name else f"{name}:latest"
            return _error(404, f"model '{tagged}' not found")
        return _json(model.shown())

    async def _pull(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = seen.body if isinstance(seen.body, dict) else {}
        name = body.get("model") or body.get("name") or ""
        if not name or "//" in name or name.startswith("/"):
            return _error(400, "invalid model name")
        tagged = name.lower() if ":" in name.rpartition("/")[2] else f"{name.lower()}:latest"
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for line in self.registry.lines(tagged):
            if "end" in line:
                break
            await response.write(go_json(line) + b"\n")
            if line.get("status") == "success" and find(self.models, tagged) is None:
                self.models.insert(0, FakeModel(name=tagged))
        await response.write_eof()
        return response

    # --- chat ----------------------------------------------------------------------------------

    async def _chat(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = seen.body
        turn = self.turns.take(_last_user_message(body))
        if turn is not None and turn.dies:
            return self._die(request)
        if turn is not None and (turn.status != 200 or turn.error or turn.body is not None):
            return _scripted_refusal(turn)
        refused = checks.chat_shape(body)
        if refused is not None:
            return _error(*refused)
        name = body.get("model") or ""
        if not name:
            return _error(400, "model is required")
        if is_cloud_name(name):
            return _signed_out()
        model = find(self.models, name)
        if model is None:
            return _error(404, f"model '{name}' not found")
        if model.remote_host:
            return _signed_out()
        refused = _incapable(model, body)
        if refused is not None:
            return _error(*refused)
        if self._pending >= self._parallel + self._queue_max:
            return _error(503, "server busy, please try again.  maximum pending requests exceeded")
        self._pending += 1
        self.at_once_max = max(self.at_once_max, self._pending)
        slot = self._slots.setdefault(model.name, asyncio.Semaphore(self._parallel))
        try:
            async with slot:
                return await self._serve(request, seen, model, turn)
        finally:
            self._pending -= 1

    async def _serve(
        self, request: web.Request, seen: Seen, model: FakeModel, turn: Turn | None
    ) -> web.StreamResponse:
        body = seen.body
        options = body.get("options") or {}
        refused = checks.options_fault(options)
        if refused is not None:
            return _error(*refused)
        num_ctx = min(int(options.get("num_ctx") or NUM_CTX_DEFAULT), model.context_length)
        if turn is not None and turn.hold_before_headers:
            await self._hold()
        if not body.get("messages") and body.get("keep_alive") == 0:
            self._loaded.pop(model.name, None)
            return _json(_last_line(model, "unload", {}))
        seen.loaded = self._loaded.get(model.name) != num_ctx
        self._loaded[model.name] = num_ctx
        if not body.get("messages"):
            return _json(_last_line(model, "load", {}))
        refused = checks.format_fault(body.get("format"))
        if refused is not None:
            return _error(*refused)
        if self.is_old:
            body = {name: one for name, one in body.items() if name not in ("truncate", "shift")}
        fitted = fit(body, num_ctx, signs_per_token=self.signs_per_token)
        if isinstance(fitted, tuple):
            return _error(*fitted)
        seen.dropped = fitted.dropped
        if turn is None:
            turn = _default_turn(model, body)
        counts = omitempty(
            total_duration=174_560_334,
            load_duration=LOAD_NS if seen.loaded else 0,
            prompt_eval_count=fitted.tokens if turn.counts else 0,
            prompt_eval_duration=13_074_791,
            eval_duration=52_479_709,
        )
        if body.get("keep_alive") == 0:
            self._loaded.pop(model.name, None)
        lines, last = _lines(model, turn, int(options.get("num_predict", -1)), counts)
        if body.get("stream") is False:
            return _whole(turn, lines, last)
        return await self._stream(request, turn, lines, last)

    async def _stream(
        self,
        request: web.Request,
        turn: Turn,
        lines: Sequence[dict[str, Any]],
        last: dict[str, Any],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if turn.lines is not None:
            written = [line.encode() + b"\n" for line in turn.lines]
        else:
            written = [go_json(line) + b"\n" for line in lines]
            if turn.error_line:
                written.append(go_json({"error": turn.error_line}) + b"\n")
            elif turn.ends == "done":
                written.append(go_json(last) + b"\n")
        if turn.blank_lines:
            written = [piece for line in written for piece in (b"\n", line, b"\r\n")]
        if turn.hold_after == 0:
            await self._hold()
        for i, piece in enumerate(_cut(written, turn), start=1):
            if self._piece_delay_s:
                await asyncio.sleep(self._piece_delay_s)
            await response.write(piece)
            if turn.hold_after == i:
                await self._hold()
        if turn.ends == "broken":
            return self._die(request)
        await response.write_eof()
        return response

    async def _hold(self) -> None:
        self.holding.set()
        await self.gate.wait()

    def _die(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise ConnectionResetError

    # --- embeddings ----------------------------------------------------------------------------

    async def _embed(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        body = seen.body
        turn = self.embed_turns.take("")
        if turn is not None and turn.dies:
            return self._die(request)
        if turn is not None:
            return _scripted_refusal(turn)
        refused = checks.embed_shape(body)
        if refused is not None:
            return _error(*refused)
        name = body.get("model") or ""
        if is_cloud_name(name):
            return _signed_out()
        model = find(self.models, name)
        if model is None:
            return _error(404, f'model "{name}" not found, try pulling it first')
        if "embedding" not in model.capabilities:
            return _error(400, f'"{name}" does not support embeddings')
        refused = checks.options_fault(body.get("options") or {})
        if refused is not None:
            return _error(*refused)
        texts = body.get("input") or []
        texts = [texts] if isinstance(texts, str) else texts
        if body.get("truncate") is False and any(
            tokens_of([{"content": text}]) > model.context_length for text in texts
        ):
            return _error(400, "the input length exceeds the context length")
        return _json(
            {
                "model": name,
                "embeddings": [_vector(text) for text in texts],
                **omitempty(
                    total_duration=14_143_917,
                    load_duration=1_019_500,
                    prompt_eval_count=sum(len(text.split()) for text in texts),
                ),
            }
        )


# --- answers -----------------------------------------------------------------------------------


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=go_json(value), status=status, content_type="application/json", charset="utf-8"
    )


def _error(status: int, text: str) -> web.Response:
    return _json({"error": text}, status)


def _signed_out() -> web.Response:
    return _json(
        {"error": "unauthorized", "signin_url": "https://ollama.com/connect?name=x&key=y"}, 401
    )


def _scripted_refusal(turn: Turn) -> web.Response:
    if turn.body is not None:
        return web.Response(
            status=turn.status,
            text=turn.body,
            content_type=turn.content_type,
            headers=dict(turn.headers),
        )
    answer = _json({"error": turn.error, **turn.more}, turn.status)
    answer.headers.update(turn.headers)
    return answer


def _incapable(model: FakeModel, body: Mapping[str, Any]) -> tuple[int, str] | None:
    name = body["model"]
    if "completion" not in model.capabilities:
        return 400, f'"{name}" does not support chat'
    if body.get("tools") and "tools" not in model.capabilities:
        return 400, f"registry.ollama.ai/library/{model.name} does not support tools"
    wants_thought = body.get("think") not in (None, False)
    if wants_thought and "thinking" not in model.capabilities:
        return 400, f'"{name}" does not support thinking'
    return None


def _last_user_message(body: Any) -> str:
    messages = body.get("messages") if isinstance(body, dict) else None
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else ""
    return ""


def _default_turn(model: FakeModel, body: Mapping[str, Any]) -> Turn:
    """Answer from the conversation alone, so that two transcripts can be compared."""
    message = body["messages"][-1]
    if isinstance(body.get("format"), dict):
        from agency.models.rehearsal.instance import make_instance

        content = [json.dumps(make_instance(body["format"]))]
    elif message.get("role") == "tool":
        content = [f"the tool {message.get('tool_name', '?')} said: ", message["content"]]
    else:
        content = ["answer ", "to: ", _last_user_message(body)]
    # For a model that can think, an absent ``think`` means true.
    thinks = "thinking" in model.capabilities and body.get("think") is not False
    return Turn(content=content, thinking=["Let me ", "see."] if thinks else ())


def _lines(
    model: FakeModel, turn: Turn, num_predict: int, counts: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Make the lines of an answer, cut off where num_predict is used up."""
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "thinking": piece} for piece in turn.thinking
    ]
    messages += [{"role": "assistant", "content": piece} for piece in turn.pieces]
    done_reason = turn.done_reason
    if 0 <= num_predict < len(messages):
        messages = messages[:num_predict]
        done_reason = "length"
    calls = [call.written() for call in turn.tool_calls]
    if calls and turn.calls_on == "own_line":
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
    elif calls and turn.calls_on == "one_each":
        messages += [{"role": "assistant", "content": "", "tool_calls": [call]} for call in calls]
    tokens = len(messages) + len(calls) or 1
    last = _last_line(
        model, done_reason, {**counts, **omitempty(eval_count=tokens if turn.counts else 0)}
    )
    if calls and turn.calls_on == "last_line":
        last["message"]["tool_calls"] = calls
    lines = [
        {"model": model.name, "created_at": now_text(), "message": message, "done": False}
        for message in messages
    ]
    return lines, last


def _last_line(model: FakeModel, reason: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model.name,
        "created_at": now_text(),
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": reason,
        **counts,
    }


def _whole(turn: Turn, lines: Sequence[dict[str, Any]], last: dict[str, Any]) -> web.Response:
    """Answer without streaming: pieces joined, calls gathered, errors as a status."""
    if turn.error_line:
        return _error(500, turn.error_line)
    messages = [line["message"] for line in [*lines, last]]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(part["content"] for part in messages),
        **omitempty(
            thinking="".join(part.get("thinking", "") for part in messages),
            tool_calls=[call for part in messages for call in part.get("tool_calls", ())],
        ),
    }
    return _json({**last, "message": message, "done": turn.ends == "done"})


def _cut(lines: Sequence[bytes], turn: Turn) -> Sequence[bytes]:
    if turn.cut_bytes:
        whole = b"".join(lines)
        return [whole[i : i + turn.cut_bytes] for i in range(0, len(whole), turn.cut_bytes)]
    return [b"".join(lines)] if turn.in_one else lines


def _vector(text: str) -> list[float]:
    row = [0.0] * EMBEDDING_WIDTH
    for word in text.lower().split():
        digest = hashlib.sha256(word.encode()).digest()
        row[digest[0] % EMBEDDING_WIDTH] += 1.0
    length = math.hypot(*row)
    return [round(number / length, 7) for number in row] if length else [1.0, *row[1:]]
