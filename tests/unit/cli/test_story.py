"""What people see of a run, whatever comes in which order."""

from __future__ import annotations

import io
from typing import Any

import pytest

from agency.cli.talk.questions import exactly, shown_lines
from agency.cli.talk.screen import Screen
from agency.cli.talk.story import Story


class Seen:
    """A story on a screen of paper."""

    def __init__(self) -> None:
        self.paper = io.StringIO()
        self.story = Story(Screen(self.paper))
        self.read: Any = None

    def tell(self, type_: str, key: str = "", data: Any = None, **more: Any) -> None:
        update = {"type": type_, "key": key, "data": data, **more}
        self.story.tell(update, lambda: self.read)

    def token(self, key: str, text: str) -> None:
        self.tell("token", key, text=text)

    @property
    def text(self) -> str:
        return self.paper.getvalue()


def reply(text: str, *calls: str, verdict: str = "final", **more: Any) -> dict[str, Any]:
    judgement: dict[str, Any] = {"verdict": "calls" if calls else verdict, "text": text}
    judgement |= {"calls": [{"name": name} for name in calls]} if calls else {}
    return {"model": "m", "judgement": judgement, "gauge": {"used": 25, "limit": 100}, **more}


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_words_are_shown_once_as_they_come(seen: Seen) -> None:
    seen.token("reply#1", "Good ")
    seen.token("reply#1", "day.")
    before = seen.text
    seen.tell("step", "reply#1", reply("Good day."))

    assert "Good day." == before
    assert "Good day.\n" == seen.text
    assert "m, context 25 of 100 tokens (25 %)" == seen.story.gauge.describe()


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([], "Good day.\n"),
        (["Good"], "Good day.\n"),
        (["day."], "day.\nGood day.\n"),
        (["\n ", "Good day.", "\n"], "Good day.\n"),
    ],
    ids=["all", "end", "beginning", "blanks"],
)
def test_what_was_missed_is_told_with_the_whole(seen: Seen, pieces: list[str], shown: str) -> None:
    for piece in pieces:
        seen.token("reply#1", piece)
    seen.tell("step", "reply#1", reply("Good day."))

    assert shown == seen.text


def test_text_that_looks_like_a_call_is_shown_only_if_it_is_the_answer(seen: Seen) -> None:
    seen.token("reply#1", '{"name": "x"}')
    seen.tell("step", "reply#1", reply("", "x"))
    seen.tell("step", "call-1.0#1", {"tool": "x", "arguments": {}, "content": "Done."})
    seen.token("reply#2", '{"a": 1}')
    before = seen.text
    seen.tell("step", "reply#2", reply('{"a": 1}'))

    assert "+ x()\n    Done.\n" == before
    assert before + '{"a": 1}\n' == seen.text


def test_words_after_a_call_wait_until_the_call_is_told(seen: Seen) -> None:
    seen.tell("step", "reply#1", reply("", "x", "y"))
    seen.token("reply#2", "Both ")
    seen.tell("step", "call-1.0#1", {"tool": "x", "arguments": {"a": 1}, "content": "One."})
    seen.tell("failure", "call-1.1#1", {"code": "tool_unavailable"})
    seen.token("reply#2", "done.")
    seen.tell("step", "reply#2", reply("Both done."))

    assert "+ x(a=1)\n    One.\nBoth done.\n" == seen.text


def test_reply_that_is_tried_again_is_told_anew(seen: Seen) -> None:
    seen.token("reply#1", "Half a")
    seen.tell("attempt", "reply#1", {"message": "It broke off."})
    seen.token("reply#1", "Whole.")
    seen.tell("step", "reply#1", reply("Whole."))

    told = "Half a\n~ reply failed and is tried again. It broke off.\nWhole.\n"
    assert told == seen.text


def test_long_record_is_read_and_shown_short(seen: Seen) -> None:
    seen.read = {
        "tool": "shell",
        "arguments": {"command": "make " + "x" * 500},
        "content": "line\n" * 500,
        "seconds": 1.25,
        "is_error": True,
        "sandbox": {"network": "partial", "file_read": "enforced"},
    }
    seen.tell("step", "call-1.0#1", None, data_bytes=5000)

    head, result, sandbox = seen.text.splitlines()
    assert head.startswith('x shell(command="make xxx')
    assert head.endswith("…)  1.2 s")
    assert len(result) < 200
    assert "    sandbox: network partial" == sandbox


def test_todos_are_shown_when_they_change(seen: Seen) -> None:
    todos = [{"text": "look", "status": "done"}, {"text": "say", "status": "in_progress"}]
    for number in (1, 2):
        seen.tell("step", f"call-{number}.0#1", {"tool": "todo", "content": "", "todos": todos})

    assert "[x] look\n[>] say\n" == seen.text


def test_calls_of_helpers_are_set_apart_and_their_words_are_left_out(seen: Seen) -> None:
    for update in (
        {"type": "token", "key": "reply#1", "text": "I help."},
        {"type": "step", "key": "reply#1", "data": reply("I help.")},
        {
            "type": "step",
            "key": "call-1.0#1",
            "data": {"tool": "x", "arguments": {}, "content": "Found."},
        },
    ):
        seen.story.tell(update, lambda: None, helper=True)

    assert "  | + x()\n  |     Found.\n" == seen.text


def test_unusable_reply_is_said(seen: Seen) -> None:
    again = reply("", verdict="again")
    again["judgement"]["trouble"] = "unknown_tool"
    seen.tell("step", "reply#1", again)

    assert "~ the reply could not be used (unknown tool)\n" == seen.text


@pytest.mark.parametrize(
    ("subject", "where"),
    [
        (
            {"tool": "shell", "arguments": {"command": "ls", "a.b": [1]}, "more": 1},
            {"tool": "shell", "arguments": {"eq": {"command": "ls", "a.b": [1]}}},
        ),
        ({"tool": "shell", "shown": "too long"}, None),
        ({"tool": "shell", "arguments": {"command": "x" * 5000}}, None),
    ],
    ids=["whole", "not_shown", "too_large"],
)
def test_always_is_for_exactly_the_call_that_is_shown(subject: Any, where: Any) -> None:
    assert where == exactly(subject)


@pytest.mark.parametrize(
    ("show", "lines"),
    [
        (None, []),
        ("a text", ["a text"]),
        ([1, 2], ["[1,2]"]),
        (
            {"tool": "shell", "arguments": {"command": "ls\nrm x"}, "folder": "."},
            ["command:", "  ls", "  rm x", "folder: ."],
        ),
        (
            {
                "tool": "w",
                "arguments": {"all": True, "content": "b"},
                "path": "a",
                "difference": "+b",
            },
            ["all: true", "path: a", "+b"],
        ),
    ],
    ids=["nothing", "text", "list", "command", "difference"],
)
def test_what_is_asked_about_is_shown_as_it_is(show: Any, lines: list[str]) -> None:
    assert lines == shown_lines(show)
