"""Loading authors' Python files."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from agency.errors import InvalidInput


def module_name(path: Path) -> str:
    """Name of the module that a file is loaded as: its stem, told apart by its folder."""
    folder = hashlib.sha256(str(path.resolve().parent).encode()).hexdigest()[:8]
    stem = "".join(c if c.isalnum() else "_" for c in path.stem)
    return f"agency_workflows_{folder}_{stem}"


def load_module(path: Path, name: str) -> ModuleType:
    """Load a Python file as a module of the given name; what it raises passes through.

    Raises:
        InvalidInput: it is not a Python file.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"The file {str(path)!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module
    folder = str(path.parent)
    # Files of one folder may import each other by their plain names.
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if previous is None:
            del sys.modules[name]
        else:
            sys.modules[name] = previous
        raise
    return module
