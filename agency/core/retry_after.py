"""``Retry-After``: how long somebody asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from agency.core.limits import RETRY_AFTER_S_MAX


def read_retry_after_s(text: str, *, now: datetime) -> float | None:
    """Read the value of ``Retry-After``, seconds or a date; None if it is neither.

    Never more than `RETRY_AFTER_S_MAX`, whatever is asked for. A date without a zone is one of UTC.
    Source: RFC 9110, section 10.2.3.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), RETRY_AFTER_S_MAX)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, min((moment - now).total_seconds(), RETRY_AFTER_S_MAX))
    except (ValueError, OverflowError):
        return None
