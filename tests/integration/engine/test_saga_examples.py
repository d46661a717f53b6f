"""The guide's order saga, in Python and declared, comes to each of its three outcomes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from agency import Saga
from agency.core.json import decode
from agency.domain.run import RunStatus
from agency.engine.registry import Registry, load_registry
from agency.workflows.saga.stored import read_declared, saga_of
from tests.integration.engine.house import House, open_house

EXAMPLES = Path(__file__).parents[3] / "examples"
FORMS = {"python": "order-processing", "json": "order-declared", "yaml": "order-declared"}


@pytest.fixture(params=sorted(FORMS))
def saga(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Saga, Path]:
    """The saga in one of its forms, and the file by which its bank can be switched off."""
    form: str = request.param
    flows = tmp_path / "flows"
    flows.mkdir()
    shutil.copy(EXAMPLES / "order_saga.py", flows)
    if form == "yaml":
        (flows / "order.saga.yaml").write_text(_as_yaml())
    else:
        shutil.copy(EXAMPLES / "order-saga.json", flows)
    registry: Registry = load_registry([flows], read_declared=read_declared)
    assert [] == registry.failures
    found = saga_of(registry.get(FORMS[form]))
    assert found is not None
    return found, flows / "refunds-are-down"


def _as_yaml() -> str:
    """The declared form, as somebody would write it in YAML."""
    import io

    from ruamel.yaml import YAML

    text = io.StringIO()
    YAML().dump(decode((EXAMPLES / "order-saga.json").read_bytes()), text)
    return text.getvalue()


async def run(house: House, saga: Saga, value: Any) -> Any:
    return (await house.ended(await house.start(saga.name, value))).run


async def test_three_outcomes_and_a_retry(tmp_path: Path, saga: tuple[Saga, Path]) -> None:
    order, is_down = saga
    async with open_house(tmp_path, order) as house:
        completed = await run(house, order, {"items": 5, "email": "ada@example.com"})
        compensated = await run(house, order, {"items": 5})
        is_down.touch()
        failed = await run(house, order, {"items": 5})
        is_down.unlink()
        await house.runs.retry_compensation(failed.id)
        retried = (await house.ended(failed.id)).run

    assert RunStatus.COMPLETED is completed.status
    assert "txn_123" in str(completed.output)
    assert RunStatus.COMPENSATED is compensated.status
    both = ["charge_payment", "reserve_inventory"]
    assert both == _details(compensated)["compensated_legs"]
    assert RunStatus.COMPENSATION_FAILED is failed.status
    # The third leg has failed, and so has the first compensation: both are told.
    assert "the order has no address to write to" == failed.error.message
    assert ["the bank does not answer"] == [
        one["message"] for one in _details(failed)["compensation_errors"]
    ]
    assert (["reserve_inventory"], ["charge_payment"]) == (
        _details(failed)["compensated_legs"],
        _details(failed)["legs_left"],
    )
    assert (RunStatus.COMPENSATED, both) == (retried.status, _details(retried)["compensated_legs"])


def _details(run: Any) -> dict[str, Any]:
    return cast(dict[str, Any], run.error.details)


def test_file_that_is_no_saga_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.saga.json").write_text('{"name": "x"')
    (tmp_path / "bad-saga.yml").write_text("name: x\nlegs: []\n")
    (tmp_path / "bomb.saga.yaml").write_text(
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
            for before, name in zip("abcdefg", "bcdefgh", strict=True)
        )
    )
    (tmp_path / "other.json").write_text("{}")

    registry = load_registry([tmp_path], read_declared=read_declared)

    assert 0 == len(list(registry))
    reasons = {Path(one.path).name: one.reason for one in registry.failures}
    assert {"broken.saga.json", "bad-saga.yml", "bomb.saga.yaml"} == set(reasons)
    assert "/legs" in reasons["bad-saga.yml"]
    assert "with its aliases written out" in reasons["bomb.saga.yaml"]
