"""Single-flight polling: all who wait for one rental share its requests and their answers.

Each waiter has its own strategy, deadline, callback and cancellation. Whoever is due first sends
the request, in its own task, and everybody gets the answer. No task runs beside those of the
waiters, so nothing is left running when the last one leaves.
"""

from __future__ import annotations

import asyncio
import copy
import math
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from smspartner_async._errors import SMSPartnerError, TransportError
from smspartner_async._http.deadlines import CLOCK_STEP, for_each
from smspartner_async._policies import LONGEST_PAUSE, wait_asked_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from smspartner_async._http.exchange import OnExchange
    from smspartner_async._models import RentalStatus

    from .status_poller import StatusPoller


class Waiter(Protocol):
    """A wait, as far as those who wait for the same rental depend on it."""

    poller: StatusPoller
    on_exchange: Sequence[OnExchange]
    deadline: float | None
    """Loop time at which every request of this wait must have ended."""

    def sleep_until(self, moment: float | None) -> Awaitable[bool]:
        """Sleep until a moment (loop time) or a call of `wake`; return whether it was the call."""
        ...

    def wake(self) -> None:
        """End the sleep, if there is one."""


@define(eq=False, repr=False)
class SharedPoll:
    """The waiters of one rental, and the last answer about it."""

    loop: asyncio.AbstractEventLoop
    number: int = field(default=0, init=False)
    """Number of the last answer; 0 before the first."""
    answer: RentalStatus | SMSPartnerError | None = field(default=None, init=False)
    answered_at: float = field(default=-math.inf, init=False)
    waiters: list[Waiter] = field(factory=list, init=False)
    """Nearly always one, for which a set would take 100 bytes more."""
    _not_before: float = field(default=-math.inf, init=False)
    _polling: bool = field(default=False, init=False)
    _woken: bool = field(default=False, init=False)

    async def poll(self, waiter: Waiter, seen: int) -> RentalStatus:
        """Return the first answer after number `seen`, whoever polls; raise the error that it is.

        Waiting for a place and a permit concerns this waiter alone. What its request comes to is
        the answer for all.

        Raises:
            TransportError: somebody else's request was not answered before the waiter's deadline.
            SMSPartnerError: whatever the request failed with.
        """
        poller, deadline = waiter.poller, waiter.deadline
        while self.number <= seen:
            if self._polling:
                if not await waiter.sleep_until(deadline) and self.number <= seen:
                    raise TransportError("No answer came before the deadline.", maybe_sent=True)
                continue
            self._polling = True
            try:
                if not poller.try_acquire():
                    since = self.answered_at if self.number else self.loop.time()
                    await poller.acquire(deadline, since)
                self._woken = False
                try:
                    self._take(await poller.poll(deadline, self.listeners))
                except SMSPartnerError as error:
                    if deadline is not None and self.loop.time() >= deadline - CLOCK_STEP:
                        raise  # cut short by the deadline of this waiter: no answer for the others
                    self._take(error)
            finally:
                self._polling = False
                self._wake_all()  # they have an answer, or poll in place of one who was cancelled
        if isinstance(self.answer, SMSPartnerError):
            raise copy.copy(self.answer)  # each waiter raises, and adds its notes to, its own
        assert self.answer is not None  # noqa: S101 - for the type checker
        return self.answer

    def due_at(self, moment: float) -> float:
        """Return when to poll (loop time): at `moment`, or sooner after a call of `wake`."""
        return min(moment, self._not_before) if self._woken else moment

    def wake(self) -> None:
        """Make the next poll happen now, or right after one that is under way.

        It is not made before the end of a `Retry-After`.
        """
        self._woken = True
        self._wake_all()

    def listeners(self) -> Sequence[OnExchange]:
        """Return who is called after the next request about this rental, each of them once."""
        found: dict[int, OnExchange] = {}
        for waiter in self.waiters:
            for listener in waiter.on_exchange:
                found[id(listener)] = listener
        return tuple(found.values())

    def _take(self, answer: RentalStatus | SMSPartnerError) -> None:
        self.answer = answer
        self.number += 1
        self.answered_at = self._not_before = self.loop.time()
        if isinstance(answer, SMSPartnerError):
            self._not_before += min(wait_asked_by(answer) or 0.0, LONGEST_PAUSE)

    def _wake_all(self) -> None:
        for waiter in self.waiters:
            waiter.wake()


class PollRegistry:
    """The rentals that somebody waits for, by token."""

    def __init__(self) -> None:
        self.timer_context = Context()
        """The context of all timers here: a copy for each would cost every wait an object."""
        self._rentals: dict[str, SharedPoll] = {}

    def join(self, waiter: Waiter) -> SharedPoll:
        """Begin to wait for a rental; `leave` must follow."""
        shared = self._rentals.get(waiter.poller.token)
        if shared is None:
            shared = SharedPoll(asyncio.get_running_loop())
            self._rentals[waiter.poller.token] = shared
        shared.waiters.append(waiter)
        return shared

    def leave(self, waiter: Waiter) -> None:
        """End waiting. The last waiter takes along what is known of the rental."""
        shared = self._rentals[waiter.poller.token]
        shared.waiters.remove(waiter)
        if not shared.waiters:
            del self._rentals[waiter.poller.token]

    def wake(self, token: str) -> bool:
        """Make the next poll of a rental happen now; return whether anybody waits for it."""
        shared = self._rentals.get(token)
        if shared is not None:
            shared.wake()
        return shared is not None

    async def close(self) -> None:
        """Wake everybody, whatever the vendor asked for: they find the client closed."""
        await for_each([*self._rentals.values()], SharedPoll.wake)
