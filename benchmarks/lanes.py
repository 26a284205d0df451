"""Processes of benchmarks: they start soon, run beside one another, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_T = TypeVar("_T")
_A = TypeVar("_A")


def end_in_order() -> None:
    """Leave through every `finally` at a SIGTERM, and once only."""

    def end(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(1)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def bytecode_at_hand() -> Iterator[None]:
    """Let processes load bytecode, as after a first run, also where Python is not to write it."""
    with tempfile.TemporaryDirectory(prefix="bytecode-") as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        yield


def beside_one_another(
    run: Callable[[_A], _T], over: Iterable[_A], *, lanes: int, longest: float
) -> Iterator[_T | str]:
    """Run for each argument; yields results, or what was raised as text, as they come.

    Raises:
        TimeoutError: the next one took longer than `longest` seconds.
    """
    # Left early, every lane gets a SIGTERM, and is waited for.
    with get_context("spawn").Pool(lanes, _in_a_lane) as pool:
        results = pool.imap_unordered(partial(_tried, run), over)
        while True:
            try:
                yield results.next(longest)
            except StopIteration:
                break
        pool.close()
        pool.join()


def _in_a_lane() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; the parent ends the lanes
    end_in_order()


def _tried(run: Callable[[_A], _T], argument: _A) -> _T | str:
    try:
        return run(argument)
    except Exception:  # noqa: BLE001 - it is returned, and the other runs continue
        return f"{argument}: {traceback.format_exc()}"
