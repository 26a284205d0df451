"""What a signal does to a command that spends money: it ends in order, and loses no token."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import FrameType

    from smspartner_async._models import Rental

    from ._display import Display

# A terminal that is closed, or a lost ssh connection, sends SIGHUP; on Windows it is SIGBREAK.
_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_SIGNALS: Final = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


def treat_signals_as_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, where they would just end it."""
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def ignore_signals() -> None:
    """Let no signal replace the exit code: how the command ended is known.

    Python takes a second to end after DBOS was imported, and the system would then end it at once.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def without_interrupts() -> Generator[None, None, None]:
    """Ignore signals while the block shows how a command ended."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ignore_signals()
    try:
        yield
    finally:
        _restore(before)


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # one that Python did not set, and cannot put back
            signal.signal(number, handler)


def _interrupt(_: int, frame: FrameType | None) -> None:
    on_ctrl_c = signal.getsignal(signal.SIGINT)  # asyncio's, while its loop runs
    if not callable(on_ctrl_c):  # it is ignored, in the background of a shell for example
        raise KeyboardInterrupt
    on_ctrl_c(signal.SIGINT, frame)


@contextmanager
def first_interrupt_only(display: Display) -> Generator[None, None, None]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP cancel the running task, and ignore further ones.

    The client then still takes in the answer of a request that was sent. A second Ctrl-C, which
    asyncio would obey at once, would lose the token of contacts that are paid for. A signal that
    was ignored before, such as SIGHUP under nohup, stays ignored.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted(*_: object) -> None:
        for number in caught:
            signal.signal(number, signal.SIG_IGN)
        # Not here: a signal may come in the middle of a line that is being written.
        loop.call_soon_threadsafe(stop)

    def stop() -> None:
        if task is not None:
            task.cancel()
        with suppress(OSError):  # the terminal is closed
            display.note(
                "Stopping; if a rent was sent, its answer is awaited first, and a download that "
                "has begun is finished, unless its bytes stop coming."
            )

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    caught = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    for number in caught:
        signal.signal(number, interrupted)
    try:
        yield
    finally:
        _restore(caught)


def keep_in_file(rental: Rental) -> None:
    """Write the token of a paid rental to a new file that only its owner may read.

    For a terminal that was closed: nobody would see the token, and the rental would be lost. The
    file is `smspartner-rental-….json` in the current folder, or in the temporary one.
    """
    names = ".json", "smspartner-rental-"
    try:
        number, _ = tempfile.mkstemp(*names, Path.cwd())
    except OSError:
        number, _ = tempfile.mkstemp(*names)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        json.dump({"token": rental.token}, file)
        file.flush()
        os.fsync(number)
