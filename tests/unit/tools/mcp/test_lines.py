from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from agency.tools.mcp import lines as module
from agency.tools.mcp.lines import EDGE_BYTES, LOG_BYTES_MAX, Lines, Log, TooLong


def read(lines: Lines) -> list[bytes | TooLong]:
    async def all_of_them() -> list[bytes | TooLong]:
        found = []
        while (line := await lines.next()) is not None:
            found.append(line)
        return found

    return asyncio.run(all_of_them())


@given(st.lists(st.binary(max_size=30)), st.integers(1, 7))
def test_lines_come_out_however_they_are_cut(parts: list[bytes], size: int) -> None:
    text = b"\n".join(parts) + b"\n"
    lines = Lines()
    for start in range(0, len(text), size):
        lines.feed(text[start : start + size])
    lines.feed(b"")

    assert [line for line in text.split(b"\n") if line.strip()] == read(lines)


def test_line_without_an_end_is_dropped() -> None:
    lines = Lines()
    lines.feed(b"a\nb")
    lines.feed(b"")

    assert [b"a"] == read(lines)


def test_line_that_is_too_long_leaves_its_ends() -> None:
    lines = Lines()
    size = module.MESSAGE_BYTES_MAX + 5
    lines.feed(b"<" + b"x" * (size - 2))
    lines.feed(b">\nnext\n")
    lines.feed(b"")

    (long, following) = read(lines)
    assert isinstance(long, TooLong)
    assert size == long.size_bytes
    assert b"<" == long.head[:1]
    assert b">" == long.tail[-1:]
    assert (EDGE_BYTES, EDGE_BYTES) == (len(long.head), len(long.tail))
    assert b"next" == following


def test_reading_is_held_while_too_much_waits() -> None:
    told: list[str] = []
    lines = Lines()
    lines.hold, lines.release = lambda: told.append("hold"), lambda: told.append("release")
    line = b"x" * (1 << 20) + b"\n"
    for _ in range(20):
        lines.feed(line)
    assert ["hold"] == told
    lines.feed(b"")

    assert 20 == len(read(lines))
    assert ["hold", "release"] == told


def test_flood_ends_the_reading() -> None:
    lines = Lines()
    line = b"x" * (4 << 20) + b"\n"
    for _ in range(20):
        lines.feed(line)

    assert lines.is_flooded
    assert len(read(lines)) < 20


def test_log_keeps_its_end() -> None:
    log = Log()
    for number in range(10_000):
        log.add(f"line {number}\n".encode())

    text = log.text()
    assert text.endswith("line 9999\n")
    assert text.startswith("[agency] ")
    assert len(text) < LOG_BYTES_MAX + 100
    assert "\nline 9000\n" in text
