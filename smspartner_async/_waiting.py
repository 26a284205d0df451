"""One wait for one rental: when to ask, when to go on, when to give up."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from attrs import define, field

from ._deadlines import CLOCK_STEP
from ._errors import (
    AlreadyDownloadedError,
    RentalFailedError,
    ResponseError,
    SMSPartnerError,
    WaitTimeoutError,
)
from ._log import fields, is_logged, log, shortened
from ._models import RentalState, RentalStatus
from ._polling import PollEvent
from ._retry import is_passing, wait_asked_by
from ._shared import SharedLooks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from ._exchanges import OnExchange
    from ._polling import PollingPolicy
    from ._shared import Lookout

# One last look is kept for shortly before the deadline, with this much time left for it.
LAST_LOOK: Final = 1.0
LAST_LOOK_SHARE: Final = 0.05


@define(eq=False, repr=False)
class Wait:
    """One wait for one rental.

    `enter` waits until a request may be sent, `ask` sends one; both keep to the deadline that they
    are given. With a timeout of 0, that of the only check is `request_timeout`.
    """

    token: str
    enter: Callable[[float | None, float], Awaitable[None]]
    ask: Callable[[float | None], Awaitable[RentalStatus]]
    request_timeout: float
    lookout: Lookout
    policy: PollingPolicy
    timeout: float | None
    on_poll: Callable[[PollEvent], Awaitable[object] | object] | None = None
    on_exchange: Sequence[OnExchange] = ()

    _looks: SharedLooks = field(factory=SharedLooks, init=False)
    _seen: int = field(default=0, init=False)
    _started: float = field(default=0.0, init=False)
    _attempts: int = field(default=0, init=False)
    _status: RentalStatus | None = field(default=None, init=False)
    _last_status: RentalStatus | None = field(default=None, init=False)
    _error: SMSPartnerError | None = field(default=None, init=False)
    _errors_in_a_row: int = field(default=0, init=False)
    _ending: RentalFailedError | AlreadyDownloadedError | None = field(default=None, init=False)
    _next_at: float = field(default=0.0, init=False)
    _looked_last: bool = field(default=False, init=False)
    _reason: str = field(default="", init=False)
    _warned: bool = field(default=False, init=False)

    async def until_ready(self) -> RentalStatus:
        """Wait for `READY`.

        Raises:
            RentalFailedError: the rental failed.
            AlreadyDownloadedError: its file was downloaded before.
            WaitTimeoutError: the deadline came first.
            SMSPartnerError: what does not pass, or did not pass often enough in a row.
        """
        async with aclosing(self.changes()) as changes:
            async for _ in changes:
                pass
        if self._ending is not None:
            raise self._ending
        status = self._last_status
        assert status is not None  # noqa: S101 - changes() ends with a terminal status
        if status.state is RentalState.FAILED:
            raise RentalFailedError(token=self.token, status=status)
        if status.state is RentalState.DOWNLOADED:
            raise AlreadyDownloadedError(token=self.token, status=status)
        return status

    async def changes(self) -> AsyncGenerator[RentalStatus, None]:
        """Yield every status whose state differs from the one before, the terminal one last."""
        self._looks = self.lookout.join(self.token)
        if self.on_exchange:
            self._looks.listening[id(self)] = self.on_exchange
        try:
            self._started = asyncio.get_running_loop().time()
            self._seen = self._looks.seen_by_newcomer(self.policy.first_interval)
            state: RentalState | None = None
            while True:
                await self._look()
                status = self._status
                if status is not None and status.state.is_terminal:
                    await self._tell(None)
                if status is not None and status.state is not state:
                    state = status.state
                    yield status
                if status is not None and status.state.is_terminal:
                    return
                delay = self._next_delay()
                await self._tell(delay)
                if delay is None:
                    raise self._timed_out() from self._error
                await self._sleep()
        finally:
            self._looks.listening.pop(id(self), None)
            self.lookout.leave(self.token)

    async def _look(self) -> None:
        """Ask once. What may pass leaves no status behind; what will not is raised."""
        self._attempts += 1
        self._status = None
        try:
            self._status = await self._looks.look(self._seen, self.enter, self.ask, self._deadline)
            self._error, self._errors_in_a_row = None, 0
        except (RentalFailedError, AlreadyDownloadedError) as error:
            # An end like any other: states 3 and 5 in the words of an error.
            failed = isinstance(error, RentalFailedError)
            state = RentalState.FAILED if failed else RentalState.DOWNLOADED
            self._status = RentalStatus(token=self.token, state=state, message=str(error))
            error.status = self._status
            self._ending, self._error = error, None
        except SMSPartnerError as error:
            self._error = error
            self._errors_in_a_row += 1
            may_pass = is_passing(error) or isinstance(error, ResponseError)
            enough = self._errors_in_a_row >= self.policy.max_consecutive_errors
            if may_pass and (not enough or self._remaining() <= 0):
                return
            error.add_note(
                f"While waiting for rental {self.token}: {self._errors_in_a_row} failed checks in "
                f"a row, {self._attempts} in all. The rental itself is not touched; wait again "
                "with the same token."
            )
            await self._tell(None)
            raise
        finally:
            self._seen = self._looks.number
        self._last_status = self._status
        if self._status.state is RentalState.UNKNOWN and not self._warned:
            self._warned = True
            log.warning(
                "rental %s has a state that the manual does not list: %r; waiting on",
                shortened(self.token),
                self._status.message,
                extra=fields("status", self.token, attempt=self._attempts),
            )

    @property
    def _deadline(self) -> float | None:
        if self.timeout is None:
            return None
        return self._started + (self.timeout or self.request_timeout)

    def _elapsed(self) -> float:
        return asyncio.get_running_loop().time() - self._started

    def _remaining(self) -> float:
        return math.inf if self.timeout is None else self.timeout - self._elapsed()

    def _next_delay(self) -> float | None:
        """Decide on the next check; `None` where the deadline leaves no time for one."""
        remaining = self._remaining()
        asked_for = wait_asked_by(self._error) or 0.0
        spare = min(LAST_LOOK, LAST_LOOK_SHARE * (self.timeout or math.inf))
        last_look = max(remaining - spare, asked_for)
        if asked_for and asked_for >= remaining:
            self._reason = f"The vendor asks to wait {asked_for:.1f} s more. "
            return None
        if self._looked_last or last_look <= 0:
            return None
        delay = self._looks.plan(max(self.policy.interval(self._attempts), asked_for))
        self._looked_last = delay >= last_look
        delay = min(delay, last_look)
        self._next_at = self._elapsed() + delay
        return delay

    def _timed_out(self) -> WaitTimeoutError:
        return WaitTimeoutError(
            token=self.token,
            last_status=self._last_status,
            elapsed=self._elapsed(),
            attempts=self._attempts,
            reason=self._reason,
        )

    async def _sleep(self) -> None:
        # Until the moment that was told: on_poll may have taken its time since.
        await self._looks.sleep_until(self._started + self._next_at, self._seen)
        # An answer or a nudge may have come before the moment that was kept for the last look.
        self._looked_last &= self._elapsed() >= self._next_at - CLOCK_STEP

    async def _tell(self, next_delay: float | None) -> None:
        """Tell the log, and `on_poll`, of the check just made, and when the next one is due."""
        # Of trouble that goes on, the beginning is news; what ends the wait is raised.
        unusual = self._errors_in_a_row == 1 and next_delay is not None
        if unusual or is_logged():
            self._write_down(next_delay, logging.WARNING if unusual else logging.DEBUG)
        if self.on_poll is None:
            return
        event = PollEvent(
            token=self.token,
            attempt=self._attempts,
            elapsed=self._elapsed(),
            status=self._status,
            error=self._error,
            next_delay=next_delay,
        )
        scope = asyncio.timeout_at(self._deadline)
        try:
            told = self.on_poll(event)
            if inspect.isawaitable(told):
                async with scope:
                    await told
        except StopAsyncIteration as error:
            # As it is, it would end the loop over the attempts, and pass for the end of the wait.
            raise RuntimeError("on_poll raised StopAsyncIteration") from error
        except TimeoutError:
            if not scope.expired():  # the callback's own
                raise

    def _write_down(self, next_delay: float | None, level: int) -> None:
        found = self._error if self._status is None else self._status.state.name
        log.log(
            level,
            "check %d of rental %s: %s; %s",
            self._attempts,
            shortened(self.token),
            found,
            "the last one" if next_delay is None else f"the next one is in {next_delay:.1f} s",
            extra=fields(
                "status",
                self.token,
                attempt=self._attempts,
                delay=next_delay,
                http_status=getattr(self._error, "http_status", None),
                state=None if self._status is None else self._status.state.name,
            ),
        )
