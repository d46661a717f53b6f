from __future__ import annotations

import tomli
from hypothesis import given
from hypothesis import strategies as st

from agency.config.lines import find_lines, line_of

TEXT = '''\
# [comment]
top = "a = b" # x = y

[one] # [two]
a = [
  "x = 1", # ]
  [2],
]
b = """
c = 3
[no]
"""
"quoted key" = {inline = 1}
d.e = 'it''s' # never parsed twice
[one.two]
f = 1
[[many]]
g = 1
[[many]]
g = 2
last = 1'''


def test_keys_and_tables_have_the_lines_where_they_begin() -> None:
    lines = find_lines(TEXT)

    assert {
        ("top",): 2,
        ("one",): 4,
        ("one", "a"): 5,
        ("one", "b"): 9,
        ("one", "quoted key"): 13,
        ("one", "d"): 14,
        ("one", "d", "e"): 14,
        ("one", "two"): 15,
        ("one", "two", "f"): 16,
        ("many",): 17,
        ("many", "g"): 18,
        ("many", "last"): 21,
    } == lines


def test_what_is_not_listed_has_the_line_of_its_parent() -> None:
    lines = find_lines("[one]\na = {b = 1}\n")

    assert 2 == line_of(("one", "a", "b"), lines)
    assert 0 == line_of(("two",), lines)


KEYS = st.text("abcdefg_-01", min_size=1, max_size=6)
VALUES = st.sampled_from(
    ["1", '"x"', "'y # z'", "[1,\n 2]", '"""\n[a]\nb = 1\n"""', "{ p = 1 }", "true", "'''\n'''"]
)


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_every_key_of_a_file_is_found_on_its_line(document: dict[str, dict[str, str]]) -> None:
    text, wanted = "", {}
    for section, table in document.items():
        text += f"# comment\n[{section}]\n"
        for key, value in table.items():
            wanted[(section, key)] = text.count("\n") + 1
            text += f"{key} = {value} # = [\n"
    tomli.loads(text)

    lines = find_lines(text)

    assert wanted == {path: line for path, line in lines.items() if len(path) == 2}
