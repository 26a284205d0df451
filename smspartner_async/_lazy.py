"""Frozen values some of whose fields are parsed at the first access.

Of most statuses only the state is read, and thousands of waits keep their last one. Such a status
keeps the reply's bytes, which take less memory than all that they say. A field that is not parsed
yet is an empty slot, for which Python calls `__getattr__`. (attrs does the same for a
`cached_property`.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T", bound="LazyFields")


class LazyFields:
    """Base of an attrs class with slots, of which `with_lazy_fields` makes a value."""

    __slots__ = ("_load",)

    if not TYPE_CHECKING:  # a checker would take every name for a field

        def __getattr__(self, name: str) -> Any:
            """Fill the fields that are missing, if `name` is one of them."""
            # No attribute that may be missing is read here: that would call this method again.
            load = LazyFields._load.__get__(self) if name in type(self).__slots__ else None
            if load is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            for field, value in load().items():
                object.__setattr__(self, field, value)
            return object.__getattribute__(self, name)


def with_lazy_fields(cls: type[_T], load: Callable[[], Mapping[str, Any]], **fields: Any) -> _T:
    """Make a value of `cls` with these fields; `load` returns all others at the first access.

    `load` may be called more than once, by several threads, and must not fail.
    """
    value = cls.__new__(cls)
    assign = object.__setattr__
    assign(value, "_load", load)
    for name, field in fields.items():
        assign(value, name, field)
    return value
