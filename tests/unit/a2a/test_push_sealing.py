"""Tokens and credentials of pushes at rest."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agency.a2a.push.sealing import KEY_NAME, PushSecrets, Sealer
from agency.errors import SecretBroken, SecretNotFound
from agency.ports.vault import Secrets


class OneSecret:
    """A vault with room for the one secret that is asked for here."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def add_usage(self, source: Any) -> None:
        self.usage = source

    async def reveal(self, name: str) -> str:
        if name not in self.values:
            raise SecretNotFound(name)
        return self.values[name]

    async def set(self, name: str, value: str, *, principal: str) -> tuple[Any, bool]:
        self.values[name] = value
        return None, True


SECRETS = PushSecrets(token="t0ken", credentials="cr3dentials")


def sealer(vault: OneSecret) -> Sealer:
    return Sealer(cast(Secrets, vault))


async def test_sealed_secrets_are_opened_again_by_the_next_daemon() -> None:
    vault = OneSecret()
    sealed = await sealer(vault).seal(SECRETS, task_id="t", push_id="p")

    assert SECRETS == await sealer(vault).open(sealed, task_id="t", push_id="p")
    assert sealed is not None
    assert b"t0ken" not in sealed
    assert "t0ken" not in repr(SECRETS)
    assert {"push notifications": (KEY_NAME,)} == await vault.usage()


async def test_nothing_is_sealed_without_secrets_and_needs_no_key() -> None:
    vault = OneSecret()

    assert await sealer(vault).seal(PushSecrets(), task_id="t", push_id="p") is None
    assert PushSecrets() == await sealer(vault).open(None, task_id="t", push_id="p")
    assert vault.values == {}


async def test_each_sealing_is_another() -> None:
    both = sealer(OneSecret())

    first = await both.seal(SECRETS, task_id="t", push_id="p")

    assert first != await both.seal(SECRETS, task_id="t", push_id="p")


@pytest.mark.parametrize(("task_id", "push_id"), [("t", "q"), ("u", "p"), ("t\x1fp", "")])
async def test_what_belongs_to_another_push_does_not_open(task_id: str, push_id: str) -> None:
    vault = OneSecret()
    sealed = await sealer(vault).seal(SECRETS, task_id="t", push_id="p")

    with pytest.raises(SecretBroken):
        await sealer(vault).open(sealed, task_id=task_id, push_id=push_id)


@pytest.mark.parametrize("key", ["", "not base64!", "c2hvcnQ="])
async def test_key_that_is_none_is_told(key: str) -> None:
    vault = OneSecret()
    sealed = await sealer(vault).seal(SECRETS, task_id="t", push_id="p")
    vault.values[KEY_NAME] = key

    with pytest.raises(SecretBroken):
        await sealer(vault).open(sealed, task_id="t", push_id="p")


async def test_what_is_cut_off_does_not_open() -> None:
    vault = OneSecret()
    sealed = await sealer(vault).seal(SECRETS, task_id="t", push_id="p")
    assert sealed is not None

    for length in (0, 5, len(sealed) - 1):
        with pytest.raises(SecretBroken):
            await sealer(vault).open(sealed[:length], task_id="t", push_id="p")
