"""One wait for one rental: when to poll, when to continue, when to give up.

Thousands of these sleep at once. So the loops below keep no generator, closure or further coroutine
between two polls, and a sleep is one future and one timer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from typing import TYPE_CHECKING, Final

from attrs import define, field
from attrs.setters import NO_OP

from smspartner_async._errors import (
    AlreadyDownloadedError,
    ConfigurationError,
    RentalFailedError,
    RentalNotFoundError,
    ResponseError,
    SMSPartnerError,
    WaitTimeoutError,
)
from smspartner_async._http.deadlines import CLOCK_STEP
from smspartner_async._http.retrying import is_passing
from smspartner_async._http.state import closed_error
from smspartner_async._log import is_logged, log, log_fields, short_token
from smspartner_async._models import RentalState, RentalStatus
from smspartner_async._policies import LONGEST_PAUSE, PollState, wait_asked_by
from smspartner_async._validation import check_callback

from .status_poller import PollEvent, StatusPoller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from smspartner_async._http.exchange import OnExchange
    from smspartner_async._policies import PollingPolicy

    from .shared_poll import PollRegistry, SharedPoll

# The last poll is made shortly before the deadline, with this much time left for it.
LAST_POLL: Final = 1.0
LAST_POLL_SHARE: Final = 0.05


# NO_OP: a validator of one field would otherwise make every assignment of a poll a call of attrs.
@define(eq=False, repr=False, on_setattr=NO_OP)
class Poller:
    """One wait for one rental.

    With a timeout of 0, that of the only check is `request_timeout`.
    """

    poller: StatusPoller
    registry: PollRegistry
    timeout: float | None
    on_poll: Callable[[PollEvent], Awaitable[object] | object] | None = None
    policy: PollingPolicy = field(init=False)
    on_exchange: Sequence[OnExchange] = field(init=False)
    deadline: float | None = field(default=None, init=False)
    """Loop time at which every request of this wait must have ended."""

    _shared: SharedPoll = field(init=False)
    _seen: int = field(default=0, init=False)
    _state: PollState = field(init=False)
    # Kept here, too: a strategy may change what it is shown.
    _began: float = field(default=0.0, init=False)
    _checks: int = field(default=0, init=False)
    _slept: float = field(default=0.0, init=False)
    _answered_at: float = field(default=0.0, init=False)
    _last_status: RentalStatus | None = field(default=None, init=False)
    _errors_in_a_row: int = field(default=0, init=False)
    _ending: SMSPartnerError | None = field(default=None, init=False)
    _due_at: float = field(default=0.0, init=False)
    _is_last: bool = field(default=False, init=False)
    _reason: str = field(default="", init=False)
    _warned: bool = field(default=False, init=False)
    _sleep: asyncio.Future[bool] | None = field(default=None, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        check_callback("on_poll", self.on_poll, "a PollEvent")

    @property
    def token(self) -> str:
        """The rental's token."""
        return self.poller.token

    async def until_ready(self) -> RentalStatus:
        """Wait for `READY`.

        Raises:
            RentalFailedError: the rental failed.
            AlreadyDownloadedError: its file was downloaded before.
            WaitTimeoutError: the deadline came first, or the policy's `stop` gave up.
            SMSPartnerError: an error that does not pass, or did not pass often enough in a row.
        """
        shared = self._begin()
        try:
            while not await self._poll():
                await self._schedule()
                while self._is_asleep() and await self.sleep_until(shared.due_at(self._due_at)):
                    pass  # woken, but by no answer: the one who polled was cancelled
        finally:
            self._end()
        self._log(None)
        await self._notify(None)
        return self._result()

    async def changes(self) -> AsyncGenerator[RentalStatus, None]:
        """Yield every status whose state differs from the one before, the terminal one last."""
        shared = self._begin()
        try:
            state: RentalState | None = None
            while True:
                ended = await self._poll()
                if ended:
                    self._log(None)
                    await self._notify(None)
                if (status := self._status) is not None and status.state is not state:
                    state = status.state
                    yield status
                if ended:
                    return
                await self._schedule()
                while self._is_asleep() and await self.sleep_until(shared.due_at(self._due_at)):
                    pass
        finally:
            self._end()

    def sleep_until(self, moment: float | None) -> asyncio.Future[bool]:
        """Return a future that is done at a moment (loop time), or at a call of `wake`.

        Its result is whether it was the latter.
        """
        loop = self._shared.loop
        self._stop_timer()
        self._sleep = sleep = loop.create_future()
        if moment is not None:
            context = self.registry.timer_context
            self._timer = loop.call_at(moment, _end_sleep, sleep, context=context)
        return sleep

    def wake(self) -> None:
        """End the sleep, if there is one."""
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(True)

    # --- one poll ----------------------------------------------------------------------------

    async def _poll(self) -> bool:
        """Poll once; return whether that is the end of the rental. Raise what will not pass."""
        shared = self._shared
        # An answer or a call of `wake` may have come before the time of the last poll.
        self._is_last = self._is_last and shared.loop.time() >= self._due_at - CLOCK_STEP
        self._checks += 1
        try:
            status = await shared.poll(self, self._seen)
        except (RentalFailedError, AlreadyDownloadedError) as error:
            # An end like any other: states 3 and 5 in the words of an error.
            failed = isinstance(error, RentalFailedError)
            end = RentalState.FAILED if failed else RentalState.DOWNLOADED
            status = error.status = RentalStatus(token=self.token, state=end, message=str(error))
            self._ending = error
        except SMSPartnerError as error:
            await self._fail(error)
            return False
        self._take(status)
        self._errors_in_a_row = 0
        self._last_status = status
        if status.state is RentalState.UNKNOWN and not self._warned:
            self._warn_of(status)
        return status.state.is_terminal

    async def _fail(self, error: SMSPartnerError) -> None:
        """Take in the error of a check. Raise it if it will not pass."""
        if self.poller.is_closed:
            error = closed_error()  # not what close() broke off
        self._take(error)
        self._errors_in_a_row += 1
        may_pass = is_passing(error) or isinstance(error, ResponseError)
        enough = self._errors_in_a_row >= self.policy.max_consecutive_errors
        if not may_pass or (enough and self._remaining() > 0):
            self._add_note(error)
            self._log(None)
            await self._notify(None)
            raise error

    def _take(self, found: RentalStatus | SMSPartnerError) -> None:
        """Take in an answer, or an error of this waiter alone."""
        shared = self._shared
        if shared.number > self._seen:
            self._seen, self._answered_at = shared.number, shared.answered_at
        else:
            self._answered_at = shared.loop.time()
        state = self._state
        state.attempt_number, state.idle_for = self._checks, self._slept
        state.start_time = self._began
        state.record(found, max(self._answered_at, self._began))

    @property
    def _status(self) -> RentalStatus | None:
        found = self._state.found
        return None if isinstance(found, SMSPartnerError) else found

    @property
    def _error(self) -> SMSPartnerError | None:
        found = self._state.found
        return found if isinstance(found, SMSPartnerError) else None

    # --- the time between two polls ----------------------------------------------------------

    def _begin(self) -> SharedPoll:
        self._began = now = asyncio.get_running_loop().time()
        self._state = PollState(start_time=now)
        if self.timeout is not None:
            self.deadline = now + (self.timeout or self.poller.options.request_timeout)
        self.policy, self.on_exchange = self.poller.options.polling, self.poller.options.listeners
        self._shared = shared = self.registry.join(self)
        self._seen = shared.number
        if isinstance(shared.answer, RentalStatus):
            self._reuse(shared.answer, now - shared.answered_at)
        return shared

    def _reuse(self, answer: RentalStatus, age: float) -> None:
        """Take an answer as this wait's own first one, if it is younger than its first interval."""
        preview = PollState(1, self._began)
        preview.record(answer, self._began)
        try:
            interval = self.policy.delay(preview)
        except ConfigurationError:
            interval = 0.0  # raised after the first poll, with what is known then
        self._seen -= age < interval

    def _end(self) -> None:
        self._stop_timer()
        self.registry.leave(self)

    async def _schedule(self) -> None:
        """Plan the next poll, and report it; raise how the wait ends where there is none."""
        delay = self._plan()
        self._log(delay)
        await self._notify(delay)
        if delay is None:
            raise self._given_up()

    def _plan(self) -> float | None:
        """Decide when to poll next; return the seconds until then, or `None` to give up."""
        state, now = self._state, self._shared.loop.time()
        age = now - self._answered_at
        remaining = self._remaining()
        asked_for = max(0.0, (wait_asked_by(state.found) or 0.0) - age)
        if asked_for and asked_for >= remaining:
            self._reason = f"The vendor asks to wait {asked_for:.1f} s more. "
            return None
        asked_for = min(asked_for, LONGEST_PAUSE)
        share = LAST_POLL if self.timeout is None else LAST_POLL_SHARE * self.timeout
        spare = min(LAST_POLL, share)
        last_poll = max(remaining - spare, asked_for)
        if self._is_last or last_poll <= 0:
            return None
        try:
            delay = max(self.policy.delay(state) - age, asked_for, 0.0)
            self._is_last = delay >= last_poll
            state.upcoming_sleep = delay = min(delay, last_poll)
            if self.policy.stop is not None and self.policy.stops(state):
                self._reason = "The polling policy's stop strategy ended the wait. "
                return None
        except ConfigurationError as error:
            self._ending = error
            self._add_note(error)
            return None
        self._slept += delay
        self._due_at = now + delay
        return delay

    def _remaining(self) -> float:
        return math.inf if self.timeout is None else self.timeout - self._elapsed()

    def _elapsed(self) -> float:
        return self._shared.loop.time() - self._began

    def _is_asleep(self) -> bool:
        """Return whether there is neither a new answer nor a poll to be made."""
        if self.poller.is_closed or self._shared.number > self._seen:
            return False
        return self._shared.due_at(self._due_at) > self._shared.loop.time()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- how it ends -------------------------------------------------------------------------

    def _result(self) -> RentalStatus:
        if self._ending is not None:
            raise self._ending
        status = self._last_status
        assert status is not None  # noqa: S101 - the end is a terminal status
        if status.state is RentalState.FAILED:
            raise RentalFailedError(token=self.token, status=status)
        if status.state is RentalState.DOWNLOADED:
            raise AlreadyDownloadedError(token=self.token, status=status)
        return status

    def _given_up(self) -> SMSPartnerError:
        if self._ending is not None:
            return self._ending
        error = WaitTimeoutError(
            token=self.token,
            last_status=self._last_status,
            elapsed=self._elapsed(),
            attempts=self._checks,
            reason=self._reason,
        )
        error.__cause__ = self._error
        return error

    def _add_note(self, error: SMSPartnerError) -> None:
        counts = f"checks made: {self._checks}, failed in a row: {self._errors_in_a_row}"
        note = f"Raised while waiting for rental {self.token}; {counts}."
        if not isinstance(error, RentalNotFoundError):  # with a wrong token, waiting is no use
            note += " The rental itself is not affected: you can wait for it again with its token."
        error.add_note(note)

    # --- what is logged and called -----------------------------------------------------------

    def _log(self, next_delay: float | None) -> None:
        # Only the first of several consecutive errors is a warning; the last one is raised.
        unusual = self._errors_in_a_row == 1 and next_delay is not None
        if not unusual and not is_logged():
            return
        status, error = self._status, self._error
        log.log(
            logging.WARNING if unusual else logging.DEBUG,
            "check %d of rental %s, %s: %s",
            self._checks,
            short_token(self.token),
            "the last one" if next_delay is None else f"the next one is in {next_delay:.1f} s",
            error if status is None else status.state.name,
            extra=log_fields(
                "status",
                self.token,
                attempt=self._checks,
                delay=next_delay,
                http_status=getattr(error, "http_status", None),
                state=None if status is None else status.state.name,
            ),
        )

    def _warn_of(self, status: RentalStatus) -> None:
        self._warned = True
        log.warning(
            "rental %s has a state that the manual does not list: %r; waiting on",
            short_token(self.token),
            status.message,
            extra=log_fields("status", self.token, attempt=self._checks),
        )

    async def _notify(self, next_delay: float | None) -> None:
        """Call `on_poll` with the check just made, and when the next one is due."""
        if self.on_poll is None:
            return
        event = PollEvent(
            token=self.token,
            attempt=self._checks,
            elapsed=self._elapsed(),
            status=self._status,
            error=self._error,
            next_delay=next_delay,
        )
        try:
            called = self.on_poll(event)
            if called is not None and inspect.isawaitable(called):
                await self._until_deadline(called)
        except StopAsyncIteration as error:
            # As it is, it would end a loop over `watch`, and pass for the end of the wait.
            raise RuntimeError("on_poll raised StopAsyncIteration") from error

    async def _until_deadline(self, called: Awaitable[object]) -> None:
        scope = asyncio.timeout_at(self.deadline)
        try:
            async with scope:
                await called
        except TimeoutError:
            if not scope.expired():  # the callback's own
                raise


def _end_sleep(sleep: asyncio.Future[bool]) -> None:
    if not sleep.done():
        sleep.set_result(False)
