"""Following a page as a reader does: in order, in one terminal, in a home of one's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import tomli

from agency.config.load import load
from tests.docs.likeness import Likeness
from tests.docs.page import ROOT, Block, Exchange, exchanges_of
from tests.docs.terminal import Seen, Terminal, open_terminal
from tests.processes import free_port, wait_gone

CHECKOUT = "agency"
"""Folder in the reader's home that looks like a checkout."""
LOOKS_S = 20.0
"""How long a command that only looks is repeated: what it shows may come a moment later."""

_SHELL = """
stop() {
    kill "$(cat agency.pid)"
    while [ -f agency.pid ]; do sleep 0.1; done
}
restart() {
    if [ -f agency.pid ]; then stop; fi
    agency-daemon --daemon --pid-file agency.pid
}
"""
_LOOK = re.compile(
    r"(\S*/)?agency (runs (ls|show)|snapshots (ls|show)|approvals (ls|show|inbox)"
    r"|topics (ls|show)|status)\b"
    r"|curl (?!.*(-X|-d|-N)\b)|tail |cat [^|]*$"
)
_TYPED = re.compile(r"^(> |  \S.*: )(\S.*)$", re.MULTILINE)
"""A line with a prompt, and what is typed behind it."""
_LINKED = ("agency", "Makefile", "packaging", "prompts", "docs")


class Unlike(AssertionError):
    """A command shows something else than its page says."""


def refuse(exchange: Exchange, seen: str) -> None:
    """Refuse what is not as the page says.

    Raises:
        Unlike: always.
    """
    raise Unlike(
        f"line {exchange.line}: $ {exchange.command}\n--- the page\n{exchange.shown}\n"
        f"--- seen\n{seen}"
    )


