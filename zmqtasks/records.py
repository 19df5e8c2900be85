"""How values are declared: `Value` for what never changes, `Entity` for what does and is only equal to itself.

Owns the choice of `msgspec.Struct`, which nothing else names but `wire/usual.py`, and what can be done with a value
beside reading it. A dataclass is the same to its reader, takes forty times as long to declare, and seven times as long
to make when frozen. Knows no message. Imported by whoever declares one; see
docs/design/decisions/0022-starting-fast.md.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

import msgspec
from msgspec import field as field
from msgspec.structs import force_setattr

V = TypeVar("V", bound="Value")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value(msgspec.Struct, frozen=True):
    """A frozen value: compared and hashed by its fields, matched by their order.

    Annotations name the fields. `__post_init__` may check them, and set one by `amend`.
    """


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class Entity(msgspec.Struct, eq=False):
    """Something with a state of its own: two are never equal, and its fields change."""


def read_plain(data: object, kind: type[V]) -> V:
    """Return what plain data (of a TOML file, say) says, as a value; what is in it has to be of the declared types.

    Raises:
        ValueError: it is not; the text ends with the place, "- at `$.host[0].name`".
    """
    return msgspec.convert(data, kind)


def replace(value: V, **changes: Any) -> V:
    """Return a copy with some fields changed; a TypeError names one that there is not."""
    return msgspec.structs.replace(value, **changes)


def as_dict(value: Value) -> dict[str, Any]:
    """Return the fields by name, in order; their values are not copied."""
    return msgspec.structs.asdict(value)


def field_names(value: Value | type[Value]) -> tuple[str, ...]:
    """Return the names of the fields, in order."""
    return value.__struct_fields__


def amend(value: Value, name: str, content: object) -> None:
    """Set a field while the value is made; only its own `__post_init__` may do so."""
    force_setattr(value, name, content)
