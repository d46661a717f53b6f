"""What Ollama's refusals mean: from status and text to our errors.

Pure, and the one place that knows the server's wordings. They are matched loosely, because they
change between versions. Source: notes on Ollama 0.33 and the issues named there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agency.core import json
from agency.core.records import dataclass
from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelBusy,
    ModelCallMalformed,
    ModelInterrupted,
    ModelLacks,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelTimedOut,
    ModelUnavailable,
)

SERVER_LOAD_LIMIT_S = 300.0
"""Ollama's own limit for a load that does not move (OLLAMA_LOAD_TIMEOUT)."""

BUSY_RETRY_AFTER_S = 5.0

REFUSAL_BYTES_MAX = 64 * 1024
"""Of the body of a refusal: enough for every text of Ollama's, too little for a flood."""

TEXT_CHARACTERS_MAX = 400
"""Of a foreign text that goes into a message."""

RAW_CHARACTERS_MAX = 16 * 1024
"""Of a malformed call that is handed on to be mended; a call with a whole file is not mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not the one wanted.

    Attributes:
        status: HTTP status; 200 for an error line in the middle of a stream.
        body: As received, up to a bound.
        model: The name that was asked for.
        resource: What runs wait for, for example ``model:ollama``.
        url: Address of the server.
        retry_after_s: From the header of that name, if there was one.
    """

    status: int
    body: bytes
    model: str
    resource: str
    url: str
    retry_after_s: float | None = None


def error_text(body: bytes) -> str | None:
    """Take the server's own words out of ``{"error": …}``; None for a body of another shape."""
    try:
        found = json.decode(body)
    except json.NotJson:
        return None
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else None


def is_thinking_unsupported(refusal: Refusal) -> bool:
    """Tell whether the same request may succeed without ``think``."""
    text = error_text(refusal.body) or ""
    return refusal.status == 400 and "does not support thinking" in text.lower()


def error_of(refusal: Refusal) -> AgencyError:
    """Decide which of our errors an answer means."""
    text = error_text(refusal.body)
    if text is None:
        return _foreign(refusal)
    if refusal.status == 401 and b'"signin_url"' in refusal.body:
        return _signed_out(refusal, text)
    lowered = text.lower()
    for rule in _RULES:
        if any(words in lowered for words in rule.words):
            return rule.make(refusal, text)
    return _by_status(refusal, text)


def shortened(text: str) -> str:
    """Cut a foreign text to a length that fits into a message, on one line."""
    line = " ".join(text.split())
    if len(line) <= TEXT_CHARACTERS_MAX:
        return line
    return line[:TEXT_CHARACTERS_MAX] + " …"


def _foreign(refusal: Refusal) -> AgencyError:
    """Judge an answer that Ollama itself did not write, or that has no words."""
    status, url = refusal.status, refusal.url
    if status == 403:
        return ModelRefused(
            f"The model server at {url} refuses requests that are addressed to this host name "
            "(status 403).",
            hint="Ollama answers so to a Host header or Origin that it does not know: name it in "
            "[llm] base_url by its IP address, or set OLLAMA_HOST=0.0.0.0 where it runs.",
        )
    if status == 429:
        return _busy(refusal, f"The server in front of the model at {url} asks for a pause.")
    if status in {502, 503, 504}:
        return ModelUnavailable(refusal.resource, f"a proxy at {url} answers with status {status}")
    if status in {404, 405}:
        reason = f"knows no such path (status {status})"
    elif 300 <= status < 400:
        reason = f"redirects elsewhere (status {status})"
    elif status == 200:
        reason = "answers with something else than JSON"
    else:
        reason = f"answers with status {status} and no reason"
    return ModelRefused(
        f"What answers at {url} {reason}, so it is not Ollama, or a proxy stands before it.",
        hint="Check [llm] base_url: it is the address of Ollama without any path, for example "
        "http://localhost:11434.",
    )


def _by_status(refusal: Refusal, text: str) -> AgencyError:
    said = shortened(text)
    match refusal.status:
        case 404 if "not found" in text.lower():
            return ModelNotFound(refusal.model)
        case 401:
            return ModelRefused(
                f"The model server wants to know who asks: {said}.",
                hint="Sign in with `ollama signin`, or choose a local model in [llm] model.",
            )
        case 429 | 502 | 503 | 504:
            return _busy(refusal, f"The model server cannot take the call now: {said}.")
        case 200 | 500:
            # An unknown failure of the server: the same call may well succeed.
            return ModelReplyBroken(f"The model server failed: {said}.")
        case _:
            return ModelRefused(
                f"The model server refused the request (status {refusal.status}): {said}.",
                hint="Look at the model's name and the [llm] settings.",
            )


def _busy(refusal: Refusal, message: str) -> ModelBusy:
    error = ModelBusy(message)
    error.retry_after_s = refusal.retry_after_s or BUSY_RETRY_AFTER_S
    return error


_TOO_LONG = re.compile(r"\((\d+) tokens\)")


def _too_long(refusal: Refusal, text: str) -> AgencyError:
    counts = [int(count) for count in _TOO_LONG.findall(text)]
    if len(counts) == 2:
        prompt, context = counts
        return ContextTooLong(
            f"The prompt has {prompt} tokens; the context of {refusal.model!r} has {context}.",
            prompt_tokens=prompt,
            context_tokens=context,
        )
    return ContextTooLong(
        f"The prompt is too long for the context of {refusal.model!r}: {shortened(text)}."
    )


