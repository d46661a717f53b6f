"""Write what is generated from settings and limits: ``config.toml`` and two reference pages.

Run by ``make docs`` in a checkout; a test compares the files with what this would write.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from agency.config.explain import write_default, write_reference
from agency.daemon.local.limits_page import PAGE as LIMITS
from agency.daemon.local.limits_page import write_limits


def generated() -> Mapping[str, str]:
    """Give each generated file's path in the checkout with its text."""
    return {
        "config.toml": write_default(),
        "docs/reference/configuration.md": write_reference(),
        LIMITS: write_limits(),
    }


def write(root: Path) -> list[str]:
    """Write the files that differ, and name them."""
    written = []
    for name, text in generated().items():
        path = root / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            written.append(name)
    return written


if __name__ == "__main__":
    for written_name in write(Path.cwd()):
        sys.stdout.write(f"{written_name}\n")
