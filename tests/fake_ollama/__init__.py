"""A faithful fake of Ollama over real HTTP, as strict as the real one and never kinder.

Source of every text and habit: the notes on Ollama 0.33. ``python -m tests.fake_ollama`` starts it
as a process of its own.
"""

from tests.fake_ollama.models import FakeModel
from tests.fake_ollama.server import FakeOllama, Seen
from tests.fake_ollama.turns import Call, Turn

__all__ = ["Call", "FakeModel", "FakeOllama", "Seen", "Turn"]
