"""Print the requirements of the extra ``bench``: what the peers' environment is made of."""

from __future__ import annotations

import tomllib
from pathlib import Path

if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    print(*project["optional-dependencies"]["bench"])
