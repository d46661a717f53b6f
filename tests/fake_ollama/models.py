"""The models that the fake has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.fake_ollama.gojson import omitempty


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeModel:
    """A model; ``remote_host`` makes it a stub that passes on to the cloud."""

    name: str
    capabilities: Sequence[str] = ("completion", "tools")
    context_length: int = 131_072
    remote_host: str = ""
    size: int = 1_192_544

    @property
    def family(self) -> str:
        return "bert" if "embedding" in self.capabilities else "llama"

    def listed(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": self.name,
            **omitempty(
                remote_model=self.name.partition(":")[0] if self.remote_host else "",
                remote_host=self.remote_host,
            ),
            "modified_at": "2026-01-01T00:00:00.123456789+01:00",
            "size": 384 if self.remote_host else self.size,
            "digest": hashlib.sha256(self.name.encode()).hexdigest(),
            "details": self.details(),
            "capabilities": list(self.capabilities),
        }

    def details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": "1.11M",
            "quantization_level": "Q8_0",
        }

    def shown(self) -> dict[str, Any]:
        return {
            "modelfile": f"FROM {self.name}",
            "parameters": 'stop                           "<|eot_id|>"',
            "template": "{{ .Prompt }}",
            "details": self.details(),
            **omitempty(
                remote_model=self.name.partition(":")[0] if self.remote_host else "",
                remote_host=self.remote_host,
            ),
            "model_info": {
                "general.architecture": self.family,
                f"{self.family}.context_length": self.context_length,
                "general.parameter_count": 1_110_000,
                "tokenizer.ggml.tokens": None,
            },
            "capabilities": list(self.capabilities),
            "modified_at": "2026-01-01T00:00:00.123456789+01:00",
        }


DEFAULT_MODELS = (
    FakeModel(name="llama3.2:latest"),
    FakeModel(name="qwen3:8b", capabilities=("completion", "tools", "thinking")),
    FakeModel(name="plain:latest", capabilities=("completion",)),
    FakeModel(name="nomic-embed-text:latest", capabilities=("embedding",), context_length=2048),
    FakeModel(name="stub:latest", remote_host="https://ollama.com:443"),
)


def find(models: Sequence[FakeModel], name: str) -> FakeModel | None:
    """Find a model as the server does: without case, ``:latest`` implied."""
    wanted = name.lower()
    wanted = wanted.removeprefix("registry.ollama.ai/").removeprefix("library/")
    if ":" not in wanted.rpartition("/")[2]:
        wanted += ":latest"
    return next((model for model in models if model.name.lower() == wanted), None)


def is_cloud_name(name: str) -> bool:
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag == "cloud" or "-cloud" in tag
