"""Keys of our own beside that of the secrets: made when first needed, kept in a file each."""

from __future__ import annotations

from pathlib import Path

from agency.errors import PlaceNotWritable, VaultLocked
from agency.vault.keys import KeyPlace, KeyUnusable, write_key


def load_own_key(path: Path) -> bytes:
    """Give the 32 bytes of a key; the first time they are made, and synced before this returns.

    Raises:
        VaultLocked: there is something at its place that is no key, or that others may read.
        PlaceNotWritable: it cannot be kept.
    """
    place = KeyPlace(path, is_credential=False)
    try:
        key = place.load()
        if key is None:
            try:
                key = write_key(path)
            except PlaceNotWritable:
                key = place.load()  # another was faster
                if key is None:
                    raise
    except KeyUnusable as error:
        raise VaultLocked(
            f"The key in {str(path)!r} cannot be used: {error}.",
            hint="Move the file away: another is made, and what was sealed with it is asked anew.",
        ) from error
    return key.secret
