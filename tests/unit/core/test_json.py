import pytest
from hypothesis import given
from hypothesis import strategies as st

from agency.core import json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_encoded_decodes_to_the_same(value: object) -> None:
    assert value == json.decode(json.encode(value))


@given(st.dictionaries(st.text(), st.integers(-9, 9), max_size=6))
def test_canonical_form_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    turned = dict(reversed(list(value.items())))

    assert json.encode_canonical(value) == json.encode_canonical(turned)


@pytest.mark.parametrize("value", [{1, 2}, object(), {(1, 2): 3}, 2**70])
def test_value_that_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(json.NotJson):
        json.encode(value)
    with pytest.raises(json.NotJson):
        json.encode_canonical(value)


@pytest.mark.parametrize("text", [b"", b"{", b"nul", b'"\xff"', b"[" * 100_000])
def test_text_that_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(json.NotJson):
        json.decode(text)
