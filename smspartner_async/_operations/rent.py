"""Rent: a paid request that is sent at most once, and whose answer is never lost.

The vendor has no idempotency key, so a rent whose answer was lost may have been charged. It is sent
again only where nothing can have been rented: no byte of it left, or the vendor answered 429.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from attrs import define, field

from smspartner_async._callbacks import call_or_log
from smspartner_async._completion import run_to_completion
from smspartner_async._errors import (
    AlreadyDownloadedError,
    PriceExceededError,
    RateLimitError,
    RentalFailedError,
    RentOutcomeUnknownError,
    ResponseError,
    SMSPartnerError,
    TransportError,
)
from smspartner_async._http.state import SendState
from smspartner_async._log import log, log_fields
from smspartner_async._models import Rental, RentalState
from smspartner_async._validation import check_callback, check_price
from smspartner_async._values.instant import Instant
from smspartner_async._wire.rent_verdict import NoRental, Outcome
from smspartner_async._wire.reply import Reply

from .status_poller import StatusPoller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from decimal import Decimal

    from smspartner_async._http.pipeline import RequestPipeline
    from smspartner_async._http.state import ResponseHead
    from smspartner_async._models import Quote, Targeting
    from smspartner_async._wire.codec import Request, Wire

BEFORE_SENDING: Final[ContextVar[Callable[[], Awaitable[None]] | None]] = ContextVar(
    "before_sending", default=None
)
"""Called in this context just before the first byte of a rent is sent.

