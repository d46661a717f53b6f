"""The file with the key that cards are signed with, read without what it takes to sign."""

from __future__ import annotations

from pathlib import Path

from agency.errors import ConfigurationInvalid

KEY_BYTES_MAX = 64 * 1024


def read_key_file(path: Path) -> bytes:
    """Read the key in PEM.

    Raises:
        ConfigurationInvalid: it cannot be read, or is no unencrypted private key in PEM.
    """
    hint = "Make one with `openssl ecparam -name prime256v1 -genkey -noout -out FILE`."
    try:
        with path.open("rb") as file:
            pem = file.read(KEY_BYTES_MAX)
    except OSError as error:
        raise ConfigurationInvalid(
            f"The file {str(path)!r} of [a2a] signing_key_file cannot be read: {error.strerror}.",
            hint=hint,
        ) from error
    if b"PRIVATE KEY-----" not in pem or b"ENCRYPTED" in pem:
        raise ConfigurationInvalid(
            f"The file {str(path)!r} of [a2a] signing_key_file holds no unencrypted private key "
            "in PEM.",
            hint=hint,
        )
    return pem
