"""The fake as a process: ``python -m tests.fake_ollama --port N --script FILE``.

It prints one line of JSON, ``{"url": …, "port": …}``, when it listens, and stops on SIGTERM. The
script is JSON: ``{"turns": [...], "models": [...]}`` with the fields of `Turn` and `FakeModel`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from tests.fake_ollama.models import DEFAULT_MODELS, FakeModel
from tests.fake_ollama.server import FakeOllama
from tests.fake_ollama.turns import parse_turn


async def serve(arguments: argparse.Namespace) -> None:
    script: dict[str, Any] = {}
    if arguments.script is not None:
        script = json.loads(Path(arguments.script).read_text())
    models = [FakeModel(**found) for found in script.get("models", ())]
    fake = FakeOllama(
        [parse_turn(found) for found in script.get("turns", ())],
        models=models or DEFAULT_MODELS,
        port=arguments.port,
        piece_delay_s=arguments.piece_delay_s,
        parallel=arguments.parallel,
        record=arguments.record,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with fake:
        print(json.dumps({"url": fake.url, "port": fake.port}), flush=True)  # noqa: T201
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fake_ollama")
    parser.add_argument("--port", type=int, default=0, help="0 for a free one")
    parser.add_argument("--script", help="JSON file with turns and models")
    parser.add_argument("--record", type=Path, help="append each request's body to this file")
    parser.add_argument("--piece-delay-s", type=float, default=0.0, help="pause before each line")
    parser.add_argument("--parallel", type=int, default=1, help="requests at once per model")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
