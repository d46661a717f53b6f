"""Names of models, as Ollama reads them."""

from __future__ import annotations

from agency.errors import ModelRefused


def canonical_name(model: str) -> str:
    """Write a name so that two spellings of one model come out the same.

    Names compare without case, and ``:latest`` is implied.
    Source: Ollama 0.33, types/model/name.go.
    """
    name = model.strip().lower()
    for prefix in ("registry.ollama.ai/", "library/"):
        name = name.removeprefix(prefix)
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def is_cloud_name(model: str) -> bool:
    """Tell whether Ollama passes this name on to its cloud.

    That is a tag ``cloud``, or one with ``-cloud`` in it, such as ``gpt-oss:120b-cloud``.
    """
    tag = canonical_name(model).rpartition("/")[2].partition(":")[2]
    return tag == "cloud" or "-cloud" in tag


def remote_refused(model: str) -> ModelRefused:
    """Make the error for a model that is run elsewhere while that is not allowed."""
    return ModelRefused(
        f"The model {model!r} is run in a cloud: what is asked of it leaves this machine.",
        hint="Choose a local model in [llm] model, or set [llm] allow_remote = true.",
    )
