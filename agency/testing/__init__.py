"""For authors' tests: the fixture ``workflows``, a clock to move, a scripted model, a store.

Everything is loaded when it is first used: pytest imports the plugin in every project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agency.testing.clock import MovedClock
    from agency.testing.harness import Harness, RunView, Step
    from agency.testing.model import ScriptedModel
    from agency.testing.proof import AnswerMissing, NotResumable, Proof
    from agency.testing.store import open_temporary_store

_HOMES = {
    "AnswerMissing": "agency.testing.proof",
    "Harness": "agency.testing.harness",
    "MovedClock": "agency.testing.clock",
    "NotResumable": "agency.testing.proof",
    "Proof": "agency.testing.proof",
    "RunView": "agency.testing.harness",
    "ScriptedModel": "agency.testing.model",
    "Step": "agency.testing.harness",
    "open_temporary_store": "agency.testing.store",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  what a module holds
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'agency.testing' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


__all__ = [
    "AnswerMissing",
    "Harness",
    "MovedClock",
    "NotResumable",
    "Proof",
    "RunView",
    "ScriptedModel",
    "Step",
    "open_temporary_store",
]
