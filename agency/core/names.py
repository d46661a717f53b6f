"""Names that people give and that appear in addresses, variables and shell commands."""

from __future__ import annotations

import re

QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a queue may be called: letters, digits, dashes and underscores, 64 at most."""

_NOT_IN_FEATURES = re.compile(r"[^a-z0-9]+")

DEFAULT_QUEUE = "default"
"""Where runs wait for which nobody has named a queue."""

DEFAULT_AGENT = "default"
"""The agent that answers when nobody has named one."""


def is_queue_name(text: str) -> bool:
    """Tell whether a queue may be called that."""
    return QUEUE_NAME.fullmatch(text) is not None


def feature_of(name: str) -> str:
    """Bring the name of a workflow into the form in which features are compared.

    ``nightly-report``, ``nightly_report`` and the ``NIGHTLY_REPORT`` of an environment variable
    are one feature.
    """
    return _NOT_IN_FEATURES.sub("-", name.casefold())
