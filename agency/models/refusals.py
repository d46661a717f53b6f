"""What the refusals of OpenAI-compatible servers and of Anthropic mean, as our errors.

Pure, and the one place that knows their wordings. The codes are documented; the words are matched
loosely, because they change between versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from agency.core import json
from agency.core.records import dataclass
from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelBusy,
    ModelCallMalformed,
    ModelLacks,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelUnavailable,
)

BUSY_RETRY_AFTER_S = 5.0
OVERLOADED_RETRY_AFTER_S = 10.0

REFUSAL_BYTES_MAX = 64 * 1024
"""Of the body of a refusal: enough for every honest text, too little for a flood."""

TEXT_CHARACTERS_MAX = 400
"""Of a foreign text that goes into a message."""

RAW_CHARACTERS_MAX = 16 * 1024
"""Of a malformed call that is handed on to be mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that is not the one wanted.

    Attributes:
        status: HTTP status; 200 for an error in the middle of a stream.
        provider: Name of the section that describes the server.
        kind, code: As the server calls the error, in small letters.
        text: Its words, secrets hidden; empty when it has none.
        details: The error as it came.
        is_foreign: The body is none of the protocol's: a proxy's page, or another server's.
    """

    status: int
    provider: str
    model: str
    resource: str
    url: str
    kind: str = ""
    code: str = ""
    text: str = ""
    details: Mapping[str, Any]
    retry_after_s: float | None = None
    is_foreign: bool = False


def read_error(body: bytes) -> Mapping[str, Any] | None:
    """Take the error out of a body, in any of the shapes that servers use; None without one.

    OpenAI, llama.cpp and Anthropic write ``{"error": {…}}``, vLLM ``{"object": "error", …}``,
    FastAPI ``{"detail": …}``, and some ``{"error": "text"}`` or ``{"message": "text"}``.
    """
    try:
        found = json.decode(body)
    except json.NotJson:
        return None
    return error_in(found)


def error_in(found: object) -> Mapping[str, Any] | None:
    """As `read_error`, of a value that was read already."""
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {"message": error}
    if found.get("object") == "error" or isinstance(found.get("message"), str):
        return found
    detail = found.get("detail")
    if detail is not None:
        return {"message": detail if isinstance(detail, str) else json.encode(detail).decode()}
    return None


def shortened(text: str) -> str:
    """Cut a foreign text to a length that fits into a message, on one line."""
    line = " ".join(text.split())
    if len(line) <= TEXT_CHARACTERS_MAX:
        return line.rstrip(".")
    return line[:TEXT_CHARACTERS_MAX] + " …"


def error_of(refusal: Refusal) -> AgencyError:
    """Decide which of our errors a refusal means."""
    if refusal.is_foreign:
        return _foreign(refusal)
    names = {refusal.kind, refusal.code}
    lowered = refusal.text.lower()
    for rule in _RULES:
        if names & set(rule.names) or any(words in lowered for words in rule.words):
            return rule.make(refusal)
    return _by_status(refusal)


def _foreign(refusal: Refusal) -> AgencyError:
    status, url = refusal.status, refusal.url
    if status == 429:
        return _busy(refusal)
    if status in {502, 503, 504}:
        return ModelUnavailable(refusal.resource, f"a proxy at {url} answers with status {status}")
    if status in {401, 403}:
        return _key_refused(refusal)
    if 300 <= status < 400:
        reason = f"redirects elsewhere (status {status})"
    elif status in {404, 405}:
        reason = f"knows no such path (status {status})"
    elif status == 200:
        reason = "answers with something else than was asked for"
    else:
        reason = f"answers with status {status} and no reason"
    return ModelRefused(
        f"What answers at {url} {reason}, so it is another server, or a proxy stands before it.",
        hint=f"Check base_url and kind in [providers.{refusal.provider}]; an address of kind "
        "openai mostly ends with /v1.",
    )


def _by_status(refusal: Refusal) -> AgencyError:
    said = shortened(refusal.text) or "without a reason"
    match refusal.status:
        case 401 | 403:
            return _key_refused(refusal)
        case 404 if "model" in refusal.text.lower():
            return _not_found(refusal)
        case 404 | 405:
            return _foreign(refusal)
        case 413:
            return _too_long(refusal)
        case 408 | 409 | 425 | 429 | 502 | 503 | 504 | 529:
            return _busy(refusal)
        case 200 | 500 | 520:
            return ModelReplyBroken(f"The model server {refusal.provider!r} failed: {said}.")
        case _:
            return ModelRefused(
                f"The model server {refusal.provider!r} refused the request (status "
                f"{refusal.status}): {said}.",
                hint=f"Look at the model's name and at [providers.{refusal.provider}].",
            )


def _key_refused(refusal: Refusal) -> AgencyError:
    said = f": {shortened(refusal.text)}" if refusal.text else ""
    return ModelRefused(
        f"The model server {refusal.provider!r} does not let us in (status {refusal.status})"
        f"{said}.",
        hint=f"Check api_key in [providers.{refusal.provider}], and the secret that it names.",
    )


def _no_money(refusal: Refusal) -> AgencyError:
    return ModelRefused(
        f"The account at {refusal.provider!r} has nothing left: {shortened(refusal.text)}.",
        hint="Look at the account's billing; waiting does not help.",
    )


def _not_found(refusal: Refusal) -> AgencyError:
    error = ModelNotFound(refusal.model)
    error.hint = f"See what {refusal.provider!r} has with `agency model ls`, and name one of those."
    return error


def _busy(refusal: Refusal) -> AgencyError:
    said = f": {shortened(refusal.text)}" if refusal.text else ""
    error = ModelBusy(f"The model server {refusal.provider!r} asks for a pause{said}.")
    is_overloaded = refusal.status == 529 or refusal.kind == "overloaded_error"
    usual_s = OVERLOADED_RETRY_AFTER_S if is_overloaded else BUSY_RETRY_AFTER_S
    error.retry_after_s = usual_s if refusal.retry_after_s is None else refusal.retry_after_s
    error.hint = "The call is tried again when the pause is over."
    return error


def _loading(refusal: Refusal) -> AgencyError:
    return ModelUnavailable(refusal.resource, "it is loading its model")


_COUNTS = (
    # llama.cpp: "the request exceeds the available context size" comes with fields; see below.
    # vLLM, OpenAI: "maximum context length is 4096 tokens. However, you requested 5000 tokens".
    (
        re.compile(
            r"maximum context length is (?P<context>\d+)\b.*?"
            r"(?:requested|resulted in|contains?)\s+(?:at least )?(?P<prompt>\d+)",
            re.DOTALL,
        )
    ),
    # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum".
    (re.compile(r"(?P<prompt>\d+) tokens > (?P<context>\d+)")),
    # llama.cpp: "request (302 tokens) exceeds the available context size (256 tokens)".
    (re.compile(r"\((?P<prompt>\d+) tokens\).*?\((?P<context>\d+) tokens\)", re.DOTALL)),
)


def _too_long(refusal: Refusal) -> AgencyError:
    hint = (
        f"Shorten the message or start a new session; if the server's context is larger than it "
        f"says, set num_ctx in [providers.{refusal.provider}]."
    )
    prompt, context = refusal.details.get("n_prompt_tokens"), refusal.details.get("n_ctx")
    if not (isinstance(prompt, int) and isinstance(context, int)):
        found = next((one for one in (form.search(refusal.text) for form in _COUNTS) if one), None)
        prompt = int(found["prompt"]) if found else None
        context = int(found["context"]) if found else None
    if prompt is not None and context is not None:
        return ContextTooLong(
            f"The prompt has {prompt} tokens; the context of {refusal.model!r} has {context}.",
            prompt_tokens=prompt,
            context_tokens=context,
            hint=hint,
        )
    return ContextTooLong(
        f"The prompt is too long for {refusal.model!r}: {shortened(refusal.text)}.", hint=hint
    )


def _call_malformed(refusal: Refusal) -> AgencyError:
    return ModelCallMalformed(
        f"The model {refusal.model!r} wrote a tool call that the server could not read: "
        f"{shortened(refusal.text)}.",
        raw=refusal.text[:RAW_CHARACTERS_MAX],
    )


def _lacks(capability: str, what: str, hint: str) -> Callable[[Refusal], AgencyError]:
    def make(refusal: Refusal) -> AgencyError:
        return ModelLacks(
            f"The model {refusal.model!r} at {refusal.provider!r} cannot {what}: "
            f"{shortened(refusal.text)}.",
            capability=capability,
            hint=hint,
        )

    return make


@dataclass(frozen=True, slots=True)
class _Rule:
    """Types or codes of errors, of which one suffices, or words in small letters."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    make: Callable[[Refusal], AgencyError]


