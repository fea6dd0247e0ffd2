"""Classes with fields: what `dataclasses` makes, without its import, which would be a sixth of a session's start.

The parameters of a record's ``__init__`` are its fields. `dataclasses.replace`, `fields` and `asdict` take records, and
so does `copy.replace`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

__all__ = ["FrozenRecord", "Record", "replace"]

R = TypeVar("R", bound="Record")


class _OnDemand:
    """An attribute that `dataclasses` looks for: made by it, when asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, kind: type[Record]) -> Any:
        import dataclasses

        init: Any = kind.__init__
        defaults = init.__defaults__ or ()
        names = kind._fields
        required = len(names) - len(defaults)
        fields: list[Any] = [(name, init.__annotations__[name]) for name in names[:required]]
        for name, default in zip(names[required:], defaults, strict=True):
            fields.append((name, init.__annotations__[name], dataclasses.field(default=default)))
        made = dataclasses.make_dataclass(kind.__name__, fields, frozen=issubclass(kind, FrozenRecord))
        for attribute in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(kind, attribute, getattr(made, attribute))
        return getattr(kind, self.name)


class Record:  # noqa: PLW1641 - no hash: fields may be assigned
    """Printed and compared by its fields."""

    _fields: ClassVar[tuple[str, ...]] = ()
    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            code = cls.__init__.__code__
            cls._fields = code.co_varnames[1 : code.co_argcount]
        for attribute in ("__dataclass_fields__", "__dataclass_params__"):
            setattr(cls, attribute, _OnDemand(attribute))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__qualname__}({fields})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def __replace__(self: R, /, **changes: Any) -> R:
        return replace(self, **changes)


class FrozenRecord(Record):
    """A record that can be hashed, because its fields cannot be assigned; ``__init__`` sets them in ``vars(self)``."""

    def __hash__(self) -> int:
        return hash(_values(self))

    def __setattr__(self, name: str, value: Any) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")


def replace(record: R, **changes: Any) -> R:
    """A record like another one, except for the fields that are given."""
    return type(record)(**{name: getattr(record, name) for name in record._fields} | changes)


def _values(record: Record) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in record._fields)
