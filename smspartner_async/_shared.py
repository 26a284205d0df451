"""One rental as all who wait for it see it: one request an interval, however many they are.

Each waiter has its own deadline, callback and cancellation; what they share is the asking. Whoever
finds an interval over asks, in its own task, and all get the answer. No task runs beside those of
the waiters, so when the last one leaves, nothing is left running.
"""

from __future__ import annotations

import asyncio
import copy
import math
from typing import TYPE_CHECKING

from attrs import define, field

from ._deadlines import CLOCK_STEP
from ._errors import SMSPartnerError, TransportError
from ._retry import wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._exchanges import OnExchange
    from ._models import RentalStatus


@define(eq=False, repr=False)
class SharedLooks:
    """What the waiters of one rental share: the last answer, and when the next one is due."""

    number: int = field(default=0, init=False)
    """Of the last answer; 0 before the first."""
    waiters: int = field(default=0, init=False)
    _answer: RentalStatus | SMSPartnerError | None = field(default=None, init=False)
    _answered_at: float = field(default=-math.inf, init=False)
    _due_at: float = field(default=-math.inf, init=False)
    _not_before: float = field(default=-math.inf, init=False)
    _due_after: int = field(default=-1, init=False)
    _asking: bool = field(default=False, init=False)
    _nudged: bool = field(default=False, init=False)
    listening: dict[int, Sequence[OnExchange]] = field(factory=dict, init=False)
    """Whom to tell of a request, by the waiter who wants that."""
    _naps: set[asyncio.Future[bool]] = field(factory=set, init=False)

    def seen_by_newcomer(self, max_age: float) -> int:
        """Tell the answer after which a newcomer wants one: an answer of just now will do."""
        fresh = asyncio.get_running_loop().time() - self._answered_at < max_age
        return self.number - (fresh and not isinstance(self._answer, SMSPartnerError))

    async def look(
        self,
        seen: int,
        enter: Callable[[float | None, float], Awaitable[None]],
        ask: Callable[[float | None], Awaitable[RentalStatus]],
        deadline: float | None,
    ) -> RentalStatus:
        """Return the first answer after number `seen`, from whoever asks; raise the error it is.

        `enter` waits until this waiter may send, and concerns it alone; it is told since when the
        rental is unasked, for its place among those that wait as well. What `ask` brings or fails
        with is for all.

        Raises:
            TransportError: somebody else's request was not answered before `deadline`.
            SMSPartnerError: whatever the request failed with.
        """
        while self.number <= seen:
            if not self._asking:
                await self._ask(enter, ask, deadline)
                continue
            if not await self._nap(deadline):
                raise TransportError("No answer came before the deadline.", maybe_sent=True)
        if isinstance(self._answer, SMSPartnerError):
            raise copy.copy(self._answer)  # each waiter raises, and adds its notes to, its own
        assert self._answer is not None  # noqa: S101 - told to the type checker
        return self._answer

    def plan(self, delay: float) -> float:
        """Agree on when the next look is due: whoever comes first after an answer says."""
        now = asyncio.get_running_loop().time()
        if self._due_after != self.number:
            self._due_after = self.number
            self._due_at = now + delay
        return max(0.0, (self._not_before if self._nudged else self._due_at) - now)

    async def sleep_until(self, moment: float, seen: int) -> None:
        """Sleep until a moment (loop time); an answer after number `seen`, or a nudge, ends it."""
        while self.number <= seen and await self._nap(
            min(moment, self._not_before) if self._nudged else moment
        ):
            pass  # woken, but by no answer: the one who asked has given up

    def nudge(self, *, at_once: bool = False) -> None:
        """Make the next look happen now, or right after one that is under way.

        Not before a time that the vendor asked to wait for, unless `at_once`.
        """
        self._nudged = True
        if at_once:
            self._not_before = -math.inf
        self._wake()

    async def _ask(
        self,
        enter: Callable[[float | None, float], Awaitable[None]],
        ask: Callable[[float | None], Awaitable[RentalStatus]],
        deadline: float | None,
    ) -> None:
        self._asking = True
        loop = asyncio.get_running_loop()
        try:
            await enter(deadline, self._answered_at if self.number else loop.time())
            self._nudged = False
            try:
                self._answer = await ask(deadline)
            except SMSPartnerError as error:
                if deadline is not None and loop.time() >= deadline - CLOCK_STEP:
                    raise  # cut short by the asker's own deadline: no answer for the others
                self._answer = error
            self.number += 1
            self._answered_at = loop.time()
            self._not_before = self._answered_at + (wait_asked_by(self._answer) or 0.0)
        finally:
            self._asking = False
            self._wake()  # to the answer, or to ask in place of one who was cancelled

    async def _nap(self, moment: float | None) -> bool:
        """Sleep until woken, or until a moment (loop time); tell whether it was the former."""
        loop = asyncio.get_running_loop()
        nap: asyncio.Future[bool] = loop.create_future()
        timer = None if moment is None else loop.call_at(moment, _let_sleep_out, nap)
        self._naps.add(nap)
        try:
            return await nap
        finally:
            self._naps.discard(nap)
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        for nap in self._naps:
            if not nap.done():
                nap.set_result(True)


def _let_sleep_out(nap: asyncio.Future[bool]) -> None:
    if not nap.done():
        nap.set_result(False)


class Lookout:
    """All rentals that somebody waits for, by token."""

    def __init__(self) -> None:
        self._rentals: dict[str, SharedLooks] = {}

    def join(self, token: str) -> SharedLooks:
        """Begin to wait for a rental; `leave` must follow."""
        looks = self._rentals.setdefault(token, SharedLooks())
        looks.waiters += 1
        return looks

    def leave(self, token: str) -> None:
        """End waiting; with the last waiter goes what was known of the rental."""
        looks = self._rentals[token]
        looks.waiters -= 1
        if not looks.waiters:
            del self._rentals[token]

    def nudge(self, token: str) -> bool:
        """Make the next look at a rental happen now; tell whether anybody waits for it."""
        looks = self._rentals.get(token)
        if looks is not None:
            looks.nudge()
        return looks is not None

    def listeners(self, token: str) -> Sequence[OnExchange]:
        """Tell who is to be told of the next request about a rental, each of them once."""
        looks = self._rentals.get(token)
        if looks is None or not looks.listening:
            return ()
        every = (listener for some in looks.listening.values() for listener in some)
        return tuple({id(listener): listener for listener in every}.values())

    def close(self) -> None:
        """Make everybody look now, whatever the vendor asked for: they find the client closed."""
        for looks in self._rentals.values():
            looks.nudge(at_once=True)
