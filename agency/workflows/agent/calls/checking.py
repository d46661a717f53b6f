"""Arguments against the schema of their tool, with changes that cannot change the meaning.

A change is made only at a place that the schema finds fault with, only when what comes out fits the
schema there, and each is told. Anything that would be a choice is left to the model.
"""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from agency.core import json
from agency.core.records import dataclass
from agency.ports.model import ToolCall, ToolSpec

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

CHANGES_MAX = 32
"""Changes to one call's arguments: whatever needs more is better written anew."""

FAULTS_MAX = 5
"""Faults that the model is told of at once; small models lose the thread over more."""

FAULT_CHARACTERS_MAX = 300
PATTERN_TEXT_CHARACTERS_MAX = 2_000
"""Texts that a ``pattern`` is matched with: patterns come from servers and may take for ever."""

SCHEMAS_MAX = 512
"""Schemas whose validators are kept."""

NEAR_RATIO = 0.8
"""How alike a misspelt member and the one that is meant have to be (`difflib`, 0 to 1)."""

_NUMBER = re.compile(r"[+-]?(?:\d{1,18})(?:\.\d{1,18})?(?:[eE][+-]?\d{1,3})?")
_NESTED_REPEATS = re.compile(r"[+*}][)\]]*\)[+*{]|\([^)]*\|[^)]*\)[+*{]")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_TRUE, _FALSE = frozenset({"true", "yes"}), frozenset({"false", "no"})
_VALUES = frozenset({"const", "enum", "default", "examples"})
_ENVELOPES = ("arguments", "parameters", "args", "input", "kwargs", "params", "properties")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Arguments after the check.

    Attributes:
        arguments: They fit when ``faults`` is empty.
        coerced: What was changed, in words for the record: ``/count: "3" to 3``.
        faults: One sentence each, with the place first: ``/path: 'x' is not …``.
    """

    arguments: Mapping[str, Any]
    coerced: Sequence[str] = field(default=())
    faults: Sequence[str] = field(default=())


class Checker:
    """Checks arguments; keeps validators, so that a schema is prepared once.

    The first check imports ``jsonschema``, which takes 0.15 s: `prepare` does it aside.
    """

    def __init__(self) -> None:
        """Begin with none."""
        # By content: a server's list of tools makes new schemas that say the same.
        self._validators: dict[bytes, Any] = {}

    @staticmethod
    def prepare() -> None:
        """Import what checking needs; may run in a thread."""
        import jsonschema  # noqa: F401
        import referencing  # noqa: F401

    def check(self, call: ToolCall, spec: ToolSpec) -> Checked:
        """Check one call; never raises. Time is bounded by the size of the arguments."""
        validator = self._validator(spec.parameters)
        found = list(_faults(validator, call.arguments))
        has_strangers = bool(_strangers(call.arguments, spec.parameters))
        if not found and not has_strangers and not _has_float(call.arguments):
            return Checked(arguments=call.arguments)
        arguments = copy.deepcopy(dict(call.arguments))
        coerced: list[str] = []
        arguments = _unwrapped(arguments, spec.parameters, coerced)
        coerced += _rename_strangers(arguments, spec.parameters)
        _make_whole(arguments, spec.parameters, "", coerced)
        for _ in range(CHANGES_MAX):
            found = list(_faults(validator, arguments))
            # Keys first: a fault that a misspelt key makes is no fault of the value.
            change = next(
                (one for error in found if (one := _mend(error, arguments, validator))), None
            )
            if change is None:
                break
            coerced.append(change)
        faults = [_told(error) for error in found[:FAULTS_MAX]]
        return Checked(arguments=arguments, coerced=coerced, faults=faults)

    def _validator(self, schema: Mapping[str, Any]) -> Any:  # noqa: ANN401  of jsonschema
        content = json.encode(schema)
        known = self._validators.get(content)
        if known is None:
            if len(self._validators) >= SCHEMAS_MAX:
                self._validators.clear()
            known = self._validators[content] = _make_validator(schema)
        return known


def _make_validator(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401  of jsonschema
    import jsonschema
    import referencing

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    extend: Any = jsonschema.validators.extend
    bounded = extend(kind, {"pattern": _bounded_pattern})
    try:
        kind.check_schema(dict(schema))
        is_usable = not any(_is_endless(one) for one in _patterns_of_names(schema))
    except (jsonschema.SchemaError, RecursionError, re.error):
        is_usable = False
    if not is_usable:
        # The tool's own mistake is not the model's: all that is left to check is the object.
        return bounded({"type": "object"})
    # References to other documents are never fetched.
    return bounded(schema, registry=referencing.Registry())


def fault_of_schema(schema: Mapping[str, Any]) -> str:
    """Tell why values cannot be checked against a schema; empty when they can.

    Checking is lenient where the schema is a tool's; whoever asks for an answer relies on it.
    """
    import jsonschema

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
        patterns = [*_patterns_of_names(schema), *_texts_of(schema, "pattern")]
        for pattern in patterns:
            re.compile(pattern)
            if _is_endless(pattern):
                return f"the pattern {pattern[:200]!r} may take for ever to match"
        return _fault_of_references(schema)
    except jsonschema.SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        return f"/{place}: {error.message[:FAULT_CHARACTERS_MAX]}"
    except re.error as error:
        return f"the pattern {str(error.pattern)[:200]!r} is none: {error.msg}"
    except RecursionError:
        return "it is nested too deeply"


def _fault_of_references(schema: Mapping[str, Any]) -> str:
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    address = resource.id() or ""
    registry: Registry[Any] = Registry().with_resource(address, resource)
    for reference in (*_texts_of(schema, "$ref"), *_texts_of(schema, "$dynamicRef")):
        try:
            registry.resolver(address).lookup(reference)
        except Unresolvable:
            return f"the reference {reference[:200]!r} leads nowhere, or to another document"
    return ""


def _is_endless(pattern: str) -> bool:
    return len(pattern) > PATTERN_TEXT_CHARACTERS_MAX or _NESTED_REPEATS.search(pattern) is not None


def _patterns_of_names(schema: Mapping[str, Any]) -> Iterator[str]:
    for one in _objects_in(schema):
        patterns = one.get("patternProperties")
        if isinstance(patterns, Mapping):
            yield from patterns


def _texts_of(schema: Mapping[str, Any], name: str) -> Iterator[str]:
    for one in _objects_in(schema):
        if isinstance(one.get(name), str):
            yield one[name]


def _objects_in(schema: Any) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401  a JSON Schema
    """List the objects of a schema, but for those that are values."""
    rest = [schema]
    while rest:
        one = rest.pop()
        if isinstance(one, Mapping):
            yield one
            rest += [inner for name, inner in one.items() if name not in _VALUES]
        elif isinstance(one, list):
            rest += one


def _bounded_pattern(
    validator: Any,  # noqa: ANN401  of jsonschema
    pattern: str,
    instance: Any,  # noqa: ANN401  JSON
    schema: Any,  # noqa: ANN401  JSON
) -> Iterator[ValidationError]:
    """Match only what cannot take for ever; the tool itself judges the rest."""
    del schema
    import jsonschema

    if not validator.is_type(instance, "string") or len(instance) > PATTERN_TEXT_CHARACTERS_MAX:
        return
    if _is_endless(pattern):
        return
    try:
        is_matched = re.search(pattern, instance) is not None
    except re.error:
        return
    if not is_matched:
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _faults(validator: Any, arguments: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    import referencing.exceptions

    order = {"additionalProperties": 0, "required": 1}
    try:
        found = []
        for error in validator.iter_errors(arguments):
            found.append(error)
            if len(found) == CHANGES_MAX:
                break
    except (referencing.exceptions.Unresolvable, RecursionError):
        return
    yield from sorted(found, key=lambda error: order.get(str(error.validator), 2))


def _told(error: ValidationError) -> str:
    place = "/" + "/".join(str(part) for part in error.absolute_path)
    text = error.message
    if len(text) > FAULT_CHARACTERS_MAX:
        # jsonschema quotes the whole value, which may be a file.
        half = FAULT_CHARACTERS_MAX // 2
        text = f"{text[:half]} … {text[-half:]}"
    return f"{place}: {text}"


def _has_float(value: Any) -> bool:  # noqa: ANN401  JSON
    match value:
        case float():
            return True
        case Mapping():
            return any(_has_float(inner) for inner in value.values())
        case list():
            return any(_has_float(inner) for inner in value)
        case _:
            return False


def _make_whole(value: Any, schema: Any, place: str, coerced: list[str]) -> None:  # noqa: ANN401
    """Turn 3.0 into 3 where an integer is wanted: JSON Schema takes both, and programs do not."""
    if not isinstance(schema, Mapping):
        return
    inner: list[tuple[Any, Any, Any]] = []
    if isinstance(value, dict) and isinstance(schema.get("properties"), Mapping):
        inner = [(key, value[key], schema["properties"].get(key)) for key in list(value)]
    elif isinstance(value, list):
        inner = [(i, one, schema.get("items")) for i, one in enumerate(value)]
    for key, one, its in inner:
        is_whole = isinstance(one, float) and one.is_integer() and abs(one) < 2**53
        if is_whole and isinstance(its, Mapping) and its.get("type") == "integer":
            value[key] = int(one)
            coerced.append(f"{place}/{key}: {_shown(one)} to {_shown(value[key])}")
        else:
            _make_whole(one, its, f"{place}/{key}", coerced)


def _strangers(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Name the members that the schema does not list, though it does not invite others either."""
    known = schema.get("properties")
    if not isinstance(known, Mapping) or not known or schema.get("additionalProperties"):
        return []
    return [name for name in arguments if name not in known]