# The order matters: a text about length may also name tools, and one about quota a rate.
_RULES = (
    _Rule(
        ("exceed_context_size_error", "context_length_exceeded", "request_too_large"),
        (
            "maximum context length",
            "exceeds the available context size",
            "prompt is too long",
            "context length exceeded",
            "exceeds the context window",
            "exceed context limit",
            "greater than the context length",
            "context size has been exceeded",
        ),
        _too_long,
    ),
    _Rule(
        ("insufficient_quota", "billing_error", "billing_hard_limit_reached"),
        ("credit balance is too low", "exceeded your current quota"),
        _no_money,
    ),
    _Rule((), ("loading model",), _loading),
    _Rule(
        (),
        (
            "failed to parse tool call",
            "failed to parse input at pos",
            "error parsing tool call",
            "invalid tool call",
        ),
        _call_malformed,
    ),
    _Rule(
        (),
        (
            "--enable-auto-tool-choice",
            "requires --jinja",
            "does not support tools",
            "does not support function",
            "tool use is not supported",
            "no endpoints found that support tool use",
        ),
        _lacks(
            "tools",
            "call tools there",
            "Start llama.cpp with --jinja, vLLM with --enable-auto-tool-choice and "
            "--tool-call-parser, or choose another model.",
        ),
    ),
    _Rule(
        (),
        (
            "image input is not supported",
            "does not support image",
            "not a multimodal model",
            "no endpoints found that support image",
            "if this is unexpected, it might be because the mmproj",
        ),
        _lacks("vision", "see pictures", "Name a model that sees in [roles] vision."),
    ),
    _Rule(
        ("model_not_found",),
        ("model not found", "does not exist or you do not have access", "no such model"),
        _not_found,
    ),
    _Rule(("invalid_api_key", "authentication_error", "permission_error"), (), _key_refused),
    _Rule(
        ("overloaded_error", "rate_limit_error", "rate_limit_exceeded", "server_busy"), (), _busy
    ),
)
