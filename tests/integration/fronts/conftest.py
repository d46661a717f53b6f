"""Real daemons with the A2A door, and the official client to speak with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.processes import GUARD_S, ROOT, daemons_in, free_port

WORKFLOWS = '''
from agency import Content, Context, Rejected, text_part, workflow


@workflow("greet")
async def greet(ctx: Context, name: str) -> str:
    """Says hello."""
    return f"Hello {name}!"


@workflow("ask")
async def ask(ctx: Context, message: Content) -> str:
    colour = await ctx.input("Which colour?")
    return f"You like {colour}."


@workflow("pieces")
async def pieces(ctx: Context, message: Content) -> None:
    await ctx.deliver("poem", "one ", is_last=False)
    await ctx.deliver("poem", "two", append=True)


@workflow("answer")
async def answer(ctx: Context, message: Content) -> Content:
    return Content(parts=[text_part("Directly.")], is_message=True)


@workflow("refuse")
async def refuse(ctx: Context, message: Content) -> None:
    raise Rejected("Not today.")
'''

NO_SANDBOX = '[sandbox]\ndriver = "none"\n'
"""No commands are run here; a probe would outlive a daemon that is killed, and hold its output."""


@dataclass(frozen=True)
class Place:
    """A daemon that runs.

    Attributes:
        token: Of somebody whom it lets in, or empty.
    """

    url: str
    token: str = ""
    grpc_port: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def agent(self, name: str) -> str:
        return f"{self.url}/a2a/{name}"

    @asynccontextmanager
    async def client(self, name: str, **config: Any) -> AsyncIterator[Client]:
        """Open the official client for an agent, by its card."""
        async with httpx.AsyncClient(timeout=20, headers=self.headers) as http:
            factory = ClientFactory(ClientConfig(httpx_client=http, **config))
            client = await factory.create_from_url(self.agent(name))
            async with client:
                yield client


def _start(folder: Path, settings: str, **environ: str) -> Iterator[Place]:
    (folder / "flows.py").write_text(WORKFLOWS)
    config = folder / "agency.toml"
    config.write_text(f'[workflows]\npaths = ["{folder / "flows.py"}"]\n{NO_SANDBOX}{settings}')
    with daemons_in(folder, **environ) as daemons:
        child = daemons.start("--config", config)
        yield Place(daemons.announced()["url"])
        child.terminate()
        child.communicate(timeout=GUARD_S)


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a key to sign cards with."""
    path = tmp_path_factory.mktemp("keys") / "card.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a daemon that everybody on this machine may use, with all transports and versions."""
    port = free_port()
    settings = (
        f'[a2a]\ngrpc_port = {port}\ndefault_agent = "greet"\n'
        'push_allow_private = ["127.0.0.1"]\n[server]\nsync_wait_s = 10\n'
    )
    for started in _start(tmp_path_factory.mktemp("open"), settings):
        yield Place(started.url, grpc_port=port)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, signing_key: Path) -> Iterator[Place]:
    """Run a daemon that wants tokens, signs its cards and speaks 1.0 only."""
    folder, port = tmp_path_factory.mktemp("guarded"), free_port()
    settings = (
        '[server]\nallowed_hosts = ["agents.example.org"]\nstreams_max = 2\n'
        f'[a2a]\nv03 = false\nsigning_key_file = "{signing_key}"\ngrpc_port = {port}\n'
        'provider_name = "Example"\nprovider_url = "https://example.org"\n'
        'extensions = ["urn:example:mood"]\nrequired_extensions = []\n'
    )
    (folder / "flows.py").write_text(WORKFLOWS)
    token = _token(folder)
    for started in _start(folder, settings):
        yield Place(started.url, token=token, grpc_port=port)


def _token(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "agency.cli.main", "token", "new", "tester"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT), "PORT": "1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a plain client."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


Call = Callable[..., Any]


@pytest.fixture
def call(place: Place, http: aiohttp.ClientSession) -> Call:
    """Make JSON-RPC calls of version 1.0, and give what is answered."""

    async def make(agent: str, method: str, params: Any, *, version: str = "1.0") -> Any:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        headers = {"A2A-Version": version} if version else {}
        async with http.post(place.agent(agent), json=body, headers=headers) as response:
            assert 200 == response.status
            answer = await response.json()
        assert 7 == answer["id"]
        return answer

    return make
