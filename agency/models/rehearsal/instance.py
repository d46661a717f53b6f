"""Making up a small JSON value that obeys a JSON Schema.

The idea: a schema yields candidates, the plainest first, and each is checked with ``jsonschema``;
so the making may guess, and the result is right or there is none. The depth is raised step by step,
so that of a recursive schema the shallowest value comes out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain, islice
from typing import Any
from urllib.parse import unquote

from agency.errors import ModelRefused
from agency.models.rehearsal.merge import Schema, merge
from agency.models.rehearsal.pattern import matching_texts
from agency.models.schema import AnswerSchema

NODES_MAX = 20_000
"""Parts of schemas looked at: some tenths of a second; honest schemas need a few hundred."""

DEPTH_MAX = 32
SERIES_MAX = 64
"""Different texts or numbers that are tried where one schema asks for unlike ones."""

TEXT_CHARACTERS_MAX = 1 << 20
"""A schema that wants longer texts is not served."""

WORD = "rehearsal"
"""Stands in every text that may hold it, so that made-up values are seen for what they are."""

_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "rehearsal@example.org",
    "idn-email": "rehearsal@example.org",
    "hostname": "rehearsal.example.org",
    "idn-hostname": "rehearsal.example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.org/rehearsal",
    "uri-reference": "/rehearsal",
    "iri": "https://example.org/rehearsal",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "/rehearsal",
    "regex": "rehearsal",
}

_TYPE_KEYWORDS = {
    "object": {"properties", "required", "patternProperties", "minProperties", "propertyNames"},
    "array": {"items", "prefixItems", "minItems", "contains", "uniqueItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
_NOTHING = object()
_ANY_TYPE = ("string", "null", "boolean", "integer", "number", "object", "array")


def make_instance(schema: Schema) -> Any:  # noqa: ANN401  JSON comes out here
    """Make a small value that obeys ``schema``; the same schema gives the same value.

    Raises:
        ModelRefused: it is not a JSON Schema, nothing obeys it, or finding out takes too long.
    """
    checked = AnswerSchema(schema)
    budget = _Budget()
    for depth in range(DEPTH_MAX + 1):
        makers = _Candidates(schema, checked, budget)
        for value in makers.of(schema, depth):
            if checked.fault(value) is None:
                return value
        if not makers.was_cut:
            break
    raise _unsolved()


class _Budget:
    """Counts what is looked at, so that no schema holds up the daemon."""

    def __init__(self) -> None:
        self._left = NODES_MAX

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _unsolved()


class _Candidates:
    """Values that may obey the parts of one schema."""

    def __init__(self, root: Schema, checked: AnswerSchema, budget: _Budget) -> None:
        self._root = root
        self._checked = checked
        self._budget = budget
        self.was_cut = False

    def of(self, schema: Schema, depth: int) -> Iterator[Any]:
        """Yield candidates for ``schema``, nested at most ``depth`` parts deep."""
        self._budget.spend()
        if depth < 0:
            self.was_cut = True
            return
        if schema is False:
            return
        if schema is True:
            yield from (WORD, None)
            return
        assert isinstance(schema, Mapping)
        if "const" in schema:
            yield schema["const"]
        elif "enum" in schema:
            yield from schema["enum"]
        elif "$ref" in schema:
            target = self._resolve(str(schema["$ref"]))
            yield from self.of(merge(_without(schema, "$ref"), target), depth - 1)
        elif schema.get("allOf"):
            whole: Schema = _without(schema, "allOf")
            for part in schema["allOf"]:
                whole = merge(whole, part)
            yield from self.of(whole, depth)
        else:
            yield from self._of_ways(schema, depth)

    def first(self, schema: Schema, depth: int) -> Iterator[Any]:
        """Yield the valid ones among the candidates."""
        for value in self.of(schema, depth):
            if self._checked.is_valid_part(schema, value):
                yield value

    def _of_ways(self, schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = _without(schema, keyword)
                for way in schema[keyword]:
                    yield from self.of(merge(rest, way), depth)
                return
        if "if" in schema:
            rest = _without(schema, "if", "then", "else")
            met = merge(merge(rest, schema["if"]), schema.get("then", True))
            yield from self.of(met, depth)
            yield from self.of(merge(rest, schema.get("else", True)), depth)
            return
        if "default" in schema:
            yield schema["default"]
        yield from schema.get("examples", ())
        for kind in _types_of(schema):
            yield from self._of_type(kind, schema, depth)

    def _of_type(self, kind: str, schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
        match kind:
            case "null":
                yield None
            case "boolean":
                yield from (False, True)
            case "string":
                yield from _texts(schema)
            case "integer" | "number":
                yield from _numbers(schema, is_integer=kind == "integer")
            case "array":
                yield from self._arrays(schema, depth)
            case "object":
                yield from self._objects(schema, depth)

    def _arrays(self, schema: Mapping[str, Any], depth: int) -> Iterator[list[Any]]:
        places = schema.get("prefixItems", ())
        rest = schema.get("items", True)
        if isinstance(rest, list):  # Before draft 2020-12 ``items`` could be the list of places.
            places, rest = rest, schema.get("additionalItems", True)
        wanted = schema.get("contains")
        contained = int(schema.get("minContains", 1)) if wanted is not None else 0
        count = max(int(schema.get("minItems", 0)), contained)
        values: list[Any] = []
        for i in range(count):
            place = places[i] if i < len(places) else rest
            if wanted is not None and i >= count - contained:
                place = merge(place, wanted)
            for value in self.first(place, depth - 1):
                if not schema.get("uniqueItems") or value not in values:
                    values.append(value)
                    break
            else:
                return
        yield values

    def _objects(self, schema: Mapping[str, Any], depth: int) -> Iterator[dict[str, Any]]:
        properties = schema.get("properties", {})
        required = list(schema.get("required", ()))
        least = int(schema.get("minProperties", 0))
        yield from self._object(schema, _filled(required, properties, least), depth)
        if len(required) < len(properties):
            yield from self._object(schema, _filled(required, properties, len(properties)), depth)

    def _object(
        self, schema: Mapping[str, Any], names: Sequence[str], depth: int
    ) -> Iterator[dict[str, Any]]:
        wanted = list(names)
        made: dict[str, Any] = {}
        for name in wanted:  # Grows below, as one name may ask for others.
            for value in self.first(_property_schema(schema, name), depth - 1):
                made[name] = value
                break
            else:
                if name in schema.get("required", ()):
                    return
                continue
            for more in _asked_for_by(schema, name):
                if more not in wanted:
                    wanted.append(more)
        self._fill_up(made, schema, depth)
        yield made

    def _fill_up(self, made: dict[str, Any], schema: Mapping[str, Any], depth: int) -> None:
        """Add properties under made-up names until there are enough of them."""
        least = int(schema.get("minProperties", 0))
        if len(made) >= least:
            return
        names = _name_schema(schema)
        series = islice(self.first(names, depth - 1), SERIES_MAX)
        longer = (
            name
            for length in range(SERIES_MAX)
            for name in islice(self.first(merge(names, {"minLength": length}), depth - 1), 1)
        )
        for name in chain(series, longer):
            if len(made) >= least:
                return
            value = next(self.first(_property_schema(schema, name), depth - 1), _NOTHING)
            if name not in made and value is not _NOTHING:
                made[name] = value

    def _resolve(self, reference: str) -> Schema:
        base, _, fragment = reference.partition("#")
        if base and not (isinstance(self._root, Mapping) and base == self._root.get("$id")):
            raise _unsolved()
        found: Any = self._root
        if fragment and not fragment.startswith("/"):
            return _anchored(self._root, fragment)
        for part in unquote(fragment).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise _unsolved() from error
        if not isinstance(found, Mapping | bool):
            raise _unsolved()
        return found


def _types_of(schema: Mapping[str, Any]) -> Sequence[str]:
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return (kinds,)
    if isinstance(kinds, list):
        return kinds
    likely = [kind for kind, words in _TYPE_KEYWORDS.items() if words & schema.keys()]
    return likely or _ANY_TYPE


def _texts(schema: Mapping[str, Any]) -> Iterator[str]:
    least = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", max(least, TEXT_CHARACTERS_MAX)))
    if least > TEXT_CHARACTERS_MAX:
        return
    if "pattern" in schema:
        for text in matching_texts(str(schema["pattern"]), least=least):
            yield text
            yield text + "a" * (least - len(text))
            yield "a" * (least - len(text)) + text
    if schema.get("format") in _FORMATS:
        yield _FORMATS[schema["format"]]
    yield from (_fitted(f" {i + 1}" if i else "", least, most) for i in range(SERIES_MAX))


def _fitted(mark: str, least: int, most: int) -> str:
    """Write `WORD` and ``mark`` in ``least`` to ``most`` characters; the mark is cut last."""
    word = WORD[: max(0, most - len(mark))]
    text = word + "." * (least - len(word) - len(mark)) + mark
    return text[max(0, len(text) - most) :]


def _numbers(schema: Mapping[str, Any], *, is_integer: bool) -> Iterator[int | float]:
    low, high = _bounds(schema)
    step = _fraction(schema.get("multipleOf", 1))
    if is_integer and step.denominator != 1:
        step = Fraction(step.numerator)
    start = Fraction(0)
    if low is not None and low > 0:
        start = math.ceil(low / step) * step
    elif high is not None and high < 0:
        start = math.floor(high / step) * step
        step = -step
    for i in range(SERIES_MAX):
        yield _plain(start + i * step)
    if low is None or low <= 0:
        for i in range(1, SERIES_MAX):
            yield _plain(start - i * step)
    if not is_integer:
        near = [bound for bound in (low, high) if bound is not None]
        yield from (_plain(bound) for bound in near)
        if len(near) == 2:
            yield _plain(sum(near, Fraction(0)) / 2)


def _bounds(schema: Mapping[str, Any]) -> tuple[Fraction | None, Fraction | None]:
    lows = [schema[key] for key in ("minimum", "exclusiveMinimum") if _is_number(schema.get(key))]
    highs = [schema[key] for key in ("maximum", "exclusiveMaximum") if _is_number(schema.get(key))]
    return (
        _fraction(max(lows)) if lows else None,
        _fraction(min(highs)) if highs else None,
    )


def _is_number(value: object) -> bool:
    # In draft 4 exclusiveMinimum was a boolean beside minimum.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fraction(number: float) -> Fraction:
    # By its decimal spelling: a step of 0.1 means a tenth, not the binary number next to it.
    return Fraction(str(number))


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)


def _filled(required: Sequence[str], properties: Mapping[str, Any], least: int) -> list[str]:
    names = list(required)
    for name in properties:
        if len(names) >= least:
            break
        if name not in names:
            names.append(name)
    return names


def _property_schema(schema: Mapping[str, Any], name: str) -> Schema:
    found: list[Schema] = []
    if name in schema.get("properties", {}):
        found.append(schema["properties"][name])
    for pattern, part in schema.get("patternProperties", {}).items():
        if re.search(pattern, name):
            found.append(part)
    if not found:
        part = schema.get("additionalProperties", True)
        return part if isinstance(part, Mapping | bool) else True
    whole: Schema = True
    for part in found:
        whole = merge(whole, part)
    return whole


def _name_schema(schema: Mapping[str, Any]) -> Schema:
    names: Schema = merge({"type": "string"}, schema.get("propertyNames", True))
    patterns = list(schema.get("patternProperties", ()))
    if patterns and schema.get("additionalProperties") is False:
        names = merge(names, {"pattern": patterns[0]})
    return names


def _asked_for_by(schema: Mapping[str, Any], name: str) -> Sequence[str]:
    asked = schema.get("dependentRequired", schema.get("dependencies", {})).get(name, ())
    return asked if isinstance(asked, list) else ()


def _anchored(part: object, anchor: str) -> Schema:
    parts: list[object] = [part]
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            if anchor in (part.get("$anchor"), part.get("$dynamicAnchor")):
                return part
            parts.extend(part.values())
        elif isinstance(part, list):
            parts.extend(part)
    raise _unsolved()


def _without(schema: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in keys}


def _unsolved() -> ModelRefused:
    return ModelRefused(
        "The rehearsal could not make up a value that obeys the response schema.",
        hint="Put a reply that obeys it into [llm] rehearsal_script, or simplify the schema.",
    )
