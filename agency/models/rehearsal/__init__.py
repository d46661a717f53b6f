"""The stand-in for a model: deterministic, scriptable, and always labelled as what it is."""

from agency.models.rehearsal.provider import RehearsalProvider
from agency.models.rehearsal.script import Script, load_script

__all__ = ["RehearsalProvider", "Script", "load_script"]
