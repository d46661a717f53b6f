"""Signatures of cards: ES256, verifiable with the key set that the daemon serves.

Source: A2A 1.0.1, section 8.4; RFC 7515 (JWS), RFC 7517 (JWK), RFC 7638 (thumbprints), RFC 8785
(the canonical form, which the SDK makes).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from a2a.types import a2a_pb2 as pb
from a2a.utils.signing import ProtectedHeader, create_agent_card_signer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agency.a2a.key_file import read_key_file
from agency.config.schema import A2a
from agency.core import json
from agency.errors import ConfigurationInvalid
from agency.ports.vault import Vault

ALGORITHM = "ES256"
_COORDINATE_BYTES = 32


class Signer:
    """Signs cards with one key."""

    def __init__(self, pem: bytes, key_id: str = "") -> None:
        """Take the private key.

        Raises:
            ConfigurationInvalid: it is no unencrypted private key on the curve P-256.
        """
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationInvalid(
                "The key in [a2a] signing_key cannot be read as an unencrypted private key in PEM."
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(
            key.curve, ec.SECP256R1
        ):
            raise ConfigurationInvalid(
                "The key in [a2a] signing_key is not on the curve P-256, which ES256 needs."
            )
        numbers = key.public_key().public_numbers()
        self._pem = pem
        self._public = {
            "kty": "EC",
            "crv": "P-256",
            "x": _base64url(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
            "y": _base64url(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
        }
        self.key_id = key_id or _thumbprint(self._public)

    @property
    def key_set(self) -> dict[str, Any]:
        """The public key as a JWK set."""
        return {"keys": [{**self._public, "kid": self.key_id, "alg": ALGORITHM, "use": "sig"}]}

    def sign(self, card: pb.AgentCard, *, keys_url: str) -> None:
        """Add a signature to a card; ``keys_url`` is where the key set is."""
        header = ProtectedHeader(alg=ALGORITHM, kid=self.key_id, typ="JOSE", jku=keys_url)
        create_agent_card_signer(self._pem, header)(card)


async def open_signer(settings: A2a, vault: Vault) -> Signer | None:
    """Make the signer that the settings name; None when they name none.

    Raises:
        ConfigurationInvalid: the key cannot be read, or is of another kind.
        SecretNotFound, VaultLocked, SecretBroken: as `Vault.reveal`.
    """
    if settings.signing_key:
        pem = str(await vault.resolve(settings.signing_key)).encode()
    elif settings.signing_key_file:
        pem = read_key_file(Path(settings.signing_key_file))
    else:
        return None
    return Signer(pem, settings.signing_key_id)


def _thumbprint(public: dict[str, str]) -> str:
    return _base64url(hashlib.sha256(json.encode_canonical(public)).digest())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
