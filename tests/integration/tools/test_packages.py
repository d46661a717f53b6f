"""Packages come from the configured index, into an environment of the run's own."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import zipfile
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from agency.domain.tool import Permission
from agency.tools.packages import requirements
from agency.tools.sandbox.choose import UNAVAILABLE
from tests.integration.tools.conftest import OpenBench

WHEEL = "tiny_thing-1.0-py3-none-any.whl"


def make_wheel() -> bytes:
    files = {
        "tiny_thing.py": b"ANSWER = 42\n",
        "tiny_thing-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-thing\n"
        b"Version: 1.0\n",
        "tiny_thing-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(content)}")
    files["tiny_thing-1.0.dist-info/RECORD"] = "\n".join(
        [*lines, "tiny_thing-1.0.dist-info/RECORD,,", ""]
    ).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
async def index() -> AsyncIterator[str]:
    """A package index on loopback, with one package."""

    async def simple(_: web.Request) -> web.Response:
        page = f'<html><body><a href="/files/{WHEEL}">{WHEEL}</a></body></html>'
        return web.Response(text=page, content_type="text/html")

    async def wheel(_: web.Request) -> web.Response:
        return web.Response(body=make_wheel())

    application = web.Application()
    application.router.add_get("/simple/tiny-thing/", simple)
    application.router.add_get(f"/files/{WHEEL}", wheel)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/simple"
    await runner.cleanup()


async def test_package_is_installed_and_used(open_bench: OpenBench, index: str) -> None:
    async with open_bench(package_index=index, private_hosts=["127.0.0.1"]) as bench:
        if bench.sandbox.name == UNAVAILABLE:
            pytest.skip(f"no sandbox works here: {bench.sandbox.fix}")
        tool = await bench.find("install_package")
        assert Permission.ASK is tool.permission
        shown = tool.request({"packages": "tiny-thing==1.0"}, bench.context()).show
        assert ["tiny-thing==1.0"] == shown["packages"]

        said = await bench.refused("python", code="import tiny_thing")
        assert "ModuleNotFoundError" in said

        said = await bench.said("install_package", packages="tiny-thing==1.0")
        assert "Installed: tiny-thing==1.0." == said
        code = "import tiny_thing; print(tiny_thing.ANSWER)"
        assert (await bench.said("python", code=code)).startswith("42\n")
        said = await bench.said("shell", command=f"python -c '{code}'")
        assert said.startswith("42\n")

        # What is installed is not among the files that are kept.
        page = await bench.place.workspaces.list(bench.place.run_id, after=0, limit=100)
        assert [".agency/packages.json"] == [file.path for file in page.files]
        assert "exit code" in await bench.refused("install_package", packages="no-such-thing")

        shutil.rmtree(bench.folder / ".agency/packages")
        said = await bench.refused("python", code=code)
        assert "are gone with the folder: tiny-thing==1.0" in said


async def test_nothing_is_installed_without_an_index(open_bench: OpenBench) -> None:
    async with open_bench() as bench:
        assert await bench.registry.find("install_package") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("requests", ["requests"]),
        ("a b==1.0  c[x,y]>=2,<3", ["a", "b==1.0", "c[x,y]>=2,<3"]),
        ("a, b", ["a", "b"]),
        ("a == 1.0", ["a==1.0"]),
        ("--index-url=http://x a", []),
        ("git+https://x/y", []),
        ("./local", []),
        ("https://x/y.whl", []),
        ("a @ https://x", []),
        ("", []),
    ],
)
def test_only_names_are_packages(text: str, found: list[str]) -> None:
    assert found == requirements(text)
