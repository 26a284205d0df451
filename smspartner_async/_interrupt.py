"""What Ctrl-C does to a command that spends money: it ends in order, and loses no token."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

    from ._display import Display

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def first_interrupt_only(display: Display) -> Generator[None, None, None]:
    """Let only the first Ctrl-C, or SIGTERM, cancel what rents.

    The client then still takes in the answer of a request that was sent. A second Ctrl-C, which
    asyncio would obey at once, would lose the token of contacts that are paid for.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted(*_: object) -> None:
        for name in _SIGNALS:
            signal.signal(name, signal.SIG_IGN)
        display.note("Stopping; if a rent was sent, its answer is awaited first.")
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    previous = {name: signal.signal(name, interrupted) for name in _SIGNALS}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
