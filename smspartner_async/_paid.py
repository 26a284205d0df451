"""A paid request: sent at most once, and its answer is never lost.

There is no idempotency key, so a rent whose answer was lost may have been charged. It is sent again
only after what proves that nothing was rented: no byte of it left, or the vendor answered 429.
"""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import frozen

from ._codes import ALL_WENT_WELL, ALREADY_DOWNLOADED_CODE, FAILED_CODE
from ._errors import (
    REFUSALS,
    APIError,
    RateLimitError,
    RentOutcomeUnknownError,
    SMSPartnerError,
    TransportError,
)
from ._log import fields, log
from ._transport import Sending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from ._models import Rental, Targeting
    from ._reply import Reply

_T = TypeVar("_T")

_SERVER_ERROR: Final = 500
# In reply to a rent these say nothing: two tell of a file, and one that all went well.
_NO_ANSWERS: Final = (ALREADY_DOWNLOADED_CODE, FAILED_CODE, ALL_WENT_WELL)


def proves_nothing_rented(error: BaseException) -> bool:
    """Whether a rent may be sent again after this failure of an earlier try."""
    return isinstance(error, RateLimitError) or (
        isinstance(error, TransportError) and not error.maybe_sent
    )


@frozen(eq=False, repr=False)
class PaidRequest:
    """One rent, from its sending to the moment when its token is in the caller's hands."""

    targeting: Targeting
    volumes: Mapping[str, int] | None
    send: Callable[[Sending], Coroutine[Any, Any, Reply]]
    read: Callable[[Reply], Rental]
    on_rented: Callable[[Rental], Awaitable[object] | object] | None

    async def attempt(self) -> Rental:
        """Send it once, and see it through even if the caller is cancelled meanwhile.

        Raises:
            RentOutcomeUnknownError: it may have been charged.
            APIError: the vendor's clear no.
            TransportError: nothing was sent.
            CancelledError: after the answer came, and `on_rented` was told of the rental.
        """
        sending = Sending()
        return await _to_the_end(self._exchange(sending), lambda: sending.head_sent)

    async def _exchange(self, sending: Sending) -> Rental:
        sent_at = datetime.now(UTC)
        try:
            rental = self.read(await self.send(sending))
        except (Exception, asyncio.CancelledError) as error:
            if not sending.head_sent or _is_clear_no(error):
                raise
            cause = error if isinstance(error, SMSPartnerError) else _unexpected(error)
            unknown = RentOutcomeUnknownError(
                targeting=self.targeting, volumes=self.volumes, sent_at=sent_at, cause=cause
            )
        else:
            total = rental.cost.total if rental.cost is not None else None
            log.info(
                "rented: token %s",
                rental.token,
                # Whole, here alone: without its token a rental is lost.
                extra=fields("rent", None, total=total) | {"token": rental.token},
            )
            await self._tell(rental)
            return rental
        log.error(
            "%s",
            unknown,
            extra=fields("rent", None, http_status=getattr(cause, "http_status", None)),
        )
        raise unknown  # not inside the handler: an unexpected error may show what it should not

    async def _tell(self, rental: Rental) -> None:
        if self.on_rented is None:
            return
        try:
            told = self.on_rented(rental)
            if inspect.isawaitable(told):
                await told
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the user's own callback
            # Raised instead, it would look like a failed rent, and the token would be lost. So
            # would a cancellation of something that the callback waits for.
            log.exception(
                "on_rented failed for rental %s, which is paid",
                rental.token,
                extra=fields("rent", None) | {"token": rental.token},
            )


def _is_clear_no(error: BaseException) -> bool:
    """Whether the vendor said no, so that it is certain that nothing was rented."""
    if type(error) is APIError:  # an undocumented code, or none
        return error.http_status < _SERVER_ERROR and error.code not in _NO_ANSWERS
    return isinstance(error, REFUSALS)


def _unexpected(error: BaseException) -> TransportError:
    name = type(error).__name__
    return TransportError(f"Something unexpected happened ({name}).", maybe_sent=True)


async def _to_the_end(work: Coroutine[Any, Any, _T], is_under_way: Callable[[], bool]) -> _T:
    """Run `work` to its end, whoever cancels; pass the cancellation on afterwards.

    Work that is not yet under way is given up at once.
    """
    task = asyncio.ensure_future(work)
    # When its loop shuts down, asyncio.run() cancels every task that is registered. This one must
    # outlive that, by at most the request's timeout: its caller, which is registered, waits for it.
    asyncio._unregister_task(task)  # noqa: SLF001 - asyncio's documented extension interface
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            if not is_under_way():
                task.cancel()
            elif cancelled is None:
                # Whoever presses Ctrl-C should know why nothing happens, and not press it again.
                log.warning(
                    "cancelled while a rent is under way: waiting for its answer first",
                    extra=fields("rent", None),
                )
            cancelled = error
    if cancelled is None:
        return task.result()
    if task.cancelled():
        raise cancelled  # the caller's own, with the message that its canceller may look for
    if (failure := task.exception()) is not None:
        raise cancelled from failure
    cancelled.add_note(f"The request was seen through: {task.result()!r}")
    raise cancelled
