"""What authors import is there, typed, and told of."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("name", ["agency", "agency.testing"])
def test_every_export_can_be_imported_and_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    exported = [one for one in module.__all__ if one != "__version__"]

    assert exported == sorted(exported)
    assert [] == [one for one in exported if not getattr(module, one).__doc__]


@pytest.mark.parametrize("name", ["agency", "agency.testing"])
def test_type_checkers_see_the_exports_where_they_are(name: str) -> None:
    module = importlib.import_module(name)
    homes: dict[str, str] = vars(module)["_HOMES"]
    text = Path(str(module.__file__)).read_text().partition("if TYPE_CHECKING:")[2]

    assert set(homes) == set(module.__all__) - {"__version__"}
    for exported, home in homes.items():
        imported = text.partition(f"from {home} import ")[2].partition("\n    from")[0]
        assert exported in imported.replace(",", " ").split(), exported


@pytest.mark.parametrize("name", ["agency", "agency.testing"])
def test_pages_tell_of_every_export(name: str) -> None:
    module = importlib.import_module(name)

    untold = [one for one in module.__all__ if one not in PAGES and one != "__version__"]

    assert [] == untold


def test_package_says_that_it_is_typed() -> None:
    assert (ROOT / "agency/py.typed").exists()
