"""A process that changes keys without end is killed, and every secret is still there."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from agency.config.schema import Server, Settings, Store
from agency.core.clock import SystemClock
from agency.storage.sqlite.store import open_store
from agency.vault.opening import open_vault

KILLS = 12
SECRETS = {f"s{n}": f"value-number-{n}" for n in range(5)}

CHILD = """\
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from agency.config.schema import Server, Settings, Store
from agency.core.clock import SystemClock
from agency.storage.sqlite.store import open_store
from agency.vault.opening import open_vault

async def main(folder):
    settings = replace(Settings(), server=Server(data_dir=folder))
    path, kept, clock = Path(folder) / "agency.db", Store(free_bytes_min=0), SystemClock()
    async with open_store(path, settings=kept, clock=clock) as store:
        vault = await open_vault(settings, clock, store=store.secrets)
        print("open", flush=True)
        while True:
            await vault.rekey()

asyncio.run(main(sys.argv[1]))
"""


async def check(folder: Path) -> None:
    settings = replace(Settings(), server=Server(data_dir=str(folder)))
    async with open_store(
        folder / "agency.db", settings=Store(free_bytes_min=0), clock=SystemClock()
    ) as store:
        vault = await open_vault(settings, SystemClock(), store=store.secrets)
        assert not vault.state.is_locked, vault.state.reason
        found = {name: await vault.reveal(name) for name in SECRETS}
        assert SECRETS == found
        assert str(folder / "vault.key") == vault.state.key_source


async def test_no_kill_loses_a_secret(tmp_path: Path) -> None:
    drawn = random.Random(int(os.environ.get("SEED", "1")))
    settings = replace(Settings(), server=Server(data_dir=str(tmp_path)))
    async with open_store(
        tmp_path / "agency.db", settings=Store(free_bytes_min=0), clock=SystemClock()
    ) as store:
        vault = await open_vault(settings, SystemClock(), store=store.secrets)
        for name, value in SECRETS.items():
            await vault.set(name, value, principal="ann")
    keys = set()

    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            # The moment of the kill is what is drawn; nobody waits for anything.
            select.select([], [], [], drawn.uniform(0, 0.08))
        finally:
            child.kill()
            child.communicate()
        await check(tmp_path)
        keys.add((tmp_path / "vault.key").read_bytes())

    assert len(keys) > 1, "no change of the key was ever finished"
