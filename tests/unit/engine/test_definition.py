from pathlib import Path
from typing import Any

import pytest

from agency.engine.definition import make_definition, syntax_hash, workflow
from agency.engine.registry import Registry, load_registry
from agency.errors import InvalidInput, WorkflowNameTaken


async def first(ctx: Any, value: int) -> int:
    """Says something."""
    # A comment.
    return value + 1


async def third(ctx: Any, value: int) -> int:
    return value + 2


def test_other_code_has_another_hash() -> None:
    assert syntax_hash(first) != syntax_hash(third)
    assert 12 == len(syntax_hash(first))


def test_layout_does_not_change_the_version(tmp_path: Path) -> None:
    texts = (
        "async def w(ctx):\n    return 1\n",
        'async def w(ctx):\n    "Doc."\n    # why\n    return (1)\n',
        "async def w(ctx):\n    return 2\n",
    )
    versions = []
    for number, text in enumerate(texts):
        file = tmp_path / f"m{number}.py"
        file.write_text(f'from agency import workflow\n\n@workflow("w")\n{text}')
        registry = load_registry([file])
        assert [] == registry.failures
        versions.append(registry.get("w").version)

    assert versions[0] == versions[1]
    assert versions[0] != versions[2]


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 300, "a?b"])
def test_name_that_no_address_can_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        workflow(name)


def test_function_that_is_not_async_is_refused() -> None:
    def plain(ctx: Any) -> None: ...

    with pytest.raises(InvalidInput, match="async def"):
        workflow("w")(plain)  # type: ignore[type-var]  # the mistake is the point


def test_function_with_other_parameters_is_refused() -> None:
    @workflow("w")
    async def three(ctx: Any, a: int, b: int) -> None: ...

    with pytest.raises(InvalidInput, match="3 parameters"):
        make_definition(three)


def test_two_workflows_of_one_name_are_told(tmp_path: Path) -> None:
    registry = Registry()

    @workflow("w")
    async def one(ctx: Any) -> None: ...

    registry.add_function(one)
    with pytest.raises(WorkflowNameTaken):
        registry.add_function(one)


def test_file_that_fails_to_load_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a_bad.py").write_text("import sys\nraise RuntimeError('broken')\n")
    (tmp_path / "b_exit.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "c_good.py").write_text(
        'from agency import workflow\n\n@workflow("good")\nasync def good(ctx):\n    return 1\n'
    )
    (tmp_path / "_left_out.py").write_text("raise RuntimeError\n")

    registry = load_registry([tmp_path, tmp_path / "absent.py"])

    assert ["good"] == [definition.name for definition in registry]
    assert ["a_bad.py", "b_exit.py", "absent.py"] == [
        Path(failure.path).name for failure in registry.failures
    ]
    assert "RuntimeError: broken" in registry.failures[0].reason
    assert "Traceback" in registry.failures[0].traceback


def test_type_that_cannot_be_read_is_told_at_load(tmp_path: Path) -> None:
    file = tmp_path / "odd.py"
    file.write_text(
        "import threading\nfrom agency import workflow\n\n"
        '@workflow("odd")\nasync def odd(ctx, value: threading.Thread):\n    return 1\n'
    )

    registry = load_registry([file])

    assert 0 == len(registry)
    assert "cannot be read from JSON" in registry.failures[0].reason
