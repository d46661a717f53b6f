from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from agency.config.schema import Logging
from agency.errors import PlaceNotWritable
from agency.telemetry.logs import is_journal, open_logs
from agency.telemetry.sink import LINES_MAX, WAITING_BYTES_MAX, Sink


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


def lines_of(path: Path) -> list[str]:
    return [orjson.loads(line)["message"] for line in path.read_text().splitlines()]


def test_log_file_is_appended_to_and_is_the_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "agency.log"
    for message in ("first", "second"):
        with open_logs(Logging(), environ={}, file=path):
            logging.getLogger("agency.x").info(message)

    assert ["first", "second"] == lines_of(path)
    assert 0o600 == path.stat().st_mode & 0o777


def test_rotated_log_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "agency.log"
    with open_logs(Logging(), environ={}, file=path) as logs:
        logging.getLogger("agency.x").info("before")
        path.rename(tmp_path / "agency.log.1")
        assert logs.reopen()
        logging.getLogger("agency.x").info("after")

    assert ["before"] == lines_of(tmp_path / "agency.log.1")
    assert ["after"] == lines_of(path)


def test_log_file_that_cannot_be_reopened_stays_in_use(tmp_path: Path) -> None:
    path = tmp_path / "agency.log"
    with open_logs(Logging(), environ={}, file=path) as logs:
        path.rename(tmp_path / "agency.log.1")
        path.mkdir()
        with pytest.raises(PlaceNotWritable):
            logs.reopen()
        logging.getLogger("agency.x").info("still here")

    assert ["still here"] == lines_of(tmp_path / "agency.log.1")


def test_level_holds_for_us_and_talkative_libraries_are_kept_down(tmp_path: Path) -> None:
    path = tmp_path / "agency.log"
    with open_logs(Logging(level="debug"), environ={}, file=path) as logs:
        logging.getLogger("agency.x").debug("ours")
        logging.getLogger("aiosqlite").debug("theirs")
        logs.set_level("error")
        logging.getLogger("agency.x").warning("too low")

    assert ["ours"] == lines_of(path)


@pytest.mark.parametrize("library", ["httpx", "httpx2", "httpcore2.connection", "mcp.client.x"])
def test_libraries_that_tell_every_address_are_not_heard(tmp_path: Path, library: str) -> None:
    path = tmp_path / "agency.log"
    with open_logs(Logging(level="debug"), environ={}, file=path):
        logging.getLogger(library).info("GET http://me:canary@example.org/")

    assert [] == lines_of(path)


def test_lines_for_a_closed_pipe_are_dropped_without_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(writer)
    sink.put(b"lost\n")

    assert sink.flush(timeout_s=5)
    sink.close(timeout_s=5)
    os.close(writer)


def test_reader_that_has_stopped_holds_nobody_up_and_lost_lines_are_counted() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    # One batch fills the pipe and blocks the writing thread; the rest fills the queue.
    for _ in range(3 * LINES_MAX):
        sink.put(b"x" * 63 + b"\n")

    assert not sink.flush(timeout_s=0.05)
    received = bytearray()
    while b"lines were lost" not in received:
        received += os.read(reader, 1 << 16)
        sink.put(b"more\n")
    os.close(reader)
    sink.close(timeout_s=5)
    os.close(writer)


def test_waiting_bytes_are_bounded_too() -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    for _ in range(40):
        sink.put(b"x" * (1 << 20))

    received = 0
    while chunk := os.read(reader, 1 << 20):
        received += len(chunk)
        if b"lines were lost" in chunk:
            break
        sink.put(b"more\n")

    # One batch may be with the writing thread while the next one waits.
    assert received <= 2 * WAITING_BYTES_MAX + (1 << 20)
    os.close(reader)
    sink.close(timeout_s=5)
    os.close(writer)


def test_lost_lines_are_told_in_the_form_of_the_log() -> None:
    reader, writer = os.pipe()
    os.dup2(writer, stderr := os.dup(writer))
    with open_logs(Logging(), environ={}, file=Path(f"/dev/fd/{stderr}")):
        for _ in range(3 * LINES_MAX):
            logging.getLogger("agency.x").info("x" * 100)
        os.close(writer)
        os.close(stderr)
        text = b""
        while b"lines were lost" not in text:
            text += os.read(reader, 1 << 20)
            logging.getLogger("agency.x").info("more")
        text += os.read(reader, 1 << 20)
    os.close(reader)

    lost = next(line for line in text.splitlines() if b"lines were lost" in line)
    document = orjson.loads(lost)
    assert "warning" == document["level"]
    assert document["lines"] > 0


def test_journal_is_recognised_by_its_device_and_inode(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        status = os.fstat(stream.fileno())
        mine = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        assert is_journal(stream.fileno(), mine)
        assert not is_journal(stream.fileno(), {"JOURNAL_STREAM": "1:2"})
        assert not is_journal(stream.fileno(), {})
