from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from agency.mcp.naming import NAME_CHARACTERS_MAX, is_plain, tool_names
from agency.mcp.verb_names import VERBS
from agency.web.published import Published, PublishedKind


def published(name: str, kind: PublishedKind = PublishedKind.WORKFLOW) -> Published:
    return Published(
        name=name,
        kind=kind,
        workflow=name,
        description="",
        input_schema={},
        output_schema={},
        version="1",
    )


def test_name_that_fits_is_taken_as_it_is() -> None:
    named = tool_names([published("order-2_b")], VERBS)

    assert list(named) == ["order-2_b"]


def test_agent_is_asked() -> None:
    named = tool_names([published("default", PublishedKind.AGENT)], VERBS)

    assert list(named) == ["ask_default"]


def test_name_of_a_verb_is_left_to_the_verb() -> None:
    named = tool_names([published("run_start")], VERBS)

    (name,) = named
    assert re.fullmatch("run_start_[0-9a-f]{6}", name)


def test_names_that_would_be_the_same_stay_apart() -> None:
    workflow = published("ask_default")
    agent = published("default", PublishedKind.AGENT)

    named = tool_names([workflow, agent, published("a.b"), published("a:b")], VERBS)

    assert len(named) == 4
    assert {one.name for one in named.values()} == {"ask_default", "default", "a.b", "a:b"}


def test_mark_does_not_depend_on_what_else_is_there() -> None:
    alone = tool_names([published("a.b")], VERBS)
    beside = tool_names([published("a.b"), published("a-b"), published("a:b")], VERBS)

    assert set(alone) < set(beside)


@given(st.lists(st.text(min_size=1, max_size=200), unique=True, max_size=20))
def test_all_are_named_and_each_name_is_valid(names: list[str]) -> None:
    named = tool_names([published(name) for name in names], VERBS)

    assert {one.name for one in named.values()} == set(names)
    for name in named:
        assert re.fullmatch("[A-Za-z0-9_-]+", name)
        assert len(name) <= NAME_CHARACTERS_MAX
        assert name not in VERBS


@given(st.lists(st.text(alphabet="ab_-.", min_size=1, max_size=6), unique=True, max_size=20))
def test_plain_name_is_that_of_its_workflow_whatever_else_is_there(names: list[str]) -> None:
    agents = [published(f"agent{name}", PublishedKind.AGENT) for name in names]

    named = tool_names([*(published(name) for name in names), *agents], VERBS)

    for name in names:
        if is_plain(name, VERBS):
            assert (named[name].name, named[name].kind) == (name, PublishedKind.WORKFLOW)
