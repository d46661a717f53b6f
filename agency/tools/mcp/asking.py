"""What servers ask in the middle of a call, as questions of the run, and the answers back.

Two eras. Since 2026-07-28 a server answers a call with what it needs and an opaque state; the call
is made again with the answers and that state, by whichever process. Before, a server sends a
request of its own while it holds the call, and goes on when that is answered: the call is parked.

Source: MCP 2026-07-28, multi round-trip requests; MCP 2025-11-25, elicitation and sampling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mcp_types as types
from pydantic import ValidationError

from agency.core.json import encode_canonical
from agency.domain.tool import Question

FORM = "form"
URL = "url"
MODEL = "model"
ROOTS = "roots"

PROMPT_CHARACTERS_MAX = 4096
"""Longest question of a server to a person; the rest is cut."""

MESSAGES_BYTES_MAX = 1 << 20
"""Largest conversation that a server may hand to the run's model."""

_URL_ANSWER: Mapping[str, Any] = {
    "type": "boolean",
    "description": "true once the page was visited and done there what it asks for",
}


class NotAskable(Exception):
    """A request of a server cannot be put to anybody here; the text is for the server."""


def kind_of(request: Any) -> str:  # noqa: ANN401  one of the SDK's requests
    """Tell what a request of a server asks for."""
    match request.method:
        case "elicitation/create":
            return URL if request.params.mode == "url" else FORM
        case "sampling/createMessage":
            return MODEL
        case "roots/list":
            return ROOTS
        case other:
            raise NotAskable(f"{other!r} is not known here")


def question_of(key: str, kind: str, params: Any) -> Question:  # noqa: ANN401
    """Put a request of a server as a question of the run.

    Raises:
        NotAskable: it needs what is not offered here.
    """
    if kind == FORM:
        schema = params.requested_schema
        return Question(key=key, kind="input", prompt=_cut(params.message), schema=_json(schema))
    if kind == URL:
        prompt = _cut(f"{params.message}\nOpen this page: {params.url}")
        return Question(key=key, kind="input", prompt=prompt, schema=_URL_ANSWER)
    assert kind == MODEL, kind
    return _model_question(key, params)


def _model_question(key: str, params: types.CreateMessageRequestParams) -> Question:
    if params.tools:
        raise NotAskable("sampling with tools is not offered")
    messages = [
        {"role": message.role, "content": _text_of(message.content_as_list)}
        for message in params.messages
    ]
    if len(encode_canonical(messages)) > MESSAGES_BYTES_MAX:
        raise NotAskable(f"the messages have more than {MESSAGES_BYTES_MAX} bytes")
    options: dict[str, Any] = {"tokens_max": params.max_tokens}
    if params.temperature is not None:
        options["temperature"] = params.temperature
    if params.system_prompt:
        options["system"] = params.system_prompt
    return Question(
        key=key,
        kind="model",
        prompt=_cut(messages[-1]["content"]) if messages else "",
        messages=messages,
        options=options,
    )


def _text_of(blocks: Sequence[Any]) -> str:
    texts = []
    for block in blocks:
        if block.type != "text":
            raise NotAskable(f"sampling over {block.type} is not offered")
        texts.append(block.text)
    return "\n".join(texts)


def written(answer: Any) -> Any:  # noqa: ANN401  one of the SDK's results
    """Write an answer as it is on the wire."""
    return _json(answer)


def _cut(text: str) -> str:
    return text if len(text) <= PROMPT_CHARACTERS_MAX else f"{text[: PROMPT_CHARACTERS_MAX - 1]}…"


def _json(model: Any) -> Any:  # noqa: ANN401  a pydantic model, or JSON already
    dump = getattr(model, "model_dump", None)
    return model if dump is None else dump(by_alias=True, mode="json", exclude_none=True)


def digest_of(kind: str, params: Any) -> str:  # noqa: ANN401
    """Tell a question from others by what it says: the same one asked again has the same digest."""
    value = _json(params)
    if isinstance(value, dict):
        # What names this one asking, not what is asked.
        value = {key: value[key] for key in value if key not in {"_meta", "elicitationId"}}
    return hashlib.sha256(encode_canonical([kind, value])).hexdigest()


def defaults_of(kind: str, params: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """Give what the fields of a form hold already; a person who leaves them so has answered it.

    Source: MCP 2025-11-25, elicitation, default values (SEP-1034).
    """
    if kind != FORM:
        return {}
    schema = _json(params.requested_schema)
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return {}
    return {
        name: part["default"]
        for name, part in properties.items()
        if isinstance(part, dict) and part.get("default") is not None
    }


def elicit_result(
    kind: str,
    answer: Any,  # noqa: ANN401
    defaults: Mapping[str, Any],
) -> types.ElicitResult:
    """Make the answer to a form or a page of what a person has said; None declines.

    Args:
        defaults: What fields hold of which the answer says nothing.

    Raises:
        NotAskable: a form cannot hold the answer.
    """
    if answer is None or answer is False:
        return types.ElicitResult(action="decline")
    if kind == URL:
        return types.ElicitResult(action="accept")
    if not isinstance(answer, Mapping):
        raise NotAskable("the answer to a form is an object with its fields")
    try:
        return types.ElicitResult(action="accept", content={**defaults, **answer})
    except ValidationError as error:
        raise NotAskable(f"the answer does not fit a form: {error.errors()[0]['msg']}") from error


def sampling_result(answer: Any) -> types.CreateMessageResult:  # noqa: ANN401
    """Make the answer of what the model has said: a text, or ``{"content", "model"}``.

    Raises:
        NotAskable: there is no answer.
    """
    content = answer.get("content") if isinstance(answer, Mapping) else answer
    if not isinstance(content, str):
        raise NotAskable("the model gave no answer")
    model = answer.get("model") if isinstance(answer, Mapping) else None
    return types.CreateMessageResult(
        role="assistant",
        content=types.TextContent(type="text", text=content),
        model=model if isinstance(model, str) and model else "agency",
        stop_reason="endTurn",
    )


def roots_result(folder: str | None) -> types.ListRootsResult:
    """Tell a server which folder the run works in; none, if that is not to be told."""
    if folder is None:
        return types.ListRootsResult(roots=[])
    return types.ListRootsResult.model_validate(
        {"roots": [{"uri": Path(folder).as_uri(), "name": "workspace"}]}
    )


def answer_of(kind: str, answer: Any, defaults: Mapping[str, Any]) -> Any:  # noqa: ANN401  one of the SDK's results
    """Make the answer to a request of one kind.

    Args:
        defaults: Of a form, as `defaults_of` gives them.

    Raises:
        NotAskable: the answer does not fit.
    """
    if kind == MODEL:
        return sampling_result(answer)
    return elicit_result(kind, answer, defaults)
