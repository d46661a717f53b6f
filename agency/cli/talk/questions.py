"""What a run asks people, asked and answered where they sit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agency.cli.talk.keyboard import Keyboard
from agency.cli.talk.screen import Screen
from agency.cli.waits import GOES_ON_BY_ITSELF, describe, how_to_answer
from agency.client import Client
from agency.core.json import NotJson, decode, encode
from agency.core.limits import FILTER_BYTES_MAX
from agency.documents import RunDocument, WaitDocument
from agency.errors import (
    ApprovalDecided,
    ApprovalNotFound,
    InvalidInput,
    RunEnded,
    RunNotSuspended,
    SnapshotSpent,
    WaitNotFound,
    WaitTaken,
)

TOO_LATE = (
    ApprovalDecided,
    ApprovalNotFound,
    RunEnded,
    RunNotSuspended,
    SnapshotSpent,
    WaitNotFound,
    WaitTaken,
)
"""Somebody else has answered, or the run has ended meanwhile."""
_WORDS = {
    "y": "approve",
    "yes": "approve",
    "n": "deny",
    "no": "deny",
    "e": "edit",
    "edit": "edit",
    "a": "always",
    "always": "always",
    "l": "later",
    "later": "later",
}
_IN_DIFFERENCE = frozenset({"content", "old", "new"})
_DECISIONS = {"d": "done", "r": "again", "f": "fail"}


class Later(Exception):
    """The person does not want to answer now; the run goes on waiting."""


class Questions:
    """Asks a person, and tells the daemon."""

    def __init__(
        self,
        client: Client,
        screen: Screen,
        keyboard: Keyboard,
        edit: Callable[[str], str | None] | None = None,
    ) -> None:
        """Ask on a screen.

        Args:
            edit: Lets the person edit a text elsewhere, None if nothing was saved; without it in
                the line.
        """
        self._client = client
        self._screen = screen
        self._keyboard = keyboard
        self._edit = edit
        self._told: set[str] = set()

    def ask(self, run: RunDocument) -> None:
        """Ask all that a suspended run waits for and that can be answered here.

        Raises:
            Later: the person wants to answer at another time.
            KeyboardInterrupt: or wants the run to stop.
        """
        for wait in run["waits"]:
            if wait["kind"] in GOES_ON_BY_ITSELF:
                continue
            try:
                self._ask(run, wait)
            except TOO_LATE as error:
                self._screen.line(f"Not needed any more: {error.message}", "faint")
            except EOFError:
                raise Later from None

    def _ask(self, run: RunDocument, wait: WaitDocument) -> None:
        match wait["kind"]:
            case "approval":
                self._approval(wait)
            case "input":
                self._input(run, wait)
            case "decision":
                self._decision(run, wait)
            case _:
                self._tell(run, wait)

    def _tell(self, run: RunDocument, wait: WaitDocument) -> None:
        """Say what cannot be answered with a word, once."""
        if f"{run['id']} {wait['key']}" in self._told:
            return
        self._told.add(f"{run['id']} {wait['key']}")
        self._screen.line(f"The run waits: {describe(wait)}.", "warning")
        command = how_to_answer(run, wait)
        if command:
            self._screen.line(f"  {command}", "faint")

    # --- approvals --------------------------------------------------------------------------

    def _approval(self, wait: WaitDocument) -> None:
        show = _mapping(wait["show"])
        subject = _mapping(show.get("show"))
        approval_id = str(show.get("approval_id"))
        self._screen.line(f"? {show.get('prompt')}", "bold")
        for line in shown_lines(show.get("show")):
            self._screen.line(f"    {line}")
        can_edit = show.get("schema") is not None
        exact = exactly(subject) if "tool" in subject else None
        choices = ["y = yes", "n = no"]
        choices += ["e = edit"] if can_edit else []
        choices += ["a = always, exactly this"] if exact is not None else []
        while True:
            word = self._keyboard.ask(f"  {', '.join(choices)}, l = later: ").strip()
            answer, _, comment = word.partition(" ")
            decision = _WORDS.get(answer.lower())
            if decision == "later":
                raise Later
            if decision in {"approve", "deny"}:
                self._client.decide(approval_id, decision, comment=comment.strip() or None)
                return
            if decision == "always" and exact is not None:
                self._always(approval_id, exact)
                return
            if decision == "edit" and can_edit and self._edited(approval_id, subject):
                return

    def _always(self, approval_id: str, where: Mapping[str, Any]) -> None:
        decided = self._client.decide(approval_id, "approve", always={"where": dict(where)})
        number = decided["made_rule_id"]
        if number is not None:
            self._screen.line(
                f"  Exactly this is allowed from now on by rule {number}; "
                f"take it back with `agency approvals rules rm {number}`.",
                "faint",
            )

    def _edited(self, approval_id: str, subject: Mapping[str, Any]) -> bool:
        """Let the arguments be edited; False when there is no use in what came of it."""
        import orjson

        value = subject.get("arguments", {})
        if self._edit is not None:
            text = self._edit(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
        else:
            text = self._keyboard.ask("  arguments: ", orjson.dumps(value).decode())
        if not text or not text.strip():
            return False
        try:
            edited = decode(text)
            self._client.decide(approval_id, "approve", value=edited, has_value=True)
        except NotJson as error:
            self._screen.line(f"  That is not JSON: {error}.", "warning")
            return False
        except InvalidInput as error:
            self._screen.line(f"  {error.message}", "warning")
            return False
        return True

    # --- values -----------------------------------------------------------------------------

    def _input(self, run: RunDocument, wait: WaitDocument) -> None:
        show = _mapping(wait["show"])
        schema = _mapping(show.get("schema"))
        self._screen.line(f"? {show.get('prompt') or wait['name']}", "bold")
        choices = [one for one in schema.get("enum") or () if isinstance(one, str)]
        for number, choice in enumerate(choices, 1):
            self._screen.line(f"    {number} = {choice}")
        while True:
            text = self._keyboard.ask("  answer: ").strip()
            if not text:
                continue
            value: Any = text
            if choices and text.isdecimal() and 1 <= int(text) <= len(choices):
                value = choices[int(text) - 1]
            elif schema.get("type") not in {None, "string"}:
                try:
                    value = decode(text)
                except NotJson:
                    self._screen.line("  JSON is needed here.", "warning")
                    continue
            try:
                self._client.resume_run(run["id"], wait=wait["key"], input=value, has_input=True)
            except InvalidInput as error:
                self._screen.line(f"  {error.message}", "warning")
            else:
                return

    def _decision(self, run: RunDocument, wait: WaitDocument) -> None:
        self._screen.line(f"? {describe(wait)}", "bold")
        while True:
            word = self._keyboard.ask("  d = it was done, r = do it again, f = it failed: ")
            decision = _DECISIONS.get(word.strip().lower()[:1])
            if decision is None:
                continue
            self._client.resume_run(
                run["id"], wait=wait["key"], input={"decision": decision}, has_input=True
            )
            return


def exactly(subject: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make the filter that only this call fits, None if it would be too large for one."""
    arguments = subject.get("arguments")
    if not isinstance(arguments, Mapping):
        return None
    where = {"tool": subject["tool"], "arguments": {"eq": dict(arguments)}}
    return where if len(encode(where)) <= FILTER_BYTES_MAX else None


def shown_lines(show: Any) -> list[str]:  # noqa: ANN401  JSON value
    """Write what is asked about: a difference or a command as it is, everything else by name."""
    import orjson

    if show is None:
        return []
    if not isinstance(show, Mapping):
        return [show if isinstance(show, str) else orjson.dumps(show).decode()]
    found = dict(show)
    if "tool" in found:
        found.pop("tool")
        arguments = _mapping(found.pop("arguments", None))
        if "difference" in found:
            # It tells the old and the new text better than the arguments do.
            arguments = {k: v for k, v in arguments.items() if k not in _IN_DIFFERENCE}
        found = {**arguments, **found}
    lines: list[str] = []
    for name, value in found.items():
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        if name == "difference":
            lines += text.splitlines()
        elif "\n" in text.strip():
            lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
        else:
            lines.append(f"{name}: {text.strip()}")
    return lines


def _mapping(value: Any) -> Mapping[str, Any]:  # noqa: ANN401  JSON value
    return value if isinstance(value, Mapping) else {}
