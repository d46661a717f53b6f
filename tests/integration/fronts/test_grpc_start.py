"""A daemon that cannot serve gRPC, or sign its cards, does not start, and says what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.processes import ROOT, daemons_in


def _configured(folder: Path, port: int) -> Path:
    config = folder / "agency.toml"
    config.write_text(f"[a2a]\ngrpc_port = {port}\n")
    return config


def test_package_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "grpc.py").write_text('raise ImportError("it is not installed")\n')

    with daemons_in(tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}") as daemons:
        done = daemons.run("--config", _configured(tmp_path, 1))

    assert 0 != done.returncode
    assert "pip install agency[grpc]" in done.stderr


def test_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken, daemons_in(tmp_path) as daemons:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = daemons.run("--config", _configured(tmp_path, port))

    assert 0 != done.returncode
    assert f"The port {port} on '127.0.0.1' is taken" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read: No such file"), ("junk", "holds no unencrypted private key")],
    ids=["missing", "no-key"],
)
def test_key_that_cards_cannot_be_signed_with_is_named(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "card-key.pem").write_text(content)
    config = tmp_path / "agency.toml"
    config.write_text('[a2a]\nsigning_key_file = "card-key.pem"\n')

    with daemons_in(tmp_path) as daemons:
        done = daemons.run("--config", config)

    assert 0 != done.returncode
    assert said in done.stderr
    assert "openssl" in done.stderr
