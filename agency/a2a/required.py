"""Fields that a request must have, which the wire formats themselves do not check.

Which ones they are is read once from the marks in the protocol's description of its messages.
Source: A2A 1.0.1, section 5.7; google.api.field_behavior.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from agency.a2a.refusals import invalid
from agency.core.records import dataclass
from agency.domain.content import PARTS_MAX

VIOLATIONS_MAX = 32
"""Faults that one answer tells of."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    shown: str
    is_required: bool
    is_repeated: bool
    has_presence: bool
    is_message: bool


def check_required(message: Message) -> None:
    """Refuse a message that lacks what it must have, in itself or further down.

    Raises:
        InvalidParamsError: with each field that is missing.
    """
    missing: list[tuple[str, str]] = []
    for where in _missing(message, ""):
        missing.append((where, "It is required."))
        if len(missing) == VIOLATIONS_MAX:
            break
    if missing:
        named = ", ".join(where for where, _ in missing[:3])
        raise invalid(f"Required fields are missing or empty: {named}.", missing)


def _missing(message: Message, place: str) -> Iterator[str]:
    for field in _fields_of(message.DESCRIPTOR):
        where = f"{place}.{field.shown}" if place else field.shown
        value = getattr(message, field.name)
        if field.is_repeated:
            if field.is_required and not value:
                yield where
            if field.is_message:
                # Messages of more parts are refused, whatever these lack.
                for index, item in enumerate(islice(value, PARTS_MAX)):
                    yield from _missing(item, f"{where}[{index}]")
        elif field.has_presence:
            is_set = message.HasField(field.name)
            if is_set and field.is_message:
                yield from _missing(value, where)
            elif field.is_required and not is_set:
                yield where
        elif field.is_required and not value:
            yield where


@cache
def _fields_of(descriptor: Descriptor) -> Sequence[_Field]:
    """List the fields that have to be looked at: required ones, and messages that have such."""
    found = []
    for field in descriptor.fields:
        behaviours = field.GetOptions().Extensions[field_behavior]
        is_required = FieldBehavior.REQUIRED in behaviours
        inner = field.message_type if field.type == FieldDescriptor.TYPE_MESSAGE else None
        is_ours = inner is not None and inner.file is descriptor.file
        is_map = inner is not None and inner.GetOptions().map_entry
        is_message = is_ours and not is_map
        if is_required or is_message:
            found.append(
                _Field(
                    name=field.name,
                    shown=field.camelcase_name,
                    is_required=is_required,
                    is_repeated=field.is_repeated,
                    has_presence=field.has_presence,
                    is_message=is_message,
                )
            )
    return tuple(found)
