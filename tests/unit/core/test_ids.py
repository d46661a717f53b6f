import uuid

from agency.core.ids import derive_id, is_id, new_id


def test_new_ids_are_version_7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(100)]

    assert {7} == {uuid.UUID(each).version for each in made}
    assert 100 == len(set(made))
    stamps = [each[:13] for each in made]
    assert sorted(stamps) == stamps


def test_derived_id_depends_on_all_parts_and_their_borders() -> None:
    assert derive_id("a", "b") == derive_id("a", "b")
    assert derive_id("a", "b") != derive_id("ab", "")
    assert 8 == uuid.UUID(derive_id("a")).version


def test_ids_are_told_from_other_texts() -> None:
    assert is_id(new_id())
    assert is_id("550e8400-e29b-41d4-a716-446655440000")
    assert not is_id("550e8400e29b41d4a716446655440000")
    assert not is_id("../../etc/passwd")
    assert not is_id("")
