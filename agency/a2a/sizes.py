"""How many values of JSON are taken and given as such.

The library of protobuf takes some microseconds for each value, a thousand times what it costs to
send one, and the loop stands still meanwhile. What has more values travels as text that is JSON, or
as bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import struct_pb2

VALUES_MAX = 20_000
"""Values of one request, and of one part of an answer: a tenth of a second of work."""


def has_many(value: Any, most: int = VALUES_MAX) -> bool:  # noqa: ANN401  JSON value
    """Tell whether a JSON value holds more values than that, looking at no more than needed."""
    found, holders = 0, [value]
    while holders:
        holder = holders.pop()
        inner = list(holder.values()) if isinstance(holder, dict) else holder
        if not isinstance(inner, list):
            continue
        found += len(inner)
        if found > most:
            return True
        holders += [one for one in inner if isinstance(one, dict | list)]
    return False


def struct_has_many(struct: struct_pb2.Struct, most: int = VALUES_MAX) -> bool:
    """Tell the same of an object as protobuf has it."""
    return values_are_many([struct_pb2.Value(struct_value=struct)], most)


def values_are_many(values: Iterable[struct_pb2.Value], most: int = VALUES_MAX) -> bool:
    """Tell the same of values as protobuf has them, of all together."""
    found, holders = 0, list(values)
    while holders:
        holder = holders.pop()
        match holder.WhichOneof("kind"):
            case "struct_value":
                inner = holder.struct_value.fields
                found += len(inner)
                if found <= most:
                    holders += inner.values()
            case "list_value":
                found += len(holder.list_value.values)
                if found <= most:
                    holders += holder.list_value.values
            case _:
                continue
        if found > most:
            return True
    return False
