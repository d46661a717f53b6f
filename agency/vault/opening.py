"""Opening the vault of a store."""

from __future__ import annotations

from pathlib import Path

from agency.config.schema import Settings
from agency.core.clock import Clock
from agency.ports.secret import SecretStore
from agency.vault.keys import KeyPlaces
from agency.vault.vault import StoredVault

KEY_FILE = "vault.key"
"""Name of the key file in the data directory, if the settings name none."""


async def open_vault(settings: Settings, clock: Clock, *, store: SecretStore) -> StoredVault:
    """Open the vault as far as that can be done: one without its key is there, and locked."""
    file = settings.vault.key_file or str(Path(settings.server.data_dir) / KEY_FILE)
    credentials = settings.vault.credentials_dir
    places = KeyPlaces(Path(file), Path(credentials) if credentials else None)
    vault = StoredVault(store=store, places=places, clock=clock)
    await vault.open()
    return vault
