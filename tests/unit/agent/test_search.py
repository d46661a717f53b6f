"""Which tools a turn offers, and what a search finds."""

from __future__ import annotations

import pytest

from agency.ports.model import ToolSpec
from agency.workflows.agent.calls.search import ToolIndex, choose

DESCRIPTIONS = {
    "read_file": "Read a text file of the workspace.",
    "write_file": "Write a text file, replacing what is there.",
    "list_files": "List the files of a folder.",
    "search_files": "Search file contents by a regular expression.",
    "shell": "Run a command in the sandbox and return its output.",
    "python": "Run a Python program in the sandbox.",
    "fetch": "Fetch a web page by its URL.",
    "gitLog": "Show the commits of a git repository.",
    "git_diff": "Show changes between commits.",
    "send_mail": "Send an e-mail to somebody.",
    "convert_currency": "Convert an amount of money from one currency to another.",
    "weather": "Tell the weather forecast of a city.",
    "recall": "Search the long-term memory.",
    "wait": "Wait for some seconds.",
}
TOOLS = [
    ToolSpec(name=name, description=text, parameters={"type": "object"})
    for name, text in DESCRIPTIONS.items()
]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("exchange rate of a currency", "convert_currency"),
        ("forecast", "weather"),
        ("sending mails", "send_mail"),
        ("git commits", "gitLog"),
        ("git log", "gitLog"),
        ("run python", "python"),
        ("reading a file", "read_file"),
        ("web page", "fetch"),
    ],
)
def test_best_tool_is_found_first(query: str, name: str) -> None:
    assert name == ToolIndex(TOOLS).find(query)[0].name


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "🦓", "x" * 100_000])
def test_nothing_is_found_by_what_is_not_there(query: str) -> None:
    assert [] == ToolIndex(TOOLS).find(query)


def test_empty_set_is_searched_in_vain() -> None:
    assert [] == ToolIndex([]).find("file")


def test_same_question_gives_the_same_answer() -> None:
    answers = {tuple(tool.name for tool in ToolIndex(TOOLS).find("file")) for _ in range(3)}

    assert 1 == len(answers)
    assert 3 <= len(next(iter(answers))) <= 5


def test_few_tools_are_all_offered() -> None:
    assert TOOLS[:5] == choose(TOOLS[:5], limit=8)


def test_topic_decides_what_is_offered_of_many() -> None:
    names = [
        tool.name
        for tool in choose(TOOLS, limit=4, always=["wait"], topic="Convert 5 EUR to a currency")
    ]

    assert 4 == len(names)
    assert {"wait", "convert_currency"} <= set(names)


def test_found_tools_stay_and_the_newest_go_first() -> None:
    names = [
        tool.name
        for tool in choose(
            TOOLS, limit=3, always=["wait"], found=["weather", "send_mail", "fetch"], topic="files"
        )
    ]

    assert ["fetch", "send_mail", "wait"] == names


def test_order_is_that_of_all_tools_whatever_was_found() -> None:
    order = [tool.name for tool in TOOLS]

    names = [tool.name for tool in choose(TOOLS, limit=5, found=["wait", "shell", "read_file"])]

    assert sorted(names, key=order.index) == names


def test_withdrawn_tools_are_not_offered() -> None:
    names = {
        tool.name
        for tool in choose(
            TOOLS, limit=5, always=["shell"], found=["fetch"], without={"shell", "fetch"}
        )
    }

    assert not names & {"shell", "fetch"}
    assert 5 == len(names)


def test_names_that_are_gone_are_passed_over() -> None:
    assert 4 == len(choose(TOOLS, limit=4, always=["gone"], found=["lost"]))
