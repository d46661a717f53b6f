"""Do the settings of models name what there is? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agency.core.suggestions import nearest

BUILT_IN = ("ollama", "auto", "rehearsal")
"""What ``[llm] provider`` may be without any section."""

Fault = tuple[str, str, str]
"""Name of the setting, what is wrong, and what to write instead."""


def faults(values: Mapping[str, Any], sections: Sequence[str]) -> Iterator[Fault]:
    """Find what is wrong between the settings of models.

    Args:
        values: All settings by name.
        sections: Names of the sections ``[providers.NAME]``.
    """
    for name in sections:
        if name in BUILT_IN:
            yield (
                f"providers.{name}.kind",
                f"A provider cannot be called {name!r}.",
                ("Ollama is described by [llm]; call another one for example 'lab'."),
            )
        if (
            values[f"providers.{name}.kind"] == "openai"
            and not values[f"providers.{name}.base_url"]
        ):
            yield (
                f"providers.{name}.base_url",
                "It must not be empty for the kind 'openai'.",
                ('Write for example base_url = "http://localhost:8000/v1".'),
            )
    chosen = values["llm.provider"]
    options = [*BUILT_IN, *sections]
    if chosen not in options:
        likely = nearest(str(chosen), options)
        shown = ", ".join(repr(option) for option in options)
        yield (
            "llm.provider",
            f"It must be one of {shown}, and is {chosen!r}.",
            (f"Did you mean {likely!r}?" if likely else ""),
        )
