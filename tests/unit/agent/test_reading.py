"""Which texts are calls, and which are words."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agency.ports.model import ToolCall
from agency.workflows.agent.calls.reading import TEXT_CHARACTERS_MAX, read_calls
from agency.workflows.agent.calls.rungs import Rung, Trouble
from tests.unit.agent.offers import TOOLS, called, said

A = {"path": "a.txt"}
ONE = '{"name": "read_file", "arguments": {"path": "a.txt"}}'
LLAMA = '{"name": "read_file", "parameters": {"path": "a.txt"}}'

CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen": (f"<tool_call>\n{ONE}\n</tool_call>", A),
    "qwen without its end": (f"<tool_call>\n{ONE}", A),
    "qwen in capitals": (f"<TOOL_CALL>{ONE}</TOOL_CALL>", A),
    "qwen in a fence": (f"```xml\n<tool_call>\n{ONE}\n</tool_call>\n```", A),
    "qwen with prose": (f"I read it.\n<tool_call>\n{ONE}\n</tool_call>", A),
    "qwen with a fence inside": (f"<tool_call>\n```json\n{ONE}\n```\n</tool_call>", A),
    "encoded twice": (f"<tool_call>{json.dumps(ONE)}</tool_call>", A),
    "arguments as a text": (
        '<tool_call>{"name": "read_file", "arguments": "{\\"path\\": \\"a.txt\\"}"}</tool_call>',
        A,
    ),
    "flat": ('<tool_call>{"name": "read_file", "path": "a.txt"}</tool_call>', A),
    "keyed": ('<tool_call>{"read_file": {"path": "a.txt"}}</tool_call>', A),
    "python inside": ('<tool_call>read_file(path="a.txt")</tool_call>', A),
    "name and object": ('<tool_call>read_file\n{"path": "a.txt"}</tool_call>', A),
    "qwen coder": (
        "<tool_call>\n<function=read_file>\n<parameter=path>\na.txt\n</parameter>\n"
        "</function>\n</tool_call>",
        A,
    ),
    "qwen coder, tags lost": ("<function=read_file>\n<parameter=path>\na.txt\n</parameter>\n", A),
    "glm": (
        "<tool_call>read_file\n<arg_key>path</arg_key>\n<arg_value>a.txt</arg_value>\n</tool_call>",
        A,
    ),
    "llama 3.1": ('<function=read_file>{"path": "a.txt"}</function>', A),
    "python tag": (f"<|python_tag|>{LLAMA}<|eom_id|>", A),
    "python tag, called": ('<|python_tag|>read_file.call(path="a.txt")', A),
    "mistral": (f"[TOOL_CALLS][{ONE}]", A),
    "mistral 3": ('[TOOL_CALLS]read_file[ARGS]{"path": "a.txt"}', A),
    "lfm": ('<|tool_call_start|>[read_file(path="a.txt")]<|tool_call_end|>', A),
    "phi": (f"functools[{ONE}]", A),
    "invoke": ('<invoke name="read_file"><parameter name="path">a.txt</parameter></invoke>', A),
    "function_calls": (
        '<function_calls>\n<invoke name="read_file">\n<parameter name="path">a.txt</parameter>\n'
        "</invoke>\n</function_calls>",
        A,
    ),
    "react": ('Thought: I read.\nAction: read_file\nAction Input: {"path": "a.txt"}', A),
    "react, bare value": ("Action: shell\nAction Input: ls -la", {"command": "ls -la"}),
    "json fence": (f"```json\n{ONE}\n```", A),
    "json fence with prose": (f"Let me look at it:\n```json\n{LLAMA}\n```", A),
    "fence without language": (f"```\n{ONE}\n```", A),
    "fence without end": (f"```json\n{ONE}", A),
    "tool fence": (f"```tool_call\n{ONE}\n```\nThis shows the file.", A),
    "tool_code fence": ('```tool_code\nprint(read_file(path="a.txt"))\n```', A),
    "bare": (ONE, A),
    "bare, llama": (LLAMA, A),
    "bare, python": ("{'name': 'read_file', 'arguments': {'path': 'a.txt'}}", A),
    "bare, openai": (
        '{"type": "function", "function": {"name": "read_file", "arguments": {"path": "a.txt"}}}',
        A,
    ),
    "bare, openai list": (
        '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "read_file", '
        '"arguments": "{\\"path\\": \\"a.txt\\"}"}}]}',
        A,
    ),
    "bare, tool and args": ('{"tool": "read_file", "args": {"path": "a.txt"}}', A),
    "bare, action": ('{"action": "read_file", "action_input": {"path": "a.txt"}}', A),
    "bare at the end": (f"I will read the file now.\n\n{ONE}", A),
    "array": (f"[{ONE}]", A),
    "pythonic": ('read_file(path="a.txt")', A),
    "pythonic list": ('[read_file(path="a.txt")]', A),
    "by place": ('shell("ls")', {"command": "ls"}),
    "no arguments": ('<tool_call>{"name": "now"}</tool_call>', {}),
    "name with a prefix": (ONE.replace("read_file", "functions.read_file"), A),
    "name with a hyphen": (ONE.replace("read_file", "Read-File"), A),
    "closing tag in an argument": (
        '<tool_call>{"name": "shell", "arguments": {"command": "echo </tool_call>"}}</tool_call>',
        {"command": "echo </tool_call>"},
    ),
    "raw line ends": (
        '<tool_call>{"name": "shell", "arguments": {"command": "a\nb"}}</tool_call>',
        {"command": "a\nb"},
    ),
    "trailing comma": (
        '<tool_call>{"name": "read_file", "arguments": {"path": "a.txt",},}</tool_call>',
        A,
    ),
    "bracket missing": (
        '<tool_call>{"name": "read_file", "arguments": {"path": "a.txt"}</tool_call>',
        A,
    ),
    "quotes missing": ('<tool_call>{name: "read_file", arguments: {path: "a.txt"}}</tool_call>', A),
    "inner quotes": (
        '<tool_call>{"name": "shell", "arguments": {"command": "echo "hi" there"}}</tool_call>',
        {"command": 'echo "hi" there'},
    ),
    "thought before": (f"<think>I need the file.</think>\n<tool_call>{ONE}</tool_call>", A),
    "thought opened by the template": (
        f"I need the file.</think>\n<tool_call>{ONE}</tool_call>",
        A,
    ),
    "think tag in an argument": (
        '{"name": "shell", "arguments": {"command": "echo <think> </think>"}}',
        {"command": "echo <think> </think>"},
    ),
    "wrapper in an argument": (
        '{"name": "shell", "arguments": {"command": "<tool_call>[TOOL_CALLS]"}}',
        {"command": "<tool_call>[TOOL_CALLS]"},
    ),
    "result made up": (f"<tool_call>{ONE}</tool_call>\n<tool_response>hello</tool_response>", A),
    "one line after the other": (f"```json\n{ONE}\n{ONE}\n```", A),
    "unicode": (
        '<tool_call>{"name": "read_file", "arguments": {"path": "größe-€-中.txt"}}</tool_call>',
        {"path": "größe-€-中.txt"},
    ),
}

WORDS = {
    "empty": "",
    "prose": "The file is there.",
    "a name": "I used read_file to look at it.",
    "an example": f"For example, you could write:\n```json\n{ONE}\n```",
    "an example before the end": f"The call looks like\n```json\n{ONE}\n```\nand then you wait.",
    "a fence in the middle": f"```json\n{ONE}\n```\nThis is how the call was made, and it worked.",
    "bare in the middle": f"The log says\n{ONE}\nwhich is odd.",
    "inline code": f"Write `<tool_call>{ONE}</tool_call>` to call it.",
    "a tag alone": "Use `<tool_call>` tags.",
    "other json": '{"name": "agency", "version": 3}',
    "json with more": '{"name": "read_file", "arguments": {"path": "a"}, "result": "text"}',
    "config": '```json\n{"name": "read_file", "description": "reads", "parameters": {}}\n```',
    "not offered in a fence": '```json\n{"name": "rm", "arguments": {"path": "a"}}\n```',
    "python that does more": 'x = read_file(path="a")\nprint(x)',
    "python in a sentence": 'Then read_file(path="a") is called.',
    "python of others": 'open("a").read()',
    "a shell fence": "```bash\nls -la\n```",
    "a list": "[1, 2, 3]",
    "tools in xml": "<tools>hammer and saw</tools>",
}


@pytest.mark.parametrize("name", CALLS)
def test_call_is_found_in_each_wrapper(name: str) -> None:
    text, arguments = CALLS[name]

    reading = read_calls(said(text), TOOLS)

    assert [arguments] == [dict(call.arguments) for call in reading.calls][:1]
    assert not reading.faults
    assert reading.rung in (Rung.TEXT, Rung.REPAIRED)


@pytest.mark.parametrize("name", WORDS)
def test_words_are_no_calls(name: str) -> None:
    reading = read_calls(said(WORDS[name]), TOOLS)

    assert [] == list(reading.calls)
    assert [] == list(reading.faults)
    assert WORDS[name].strip() == reading.text


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_a_call_when_nothing_is_offered(name: str) -> None:
    reading = read_calls(said(CALLS[name][0]), ())

    assert [] == list(reading.calls)


def test_native_calls_go_before_text() -> None:
    reading = read_calls(said(f"Now <tool_call>{ONE}</tool_call>", called("now", "c1")), TOOLS)

    assert [ToolCall(name="now", arguments={}, id="c1")] == list(reading.calls)
    assert Rung.NATIVE is reading.rung


def test_text_beside_a_call_stays_for_the_user() -> None:
    reading = read_calls(said(f"I read it.\n<tool_call>{ONE}</tool_call>\nDone."), TOOLS)

    assert "I read it.\nDone." == reading.text


def test_several_calls_keep_their_order() -> None:
    text = (
        f'<tool_call>{ONE}</tool_call>\n<tool_call>{{"name": "now", "arguments": {{}}}}</tool_call>'
    )

    reading = read_calls(said(text), TOOLS)

    assert ["read_file", "now"] == [call.name for call in reading.calls]


def test_calls_behind_one_that_cannot_be_read_are_left() -> None:
    unknown = '<tool_call>{"name": "rm"}</tool_call>'
    text = f"<tool_call>{ONE}</tool_call>{unknown}<tool_call>{ONE}</tool_call>"

    reading = read_calls(said(text), TOOLS)

    assert ["read_file"] == [call.name for call in reading.calls]
    assert [Trouble.UNKNOWN_TOOL] == [fault.trouble for fault in reading.faults]


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>', Trouble.UNKNOWN_TOOL),
        ('{"name": "rm", "arguments": {"path": "a"}}', Trouble.UNKNOWN_TOOL),
        ("<tool_call>please read a.txt</tool_call>", Trouble.UNREADABLE),
        ("<tool_call></tool_call>", Trouble.UNREADABLE),
        ('<tool_call>{"name": "read_file", "arguments": {"path": "a', Trouble.UNREADABLE),
        ('<tool_call>{"name": "read_file", "arguments": 7}</tool_call>', Trouble.INVALID_ARGUMENTS),
        ("[TOOL_CALLS]read the file", Trouble.UNREADABLE),
    ],
    ids=["unknown", "unknown and bare", "prose", "nothing", "cut off", "number", "mistral prose"],
)
def test_what_was_meant_as_a_call_is_a_fault(text: str, trouble: Trouble) -> None:
    reading = read_calls(said(text), TOOLS)

    assert [] == list(reading.calls)
    assert [trouble] == [fault.trouble for fault in reading.faults]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "write_file", "arguments": {"path": "a", "content": "half of a fi',
        '<tool_call>{"name": "write_file", "arguments": {"path": "a", "content": "x", "n": 12',
        '{"name": "write_file", "arguments": {"path": "a", "content": "half',
        "<function=shell><parameter=command>rm -rf /tmp/ab",
        "<tool_call>\n<function=shell>\n<parameter=command>\nrm -rf /tmp/ab",
        "<tool_call>shell\n<arg_key>command</arg_key>\n<arg_value>rm -rf /tmp/ab",
        'Action: shell\nAction Input: {"command": "rm -rf /tmp/ab',
        'shell(command="rm -rf /tmp/ab',
        '[TOOL_CALLS]shell[ARGS]{"command": "rm -rf /tmp/ab',
    ],
    ids=[
        "in a text",
        "in a number",
        "bare",
        "tagged",
        "qwen coder",
        "glm",
        "react",
        "python",
        "args",
    ],
)
def test_call_that_was_cut_off_is_never_completed(text: str) -> None:
    reading = read_calls(said(text, ended_by="length"), TOOLS)

    assert [] == list(reading.calls)


def test_value_without_quotes_is_not_guessed() -> None:
    text = "<tool_call>{name: read_file, arguments: {path: /tmp/a}}</tool_call>"

    reading = read_calls(said(text), TOOLS)

    assert [] == list(reading.calls)
    assert [Trouble.UNREADABLE] == [fault.trouble for fault in reading.faults]


def test_call_inside_of_thinking_is_not_made() -> None:
    for reply in (
        said(f"<think>I do <tool_call>{ONE}</tool_call></think>"),
        said("", thinking=f"<tool_call>{ONE}</tool_call>"),
        said(f"<think>{ONE}"),
    ):
        reading = read_calls(reply, TOOLS)

        assert [] == list(reading.calls)
        assert reading.is_hidden


def test_thinking_beside_an_answer_is_left_out() -> None:
    reading = read_calls(said(f"<think>{ONE}</think>The answer is 4."), TOOLS)

    assert "The answer is 4." == reading.text
    assert not reading.is_hidden


HOSTILE = {
    "brackets": "[" * 200_000,
    "objects": '{"a":' * 100_000,
    "tags": "<tool_call>" * 50_000,
    "functions": "<function=a>" * 50_000,
    "quotes": "<tool_call>{" + '\\"' * 200_000,
    "fences": "```json\n" * 50_000,
    "parameters": "<function=shell>" + "<parameter=command>" * 20_000,
    "arg keys": "<tool_call>shell" + "<arg_key>" * 50_000,
    "thinks": "<think>" * 50_000,
    "closed thinks": "<think></think>" * 30_000,
    "actions": "Action: a\n" * 50_000,
    "broken object": "<tool_call>" + '{"a": "b" "c": ' * 40_000 + "</tool_call>",
    "bare objects": "{\n" * 100_000,
    "half strings": '<tool_call>{"a": "' + 'x", "' * 50_000,
    "python": "f(" * 20_000,
    "deep python": "<tool_call>now(" + "[" * 30_000 + "</tool_call>",
    "too long": "x" * (TEXT_CHARACTERS_MAX + 1),
    "surrogate": '<tool_call>{"name": "now", "arguments": {"a": "\\ud800"}}</tool_call>',
    "raw surrogate": '<tool_call>{"name": "shell", "arguments": {"command": "\ud800"}}</tool_call>',
    "nan": '<tool_call>{"name": "now", "arguments": {"a": NaN}}</tool_call>',
    "infinite": '<tool_call>{"name": "now", "arguments": {"a": 1e999}}</tool_call>',
    "huge number": '<tool_call>{"name": "now", "arguments": {"a": ' + "9" * 5000 + "}}</tool_call>",
    "zero bytes": "<tool_call>\x00</tool_call>",
    "escapes": '```tool_code\nnow("\\d\\q")\n```',
}


NUMBERS = ("nan", "huge number")
"""What is no number becomes a text, and is left to the schema."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_in_bounded_time(name: str) -> None:
    began = time.process_time()

    reading = read_calls(said(HOSTILE[name]), TOOLS)

    assert time.process_time() - began < 3.0
    for call in reading.calls:
        assert name in NUMBERS
        json.dumps(call.arguments, allow_nan=False)


