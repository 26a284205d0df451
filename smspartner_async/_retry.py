"""When a request may be sent, and when again: backoff, pacing, and the cool-down of one client."""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
import math
import random
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define, field, frozen
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential

from ._checks import is_number
from ._codes import TOO_MANY_REQUESTS
from ._errors import APIError, RateLimitError, ResponseError, TransportError
from ._log import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from attrs import Attribute

    from ._errors import SMSPartnerError

_T = TypeVar("_T")

_REQUEST_TIMEOUT: Final = 408
_SERVER_ERRORS: Final = range(500, 600)

# A rate the vendor documents for other operations: restarts after a cool-down go no faster.
_RESTARTS_PER_SECOND: Final = 6.0
_LONGEST_PAUSE: Final = 3600.0


def at_least(minimum: float, *, whole: bool = False) -> Callable[[Any, Attribute[Any], Any], None]:
    """Make an attrs validator: a finite (and whole) number, not below `minimum`."""
    kind = "a whole number" if whole else "a number"

    def check(_: Any, attribute: Attribute[Any], value: Any) -> None:
        fits = is_number(value) and minimum <= value < math.inf
        if not fits or (whole and not isinstance(value, int)):
            raise ValueError(f"{attribute.name} must be {kind} from {minimum:g} on: {value!r}")

    return check


@frozen(kw_only=True)
class RetryPolicy:
    """How one request is tried again where that is safe. `rent` and `download` are stricter.

    Args:
        attempts: how often at most, the first time included; from 1 on.
        first_delay: seconds before the second attempt; doubled each time, and shortened by up to
            a half at random so that many clients do not come back together.
        max_delay: seconds; no delay is longer, save where the vendor asks for more.

    Raises:
        ValueError: a number out of its range, NaN or infinite.
    """

    attempts: int = field(default=4, validator=at_least(1, whole=True))
    first_delay: float = field(default=0.5, validator=at_least(0))
    max_delay: float = field(default=8.0, validator=at_least(0))

    def delay(self, state: RetryCallState) -> float:
        """Tell how many seconds to wait after the attempt that `state` tells of."""
        backoff = wait_exponential(multiplier=self.first_delay, max=self.max_delay)(state)
        error = state.outcome.exception() if state.outcome is not None else None
        return max(backoff * random.uniform(0.5, 1), wait_asked_by(error) or 0)  # noqa: S311 - jitter


def wait_asked_by(error: object) -> float | None:
    """Tell the seconds of `Retry-After` that an error came with."""
    return error.retry_after if isinstance(error, APIError | ResponseError) else None


