"""Between an author's types and JSON."""

from __future__ import annotations

import functools
import types
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from agency.core import json
from agency.core.limits import FAULTS_MAX, VALUE_BYTES_MAX
from agency.domain.content import CONTENT_SCHEMA, Content, content_of
from agency.errors import Fault, InvalidInput, ValueTooLarge

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

_PLAIN = frozenset({Any, object, None, types.NoneType, str, int, float, bool, dict, list})
_OPEN_SCHEMA: dict[str, Any] = {}


class Codec(Protocol):
    """Writes values of one type as JSON and reads them back."""

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  author's value
        """Write a value.

        Raises:
            NotJson: it holds something that is not JSON.
            ValueTooLarge: more than ``limits.VALUE_BYTES_MAX`` bytes.
        """
        ...

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  author's value
        """Read what `encode` wrote.

        Raises:
            InvalidInput: it does not fit the type; all faults are named with JSON pointers.
        """
        ...

    def prepare(self) -> None:
        """Get ready, so that a type that cannot be used is told before any work is done.

        Raises:
            InvalidInput: the type is not one that JSON can be read into.
        """
        ...

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the type; empty when anything goes.

        Raises:
            InvalidInput: the type is not one that JSON can be read into.
        """
        ...


class PlainCodec:
    """JSON as it is, and `Content` as it is written where nothing says what a function returns."""

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  author's value
        if isinstance(value, Content):
            value = value.to_json()
        try:
            body = orjson.dumps(value)
        except TypeError as error:
            raise json.NotJson(
                f"{error}. Annotate the return type, or return plain JSON types."
            ) from error
        if len(body) > VALUE_BYTES_MAX:
            raise ValueTooLarge("The value", len(body), VALUE_BYTES_MAX)
        return body

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  author's value
        return orjson.loads(body)

    def prepare(self) -> None:
        return

    def schema(self) -> dict[str, Any]:
        return _OPEN_SCHEMA


class TypedCodec:
    """Through pydantic: models, dataclasses, datetimes, unions, typed containers."""

    def __init__(self, annotation: Any) -> None:  # noqa: ANN401  a type
        self._annotation = annotation

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        annotation = self._annotation
        try:
            return _adapter_of(annotation) if type(annotation) is type else TypeAdapter(annotation)
        except PydanticUserError as error:
            raise InvalidInput(
                f"The type {self._annotation!r} cannot be read from JSON: {error.message}"
            ) from error

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  author's value
        from pydantic_core import PydanticSerializationError

        try:
            body = self._adapter.dump_json(value, warnings="none")
        except PydanticSerializationError as error:
            raise json.NotJson(str(error)) from error
        if len(body) > VALUE_BYTES_MAX:
            raise ValueTooLarge("The value", len(body), VALUE_BYTES_MAX)
        return body

    def decode(self, body: bytes) -> Any:  # noqa: ANN401  author's value
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(body)
        except ValidationError as error:
            raise invalid(error) from error

    def prepare(self) -> None:
        assert self._adapter is not None

    def schema(self) -> dict[str, Any]:
        return self._schema

    @functools.cached_property
    def _schema(self) -> dict[str, Any]:
        from pydantic.errors import PydanticUserError

        annotation, adapter = self._annotation, self._adapter
        try:
            return _schema_of(annotation) if type(annotation) is type else adapter.json_schema()
        except PydanticUserError as error:
            raise InvalidInput(
                f"The type {self._annotation!r} has no JSON Schema: {error.message}"
            ) from error


@functools.lru_cache(maxsize=256)
def _adapter_of(annotation: type) -> TypeAdapter[Any]:
    """Make the adapter of a class once, however often it is asked for.

    Types that are put together are left out: ``int | str`` counts as equal to ``str | int``, and is
    not read the same.
    """
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


@functools.lru_cache(maxsize=256)
def _schema_of(annotation: type) -> dict[str, Any]:
    return _adapter_of(annotation).json_schema()


def invalid(error: ValidationError, *, what: str = "The value") -> InvalidInput:
    """Turn pydantic's findings into one error with a JSON pointer for each."""
    faults = [
        Fault(
            where="/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in at),
            what=finding["msg"],
        )
        for finding in islice(error.errors(include_url=False, include_context=False), FAULTS_MAX)
        for at in [finding["loc"]]
    ]
    return InvalidInput(
        f"{what} does not fit: "
        + "; ".join(f"{fault.where}: {fault.what}" for fault in faults[:3])
        + ("." if len(faults) <= 3 else f"; and {error.error_count() - 3} more."),
        faults=faults,
    )


class ContentCodec:
    """Content of several parts, as `agency.domain.content` writes it."""

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  author's value
        if not isinstance(value, Content):
            raise json.NotJson(f"Content is needed, {type(value).__name__} was returned.")
        return _PLAIN_CODEC.encode(value.to_json())

    def decode(self, body: bytes) -> Content:
        return content_of(orjson.loads(body))

    def prepare(self) -> None:
        return

    def schema(self) -> dict[str, Any]:
        return dict(CONTENT_SCHEMA)


_PLAIN_CODEC = PlainCodec()
_CONTENT_CODEC = ContentCodec()


@functools.lru_cache(maxsize=1024)
def _typed(annotation: Any) -> TypedCodec:  # noqa: ANN401  a type
    return TypedCodec(annotation)


def codec_for(annotation: Any) -> Codec:  # noqa: ANN401  a type
    """Find the codec of an annotation; plain JSON types are not validated, for speed."""
    try:
        if annotation in _PLAIN:
            return _PLAIN_CODEC
        if annotation is Content:
            return _CONTENT_CODEC
        return _typed(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return TypedCodec(annotation)


def checking_codec(annotation: Any) -> Codec:  # noqa: ANN401  a type
    """Find the codec of what comes from outside: plain types are validated as well."""
    if annotation is Content:
        return _CONTENT_CODEC
    return _PLAIN_CODEC if annotation is Any or annotation is object else TypedCodec(annotation)
