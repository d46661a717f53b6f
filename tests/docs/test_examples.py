"""The examples are those of the pages, where they are run, and all of them load."""

from __future__ import annotations

from agency.engine.registry import load_registry
from tests.docs.page import ROOT, blocks_of, name_of, pages

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TESTS = sorted((ROOT / "examples/tests").glob("*.py"))


def test_every_example_is_shown_and_run_on_a_page() -> None:
    shown = {
        block.text + "\n": name_of(path)
        for path in pages()
        for block in blocks_of(path.read_text())
        if block.language == "python"
    }

    assert EXAMPLES
    assert [] == [path.name for path in [*EXAMPLES, *TESTS] if path.read_text() not in shown]


def test_every_example_loads_and_says_what_it_takes() -> None:
    registry = load_registry([ROOT / "examples"])

    assert [] == registry.failures
    assert len(EXAMPLES) == len(list(registry))
