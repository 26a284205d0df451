"""Clear the local variables of a traceback's frames: they may hold the API key or numbers."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Not the frames of the application: what those hold is not this package's to clear.
_EMPTIED: Final = frozenset(
    {"aiohttp", "aiosignal", "asyncio", "cattrs", "tenacity", "yarl", "smspartner_async"}
)
_GENERATED: Final = "<cattrs "  # code without a module, made for our models: it holds a reply


def clear_frames(error: BaseException, outer: BaseException | None = None) -> None:
    """Empty the frames of aiohttp's and of ours that an exception carries, and those of its causes.

    Error trackers send the local variables of a traceback's frames: those of aiohttp hold the URL
    or the body of a request, in which the key stands, and those of ours a reply. A frame that still
    runs is left as it is; so is `outer`, which the caller was handling before: its frames may only
    be suspended.
    """
    left: list[BaseException | None] = [error]
    seen = {id(None), id(outer)}
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            package = frame.f_globals.get("__name__", "").partition(".")[0]
            if package in _EMPTIED or frame.f_code.co_filename.startswith(_GENERATED):
                with suppress(RuntimeError):  # it still runs
                    frame.clear()
        left += [one.__cause__, one.__context__]


def with_clear_frames(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make a function whose arguments are secret raise with the frames of its errors empty."""

    @wraps(function)
    def clearing(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        outer = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            clear_frames(error, outer)
            raise
        finally:
            del args, kwargs  # of this frame, which still runs

    return clearing
