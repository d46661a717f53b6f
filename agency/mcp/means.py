"""What the MCP door works with."""

from __future__ import annotations

from dataclasses import dataclass

from agency.web.patience import Patience
from agency.web.published import Publication
from agency.web.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Everything below the door.

    Attributes:
        publication: What may be started.
        patience: Lets nobody wait any longer when the daemon stops.
    """

    services: Services
    publication: Publication
    patience: Patience
