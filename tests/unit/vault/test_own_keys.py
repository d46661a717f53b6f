"""Keys of our own: made once, the same afterwards, and nobody else's to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.errors import VaultLocked
from agency.vault.own_keys import load_own_key


def test_key_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "mcp.key"

    first, second = load_own_key(file), load_own_key(file)

    assert 32 == len(first)
    assert first == second
    assert 0o600 == file.stat().st_mode & 0o777
    assert first != load_own_key(tmp_path / "other.key")


def test_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mcp.key"
    load_own_key(file)
    file.chmod(0o644)

    with pytest.raises(VaultLocked, match="644"):
        load_own_key(file)


def test_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mcp.key"
    file.write_text("no key")
    file.chmod(0o600)

    with pytest.raises(VaultLocked, match="does not hold a key"):
        load_own_key(file)
