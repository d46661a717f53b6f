"""Models as people name them: ``MODEL`` or ``PROVIDER/MODEL``."""

from __future__ import annotations

from collections.abc import Container

from agency.ports.model import Choice


def parse_reference(text: str, *, providers: Container[str], default: str) -> Choice:
    """Read a reference such as ``qwen3:8b`` or ``lab/qwen3``.

    What stands before the first slash is a provider only if there is one of that name: names of
    models have slashes, too, such as ``hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF``.

    Args:
        text: The reference, not empty.
        providers: Names that are known.
        default: Provider of a reference that names none.
    """
    before, slash, after = text.strip().partition("/")
    if slash and after and before in providers:
        return Choice(provider=before, model=after)
    return Choice(provider=default, model=text.strip())
