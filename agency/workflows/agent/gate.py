"""The gate: which tools an agent may use, and which calls are allowed, asked about or refused.

A pattern is ``tool``, ``tool(glob)`` or ``tool(argument=glob, other=glob)``. The name of a tool may
hold ``*`` and ``?``, and the name of a toolset stands for all of its tools. ``tool(glob)`` looks at
the first required argument: the command of a shell, the path of a file tool, the address of a
fetch. ``name=glob`` of a tool that has no such argument is such a glob, too, as in
``shell(LANG=* make*)``.

What decides, in this order: any ``deny``; then the patterns with arguments, then those without; of
the same sort an ``ask`` before an ``allow``; then what the tool itself says. So a narrow ``allow``
goes before a wide ``ask``, and nothing goes before a ``deny``.

A glob is matched against text that a model wrote, so that *what is allowed* must not be wider than
it looks: a wildcard of an ``allow`` does not match what would begin another command, substitute one
or redirect it, nor ``..`` in a path, nor the end of the host in an address. *What is asked or
denied* is looked for in each of the commands of a line as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from agency.config.schema import Agent as AgentSettings
from agency.core.records import dataclass
from agency.domain.tool import Permission
from agency.errors import InvalidInput
from agency.ports.model import ToolSpec
from agency.ports.tool import Tool

ALL = "*"
SUBJECT_CHARACTERS_MAX = 64 * 1024
"""A longer argument is not matched: it is not allowed by any pattern, and caught by each other."""

_PATTERN = re.compile(r"(?P<tool>[^()\s]+)(?:\((?P<inside>.*)\))?", re.DOTALL)
_NAMED = re.compile(r"\s*(?P<name>[A-Za-z_][\w-]*)=(?P<glob>.*)", re.DOTALL)
_COMMAND_BORDERS = re.compile(r"&&|\|\||[;&|\n\r`]|\$\(|[()<>]")
_BEYOND_A_COMMAND = re.compile(r"[;&|`$<>()\n\r]")
_HOST = re.compile(r"[A-Za-z*?][A-Za-z0-9+.*-]*://[^/\\?#]*")
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern for calls, parsed.

    Attributes:
        tool: Glob for the names of tools and toolsets.
        inside: Glob for the first required argument; empty when any call is meant.
        arguments: Globs by the name of the argument, if it is written so.
    """

    tool: str
    inside: str = ""
    arguments: tuple[tuple[str, str], ...] = ()

    @property
    def is_narrow(self) -> bool:
        """It looks at arguments."""
        return bool(self.inside)


def parse_pattern(text: str) -> Pattern:
    """Read a pattern.

    Raises:
        InvalidInput: it is not of the form that is described above.
    """
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            f"The pattern {text!r} for tool calls cannot be read.",
            hint='Write "tool", "tool(pattern)" or "tool(argument=pattern)".',
        )
    inside = found["inside"]
    if inside is None or inside.strip() in {"", ALL}:
        return Pattern(found["tool"])
    named: list[tuple[str, str]] = []
    for part in inside.split(","):
        one = _NAMED.fullmatch(part)
        if one is not None:
            named.append((one["name"], one["glob"].strip()))
        elif named:
            # A comma in the glob before it.
            named[-1] = (named[-1][0], f"{named[-1][1]},{part.rstrip()}")
        else:
            break
    return Pattern(found["tool"], inside.strip(), tuple(named))


def fault_of(text: str) -> InvalidInput | None:
    """Tell what is wrong with a pattern; None if nothing is."""
    try:
        parse_pattern(text)
    except InvalidInput as error:
        return error
    return None


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool, and the name of the toolset that it is from."""

    tool: Tool
    toolset: str

    @property
    def name(self) -> str:
        return self.tool.spec.name


class Gate:
    """What one agent may do in one run."""

    def __init__(self, settings: AgentSettings, wanted: Sequence[str] | None = None) -> None:
        """Take the agent's policy, and what the run has been narrowed to; None: to nothing less.

        Raises:
            InvalidInput: one of the patterns cannot be read.
        """
        self._own = tuple(parse_pattern(text).tool for text in settings.tools)
        self._wanted = None if wanted is None else tuple(parse_pattern(t).tool for t in wanted)
        self._rules = {
            Permission.DENY: [parse_pattern(text) for text in settings.deny],
            Permission.ASK: [parse_pattern(text) for text in settings.ask],
            Permission.ALLOW: [parse_pattern(text) for text in settings.allow],
        }

    @property
    def has_none(self) -> bool:
        """No tool at all may be used."""
        return not self._own or (self._wanted is not None and not self._wanted)

    def may_use(self, offer: Offer) -> bool:
        """Tell whether the tool belongs to those that may be used, and is not refused as such."""
        if not _is_among(offer, self._own):
            return False
        if self._wanted is not None and not _is_among(offer, self._wanted):
            return False
        return not any(
            _names(rule, offer) for rule in self._rules[Permission.DENY] if not rule.is_narrow
        )

    def may_use_toolset(self, toolset: str) -> bool:
        """Tell whether any tool of a toolset may be used that cannot be asked for its tools now."""
        wanted = [self._own] if self._wanted is None else [self._own, self._wanted]
        # Names of tools of servers begin with that of the server.
        return all(
            any(_glob(one).fits(toolset) or one.startswith(toolset) for one in names)
            for names in wanted
        )

    def permission(self, offer: Offer, arguments: Mapping[str, Any]) -> Permission:
        """Decide what becomes of a call. ``arguments`` fit the tool's schema."""
        if not self.may_use(offer):
            return Permission.DENY
        for rule in self._rules[Permission.DENY]:
            if _names(rule, offer) and _fits(rule, offer.tool.spec, arguments, is_allow=False):
                return Permission.DENY
        for is_narrow in (True, False):
            for permission in (Permission.ASK, Permission.ALLOW):
                is_allow = permission is Permission.ALLOW
                for rule in self._rules[permission]:
                    if (
                        rule.is_narrow is is_narrow
                        and _names(rule, offer)
                        and _fits(rule, offer.tool.spec, arguments, is_allow=is_allow)
                    ):
                        return permission
        return offer.tool.permission


