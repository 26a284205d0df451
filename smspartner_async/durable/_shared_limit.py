"""The account's limit of requests a minute, shared by all workers of a store.

A permit is a point in time, reserved in the database for one worker. It expires soon after, so that
a worker that was frozen cannot send all its requests at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import define, field
from tenacity import AsyncRetrying, RetryCallState, wait_fixed

from smspartner_async._log import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspartner_async._http.rate_limiter import RateLimiter

_MAX_AGE: Final = 0.5  # seconds after which a permit has expired
_RETRY_WAIT: Final = wait_fixed(1)  # seconds


@define(eq=False, repr=False)
class SharedPermits:
    """A `PermitSource` whose permits are reserved in a database.

    `reserve` takes the number wanted, and returns the times (loop time) of some permits, in order.
    """

    _limiter: RateLimiter
    _reserve: Callable[[int], Awaitable[list[float]]]
    _times: deque[float] = field(factory=deque, init=False)
    _reserving: asyncio.Task[None] | None = field(default=None, init=False)

    def next_at(self, now: float) -> float:
        """Return when the next permit may be used; infinite while more are being reserved."""
        while self._times and self._times[0] <= now - _MAX_AGE:
            self._times.popleft()
        if self._times:
            return self._times[0]
        if self._reserving is None:
            self._reserving = asyncio.create_task(self._refill())
        return math.inf

    def take(self) -> None:
        """Use the first permit."""
        self._times.popleft()

    def close(self) -> None:
        """Stop reserving."""
        if self._reserving is not None:
            self._reserving.cancel()

    async def _refill(self) -> None:
        # An eager task runs at once, before its request is in the queue.
        await asyncio.sleep(0)
        await AsyncRetrying(wait=_RETRY_WAIT, sleep=asyncio.sleep, before_sleep=_log_retry)(
            self._reserve_for_queue
        )
        self._reserving = None
        self._limiter.wake()

    async def _reserve_for_queue(self) -> None:
        if wanted := self._limiter.queued:
            self._times.extend(await self._reserve(wanted))


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    text = "no permits could be reserved; trying again in %g s"
    log.error(text, state.upcoming_sleep, exc_info=error)
