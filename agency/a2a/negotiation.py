"""Which version of the protocol a request is in, and which extensions it knows.

Source: A2A 1.0.1, section 3.6 (versions: major and minor count, patches do not) and 4.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from a2a.utils.errors import ExtensionSupportRequiredError, VersionNotSupportedError

V10 = "1.0"
V03 = "0.3"

VERSION = "A2A-Version"
EXTENSIONS = "A2A-Extensions"
LEGACY_EXTENSIONS = "X-A2A-Extensions"
"""As version 0.3 called it."""

EXTENSIONS_MAX = 64
"""URIs of extensions that are read of one request; no agent needs more."""

_FORM = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.\d{1,4})?", re.ASCII)


def version_of(header: str | None, query: str | None, *, offers_v03: bool) -> str:
    """Tell the version of a request: ``1.0`` or ``0.3``, which is also what none means.

    Args:
        header: Value of the header, or of gRPC's metadata.
        query: Value of the query parameter; the header comes first.
        offers_v03: Whether 0.3 is served.

    Raises:
        VersionNotSupportedError: it is another one.
    """
    given = (header or query or "").strip()
    found = _FORM.fullmatch(given) if given else None
    wanted = f"{int(found[1])}.{int(found[2])}" if found else given or V03
    if wanted == V10 or (wanted == V03 and offers_v03):
        return wanted
    offered = f"{V10} and {V03} are" if offers_v03 else f"{V10} is"
    shown = repr(given[:32]) if given else f"{V03} (no {VERSION} was sent)"
    raise VersionNotSupportedError(f"Version {shown} is not supported; {offered}.")


def extensions_of(values: Iterable[str]) -> frozenset[str]:
    """Read the URIs of extensions from the values of their headers."""
    named = (uri.strip() for value in values for uri in value.split(","))
    found: set[str] = set()
    for uri in named:
        if uri and len(found) < EXTENSIONS_MAX:
            found.add(uri)
    return frozenset(found)


def check_extensions(requested: frozenset[str], required: Iterable[str]) -> None:
    """Refuse a request that does not name what it must know.

    Raises:
        ExtensionSupportRequiredError: an extension is missing.
    """
    missing = [uri for uri in required if uri not in requested]
    if missing:
        raise ExtensionSupportRequiredError(
            f"The request must name these extensions in {EXTENSIONS}: {', '.join(missing)}."
        )
