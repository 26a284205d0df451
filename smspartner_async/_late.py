"""Frozen values some of whose fields are read only when somebody looks at them.

Most answers to "where does it stand?" are looked at for their state alone, and thousands of waits
keep their last one. Such an answer keeps the reply's bytes, which are small, in place of all that
they say. Who holds the value cannot tell: a field that was not read yet is an empty slot, and
Python asks `__getattr__` for those alone. (attrs does the same for a `cached_property`.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T", bound="Late")


class Late:
    """Base of an attrs class with slots; `later` makes a value of it, as the constructor does."""

    __slots__ = ("_read_rest",)

    if not TYPE_CHECKING:  # a checker would take every name for a field

        def __getattr__(self, name: str) -> Any:
            """Fill the fields that are missing, if `name` is one of them."""
            # From here on, no name is asked for that may be missing: that would come back here.
            read_rest = Late._read_rest.__get__(self) if name in type(self).__slots__ else None
            if read_rest is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            for field, value in read_rest().items():
                object.__setattr__(self, field, value)
            return object.__getattribute__(self, name)


def later(cls: type[_T], read_rest: Callable[[], Mapping[str, Any]], **fields: Any) -> _T:
    """Make a value of `cls` with these fields; `read_rest` gives all others once one is asked for.

    It may be asked more than once, by several threads, and must not fail.
    """
    value = cls.__new__(cls)
    assign = object.__setattr__
    assign(value, "_read_rest", read_rest)
    for name, field in fields.items():
        assign(value, name, field)
    return value
