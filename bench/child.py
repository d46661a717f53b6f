"""What runs in a child process: one contender, once.

``python -m bench.child MODULE:FUNCTION ARGUMENTS RESULT``: ARGUMENTS is a JSON object, RESULT the
file that the function's answer is written to as JSON. Needs nothing but the standard library, so
that it runs in the peers' environment too.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from pathlib import Path


def main() -> None:
    """Call the function and write what it answers."""
    target, arguments, result = sys.argv[1:]
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    answer = function(**json.loads(arguments))
    if inspect.iscoroutine(answer):
        answer = asyncio.run(answer)
    Path(result).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
