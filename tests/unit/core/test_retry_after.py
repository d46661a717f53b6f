"""``Retry-After`` is read in seconds or as a date, and bounded."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agency.core.limits import RETRY_AFTER_S_MAX
from agency.core.retry_after import read_retry_after_s

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("9" * 400, RETRY_AFTER_S_MAX),
        ("Fri, 20 Nov 2026 12:00:09 GMT", 9.0),
        ("Fri, 20 Nov 2026 12:00:09 -0000", 9.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Sat, 20 Nov 2027 12:00:00 GMT", RETRY_AFTER_S_MAX),
        (f"Mon, 01 Jan 2024 00:00:00 +{'9' * 20}", None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("\u0663", None),
    ],
    ids=[
        "seconds",
        "none-to-wait",
        "ages",
        "date",
        "date-without-zone",
        "past",
        "far",
        "no-moment",
        "empty",
        "word",
        "negative",
        "other-digits",
    ],
)
def test_seconds_and_dates_are_read_and_bounded(text: str, found: float | None) -> None:
    assert found == read_retry_after_s(text, now=NOW)
