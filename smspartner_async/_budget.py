"""The account's limit of requests a minute, kept to by all workers of a store together.

Permits are moments, reserved in blocks in one row of the database: each is for one worker alone,
and is worth nothing once it has passed, so that a worker that was frozen cannot catch up.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from ._retry import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ._client import SMSPartnerClient

_LATE: Final = 0.5  # seconds after which a permit is not used any more


@define
class Budget:
    """Hands out permits, to urgent requests first.

    `reserve` takes how many are wanted and gives moments (loop time), in their order.
    """

    _reserve: Callable[[int], Awaitable[list[float]]]
    _queue: list[tuple[bool, float, int, asyncio.Future[None]]] = field(factory=list, init=False)
    _numbers: itertools.count[int] = field(factory=itertools.count, init=False)
    _clerk: asyncio.Task[None] | None = field(default=None, init=False)

    async def take(self, *, urgent: bool, since: float | None = None) -> None:
        """Wait for a permit for one request; `since` (loop time) gives it an older one's place."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        waits_since = loop.time() if since is None else since
        heapq.heappush(self._queue, (not urgent, waits_since, next(self._numbers), turn))
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._hand_out())
        await turn

    async def _hand_out(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            for moment in await self._reserve(len(self._queue)):
                await asyncio.sleep(moment - loop.time())
                while self._queue and loop.time() < moment + _LATE:
                    turn = heapq.heappop(self._queue)[-1]
                    if not turn.done():  # not cancelled
                        turn.set_result(None)
                        break


@define
class _SharedGate(Gate):
    """The gate of a client that is one of several with one budget."""

    budget: Budget = field(kw_only=True)

    def let_through(self) -> bool:
        return False  # not at once: a permit has to be asked for

    async def enter(
        self, operation: str, *, urgent: bool = False, since: float | None = None, **how: Any
    ) -> None:
        await super().enter(operation, urgent=urgent, since=since, **how)
        await self.budget.take(urgent=urgent, since=since)


@contextmanager
def shared(client: SMSPartnerClient, budget: Budget) -> Iterator[None]:
    """Let all requests of a client wait for a permit, too."""
    dispatcher = client._dispatcher  # noqa: SLF001 - every request passes its gate
    own = dispatcher.gate
    gate = dispatcher.gate = _SharedGate(own._interval, budget=budget)  # noqa: SLF001 - as above
    gate.passed = own.passed
    try:
        yield
    finally:
        dispatcher.gate, own.passed = own, gate.passed
