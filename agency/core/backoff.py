"""How long to wait before the next try."""

from __future__ import annotations

import random


def delay_s(
    attempt: int, *, base_s: float, factor: float, cap_s: float, jitter: bool, source: random.Random
) -> float:
    """Seconds to wait after failed attempt number ``attempt`` (from 1).

    ``base_s * factor ** (attempt - 1)``, at most ``cap_s``; with jitter, evenly between 0 and that.
    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """
    # The exponent is bounded so that a large attempt number cannot overflow a float.
    full = min(cap_s, base_s * factor ** min(attempt - 1, 64))
    return source.uniform(0.0, full) if jitter else full
