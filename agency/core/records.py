"""``dataclass`` for records, of which hundreds are defined at each start and most are never made.

The standard decorator writes and compiles six functions for each class: a third of all the time
that the daemon needs to start. Here ``__init__`` is made when the first object is, and the other
five are functions that work on any fields. What a class can do is the same, for
`dataclasses.fields`, `dataclasses.replace`, `copy`, `pickle` and pydantic as well.

Use it as the standard one::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Point: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  what a type checker knows
else:
    import copy
    import dataclasses
    from operator import attrgetter
    from reprlib import recursive_repr

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False, **others):
        """Mark a class as `dataclasses.dataclass` does.

        Classes that are not frozen, or that ask for more, are made by the standard decorator.
        """

        def make(cls):
            if frozen and not others:
                return _make(cls, slots=slots, kw_only=kw_only)
            standard = dataclasses.dataclass(frozen=frozen, slots=slots, kw_only=kw_only, **others)
            return standard(cls)

        return make if cls is None else make(cls)

    def _make(cls, *, slots, kw_only):
        own = {name for name, value in vars(cls).items() if value is not None}
        if "__doc__" not in own:
            cls.__doc__ = cls.__name__  # else a signature is worked out to stand there
        bare = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
        cls = bare(cls)
        made = {
            "__init__": _first_init(cls, kw_only=kw_only),
            **_reading(dataclasses.fields(cls)),
            **_frozen(cls),
            **(_STATE if slots else {}),
        }
        for name, function in made.items():
            if name not in own:
                setattr(cls, name, function)
        return cls

    def _first_init(cls, *, kw_only):
        """Make an ``__init__`` that makes the real one, and steps aside for it."""

        def init(self, /, *args, **kwargs):
            cls.__init__ = _real_init(cls, kw_only=kw_only)
            cls.__init__(self, *args, **kwargs)

        return init

    def _real_init(cls, *, kw_only):
        fields = dataclasses.fields(cls)
        is_plain = "__slots__" in vars(cls) and cls.__bases__ == (object,)
        if is_plain and all(field.init and field.name != "self" for field in fields):
            init = _drafting_init(cls, fields)
        else:
            init = _standard_init(cls, kw_only=kw_only)
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        return init

    def _standard_init(cls, *, kw_only):
        """Let the standard decorator write ``__init__``, of a class with the same fields."""
        members = {"__annotations__": {}, "__module__": cls.__module__, "__doc__": cls.__name__}
        for field in dataclasses.fields(cls):
            members["__annotations__"][field.name] = field.type
            members[field.name] = copy.copy(field)
        if hasattr(cls, "__post_init__"):
            members["__post_init__"] = cls.__post_init__
        standard = dataclasses.dataclass(frozen=True, repr=False, eq=False, kw_only=kw_only)
        return standard(type(cls.__name__, (), members)).__init__

    def _drafting_init(cls, fields):
        """Write an ``__init__`` that fills the object while it is of a class that is not frozen.

        To set a slot of a frozen object is a call, of such a draft one instruction: a run with its
        41 fields is made in a third of the time. Both classes have the same slots, so that an
        object may change from one to the other (CPython's ``compatible_for_assignment``).
        """
        names = {
            "cls__": cls,
            "draft__": type(cls.__name__, (), {"__slots__": cls.__slots__}),
            "set__": object.__setattr__,
            "made__": _MADE,
        }
        positional, named, body, late = ["self"], [], [], []
        for field in fields:
            name, value = field.name, field.name
            parameter = name
            if field.default is not dataclasses.MISSING:
                names[f"default__{name}"] = field.default
                parameter = f"{name}=default__{name}"
            elif field.default_factory is not dataclasses.MISSING:
                names[f"factory__{name}"] = field.default_factory
                parameter = f"{name}=made__"
                value = f"factory__{name}() if {name} is made__ else {name}"
            (named if field.kw_only else positional).append(parameter)
            body.append(f"    self.{name} = {value}")
            late.append(f"    set__(self, {name!r}, {value})")
        lines = [
            f"def __init__({', '.join([*positional, *(['*', *named] if named else [])])}):",
            "  if self.__class__ is cls__:",
            "    set__(self, '__class__', draft__)",
            *body,
            "    self.__class__ = cls__",
            "  else:",  # of a class that was derived from it without the decorator
            *(late or ["    pass"]),
            *(["  self.__post_init__()"] if hasattr(cls, "__post_init__") else []),
        ]
        exec("\n".join(lines), names)  # noqa: S102  as the standard decorator does
        init = names["__init__"]
        init.__annotations__ = {**{field.name: field.type for field in fields}, "return": None}
        return init

    class _Made:
        """Stands in signatures for what a factory makes."""

        def __repr__(self):
            return "<factory>"

    _MADE = _Made()

    def _reading(fields):
        """Make what shows, compares and hashes records."""
        shown = [field.name for field in fields if field.repr]
        compared = _values([field.name for field in fields if field.compare])
        hashed = _values([f.name for f in fields if (f.compare if f.hash is None else f.hash)])

        @recursive_repr()
        def show(self):
            inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
            return f"{type(self).__qualname__}({inside})"

        def equals(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return compared(self) == compared(other)

        def hash_of(self):
            return hash(hashed(self))

        return {"__repr__": show, "__eq__": equals, "__hash__": hash_of}

    def _values(names):
        """Make what reads several attributes as a tuple, of one or of none of them, too."""
        if len(names) > 1:
            return attrgetter(*names)
        return lambda record: tuple(getattr(record, name) for name in names)

    def _frozen(cls):
        """Make what refuses changes of fields, and of anything else in the class itself."""
        names = frozenset(field.name for field in dataclasses.fields(cls))

        def refuse_setting(self, name, value):
            if type(self) is cls or name in names:
                raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
            super(cls, self).__setattr__(name, value)

        def refuse_deleting(self, name):
            if type(self) is cls or name in names:
                raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
            super(cls, self).__delattr__(name)

        return {"__setattr__": refuse_setting, "__delattr__": refuse_deleting}

    def _get_state(self):
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def _set_state(self, state):
        for field, value in zip(dataclasses.fields(self), state, strict=True):
            object.__setattr__(self, field.name, value)

    _STATE = {"__getstate__": _get_state, "__setstate__": _set_state}
    """What copies and sends records that have no ``__dict__``."""
