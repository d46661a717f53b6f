"""Query strings, checked by models as bodies are."""

from __future__ import annotations

from typing import Any, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from agency.errors import Fault, InvalidInput
from agency.web.faults import invalid_input


class Query(BaseModel):
    """Root of the models of query strings. Lists are given by repeating a name."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


_Model = TypeVar("_Model", bound=Query)


def read_query(request: web.Request, model: type[_Model]) -> _Model:
    """Check the parameters of a request.

    Raises:
        InvalidInput: some are unknown, twice there, or not valid; ``faults`` has all of them.
    """
    given = request.query
    values: dict[str, Any] = {}
    twice: list[Fault] = []
    for name in dict.fromkeys(given):
        found = given.getall(name)
        field = model.model_fields.get(name)
        if field is not None and get_origin(field.annotation) in {list, frozenset}:
            values[name] = found
        elif len(found) > 1:
            twice.append(Fault(name, "This is given more than once."))
        else:
            values[name] = found[0]
    if twice:
        raise InvalidInput(
            f"The query is not valid: {twice[0].where} is twice there.", faults=twice
        )
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_input(error, model, "query") from error
