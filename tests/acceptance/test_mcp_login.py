"""A login at a server of tools, as a person does it: a daemon, a command line and a browser."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.fake_servers.authorization import guarded_tools
from tests.processes import GUARD_S, Daemons, free_port

TOKEN = "read with secret://mcp.diary.login"


@dataclass(frozen=True)
class Shell:
    """A command line beside the daemons of a folder."""

    daemons: Daemons

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "agency", *words]

    async def agency(self, *words: str) -> tuple[int, str]:
        """Run a command to its end; give its code and all that it said."""
        done = await asyncio.to_thread(
            subprocess.run,
            self._command(*words),
            cwd=self.daemons.folder,
            env=self.daemons.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GUARD_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    async def json(self, *words: str) -> Any:
        code, text = await self.agency(*words, "--json")
        assert 0 == code, text
        return json.loads(text)

    async def login(self) -> asyncio.subprocess.Process:
        """Begin a login; its command waits for the browser."""
        return await asyncio.create_subprocess_exec(
            *self._command("mcp", "login", "diary", "--no-browser"),
            cwd=self.daemons.folder,
            env=self.daemons.environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def address_of(login: asyncio.subprocess.Process) -> str:
    assert login.stdout is not None
    async with asyncio.timeout(GUARD_S):
        line = (await login.stdout.readline()).decode().strip()
    assert line.startswith("http://"), await login.communicate()
    return line


async def ended(login: asyncio.subprocess.Process, pasted: str = "") -> tuple[int | None, str]:
    async with asyncio.timeout(GUARD_S):
        _, told = await login.communicate(f"{pasted}\n".encode() if pasted else None)
    return login.returncode, told.decode()


ALLOWED = '[mcp]\nallow_private = ["127.0.0.1"]\n'


async def test_person_logs_in_with_a_browser_and_by_pasting(
    daemons: Daemons, tmp_path: Path
) -> None:
    shell = Shell(daemons)
    port = str(free_port())
    (tmp_path / "config.toml").write_text(ALLOWED)
    async with guarded_tools() as guarded, aiohttp.ClientSession() as browser:
        daemon = await asyncio.to_thread(daemons.start, "--port", port)
        added = await shell.agency("mcp", "add", "diary", "--http", guarded.url, "--allow", "*")
        refused = await shell.agency("mcp", "test", "diary")

        guarded.authorization.returns = {"code": None, "error": "access_denied"}
        login = await shell.login()
        async with browser.get(await address_of(login), allow_redirects=False) as sent_back:
            location = sent_back.headers["Location"]
        async with browser.head(location) as looked_at:
            quiet = looked_at.status
        async with browser.get(location.replace("access_denied", "<b>no</b>")) as page:
            denied = page.status, await page.text()
        by_denial = await ended(login)

        guarded.authorization.returns = {}
        login = await shell.login()
        async with browser.get(await address_of(login)) as page:
            shown = page.status, await page.text(), page.headers["Referrer-Policy"]
        by_browser = await ended(login)
        called = await shell.agency("mcp", "call", "diary", "read")

        daemon.kill()
        said = daemon.communicate()
        await asyncio.to_thread(daemons.start, "--port", port)
        after_kill = await shell.agency("mcp", "call", "diary", "read")

        logged_out = await shell.agency("mcp", "logout", "diary")
        login = await shell.login()
        async with browser.get(await address_of(login), allow_redirects=False) as sent_back:
            by_pasting = await ended(login, sent_back.headers["Location"])
        called_again = await shell.agency("mcp", "call", "diary", "read")
        documents = [
            await shell.json("mcp", "show", "diary"),
            await shell.json("secret", "ls"),
        ]

    assert 0 == added[0]
    assert "agency mcp login diary" in added[1]
    assert 1 == refused[0]
    assert "agency mcp login diary" in refused[1]
    assert 200 == quiet
    assert 422 == denied[0]
    assert "&lt;b&gt;no&lt;/b&gt;" in denied[1]
    assert 1 == by_denial[0]
    assert "says <b>no</b>" in by_denial[1]
    assert (200, "no-referrer") == (shown[0], shown[2])
    assert "Logged in" in shown[1]
    assert 0 == by_browser[0], by_browser
    assert [(0, f"{TOKEN}\n")] * 3 == [called, after_kill, called_again]
    assert 0 == logged_out[0]
    assert 1 == len(guarded.authorization.revoked)
    assert 0 == by_pasting[0], by_pasting
    told = json.dumps(documents) + "".join(said) + by_browser[1] + by_pasting[1]
    assert not [secret for secret in guarded.authorization.given if secret in told]