def is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later: the network, 408, 429, 5xx.

    A documented error code is the vendor's last word, whatever the HTTP status.
    """
    if isinstance(error, RateLimitError | TransportError):
        return True
    if isinstance(error, ResponseError) or type(error) is APIError:
        return error.http_status == _REQUEST_TIMEOUT or error.http_status in _SERVER_ERRORS
    return False


async def try_again(
    failure: Exception,
    attempt: Callable[[int], Awaitable[_T]],
    policy: RetryPolicy,
    *,
    may_repeat: Callable[[BaseException], bool],
    sleep: Callable[[float], Awaitable[None]],
    before_sleep: Callable[[RetryCallState], None],
) -> _T:
    """Go on after a first attempt that came to `failure`, which may be repeated.

    Attempts, which are given their number, are made until one succeeds, fails for good, or was the
    last that `policy` allows. Its error is raised as it is; of the others, `before_sleep` is told.
    """
    failures = [failure]
    numbers = itertools.count(2)

    async def next_attempt() -> _T:
        if failures:
            raise failures.pop()
        return await attempt(next(numbers))

    return await AsyncRetrying(
        retry=retry_if_exception(may_repeat),
        stop=stop_after_attempt(policy.attempts),
        wait=policy.delay,
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )(next_attempt)


class _Waiting:
    """A request that waits for its turn, and for how long it does."""

    def __init__(self, operation: str, patience: float | None, deadline: float | None) -> None:
        self.operation = operation
        self.patience = patience
        self.deadline = deadline
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def refusal(self, pause: float, now: float) -> RateLimitError | None:
        """Make the error for a cool-down of `pause` more seconds, where that is too long."""
        limit = self.patience if self.deadline is None else self.deadline - now
        if limit is None or pause <= max(limit, 0):
            return None
        return RateLimitError(
            code=None,
            message="",
            http_status=TOO_MANY_REQUESTS,
            operation=self.operation,
            retry_after=pause,
        )


@define(eq=False, repr=False)
class Gate:
    """What all requests of one client pass: `max_requests_per_minute`, and one cool-down.

    Requests leave at even distances, urgent ones first, then in the order of their coming; for a
    poll, what counts is when its rental was asked about last, so that no rental is kept waiting
    twice, by its interval and by the queue.
    After a cool-down those that waited leave spread out. `with gate:` stands around each request:
    a 429 in there pauses all for its `Retry-After`.
    """

    _interval: float
    passed: int = field(default=0, init=False)
    """Requests that left so far, those tried again included."""
    _left_at: float = field(default=-math.inf, init=False)
    _resume_at: float = field(default=-math.inf, init=False)
    _restart_until: float = field(default=-math.inf, init=False)
    _queue: list[tuple[bool, float, int, _Waiting]] = field(factory=list, init=False)
    _numbers: itertools.count[int] = field(factory=itertools.count, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    @classmethod
    def allowing(cls, max_requests_per_minute: float | None) -> Gate:
        """Make one for so many requests a minute; `None` is no limit."""
        return cls(0.0 if max_requests_per_minute is None else 60 / max_requests_per_minute)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = error.__cause__  # what a rent that was seen through came to
        if isinstance(error, RateLimitError) and error.retry_after is not None:
            self.cool_down(error.retry_after)

    def let_through(self) -> bool:
        """Count a request that may leave at once; tell whether it may, or has to `enter`."""
        now = asyncio.get_running_loop().time()
        if self._queue or self._opens_at() > now:
            return False
        self._left_at = now
        self.passed += 1
        return True

    async def enter(
        self,
        operation: str,
        *,
        patience: float | None = None,
        deadline: float | None = None,
        urgent: bool = False,
        since: float | None = None,
    ) -> None:
        """Wait until a request may be sent, up to `deadline` (loop time).

        `since` (loop time) gives it the place of one that has waited from then on.

        Raises:
            RateLimitError: a cool-down goes on for longer than `patience` seconds, or past the
                deadline. Nothing is sent.
            TransportError: the turn did not come before the deadline. Nothing is sent.
        """
        if self.let_through():
            return
        now = asyncio.get_running_loop().time()
        waiting = _Waiting(operation, patience, deadline)
        if (refusal := waiting.refusal(self._resume_at - now, now)) is not None:
            raise refusal
        place = (not urgent, now if since is None else since, next(self._numbers), waiting)
        heapq.heappush(self._queue, place)
        self._rearm()
        try:
            async with asyncio.timeout_at(deadline):
                await self._come_to(waiting.turn)
        except TimeoutError:
            raise TransportError(
                "Too many requests of this client were waiting before this one "
                "(max_requests_per_minute).",
                maybe_sent=False,
            ) from None

    def cool_down(self, seconds: float) -> None:
        """Let nothing through for so many seconds, counted from now; for an hour at most."""
        # One absurd header must not put a client to sleep for the rest of its life.
        seconds = min(seconds, _LONGEST_PAUSE)
        log.warning(
            "HTTP 429: all requests of this client pause for %.1f s",
            seconds,
            extra={"delay": seconds, "http_status": TOO_MANY_REQUESTS},
        )
        now = asyncio.get_running_loop().time()
        self._resume_at = max(self._resume_at, now + seconds)
        self._restart_until = max(self._restart_until, self._resume_at + seconds)
        for *_, waiting in self._queue:
            refusal = waiting.refusal(self._resume_at - now, now)
            if refusal is not None and not waiting.turn.done():
                waiting.turn.set_exception(refusal)
        self._rearm()

    def close(self, refusal: SMSPartnerError) -> None:
        """Let nobody who waits here through: they raise copies of `refusal`."""
        for *_, waiting in self._queue:
            if not waiting.turn.done():
                waiting.turn.set_exception(copy.copy(refusal))
        self._queue.clear()
        self._rearm()

    def _opens_at(self) -> float:
        """Tell when the next request may leave: the more of them wait, the sooner."""
        distance = self._interval
        if self._left_at < self._restart_until:
            # All are through after as long again as the pause was, however many wait.
            rest = self._restart_until - max(self._left_at, self._resume_at)
            spread = min(1 / _RESTARTS_PER_SECOND, rest / (1 + len(self._queue)))
            distance = max(distance, spread)
        return max(self._resume_at, self._left_at + distance)

    async def _come_to(self, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._left_at = -math.inf  # the turn was ours and is not used: hand it on
                self.passed -= 1
                self._rearm()
            raise

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            due = self._opens_at()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(due, self._let_one_through, due)

    def _let_one_through(self, due: float) -> None:
        self._timer = None
        while self._queue:
            *_, waiting = heapq.heappop(self._queue)
            if not waiting.turn.done():
                waiting.turn.set_result(None)
                self.passed += 1
                # A timer may fire a little before its time: that must not add up.
                self._left_at = max(due, asyncio.get_running_loop().time())
                break
        self._rearm()
