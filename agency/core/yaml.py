"""YAML 1.2 in, as JSON values: bounded, without tags, code or bombs."""

from __future__ import annotations

import math
from typing import Any

NODES_MAX = 20_000
"""Values of one document with its aliases written out: a bomb is refused before it is built."""

DEPTH_MAX = 64
"""Nesting of a document."""


class NotYaml(ValueError):
    """A text is not one YAML document of plain JSON values."""


def decode(text: str) -> Any:  # noqa: ANN401  JSON value
    """Read one document by the rules of YAML 1.2, in which ``no`` and ``on`` are strings.

    The caller bounds the length of the text.

    Raises:
        NotYaml: it is not one document, names a member twice, holds something that is not JSON,
            or is larger than the limits above.
    """
    # Imported late: it costs a tenth of a second, and few commands need it.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    loader = YAML(typ="safe", pure=True)
    try:
        _measure(loader.compose(text))
        return _plain(loader.load(text), "")
    except YAMLError as error:
        raise NotYaml(" ".join(str(error).split())[:500]) from error
    except RecursionError as error:
        raise NotYaml(f"It is nested deeper than {DEPTH_MAX} levels.") from error


def _measure(root: Any) -> None:  # noqa: ANN401  a node of the library
    """Count what the document comes to when its aliases are written out."""
    waiting = [(root, 1)] if root is not None else []
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if count > NODES_MAX:
            raise NotYaml(f"It has more than {NODES_MAX} values with its aliases written out.")
        if depth > DEPTH_MAX:
            raise NotYaml(f"It is nested deeper than {DEPTH_MAX} levels.")
        if not isinstance(node.value, list):
            continue
        for child in node.value:
            parts = child if isinstance(child, tuple) else (child,)
            waiting.extend((part, depth + 1) for part in parts)


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401  JSON value
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise NotYaml(f"At {where or '/'} stands {value}, which JSON does not have.")
            return float(value)
        case dict():
            for name in value:
                if not isinstance(name, str):
                    raise NotYaml(f"At {where or '/'} stands the name {name!r}; quote it.")
            return {name: _plain(item, f"{where}/{name}") for name, item in value.items()}
        case list():
            return [_plain(item, f"{where}/{place}") for place, item in enumerate(value)]
        case _:
            kind = type(value).__name__
            raise NotYaml(f"At {where or '/'} stands a {kind}, which JSON does not have; quote it.")
