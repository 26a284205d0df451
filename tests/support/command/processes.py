"""The command as separate processes that can be stopped at an exact place."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen
from forked import Forked, run_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

_WATCHING: Final = 0.03  # seconds between two looks of a run at its store: tests need not wait


@frozen
class Place:
    """A place in the code where a process signals itself: around what one function does.

    Attributes:
        module, owner, function: which; `owner` is the name of its class, or empty.
        mark: text that stands in what the function is called with.
        after: whether the signal comes when it is done.
    """

    module: str
    owner: str
    function: str
    mark: str = ""
    after: bool = False

    def set_trap(self, number: int) -> None:
        """Let the first such call of this process raise a signal."""
        module = importlib.import_module(self.module)
        holder = getattr(module, self.owner) if self.owner else module
        real, sprung = getattr(holder, self.function), list[int]()

        def trapped(*args: Any, **kwargs: Any) -> Any:
            hit = not sprung and self.mark in repr((args, kwargs))
            sprung.extend([number] * hit)
            if hit and not self.after:
                os.kill(os.getpid(), number)
            result = real(*args, **kwargs)
            if hit and self.after:
                os.kill(os.getpid(), number)
            return result

        setattr(holder, self.function, trapped)


SENDING: Final = Place("smspartner_async._files", "JsonLines", "append", "'sending'", after=True)
"""The journal says that a rent is about to be sent, and nothing was sent."""
TOKEN: Final = Place("smspartner_async._files", "JsonLines", "append", "'token': 'tok0")
"""A token has come, and is not in the journal."""
TOKEN_KEPT: Final = evolve(TOKEN, after=True)
"""A token is in the journal, and not in the store."""


def start(
    folder: Path,
    *words: str,
    env: Mapping[str, str],
    trap: tuple[Place, int] | None = None,
) -> Forked:
    """Begin a `smspartner` in a folder."""
    return Forked(_trapped, trap, *words, env={**os.environ, **env}, cwd=folder)


def _trapped(trap: tuple[Place, int] | None, *words: str) -> None:
    from smspartner_async.cli._batch import run  # noqa: PLC0415 - when its environment is set

    run._POLL_EVERY = _WATCHING  # type: ignore[misc]
    if trap is not None:
        place, number = trap
        place.set_trap(number)
    run_module("smspartner_async.cli", *words)