def unknown_names(texts: Sequence[str], offers: Sequence[Offer], away: Sequence[str]) -> list[str]:
    """Find the patterns that name nothing there is: misspelt, or switched off.

    Globs are left out, because they may be written for what comes later; so is what may be of a
    toolset that cannot be asked now.

    Args:
        texts: Patterns for calls; each can be read.
        away: Toolsets that cannot be asked now.
    """
    known = {name for offer in offers for name in (offer.name, offer.toolset)}
    named = dict.fromkeys(parse_pattern(text).tool for text in texts)
    return [
        name
        for name in named
        if not any(sign in name for sign in "*?")
        and name not in known
        and not any(name.startswith(toolset) for toolset in away)
    ]


def subject_of(spec: ToolSpec) -> str:
    """Tell which argument ``tool(glob)`` looks at; empty when the tool has none."""
    required = spec.parameters.get("required") or ()
    properties = spec.parameters.get("properties") or {}
    return next(iter(required), next(iter(properties), ""))


def _is_among(offer: Offer, names: Sequence[str]) -> bool:
    return any(_glob(one).fits(offer.name) or _glob(one).fits(offer.toolset) for one in names)


def _names(rule: Pattern, offer: Offer) -> bool:
    glob = _glob(rule.tool)
    return bool(glob.fits(offer.name) or glob.fits(offer.toolset))


def _fits(rule: Pattern, spec: ToolSpec, arguments: Mapping[str, Any], *, is_allow: bool) -> bool:
    if not rule.is_narrow:
        return True
    properties = spec.parameters.get("properties") or {}
    whole = ((subject_of(spec), rule.inside),)
    readings: list[tuple[tuple[str, str], ...]]
    if not rule.arguments:
        readings = [whole]
    elif all(name in properties for name, _ in rule.arguments):
        readings = [rule.arguments]
    else:
        # Either may be meant: for what is asked or denied both count.
        readings = [whole] if is_allow else [rule.arguments, whole]
    fits = _is_allowed_by if is_allow else _is_caught_by
    return any(
        all(fits(glob, _plain(arguments.get(name))) for name, glob in reading)
        for reading in readings
    )


def _plain(value: Any) -> str:  # noqa: ANN401  JSON value
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    from agency.core import json

    return json.encode_canonical(value).decode()


def _is_allowed_by(glob: str, text: str) -> bool:
    if len(text) > SUBJECT_CHARACTERS_MAX or _CLIMBS.search(text):
        return False
    # Literal characters each take one of the text, so with as many no wildcard takes any.
    if _BEYOND_A_COMMAND.findall(glob) != _BEYOND_A_COMMAND.findall(text):
        return False
    wanted, found = _HOST.match(glob), _HOST.match(text)
    if wanted is not None and (found is None or not _is_host_of(wanted[0], found[0])):
        return False
    return _glob(glob).fits(text)


def _is_host_of(glob: str, text: str) -> bool:
    """Tell whether scheme and host of an address fit on their own, up to where the host ends."""
    if "@" in text and "@" not in glob:
        return False
    return _glob(glob).fits(text)


def _is_caught_by(glob: str, text: str) -> bool:
    if len(text) > SUBJECT_CHARACTERS_MAX:
        return True
    pattern = _glob(glob)
    if pattern.fits(text):
        return True
    pieces = _COMMAND_BORDERS.split(text)
    return len(pieces) > 1 and any(pattern.fits(piece.strip()) for piece in pieces)


class _Glob:
    """``*`` is any text, ``?`` one character. Takes time linear in the text, whatever it is.

    The parts between stars are looked for one after the other, each at its first place: if any
    choice of places fits, this one does.
    """

    def __init__(self, glob: str) -> None:
        pieces = re.split(r"\*+", glob)
        self._parts = [
            re.compile("".join("." if c == "?" else re.escape(c) for c in piece), re.DOTALL)
            for piece in pieces
        ]
        self._last_length = len(pieces[-1])

    def fits(self, text: str) -> bool:
        """Tell whether the whole text is of this form."""
        first, last = self._parts[0], self._parts[-1]
        if len(self._parts) == 1:
            return first.fullmatch(text) is not None
        found = first.match(text)
        if found is None:
            return False
        position, end = found.end(), len(text) - self._last_length
        for part in self._parts[1:-1]:
            found = part.search(text, position)
            if found is None:
                return False
            position = found.end()
        return end >= position and last.fullmatch(text, end) is not None


@lru_cache(maxsize=2048)
def _glob(glob: str) -> _Glob:
    return _Glob(glob)
