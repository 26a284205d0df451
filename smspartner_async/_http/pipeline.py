"""Send the requests of one client: each when the limiter grants it, and again where safe."""

from __future__ import annotations

import itertools
import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import define, evolve, field
from tenacity import stop_after_attempt

from smspartner_async._error_codes import TOO_MANY_REQUESTS
from smspartner_async._errors import TransportError
from smspartner_async._log import is_logged
from smspartner_async._policies import wait_asked_by
from smspartner_async._wire.reply import retry_after

from .frames import clear_frames
from .retrying import call_until, is_passing, log_retry
from .state import ClientState, HeldBackError, ResponseHead

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from smspartner_async._wire.codec import Request
    from smspartner_async._wire.reply import Reply

    from .exchange import OnExchange
    from .options import ClientOptions
    from .rate_limiter import RateLimiter
    from .transport import Transport

_R = TypeVar("_R")
_T = TypeVar("_T")

_FIRST: Final = -math.inf  # place in the queue of a request that had its grant and was held back


@define(eq=False, repr=False)
class RequestPipeline:
    """The way of every request: rate limiter, transport, retries.

    A request that is granted at once and succeeds costs no more than a few calls. `redact` takes
    the API key out of a reply's text. Copies of a client share all but the options.
    """

    transport: Transport
    redact: Callable[[str], str]
    options: ClientOptions
    state: ClientState = field(factory=ClientState)
    limiter: RateLimiter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.limiter = self.transport.limiter

    def with_options(self, options: ClientOptions) -> RequestPipeline:
        """Make one with other options, over the same connections."""
        transport = self.transport.with_timeout(options.request_timeout)
        return evolve(self, transport=transport, options=options)

    async def close(self) -> None:
        """Refuse new requests, and end those that are queued or under way on pooled connections.

        Those in the queue raise `ConfigurationError`, those under way `TransportError`.
        """
        self.state.close()
        try:
            await self.limiter.close()
        finally:
            await self.transport.close()

    def send(
        self, request: Request, read: Callable[[Reply], _T], *, priority: bool = False
    ) -> Awaitable[_T]:
        """Send a request that is safe to repeat, and read its reply."""
        exchange = partial(self.transport.exchange, request, None)
        attempt = partial(self._attempt, request, exchange, read, pooled=True, priority=priority)
        return self._with_retries(request, attempt, is_passing)

    def run_priority(
        self,
        request: Request,
        exchange: Callable[[ResponseHead], Awaitable[_T]],
        may_repeat: Callable[[BaseException], bool],
        *,
        since: float | None = None,
    ) -> Awaitable[_T]:
        """Run an exchange that goes before others, over a connection outside of the pool.

        It is queued as if it had come at `since` (loop time); by default, now. `may_repeat` says
        whether it may be sent again after an error.
        """
        attempt = partial(
            self._attempt, request, exchange, _unchanged, pooled=False, priority=True, since=since
        )
        return self._with_retries(request, attempt, may_repeat)

    def poll(
        self,
        request: Request,
        read: Callable[[Reply], _T],
        deadline: float | None,
        listeners: Callable[[], Sequence[OnExchange]],
    ) -> Awaitable[_T]:
        """Send a poll that has its turn once, and read its reply.

        It is reported to what `listeners` returns.
        """
        exchange = partial(self.transport.exchange, request, deadline)
        return self._run(
            request, exchange, read, listeners, pooled=True, polling=True, deadline=deadline
        )

    def _attempt(
        self,
        request: Request,
        exchange: Callable[[ResponseHead], Awaitable[_R]],
        read: Callable[[_R], _T],
        number: int,
        *,
        pooled: bool,
        priority: bool,
        since: float | None = None,
    ) -> Awaitable[_T]:
        # No coroutine: nearly all requests are granted at once, and it would cost time.
        self.state.check_usable()
        arguments = request, exchange, read, self._listeners, number
        if self.limiter.try_acquire(pooled=pooled):
            return self._run(*arguments, pooled=pooled)
        turn = self.limiter.acquire(
            request.operation,
            pooled=pooled,
            max_wait=self.options.request_timeout,
            priority=priority,
            since=since,
        )
        return _run_after(turn, partial(self._run, *arguments, pooled=pooled))

    async def _run(
        self,
        request: Request,
        exchange: Callable[[ResponseHead], Awaitable[_R]],
        read: Callable[[_R], _T],
        listeners: Callable[[], Sequence[OnExchange]],
        number: int = 1,
        *,
        pooled: bool,
        polling: bool = False,
        deadline: float | None = None,
    ) -> _T:
        """Run a granted exchange; report it, and let a 429 pause all requests."""
        outer = sys.exception()
        head, report = ResponseHead(self._pause_after if pooled else None), None
        if listeners() or is_logged():
            from .exchange import ExchangeReport  # noqa: PLC0415 - nobody else pays for it

            report = ExchangeReport(
                request=request,
                redact=self.redact,
                listeners=listeners,
                attempt=number,
                polling=polling,
                head=head,
            )
        while True:
            try:
                result = read(await exchange(head))
            except HeldBackError:
                self.limiter.hand_back(pooled=pooled)
            except BaseException as error:
                clear_frames(error, outer)  # first: what a listener raises is chained to it
                if report is not None:
                    report.send(error)
                self._end(head, pooled=pooled)
                raise
            else:
                self._end(head, pooled=pooled)
                if report is not None:
                    report.send(None)
                return result
            await self.limiter.acquire(
                request.operation,
                pooled=pooled,
                max_wait=None if polling else self.options.request_timeout,
                deadline=deadline,
                priority=True,
                since=_FIRST,
            )

    def _end(self, head: ResponseHead, *, pooled: bool) -> None:
        if pooled:
            self.limiter.release()
        else:
            # Not from the head on: the status of a rental in doubt is asked before the pause.
            self._pause_after(head)

    def _pause_after(self, head: ResponseHead) -> None:
        # Whatever comes of its body, and of the call: a rent may be paid, or cancelled.
        if head.http_status == TOO_MANY_REQUESTS:
            seconds = retry_after(head.headers)
            if seconds is not None:
                self.limiter.cool_down(seconds)

    def _listeners(self) -> Sequence[OnExchange]:
        return self.options.listeners

    async def _with_retries(
        self,
        request: Request,
        attempt: Callable[[int], Awaitable[_T]],
        may_repeat: Callable[[BaseException], bool],
    ) -> _T:
        try:
            return await attempt(1)
        except Exception as error:
            if self.options.retry.attempts == 1 or not self._may_retry(error, may_repeat):
                raise
            failure = error
        numbers = itertools.count(2)
        return await call_until(
            lambda: attempt(next(numbers)),
            failure=failure,
            retry=lambda error: self._may_retry(error, may_repeat),
            stop=stop_after_attempt(self.options.retry.attempts),
            wait=self.options.retry.delay,
            sleep=self.state.sleep_unless_closed,
            before_sleep=partial(log_retry, request),
        )

    def _may_retry(self, error: BaseException, may_repeat: Callable[[BaseException], bool]) -> bool:
        if self.state.closed and isinstance(error, TransportError):
            return False  # it was close() that ended the request
        # A call must not hang for the hour that a reply may ask for: a pause that is longer than
        # one request may take is an error.
        return may_repeat(error) and (wait_asked_by(error) or 0) <= self.options.request_timeout


async def _run_after(turn: Awaitable[None], run: Callable[[], Awaitable[_T]]) -> _T:
    await turn
    return await run()


def _unchanged(result: _T) -> _T:
    """Return the result of a priority exchange, which reads its reply itself."""
    return result
