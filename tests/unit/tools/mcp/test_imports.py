from __future__ import annotations

import subprocess
import sys


def test_sdk_is_not_loaded_before_a_connection_is_opened() -> None:
    code = (
        "import sys\n"
        "import agency.tools.mcp.connections, agency.config.connections, agency.api.connections\n"
        "print([name for name in ('mcp', 'mcp_types', 'httpx2', 'anyio') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