class Follower:
    """Follows one page.

    Args:
        differing: Called with each exchange that is not as shown, and with what was seen.
    """

    def __init__(
        self,
        home: Path,
        environ: dict[str, str],
        stack: ExitStack,
        differing: Callable[[Exchange, str], None] = refuse,
    ) -> None:
        self._home = home
        self._environ = environ
        self._stack = stack
        self._differing = differing
        self._likeness = Likeness(home=str(home), port=int(environ["PORT"]))
        self._terminal = self._open_terminal(home / CHECKOUT)
        self._terminal.run(_SHELL)
        self._pids: set[int] = set()

    def follow(self, block: Block) -> None:
        """Do what a block tells.

        Raises:
            AssertionError: it does not work, or shows something else.
        """
        if block.not_run:
            check_syntax(block)
            return
        match block.language:
            case "python" | "toml" if block.file_name:
                self._write(block)
            case "toml":
                self._check_settings(block)
            case "json":
                json.loads(block.text)
            case "bash" | "hidden":
                seen = self._run(block.text)
                assert seen.code == 0, f"line {block.line} ends with {seen.code}:\n{seen.text}"
            case "console" if block.stays:
                self._leave_running(block)
            case "console" if block.is_talk:
                self._talk(block)
            case "console":
                for exchange in exchanges_of(block):
                    self._compare(exchange)
            case "text":
                return
            case _:
                raise AssertionError(f"line {block.line}: {block.language!r} says not what it is")

    def _open_terminal(self, folder: Path) -> Terminal:
        return self._stack.enter_context(open_terminal(folder, self._environ))

    def _current(self) -> Path:
        return Path(self._terminal.run("pwd").text)

    def _write(self, block: Block) -> None:
        path = self._current() / block.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text + "\n")
        if block.language == "python":
            compile(block.text, block.file_name, "exec")
        else:
            tomli.loads(block.text)

    def _check_settings(self, block: Block) -> None:
        with tempfile.NamedTemporaryFile(suffix=".toml", dir=self._home) as file:
            file.write(block.text.encode())
            file.flush()
            load(Path(file.name), environ={}, current=self._home)

    def _compare(self, exchange: Exchange) -> None:
        deadline_s = time.monotonic() + LOOKS_S
        while True:
            seen = self._run(exchange.command)
            if self._likeness.accepts(exchange.shown, seen.text):
                return
            if not _LOOK.match(exchange.command) or time.monotonic() > deadline_s:
                self._differing(exchange, self._likeness.seen(seen.text))
                return

    def _talk(self, block: Block) -> None:
        """Type what stands behind the prompts, each time when all before it is seen."""
        [exchange] = exchanges_of(block)
        self._terminal.begin(self._likeness.command(exchange.command))
        for found in _TYPED.finditer(exchange.shown):
            before = exchange.shown[: found.start(2)].rstrip()
            seen = self._terminal.seen_until(partial(self._fits, before))
            if not self._fits(before, seen):
                self._terminal.type("\x04")
                break
            self._terminal.type(self._likeness.command(found[2]) + "\r")
        seen = self._terminal.end_seen().text
        if not self._likeness.accepts(exchange.shown, seen):
            self._differing(exchange, self._likeness.seen(seen))

    def _fits(self, shown: str, seen: str) -> bool:
        found = self._likeness.pattern(shown).fullmatch(self._likeness.seen(seen) + "\n")
        return found is not None

    def _run(self, command: str) -> Seen:
        seen = self._terminal.run(self._likeness.command(command))
        if re.search(r"\bkill\b(?! -HUP)", command):
            # A reader is not as quick as the next command is here.
            for pid in self._pids:
                wait_gone(pid)
            self._pids.clear()
        self._pids |= daemons_below(self._home)
        return seen

    def _leave_running(self, block: Block) -> None:
        [exchange] = exchanges_of(block)
        terminal = self._open_terminal(self._current())
        path = self._terminal.run("printenv PATH").text
        terminal.run(f"PATH={shlex.quote(path)}")  # as its reader has set it up, too
        terminal.begin(self._likeness.command(exchange.command))
        is_alike = False

        def accepts(seen: str) -> bool:
            nonlocal is_alike
            is_alike = self._likeness.accepts(exchange.shown, seen)
            return is_alike

        seen = terminal.seen_until(accepts)
        if not is_alike:
            self._differing(exchange, self._likeness.seen(seen))


@contextmanager
def open_follower(
    home: Path, differing: Callable[[Exchange, str], None] = refuse
) -> Iterator[Follower]:
    """Settle a reader in an empty home; daemons that were left there are ended."""
    make_checkout(home / CHECKOUT)
    with ExitStack() as stack:
        try:
            yield Follower(home, _environ(home), stack, differing)
        finally:
            for pid in daemons_below(home):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def make_checkout(folder: Path) -> None:
    """Make what a reader has after cloning; the environment is the one that the tests run in."""
    folder.mkdir(parents=True)
    for name in _LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("config.toml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
        os.utime(folder / name, (0, 0))  # else make would install everything anew


def daemons_below(home: Path) -> set[int]:
    """Find the daemons that say that they run in a folder of this home."""
    found = set()
    for path in [*home.glob("*/var/daemon.json"), *home.glob("*/*/daemon.json")]:
        with suppress(FileNotFoundError):  # it stops just now
            found.add(int(json.loads(path.read_text())["pid"]))
    return found


def check_syntax(block: Block) -> None:
    """Check a block that cannot be run.

    Raises:
        AssertionError: its shell would not read it.
    """
    text = block.text
    if block.language == "console":
        text = "\n".join(exchange.command for exchange in exchanges_of(block))
    done = subprocess.run(
        ["bash", "-n"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, f"line {block.line}: {done.stderr}"


def _environ(home: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
        "TERM": "xterm",
        "NO_COLOR": "1",
        "LANG": "C.UTF-8",
        "no_proxy": "*",
        "AGENCY_LLM__PROVIDER": "rehearsal",
        "PORT": str(free_port()),
    }
