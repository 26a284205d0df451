"""When a request may be sent: one queue for the rate, the connections and the cool-down."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from attrs import define, field
from attrs.setters import NO_OP

from smspartner_async._error_codes import TOO_MANY_REQUESTS
from smspartner_async._errors import RateLimitError, TransportError
from smspartner_async._log import log
from smspartner_async._policies import LONGEST_PAUSE
from smspartner_async._validation import check_positive

from .deadlines import CLOCK_STEP, for_each
from .state import closed_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async._errors import SMSPartnerError

# A rate the vendor documents for other operations: restarts after a cool-down go no faster.
_RESTARTS_PER_SECOND: Final = 6.0
_FEW: Final = 100  # deadlines of requests that have left the queue, and are kept meanwhile


class PermitSource(Protocol):
    """Permits that a limiter needs besides its own, such as those that a database hands out."""

    def next_at(self, now: float) -> float:
        """Return when the next permit may be used (loop time).

        Infinite while permits are asked for: the source calls the limiter's `wake` when they are
        there.
        """
        ...

    def take(self) -> None:
        """Use the permit that `next_at` returned."""

    def close(self) -> None:
        """Ask for no more permits."""


@define(eq=False, repr=False)
class _Waiter:
    """A request in the queue, and how long it waits there."""

    operation: str
    max_wait: float | None
    deadline: float | None
    turn: asyncio.Future[None] = field(init=False)

    def refusal(self, pause: float, now: float) -> RateLimitError | None:
        """Make the error for a cool-down of `pause` more seconds, where that is too long."""
        limit = self.max_wait if self.deadline is None else self.deadline - now
        if limit is None or pause <= max(limit, 0):
            return None
        error = RateLimitError(
            code=None,
            message="",
            http_status=TOO_MANY_REQUESTS,
            operation=self.operation,
            retry_after=pause,
        )
        why = f"After an HTTP 429, all requests of this client pause for {pause:.1f} s more."
        fate = f"This one ({self.operation}) cannot wait so long, and is not sent."
        error.args = (f"{why} {fate} {error.advice}",)
        return error

    def fail(self, error: SMSPartnerError) -> None:
        """End the waiting with an error, unless it has ended."""
        if not self.turn.done():
            self.turn.set_exception(error)


def _seconds_apart(max_requests_per_minute: float | None) -> float:
    if max_requests_per_minute is None:
        return 0.0
    check_positive("max_requests_per_minute", max_requests_per_minute)
    return 60 / max_requests_per_minute


# Priority before others, then by the longest wait, then in the order of coming.
_Entry = tuple[bool, float, int, _Waiter]


# NO_OP: the converter of one field would otherwise make every assignment a call of attrs.
@define(eq=False, repr=False, on_setattr=NO_OP)
class RateLimiter:
    """Grants each request its turn: a permit of the rate and, where it needs one, a connection.

    Both are granted together, from one queue, so that no connection idles while its request waits
    for the rate, and a request that waits can still be held back. Requests leave at even distances,
    those with priority first, then in the order of their coming; for a poll, what counts is when
    its rental was asked about last, so that no rental is kept waiting twice, by its interval and
    by the queue. After a cool-down those that waited leave spread out.

    It is made for so many requests a minute (`None`: no limit) and connections at once.
    """

    _interval: float = field(converter=_seconds_apart)
    max_connections: float = math.inf
    """Pooled requests that may be under way at once."""
    sent: int = field(default=0, init=False)
    """Requests that left so far, those tried again included."""
    _in_use: int = field(default=0, init=False)
    _closed: bool = field(default=False, init=False)
    _source: PermitSource | None = field(default=None, init=False)
    _sent_at: float = field(default=-math.inf, init=False)
    _resume_at: float = field(default=-math.inf, init=False)
    _restart_until: float = field(default=-math.inf, init=False)
    _pooled: list[_Entry] = field(factory=list, init=False)
    _unpooled: list[_Entry] = field(factory=list, init=False)
    _numbers: itertools.count[int] = field(factory=itertools.count, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _deadlines: list[tuple[float, int, _Waiter]] = field(factory=list, init=False)
    """A heap. What has left the queue stays in it for a while."""
    _deadline_timer: asyncio.TimerHandle | None = field(default=None, init=False)

    @property
    def queued(self) -> int:
        """Requests that wait for their turn."""
        return len(self._pooled) + len(self._unpooled)

    def is_paused(self) -> bool:
        """Whether a cool-down is on."""
        # Timers may fire a little early: what they let through must not be held back again.
        return self._resume_at > asyncio.get_running_loop().time() + CLOCK_STEP

    def try_acquire(self, *, pooled: bool = True) -> bool:
        """Take a turn if there is one now, without waiting; `release` must follow a pooled one.

        Args:
            pooled: whether the request needs one of the connections, or has its own.
        """
        if self._pooled or self._unpooled or (pooled and self._in_use >= self.max_connections):
            return False
        now = asyncio.get_running_loop().time()
        if self._opens_at(now) > now:
            return False
        self._take(now, pooled=pooled)
        return True

    async def acquire(
        self,
        operation: str,
        *,
        pooled: bool = True,
        max_wait: float | None = None,
        deadline: float | None = None,
        priority: bool = False,
        since: float | None = None,
    ) -> None:
        """Wait for a turn; `release` must follow a pooled one.

        Args:
            operation: named in the error of a cool-down.
            pooled: whether the request needs one of the connections, or has its own.
            max_wait: seconds; a longer cool-down is not waited for.
            deadline: loop time up to which to wait.
            priority: go before all that have none.
            since: loop time; the place in the queue is that of a request which came then.

        Raises:
            RateLimitError: a cool-down lasts for longer than `max_wait`, or past the deadline.
                Nothing is sent.
            TransportError: the turn did not come before the deadline. Nothing is sent.
            ConfigurationError: the client is closed, or was meanwhile. Nothing is sent.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(operation, max_wait, deadline)
        now = loop.time()
        number = next(self._numbers)
        entry = (not priority, now if since is None else since, number, waiter)
        while True:
            if self._closed:
                raise closed_error()
            if (refusal := waiter.refusal(self._resume_at - now, now)) is not None:
                raise refusal
            waiter.turn = loop.create_future()
            heapq.heappush(self._pooled if pooled else self._unpooled, entry)
            if deadline is not None:
                self._expire_at(deadline, number, waiter)
            self.wake()
            try:
                await waiter.turn
            except asyncio.CancelledError:
                if not waiter.turn.cancelled() and waiter.turn.exception() is None:
                    self.hand_back(pooled=pooled)  # the turn was ours: it goes to the next
                raise
            if not self.is_paused():
                break
            # Another request met a 429 since the turn was granted: back into the queue.
            self.hand_back(pooled=pooled)
            now = loop.time()
        if self._closed:
            raise closed_error()

    def release(self) -> None:
        """Give a connection back after a pooled request has ended."""
        self._in_use -= 1
        if self._pooled:
            self.wake()

    def hand_back(self, *, pooled: bool = True) -> None:
        """Undo a turn that was granted and not used."""
        self.sent -= 1
        self._in_use -= pooled
        self._sent_at = -math.inf
        self.wake()

    def cool_down(self, seconds: float) -> None:
        """Grant no turn for so many seconds, counted from now; for an hour at most."""
        seconds = min(seconds, LONGEST_PAUSE)
        log.warning(
            "HTTP 429: all requests of this client pause for %.1f s",
            seconds,
            extra={"delay": seconds, "http_status": TOO_MANY_REQUESTS},
        )
        now = asyncio.get_running_loop().time()
        self._resume_at = max(self._resume_at, now + seconds)
        self._restart_until = max(self._restart_until, self._resume_at + seconds)
        for *_, waiter in (*self._pooled, *self._unpooled):
            refusal = waiter.refusal(self._resume_at - now, now)
            if refusal is not None:
                waiter.fail(refusal)
        self.wake()

    async def close(self) -> None:
        """Grant nothing any more: those in the queue, and later ones, find the client closed."""
        self._closed = True
        queue = [*self._pooled, *self._unpooled]
        self._pooled.clear()
        self._unpooled.clear()
        self._deadlines.clear()
        self._set_deadline_timer()
        self.wake()
        await for_each(queue, lambda entry: entry[-1].fail(closed_error()))

    @contextmanager
    def drawing_from(self, source: PermitSource) -> Iterator[None]:
        """Let every request need a permit of `source`, too, until the block ends.

        Requests that wait at the end continue at this limiter's own rate.
        """
        self._source = source
        try:
            yield
        finally:
            self._source = None
            source.close()
            self.wake()

    def wake(self) -> None:
        """Grant all turns that there are now, and set the timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pooled or self._unpooled:
            self._grant(asyncio.get_running_loop().time())

    def _grant(self, now: float) -> None:
        self._timer = None
        if len(self._deadlines) > 2 * self.queued + _FEW:
            self._deadlines = [entry for entry in self._deadlines if not entry[-1].turn.done()]
            heapq.heapify(self._deadlines)
        while (queue := self._next_queue()) is not None:
            opens_at = self._opens_at(now)
            if opens_at > now:
                if opens_at < math.inf:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_at(opens_at, self._on_timer, opens_at)
                return
            *_, waiter = heapq.heappop(queue)
            waiter.turn.set_result(None)
            self._take(now, pooled=queue is self._pooled)

    def _on_timer(self, due: float) -> None:
        # A timer may fire a little before its time: that must not add up.
        self._grant(max(due, asyncio.get_running_loop().time()))

    def _next_queue(self) -> list[_Entry] | None:
        """Return the queue whose first request is next, and could go if there is a permit."""
        for queue in (self._pooled, self._unpooled):
            while queue and queue[0][-1].turn.done():  # cancelled, refused or too late
                heapq.heappop(queue)
        pooled = self._pooled if self._in_use < self.max_connections else ()
        if pooled and not (self._unpooled and self._unpooled[0] < pooled[0]):
            return self._pooled
        return self._unpooled or None

    def _take(self, now: float, *, pooled: bool) -> None:
        self._sent_at = now
        self.sent += 1
        self._in_use += pooled
        if self._source is not None:
            self._source.take()

    def _opens_at(self, now: float) -> float:
        """Return when the next request may leave: the more of them wait, the sooner."""
        distance = self._interval
        if self._sent_at < self._restart_until:
            # All are through after as long again as the pause was, however many wait.
            rest = self._restart_until - max(self._sent_at, self._resume_at)
            spread = min(1 / _RESTARTS_PER_SECOND, rest / (1 + self.queued))
            distance = max(distance, spread)
        opens_at = max(self._resume_at, self._sent_at + distance)
        # Permits are not asked for before they can be used.
        return opens_at if self._source is None or opens_at > now else self._source.next_at(now)

    # --- deadlines: one timer for all that wait, since thousands of polls queue at a start ----

    def _expire_at(self, deadline: float, number: int, waiter: _Waiter) -> None:
        heapq.heappush(self._deadlines, (deadline, number, waiter))
        if self._deadlines[0][-1] is waiter:
            self._set_deadline_timer()

    def _set_deadline_timer(self) -> None:
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
            self._deadline_timer = None
        while self._deadlines and self._deadlines[0][-1].turn.done():
            heapq.heappop(self._deadlines)
        if self._deadlines:
            due = self._deadlines[0][0]
            loop = asyncio.get_running_loop()
            self._deadline_timer = loop.call_at(due, self._on_deadline, due)

    def _on_deadline(self, due: float) -> None:
        now = max(due, asyncio.get_running_loop().time())
        while self._deadlines and self._deadlines[0][0] <= now:
            *_, waiter = heapq.heappop(self._deadlines)
            waiter.fail(
                TransportError(
                    "Too many requests of this client were waiting before this one "
                    "(max_requests_per_minute, max_connections).",
                    maybe_sent=False,
                )
            )
        self._set_deadline_timer()
