"""Time limits of requests, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")

CLOCK_STEP: Final = 0.02  # seconds by which a timer may fire early, on Windows
_CALLS_PER_TURN: Final = 100  # waits that may end in one turn of the loop
_STALL: Final = 5.0  # seconds; what stops the loop for as long keeps it from reading replies
_TIME_TO_READ: Final = 1.0  # seconds, after that
_TURNS_TO_END: Final = 10  # of the loop; a request that is ended takes two or three


async def for_each(items: Iterable[_T], call: Callable[[_T], None]) -> None:
    """Call for each of many, a hundred a turn of the loop: each call ends a wait, which takes time.

    When cancelled, it makes the rest of the calls at once.
    """
    rest = iter(items)
    try:
        for number, item in enumerate(rest, start=1):
            call(item)
            if number % _CALLS_PER_TURN == 0:
                await asyncio.sleep(0)
    finally:
        for item in rest:
            call(item)


class Deadline:
    """The time limit of one request, as a context manager: `TimeoutError` when it has passed.

    It does what `asyncio.timeout` does, without its coroutines and its timer: every request enters
    one, and nearly all leave it in time.
    """

    __slots__ = ("_cancelling", "_open", "_task", "has_passed", "until")

    def __init__(self, until: float, open_ones: set[Deadline]) -> None:
        self.until = until
        self.has_passed = False
        self._open = open_ones

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._task, self._cancelling = task, task.cancelling()
        self._open.add(self)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._open.discard(self)
        # Where somebody else has cancelled the task as well, it stays cancelled.
        if (
            self.has_passed
            and self._task.uncancel() <= self._cancelling
            and isinstance(error, asyncio.CancelledError)
        ):
            raise TimeoutError from error

    def end(self) -> None:
        """End the block now, as if its time were over."""
        if not self.has_passed:
            self.has_passed = True
            self._task.cancel()


class Deadlines:
    """The open deadlines of one client.

    Nearly all requests end long before theirs, so one timer, for the earliest, serves all.
    """

    def __init__(self) -> None:
        self.all_ended = False
        self._open: set[Deadline] = set()
        self._timer_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def at(self, until: float) -> Deadline:
        """Make the context manager of a request that ends at `until` (loop time)."""
        if until < self._timer_at:
            self._set_timer(until)
        return Deadline(until, self._open)

    async def end_all(self) -> None:
        """End all that is under way now, as if its time were over."""
        self.all_ended = True
        self._cancel_timer()
        for deadline in self._open:
            deadline.end()
        for _ in range(_TURNS_TO_END):
            if self._open:
                await asyncio.sleep(0)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf

    def _set_timer(self, moment: float) -> None:
        self._cancel_timer()
        self._timer_at = moment
        self._timer = asyncio.get_running_loop().call_at(moment, self._on_timer)

    def _on_timer(self) -> None:
        now = asyncio.get_running_loop().time()
        stood_still = now - self._timer_at > _STALL
        self._cancel_timer()
        if stood_still:  # the replies may be there: 100,000 waits that begin at once do it
            self._set_timer(now + _TIME_TO_READ)
            return
        soon = now + CLOCK_STEP
        later = math.inf
        for deadline in self._open:
            if deadline.until <= soon:
                deadline.end()
            else:
                later = min(later, deadline.until)
        if later < math.inf:
            self._set_timer(later)