def _rename_strangers(arguments: dict[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Give misspelt members their names, the needed ones first."""
    done: list[str] = []
    for name in _strangers(arguments, schema):
        missing = [one for one in schema.get("required", ()) if one not in arguments]
        free = [one for one in schema["properties"] if one not in arguments]
        meant = _meant(name, missing) or _meant(name, free)
        if meant is not None:
            arguments[meant] = arguments.pop(name)
            done.append(f"/{name}: named {meant}")
    return done


def _unwrapped(
    arguments: dict[str, Any], schema: Mapping[str, Any], coerced: list[str]
) -> dict[str, Any]:
    """Take arguments out of an envelope: ``{"arguments": {…}}``, which is no member of the tool."""
    if len(arguments) != 1:
        return arguments
    name, inner = next(iter(arguments.items()))
    properties = schema.get("properties")
    is_own = isinstance(properties, Mapping) and name in properties
    if name not in _ENVELOPES or is_own or not isinstance(inner, dict):
        return arguments
    coerced.append(f"/{name}: its members")
    return inner


def _mend(error: ValidationError, arguments: dict[str, Any], validator: Any) -> str | None:  # noqa: ANN401
    """Make one change that removes the fault, in place; say which, or None."""
    match error.validator:
        case "additionalProperties":
            return _mend_extra(error, arguments)
        case "required":
            return _mend_missing(error)
        case "type" | "anyOf" | "oneOf" | "enum" | "const":
            return _mend_value(error, arguments, validator)
        case _:
            return None


def _mend_extra(error: ValidationError, arguments: dict[str, Any]) -> str | None:
    """Give a misspelt member its name; drop one that is null."""
    del arguments
    owner, schema = error.instance, error.schema
    if not isinstance(owner, dict) or not isinstance(schema, Mapping):
        return None
    known = schema.get("properties")
    names = list(known) if isinstance(known, Mapping) else []
    for name in [key for key in owner if key not in names]:
        meant = _meant(name, [one for one in names if one not in owner])
        if meant is not None:
            return _rename(owner, name, meant, error)
        if owner[name] is None:
            del owner[name]
            return f"{_place(error)}{name}: null left out"
    return None


def _mend_missing(error: ValidationError) -> str | None:
    """Find what is missing under a name that is nearly right and belongs to nothing else."""
    owner, schema = error.instance, error.schema
    if not isinstance(owner, dict) or not isinstance(schema, Mapping):
        return None
    known = schema.get("properties")
    names = list(known) if isinstance(known, Mapping) else []
    missing = [name for name in schema.get("required", ()) if name not in owner]
    for name in [key for key in owner if key not in names]:
        meant = _meant(name, missing)
        if meant is not None:
            return _rename(owner, name, meant, error)
    return None


def _meant(name: str, names: Sequence[str]) -> str | None:
    """Find the one name that is meant; None when none or several are near."""
    plain = _signs_only(name)
    same = [one for one in names if _signs_only(one) == plain]
    if len(same) == 1:
        return same[0]
    near = difflib.get_close_matches(name[:128], names, n=2, cutoff=NEAR_RATIO)
    if near:
        return near[0] if len(near) == 1 else None
    words = _words(name)
    within = [one for one in names if _words(one) <= words or words <= _words(one)]
    return within[0] if len(within) == 1 else None


def _words(name: str) -> set[str]:
    """Split ``file_path`` and ``filePath`` into their words."""
    return {word.lower() for word in _WORD.findall(name[:128])} or {name}


def _signs_only(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _rename(owner: dict[str, Any], name: str, meant: str, error: ValidationError) -> str:
    owner[meant] = owner.pop(name)
    return f"{_place(error)}{name}: named {meant}"


def _mend_value(error: ValidationError, arguments: dict[str, Any], validator: Any) -> str | None:  # noqa: ANN401
    path = list(error.absolute_path)
    if not path:
        return None
    owner: Any = arguments
    for part in path[:-1]:
        owner = owner[part]
    key = path[-1]
    value = owner[key]
    schema = error.schema
    if value is None and isinstance(owner, dict) and _is_optional(error, validator.schema):
        del owner[key]
        return f"{_place(error).rstrip('/')}: null left out"
    for change in _changes(value, schema):
        if _fits(validator, schema, change):
            owner[key] = change
            return f"{_place(error).rstrip('/')}: {_shown(value)} to {_shown(change)}"
    return None


def _is_optional(error: ValidationError, root: Any) -> bool:  # noqa: ANN401  JSON Schema
    """Tell whether a value may be left out, as far as the schema says so in one place.

    Behind a reference or a choice of schemas every member counts as needed.
    """
    steps = list(error.absolute_schema_path)
    if len(steps) < 3 or steps[-3] != "properties" or steps[-2] != error.absolute_path[-1]:
        return False
    owner = root
    for step in steps[:-3]:
        try:
            owner = owner[step]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(owner, Mapping) and steps[-2] not in owner.get("required", ())


def _fits(validator: Any, schema: Any, value: Any) -> bool:  # noqa: ANN401  of jsonschema
    import referencing.exceptions

    try:
        return bool(validator.evolve(schema=schema).is_valid(value))
    except (referencing.exceptions.Unresolvable, RecursionError):
        return False


def _changes(value: Any, schema: Any) -> Iterator[Any]:  # noqa: ANN401  JSON
    """Yield what the value may also mean, most likely first; the schema decides."""
    if not isinstance(schema, Mapping):
        return
    if isinstance(value, str):
        yield from _from_text(value, schema)
    elif isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        yield int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield str(value)
    if not isinstance(value, list):
        yield [value]
        if isinstance(value, str):
            for inner in _from_text(value, {}):
                yield [inner]


def _from_text(text: str, schema: Mapping[str, Any]) -> Iterator[Any]:
    stripped = text.strip()
    plain = _signs_only(stripped)
    same = [one for one in _allowed(schema) if plain and _signs_only(one) == plain]
    if len(same) == 1:
        yield same[0]
    if stripped.lower() in _TRUE:
        yield True
    elif stripped.lower() in _FALSE:
        yield False
    if _NUMBER.fullmatch(stripped):
        number = float(stripped)
        if number.is_integer() and abs(number) < 2**53:
            yield int(number)
        yield number
    if stripped[:1] in ("{", "["):
        try:
            yield json.decode(stripped)
        except (json.NotJson, UnicodeEncodeError):
            return


def _allowed(schema: Mapping[str, Any]) -> list[str]:
    allowed = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return [one for one in allowed if isinstance(one, str)]


def _place(error: ValidationError) -> str:
    return "".join(f"/{part}" for part in error.absolute_path) + "/"


def _shown(value: Any) -> str:  # noqa: ANN401  JSON
    try:
        text = json.encode(value).decode()
    except json.NotJson:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
