"""Is a value one that a setting takes? Pure."""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import urlsplit

from agency.config.catalogue import Kind, Setting
from agency.core.suggestions import nearest

_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_REFERENCES = {
    "secret": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII),
    "env": re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII),
}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
"""Source: RFC 9110, section 5.6.2, token."""

_SECRET_HEADER = re.compile(r"authorization|key|token|secret|cookie|password", re.IGNORECASE)
_TRUTHS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class Unsuitable(ValueError):
    """The value is not one that the setting takes; the text says what was needed."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def read(setting: Setting, text: str) -> Any:  # noqa: ANN401  as the schema says
    """Read a value from the environment or the command line.

    Lists are separated by commas, or JSON.

    Raises:
        Unsuitable: the setting does not take it.
    """
    match setting.kind:
        case Kind.WHOLE:
            # Not `int` alone: it also takes 8_080 and digits of other scripts.
            return check(setting, int(text) if _WHOLE.fullmatch(text.strip()) else text)
        case Kind.NUMBER:
            try:
                return check(setting, float(text))
            except ValueError as error:
                if isinstance(error, Unsuitable):
                    raise
                return check(setting, text)
        case Kind.TRUTH:
            return check(setting, _TRUTHS.get(text.strip().lower(), text))
        case Kind.LIST:
            return check(setting, _read_list(text))
        case Kind.TABLE:
            return check(setting, _read_table(text))
        case Kind.TEXT | Kind.CHOICE:
            return check(setting, text)


def check(setting: Setting, value: object) -> Any:  # noqa: ANN401  as the schema says
    """Check a value against type, choices, bounds and form, and return it as the schema has it.

    Raises:
        Unsuitable: the setting does not take it.
    """
    match setting.kind:
        case Kind.WHOLE | Kind.NUMBER:
            return _check_number(setting, value)
        case Kind.TRUTH:
            if not isinstance(value, bool):
                raise _wrong_kind(setting, value)
            return value
        case Kind.LIST:
            return _check_list(setting, value)
        case Kind.TABLE:
            return _check_table(setting, value)
        case Kind.CHOICE:
            return _check_choice(setting, value)
        case Kind.TEXT:
            if not isinstance(value, str):
                raise _wrong_kind(setting, value)
            _check_text(setting, value, is_required=setting.is_required)
            return value


def _check_number(setting: Setting, value: object) -> int | float:
    # In Python a bool is an int; in a configuration it is a slip.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_kind(setting, value)
    if setting.kind is Kind.WHOLE and not isinstance(value, int):
        raise _wrong_kind(setting, value)
    if not math.isfinite(value):
        raise Unsuitable(f"It must be a finite number, and is {value}.")
    if setting.minimum is not None and value < setting.minimum:
        raise Unsuitable(f"It must be {setting.minimum} or more, and is {value}.")
    if setting.maximum is not None and value > setting.maximum:
        raise Unsuitable(f"It must be {setting.maximum} or less, and is {value}.")
    return value if setting.kind is Kind.WHOLE else float(value)


def _check_choice(setting: Setting, value: object) -> str:
    options = ", ".join(repr(choice) for choice in setting.choices)
    if not isinstance(value, str):
        raise Unsuitable(f"It must be one of {options}, and is {value!r}.")
    for choice in setting.choices:
        if value.casefold() == choice.casefold():
            return choice
    likely = nearest(value, setting.choices)
    raise Unsuitable(
        f"It must be one of {options}, and is {value!r}.",
        hint=f"Did you mean {likely!r}?" if likely else "",
    )


def _check_list(setting: Setting, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong_kind(setting, value)
    for item in value:
        _check_text(setting, item, is_required=True)
    if setting.choices:
        return [_check_choice(setting, item) for item in value]
    return list(value)


def _check_table(setting: Setting, value: object) -> dict[str, str]:
    """Take texts, and numbers as what they are written like: ports are mostly no texts."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _wrong_kind(setting, value)
    found = {}
    for key, item in value.items():
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            # Not shown: tables hold what is handed to servers.
            raise Unsuitable(f"It must be {setting.kind}, and {key!r} is none.")
        found[key] = item if isinstance(item, str) else f"{item}"
        _check_text(setting, found[key], is_required=False)
    return found


def _check_text(setting: Setting, value: str, *, is_required: bool) -> None:
    if is_required and not value.strip():
        raise Unsuitable("It must not be empty.")
    if "\0" in value:
        raise Unsuitable("It must not hold a NUL character.")
    if setting.form == "url" and value:
        _check_url(value)
    if setting.form == "secret" and value and not _is_reference(value):
        # Not repeated here, because it may be the secret.
        raise Unsuitable(
            "It must name where the secret is, and never be the secret itself.",
            hint="Write secret://NAME or env://VARIABLE.",
        )
    if setting.form == "header":
        _check_header(value)


def _check_url(value: str) -> None:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if is_good and parts.username is not None:
        # Not repeated here, because the password stands beside it.
        raise Unsuitable("It must not hold a user name or a password.")
    if not is_good:
        raise Unsuitable(f"It must be an http or https address, and is {value!r}.")


def _is_reference(value: str) -> bool:
    scheme, separator, name = value.partition("://")
    form = _REFERENCES.get(scheme)
    return bool(separator and form is not None and form.fullmatch(name))


def _check_header(value: str) -> None:
    name, colon, content = value.partition(":")
    content = content.strip()
    if not colon or not _HEADER.fullmatch(name) or not content.isprintable():
        # Not repeated here, because a secret may stand in it.
        raise Unsuitable("Each must be a header, NAME: VALUE, on one line.")
    # A scheme may stand before it: ``Bearer secret://lab``.
    if _SECRET_HEADER.search(name) and not _is_reference(content.rpartition(" ")[2]):
        raise Unsuitable(
            f"The value of {name} must name where the secret is, and never be the secret itself.",
            hint=f"Write {name}: secret://NAME or {name}: env://VARIABLE.",
        )


def _read_list(text: str) -> object:
    if not text.lstrip().startswith("["):
        return [item for item in (part.strip() for part in text.split(",")) if item]
    return _read_json(text)


def _read_table(text: str) -> object:
    """Read JSON; what is none is not handed on, because it would be shown."""
    value = _read_json(text)
    return value if isinstance(value, dict) else None


def _read_json(text: str) -> object:
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _wrong_kind(setting: Setting, value: object) -> Unsuitable:
    if setting.form in {"secret", "header"}:
        return Unsuitable(f"It must be {setting.kind}.")
    return Unsuitable(f"It must be {setting.kind}, and is {value!r}.")
