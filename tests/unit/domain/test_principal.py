from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agency.core import tokens
from agency.domain.principal import make_token
from agency.errors import InvalidInput

AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_new_token_keeps_only_what_recognises_its_secret() -> None:
    kept, secret = make_token("laptop", at=AT)

    assert tokens.is_well_formed(secret)
    assert tokens.matches(secret, kept.secret_hash)
    assert secret.startswith(kept.prefix)
    assert secret not in repr(kept)
    assert (kept.name, kept.created_at, kept.revoked_at) == ("laptop", AT, None)


def test_name_that_does_not_fit_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidInput) as caught:
        make_token("two words", at=AT)

    assert ["/name"] == [fault.where for fault in caught.value.faults]
