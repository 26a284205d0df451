"""Asks where one rental stands, once a call, and reports each check of a wait.

When to ask is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from smspartner_async._errors import SMSPartnerError
    from smspartner_async._http.exchange import OnExchange
    from smspartner_async._http.options import ClientOptions
    from smspartner_async._http.pipeline import RequestPipeline
    from smspartner_async._models import RentalStatus
    from smspartner_async._wire.codec import Request, Wire
    from smspartner_async._wire.reply import Reply


@frozen(kw_only=True)
class PollEvent:
    """One check of a wait: what `on_poll` is called with.

    Attributes:
        token: the rental.
        attempt: the check's number, from 1 on.
        elapsed: seconds since the wait began.
        status: what the check found; `None` where it failed.
        error: why it failed; `None` where it did not.
        next_delay: seconds until the next check; `None` after the last one.
    """

    token: str
    attempt: int
    elapsed: float
    status: RentalStatus | None
    error: SMSPartnerError | None
    next_delay: float | None


@define(eq=False, repr=False)
class StatusPoller:
    """Polls the status of one rental: `try_acquire` or `acquire` take a turn, `poll` uses it."""

    token: str
    codec: Wire
    pipeline: RequestPipeline
    request: Request = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.request = self.codec.status_request(self.token)

    @property
    def options(self) -> ClientOptions:
        """Those of the client that waits."""
        return self.pipeline.options

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called on the client that waits."""
        return self.pipeline.state.closed

    def try_acquire(self) -> bool:
        """Take a turn if there is one now, without waiting; `poll` must follow at once."""
        self.pipeline.state.check_usable()
        return self.pipeline.limiter.try_acquire()

    def acquire(self, deadline: float | None, since: float) -> Awaitable[None]:
        """Wait for a turn in the queue; `poll` must follow at once.

        Args:
            deadline: loop time up to which to wait.
            since: loop time of the last poll of this rental: the oldest goes first.

        Raises:
            RateLimitError: a cool-down lasts past the deadline. Nothing is sent.
            TransportError: the turn did not come before the deadline. Nothing is sent.
        """
        return self.pipeline.limiter.acquire("status", deadline=deadline, since=since)

    def poll(
        self, deadline: float | None, listeners: Callable[[], Sequence[OnExchange]]
    ) -> Awaitable[RentalStatus]:
        """Send one poll, and read its reply.

        Args:
            deadline: loop time, past which it never runs.
            listeners: returns whom to call with the `Exchange` once it has ended.
        """
        return self.pipeline.poll(self.request, self._read, deadline, listeners)

    def _read(self, reply: Reply) -> RentalStatus:
        return self.codec.status(self.token, reply)
