"""Ollama, through its native API.

Nothing here imports the ``ollama`` client; `agency.models.ollama.wire` does, and is itself imported
in a thread when the first call needs it.
"""

from agency.models.ollama.provider import OllamaProvider

__all__ = ["OllamaProvider"]
