"""Ends requests whose time is over, with one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from typing import Final

CLOCK_STEP: Final = 0.02  # seconds by which a timer may fire early, on Windows
_TURNS_TO_END: Final = 10  # of the loop; a request that is ended takes two or three


class Deadlines:
    """The requests under way, and when each must have ended.

    Nearly all end long before: a timer for each would be set for nothing.
    """

    def __init__(self) -> None:
        self.all_ended = False
        self._scopes: dict[asyncio.Timeout, float] = {}
        self._rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def add(self, until: float) -> asyncio.Timeout:
        """Make the scope of a request that ends at `until` (loop time); `discard` must follow."""
        scope = asyncio.timeout(None)
        self._scopes[scope] = until
        if until < self._rings_at:
            self._ring_at(until)
        return scope

    def discard(self, scope: asyncio.Timeout) -> None:
        """Forget a request that has ended."""
        del self._scopes[scope]

    async def end_all(self) -> None:
        """End all that is under way now, as if its time were over."""
        self.all_ended = True
        for scope in self._scopes:
            if not scope.expired():
                scope.reschedule(0.0)
        for _ in range(_TURNS_TO_END):
            if self._scopes:
                await asyncio.sleep(0)
        self._silence()

    def _silence(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = None, math.inf

    def _ring_at(self, moment: float) -> None:
        self._silence()
        self._rings_at = moment
        self._timer = asyncio.get_running_loop().call_at(moment, self._ring)

    def _ring(self) -> None:
        self._silence()
        open_ones = {scope: until for scope, until in self._scopes.items() if not scope.expired()}
        soon = asyncio.get_running_loop().time() + CLOCK_STEP
        for scope, until in open_ones.items():
            if until <= soon:
                scope.reschedule(until)
        if later := [until for until in open_ones.values() if until > soon]:
            self._ring_at(min(later))