NAMES = {tool.name for tool in TOOLS}
FRAGMENTS = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "<function=read_file>",
        "</function>",
        "<parameter=path>",
        "</parameter>",
        "```json\n",
        "```",
        "\n",
        "[TOOL_CALLS]",
        "<|python_tag|>",
        "<think>",
        "</think>",
        "Action: now\nAction Input:",
        '{"name": ',
        '"read_file"',
        '"rm_rf"',
        ', "arguments": ',
        '{"path": "a"}',
        "}",
        "{",
        "[",
        "]",
        '"',
        "'",
        "\\",
        ",",
        "read_file(",
        'path="a"',
        ")",
        "for example ",
        "text",
        "é中🙂",
        ONE,
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=12)), max_size=24).map("".join))
def test_reading_never_raises_and_never_invents_a_call(text: str) -> None:
    reading = read_calls(said(text), TOOLS)

    for call in reading.calls:
        assert call.name in NAMES
        assert isinstance(call.arguments, dict)
        # Whatever is called was written: the name stands in the text in some spelling.
        assert call.name.replace("_", "") in text.lower().replace("_", "").replace("-", "")
        json.dumps(call.arguments)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(NAMES)),
    st.dictionaries(
        st.text(min_size=1, max_size=10),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(max_size=6), inner, max_size=4)
            ),
            max_leaves=8,
        ),
        max_size=4,
    ),
    st.sampled_from(["<tool_call>{}</tool_call>", "{}", "```json\n{}\n```", "[TOOL_CALLS]{}"]),
)
def test_well_formed_call_is_read_word_for_word(
    name: str, arguments: dict[str, Any], wrapper: str
) -> None:
    text = wrapper.replace("{}", json.dumps({"name": name, "arguments": arguments}))

    reading = read_calls(said(text), TOOLS)

    assert [(name, arguments)] == [(call.name, dict(call.arguments)) for call in reading.calls]
    assert Rung.TEXT is reading.rung