What it raises ends the rent, unsent. A store checks its claim there.
"""

_PRICE_HOLDS: Final = 60.0  # seconds
_MOST_PRICES: Final = 3


class _PriceTooOldError(Exception):
    """The rent was about to be sent, but its price is too old by now."""


class _Sending(SendState):
    """A rent under way, and what its reply says."""

    read: Rental | NoRental
    """What a whole reply says. There is none before it came."""
    length: int
    """Bytes of its body."""

    def __init__(self, codec: Wire) -> None:
        self._codec = codec

    def is_certain(self, reply: Reply) -> bool:
        """Read a whole reply; return whether it says if something was rented.

        An empty one does not: its length may be wrong.
        """
        self.read, self.length = self._codec.rent_reply(reply), len(reply.body)
        if isinstance(self.read, Rental):
            return True
        return self.read.outcome is not Outcome.UNKNOWN and self.length > 0


@define(eq=False, repr=False)
class Purchase:
    """One rent, from its price to the token's delivery to the caller."""

    pipeline: RequestPipeline
    codec: Wire
    price: Callable[[], Awaitable[Quote]]
    targeting: Targeting
    volumes: Mapping[str, int] | None
    max_total: Decimal | None
    on_rented: Callable[[Rental], Awaitable[object] | object] | None
    request: Request = field(init=False)
    _priced_at: Instant | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        check_callback("on_rented", self.on_rented, "a Rental")
        self.request = self.codec.targeting_request("rent", self.targeting, self.volumes)

    async def run(self) -> Rental:
        """Ask for the price first where there is a limit, then rent.

        Raises:
            PriceExceededError: the price is above `max_total`, or unknown.
            SMSPartnerError: as `attempt`.
        """
        send = partial(self.pipeline.run_priority, self.request, self.attempt, self.may_repeat)
        if self.max_total is None:
            return await send()
        for _ in range(_MOST_PRICES):
            await self._check_price(self.max_total)
            try:
                # Queued first, so that the price is still fresh when the rent is sent.
                return await send(since=-math.inf)
            except _PriceTooOldError:
                continue  # it was queued, or waited to be sent again
        raise _not_rented(
            f"The rent was queued until its price was over {_PRICE_HOLDS:.0f} s old, "
            f"{_MOST_PRICES} times."
        )

    async def _check_price(self, max_total: Decimal) -> None:
        asked_at = Instant()
        try:
            quote = await self.price()
        except ResponseError as error:
            raise PriceExceededError(quote=None, max_total=max_total) from error
        except TransportError as error:
            raise _not_rented(f"The price could not be asked. {error.problem}") from error
        except SMSPartnerError as error:
            error.args = (f"Nothing was rented, as there is no price. {error}",)
            raise
        check_price(quote, max_total)
        self._priced_at = asked_at

    def may_repeat(self, error: BaseException) -> bool:
        """Return whether `error` proves that nothing was rented, so that it may be sent again."""
        return isinstance(error, RateLimitError) or (
            isinstance(error, TransportError) and not error.maybe_sent
        )

    async def attempt(self, head: ResponseHead) -> Rental:
        """Send the rent once, and wait for its answer even if the caller is cancelled meanwhile.

        Raises:
            RentOutcomeUnknownError: it may have been charged.
            APIError: the vendor refused it.
            TransportError: nothing was sent.
            CancelledError: after the answer came, and `on_rented` was called.
        """
        sending = _Sending(self.codec)
        sending.before_head = partial(self._check_before_sending, BEFORE_SENDING.get())
        warned = False

        def cancelled(task: asyncio.Future[Rental]) -> None:
            nonlocal warned
            if not sending.head_sent:
                task.cancel()  # nothing has left, and nothing will
            elif not warned:
                # So that a user who presses Ctrl-C sees why the program does not end yet.
                log.warning(
                    "cancelled while a rent is under way: waiting for its answer first",
                    extra=log_fields("rent", None),
                )
                warned = True

        work = asyncio.ensure_future(self._exchange(sending, head))
        try:
            return await run_to_completion(work, on_cancelled=cancelled)
        except asyncio.CancelledError as error:
            if not work.cancelled() and work.exception() is None:
                self._hand_over(work.result(), error)
            raise

    async def _check_before_sending(self, check: Callable[[], Awaitable[None]] | None) -> None:
        if self._priced_at is not None and self._priced_at.is_older_than(_PRICE_HOLDS):
            raise _PriceTooOldError
        if check is not None:
            await check()

    async def _exchange(self, sending: _Sending, head: ResponseHead) -> Rental:
        sent_at = datetime.now(UTC)
        failure: SMSPartnerError | None = None
        try:
            await self.pipeline.transport.send_unpooled(self.request, sending, head)
            read = self._read(sending)
        except (Exception, asyncio.CancelledError) as error:
            if not sending.head_sent:
                raise
            failure = error if isinstance(error, SMSPartnerError) else _unexpected(error)
            # A broken reply may hold the token.
            came = Reply(0, {}, b"") if sending.raw is None else sending.raw.read()
            read = self.codec.rent_reply(came, whole=False)
        rental = read if isinstance(read, Rental) else await self._confirmed(read.seen_token)
        if rental is not None:
            await self._report(rental)
            return rental
        assert isinstance(read, NoRental)  # noqa: S101 - for the type checker
        if read.outcome is not Outcome.UNKNOWN:
            raise read.error
        unknown = RentOutcomeUnknownError(
            targeting=self.targeting,
            volumes=self.volumes,
            sent_at=sent_at,
            cause=failure or read.error,
            seen_token=read.seen_token,
        )
        status = getattr(unknown.cause, "http_status", None)
        more = {"seen_token": read.seen_token}
        log.error("%s", unknown, extra=log_fields("rent", None, http_status=status) | more)
        raise unknown

    def _read(self, sending: _Sending) -> Rental | NoRental:
        """Read a whole reply; where it is no rental, all bytes that came with it as well."""
        read = sending.read
        if isinstance(read, Rental) or sending.raw is None:
            return read
        # Whole for HTTP, and yet cut: its length is too short, or its status allows no body; or
        # another reply came behind it.
        came = sending.raw.read()
        more = self.codec.rent_reply(came, whole=False)
        if isinstance(more, Rental) or came.body[sending.length :].strip() or more.seen_token:
            return more
        return read

    async def _confirmed(self, seen_token: str | None) -> Rental | None:
        """Return the rental, if the vendor knows the token that a doubtful reply held.

        Its status is free, and is requested once: the caller can do so again after the error.
        """
        if seen_token is None:
            return None
        poller = StatusPoller(seen_token, self.codec, self.pipeline)
        now = asyncio.get_running_loop().time()
        deadline = now + poller.options.request_timeout
        try:
            if not poller.try_acquire():
                await poller.acquire(deadline, now)
            status = await poller.poll(deadline, lambda: poller.options.listeners)
        except (RentalFailedError, AlreadyDownloadedError):
            pass  # the vendor knows it
        except (Exception, asyncio.CancelledError):  # noqa: BLE001
            return None  # of a borrowed session's hook, too: the doubt stays
        else:
            if status.state is RentalState.UNKNOWN:
                return None  # perhaps not the vendor's answer
        return Rental(token=seen_token)

    def _hand_over(self, rental: Rental, cancelled: asyncio.CancelledError) -> None:
        """Note the token on the cancellation: nothing can be returned to a cancelled caller."""
        cancelled.add_note(f"The rent was cancelled, and is paid: its token is {rental.token}.")
        if self.on_rented is None:
            log.warning(
                "rent was cancelled and is paid: token %s; pass it to wait_until_ready()",
                rental.token,
                extra=log_fields("rent", None) | {"token": rental.token},
            )

    async def _report(self, rental: Rental) -> None:
        """Log the token and call `on_rented` with it."""
        log.info(
            "rented: token %s",
            rental.token,
            # In full, only here: without its token a rental is lost.
            extra=log_fields("rent", None, total=rental.total) | {"token": rental.token},
        )
        if self.on_rented is None:
            return
        # Not raised: a failure of the callback would look like a failed rent, and the token would
        # be lost. Nor a `CancelledError`: it is the callback's, as this task is not cancelled.
        with suppress(asyncio.CancelledError):
            await call_or_log(
                self.on_rented,
                rental,
                failed=f"on_rented failed for rental {rental.token}, which is paid",
                extra=log_fields("rent", None) | {"token": rental.token},
            )


def _unexpected(error: BaseException) -> TransportError:
    name = type(error).__name__
    return TransportError(f"Something unexpected happened ({name}).", maybe_sent=True)


def _not_rented(problem: str) -> TransportError:
    """Make the error of a rent that was not sent, although its price may have been asked."""
    error = TransportError(problem, maybe_sent=False)
    error.args = (f"{problem} Nothing was rented, so it is safe to try again.",)
    return error