def _no_memory(refusal: Refusal, text: str) -> AgencyError:
    return ModelRefused(
        f"The machine has too little memory for {refusal.model!r}: {shortened(text)}.",
        hint="Choose a smaller model, lower [llm] num_ctx, or unload others with `ollama stop`.",
    )


def _load_stalled(refusal: Refusal, text: str) -> AgencyError:
    del refusal, text
    return ModelTimedOut(
        "load",
        SERVER_LOAD_LIMIT_S,
        hint="This is the server's own limit: choose a smaller model, or raise "
        "OLLAMA_LOAD_TIMEOUT where Ollama runs.",
    )


def _call_malformed(refusal: Refusal, text: str) -> AgencyError:
    return ModelCallMalformed(
        f"The model {refusal.model!r} wrote a tool call that the server could not read: "
        f"{shortened(text)}.",
        raw=_raw_call(text),
    )


_RAW = re.compile(r"raw='(.*)', err=", re.DOTALL)


def _raw_call(text: str) -> str:
    """Take what the model wrote out of ``error parsing tool call: raw='…', err=…``."""
    found = _RAW.search(text)
    return (found[1] if found else text)[:RAW_CHARACTERS_MAX]


def _runner_died(refusal: Refusal, text: str) -> AgencyError:
    return ModelInterrupted(refusal.resource, f"its runner died ({shortened(text)})")


def _no_thinking(refusal: Refusal, text: str) -> AgencyError:
    del text
    return ModelLacks(
        f"The model {refusal.model!r} cannot think aloud.",
        hint="Ask without `think`, or choose a model with the capability `thinking`.",
        capability="thinking",
    )


def _no_tools(refusal: Refusal, text: str) -> AgencyError:
    del text
    return ModelLacks(
        f"The model {refusal.model!r} cannot call tools.",
        hint="Choose a model with the capability `tools`; `ollama show MODEL` lists them.",
        capability="tools",
    )


def _no_chat(refusal: Refusal, text: str) -> AgencyError:
    del text
    return ModelLacks(
        f"The model {refusal.model!r} cannot chat, it only makes embeddings.",
        hint="Choose a model with the capability `completion` in [llm] model.",
        capability="completion",
    )


def _no_embedding(refusal: Refusal, text: str) -> AgencyError:
    del text
    return ModelLacks(
        f"The model {refusal.model!r} makes no embeddings.",
        hint="Choose another in [memory] embedding_model, for example nomic-embed-text.",
        capability="embedding",
    )


def _option_wrong(refusal: Refusal, text: str) -> AgencyError:
    del refusal
    return ModelRefused(
        f"The model server refused an option: {shortened(text)}.",
        hint="Correct that option; the server wants a value of the named type.",
    )


def _signed_out(refusal: Refusal, text: str) -> AgencyError:
    found = json.decode(refusal.body)
    address = found.get("signin_url")
    where = f" at {address}" if isinstance(address, str) else " with `ollama signin`"
    return ModelRefused(
        f"The model {refusal.model!r} is run in the cloud, and Ollama is not signed in there: "
        f"{shortened(text)}.",
        hint=f"Sign in{where}, or choose a local model in [llm] model.",
    )


def _cloud_disabled(refusal: Refusal, text: str) -> AgencyError:
    return ModelRefused(
        f"The model {refusal.model!r} is run in the cloud: {shortened(text)}.",
        hint="Choose a local model in [llm] model, or enable the cloud where Ollama runs.",
    )


def _server_busy(refusal: Refusal, text: str) -> AgencyError:
    return _busy(refusal, f"The model server is busy: {shortened(text)}.")


@dataclass(frozen=True, slots=True)
class _Rule:
    """Words, lower-cased, of which one in the text suffices."""

    words: tuple[str, ...]
    make: Callable[[Refusal, str], AgencyError]


# The order matters: the text of a dead runner may quote anything, so that rule comes late.
_RULES = (
    _Rule(
        (
            "exceeds the available context size",
            "longer than the context length",
            "exceeds the context length",
            "exceed_context_size",
            "exceeds maximum context length",
        ),
        _too_long,
    ),
    _Rule(("requires more system memory", "more memory than is available"), _no_memory),
    _Rule(("timed out waiting for",), _load_stalled),
    _Rule(
        (
            "error parsing tool call",
            "invalid tool call argument",
            "failed to parse tool call",
            "tool call parsing failed",
            "xml syntax error",
        ),
        _call_malformed,
    ),
    _Rule(("does not support thinking",), _no_thinking),
    _Rule(("does not support tools",), _no_tools),
    _Rule(("does not support chat", "does not support generate"), _no_chat),
    _Rule(("does not support embed",), _no_embedding),
    _Rule(("must be of type", "invalid format:", "invalid option"), _option_wrong),
    _Rule(("cloud is disabled",), _cloud_disabled),
    _Rule(("server busy", "maximum pending requests"), _server_busy),
    _Rule(
        (
            "process has terminated",
            "unexpectedly stopped",
            "error was encountered while running the model",
            "runner process no longer running",
            "connection reset",
            "connection refused",
            "unexpected eof",
            ": eof",
        ),
        _runner_died,
    ),
)
