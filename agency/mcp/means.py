"""What the MCP door works with."""

from __future__ import annotations

from collections.abc import Callable

from agency.core.records import dataclass
from agency.engine.offers import Offers
from agency.web.patience import Patience
from agency.web.published import Publication
from agency.web.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Everything below the door.

    Attributes:
        publication: What may be started.
        offers: What authors offer to these clients beside it.
        load_key: Gives 32 secret bytes that are the same after a restart; may take a while, and
            raise VaultLocked or PlaceNotWritable.
        patience: Lets nobody wait any longer when the daemon stops.
    """

    services: Services
    publication: Publication
    offers: Offers
    load_key: Callable[[], bytes]
    patience: Patience
