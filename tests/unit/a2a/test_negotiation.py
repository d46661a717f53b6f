"""Versions are those of the protocol, by major and minor."""

from __future__ import annotations

import pytest
from a2a.utils.errors import ExtensionSupportRequiredError, VersionNotSupportedError

from agency.a2a.negotiation import EXTENSIONS_MAX, check_extensions, extensions_of, version_of


@pytest.mark.parametrize(
    ("header", "query", "wanted"),
    [
        ("1.0", None, "1.0"),
        ("1.0.1", None, "1.0"),
        (" 1.0 ", None, "1.0"),
        (None, "1.0", "1.0"),
        ("0.3", "1.0", "0.3"),
        (None, None, "0.3"),
        ("", "", "0.3"),
        ("0.3.0", None, "0.3"),
    ],
)
def test_version_is_found(header: str | None, query: str | None, wanted: str) -> None:
    assert wanted == version_of(header, query, offers_v03=True)


@pytest.mark.parametrize(
    "given", ["1.7", "1", "2.0", "0.2", "1.0-rc", "v1.0", "1.0.0.0", "\u0663.\u0660"]
)
def test_other_versions_are_refused(given: str) -> None:
    with pytest.raises(VersionNotSupportedError):
        version_of(given, None, offers_v03=True)


@pytest.mark.parametrize("given", [None, "0.3"])
def test_old_version_is_refused_where_it_is_not_served(given: str | None) -> None:
    with pytest.raises(VersionNotSupportedError) as refused:
        version_of(given, None, offers_v03=False)

    assert "1.0 is" in refused.value.message


def test_extensions_are_read_from_all_headers_up_to_a_bound() -> None:
    assert {"a", "b", "c"} == extensions_of(["a, b", " c,, "])
    assert EXTENSIONS_MAX == len(extensions_of([",".join(str(n) for n in range(1000))]))


def test_extension_that_must_be_known_is_missed() -> None:
    check_extensions(frozenset({"a", "b"}), ["a"])

    with pytest.raises(ExtensionSupportRequiredError):
        check_extensions(frozenset({"b"}), ["a"])
