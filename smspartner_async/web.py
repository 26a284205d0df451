"""What every web service in front of the client needs: one rent an order, events, problems.

It knows no web framework: a stream is bytes to write, and a problem is a `dict` to send as JSON.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define, field

from ._checks import check_positive
from ._errors import (
    AlreadyDownloadedError,
    ConfigurationError,
    FileNotReadyError,
    InsufficientCreditError,
    InvalidRequestError,
    PriceExceededError,
    RateLimitError,
    RentalFailedError,
    RentalNotFoundError,
    RentOutcomeUnknownError,
    SMSPartnerError,
    TargetingError,
    WaitTimeoutError,
)
from ._models import checked_volumes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from decimal import Decimal

    from ._client import SMSPartnerClient
    from ._models import Rental, RentalStatus, Targeting

__all__ = ["SSE_HEADERS", "RentOnce", "problem", "server_sent_events"]

SSE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",  # nginx and its kin would hold the events back
    }
)
"""The headers of a reply that streams `server_sent_events`."""

# All others are 502: the vendor, or the way to it, failed the service. A wrong API key is no 401,
# since it is not the caller's.
_STATUSES: Final[dict[type[SMSPartnerError], int]] = {
    TargetingError: 422,
    InvalidRequestError: 422,
    # Proxies and clients send a request again after a 5xx, and this one must not be.
    RentOutcomeUnknownError: 409,
    PriceExceededError: 409,
    FileNotReadyError: 409,
    InsufficientCreditError: 402,
    RentalNotFoundError: 404,
    AlreadyDownloadedError: 410,
    RentalFailedError: 410,
    RateLimitError: 503,
    ConfigurationError: 503,
    WaitTimeoutError: 504,
}


@define(eq=False)
class RentOnce:
    """Rents once for each key of the caller's, however often it is asked: for double-clicks.

    All who come with one key get the one rental, or the one `RentOutcomeUnknownError`. After any
    other `SMSPartnerError` nothing was rented, and the key may try again; what is none (a mistake
    in the service) stays with its key. A rent goes on when its caller goes away. Used as
    `async with RentOnce(client) as rents:`, inside of the client's own: its end waits for the rents
    in flight.

    Keys are known to this object alone, as long as it lives. A service of several processes, or one
    that restarts, needs a record of its own beside it: the key, with a unique constraint, from
    before the rent; the token, from `on_rented`. A key there without a token is an outcome that
    nobody knows.

    Args:
        client: the service's one client.
        max_total: as in `client.rent`, for every rent.
        on_rented: plain or async; called as `client.rent` calls its own, with the key and the
            `Rental`. Store them.
    """

    # Checkers other than mypy do not know that attrs takes the underscores away.
    _client: SMSPartnerClient = field(alias="client")
    _max_total: Decimal | int | None = field(default=None, kw_only=True, alias="max_total")
    _on_rented: Callable[[str, Rental], Awaitable[object] | object] | None = field(
        default=None, kw_only=True, alias="on_rented"
    )
    _orders: dict[str, tuple[object, asyncio.Task[Rental]]] = field(factory=dict, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for _, task in self._orders.values()]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __call__(
        self, key: str | None, targeting: Targeting, volumes: Mapping[str, int] | None = None
    ) -> Rental:
        """Rent as `client.rent` does, or return what the same order with this key came to.

        Args:
            key: the caller's own name for this order, such as its `Idempotency-Key` header.
            targeting: whom to reach.
            volumes: as in `client.rent`.

        Raises:
            TargetingError: volumes that cannot be right, a key that is missing or blank, or one
                that came with another order. Nothing was sent.
            SMSPartnerError: as `client.rent`.
        """
        if not key or not key.strip():
            raise TargetingError((("key", "is missing: send one, the same for the same order"),))
        order = targeting, checked_volumes(volumes)
        if key not in self._orders:
            self._orders[key] = order, asyncio.create_task(self._rent(key, *order))
        known, task = self._orders[key]
        if known != order:
            raise TargetingError((("key", "belongs to another order: send a new one"),))
        return await asyncio.shield(task)

    async def _rent(
        self, key: str, targeting: Targeting, volumes: Mapping[str, int] | None
    ) -> Rental:
        told = None if self._on_rented is None else partial(self._on_rented, key)
        try:
            return await self._client.rent(
                targeting, volumes, max_total=self._max_total, on_rented=told
            )
        except SMSPartnerError as error:
            if not isinstance(error, RentOutcomeUnknownError):
                del self._orders[key]
            raise


def problem(error: SMSPartnerError) -> dict[str, Any]:
    """Describe an error as RFC 9457 ("problem+json") asks for. Neither key nor number is in it.

    Its `status` is the HTTP status to send it with: 409 for an outcome that nobody knows, so that
    no proxy sends the rent again; 503 with `retry_after` (seconds, where known) for a 429; 502 for
    whatever is the vendor's trouble or the service's own, a wrong API key among it. A
    `TargetingError` lists its bad fields as `errors`. `type` and `title` name the error's class.
    """
    name = type(error).__name__
    described: dict[str, Any] = {
        "type": f"urn:smspartner-async:{name}",
        "title": name,
        "status": next((code for cls, code in _STATUSES.items() if isinstance(error, cls)), 502),
        "detail": str(error),
    }
    if isinstance(error, TargetingError):
        described["errors"] = [{"field": field, "detail": text} for field, text in error.problems]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        described["retry_after"] = retry_after
    return described


async def server_sent_events(
    states: AsyncGenerator[RentalStatus, None], *, heartbeat: float = 15.0
) -> AsyncGenerator[bytes, None]:
    """Turn what `client.watch` yields into the bytes of an event stream, for a browser.

    Each status is a `message` whose data is JSON: `token`, `state` (such as `"READY"`), `message`,
    `phone_numbers` (how many), and `final`. The first one is the state now, so a browser that comes
    back has missed nothing, and needs no `Last-Event-ID`. An error is a `problem`, as `problem()`
    describes it. After a final state or a problem a page must close its EventSource, or it comes
    back for more; when the client was closed, the stream just ends, and it shall come back.

    Closing it, or cancelling whoever reads from it, ends the watch. Use it within `aclosing`.

    Args:
        states: the generator that `client.watch(token)` returned. It is closed in the end.
        heartbeat: seconds, above 0, after which a comment is sent where nothing else is. It keeps
            proxies from hanging up, and tells a server that the browser is gone.

    Raises:
        ValueError: a heartbeat out of its range.
    """
    check_positive("heartbeat", heartbeat)
    look: asyncio.Future[RentalStatus | None] | None = None
    try:
        yield b"retry: 3000\n\n"  # milliseconds until a browser comes back; and the reply begins
        while True:
            look = asyncio.ensure_future(anext(states, None))
            while not (await asyncio.wait((look,), timeout=heartbeat))[0]:
                yield b": still waiting\n\n"
            status = look.result()
            if status is None:
                return
            yield _event("message", _shown(status))
    except ConfigurationError:
        return
    except SMSPartnerError as error:
        yield _event("problem", problem(error))
    finally:
        if look is not None and look.cancel():
            await asyncio.wait((look,))  # a cancelled look ends the watch
        else:
            await states.aclose()


def _shown(status: RentalStatus) -> dict[str, Any]:
    return {
        "token": status.token,
        "state": status.state.name,
        "message": status.message,
        "phone_numbers": status.phone_numbers,
        "final": status.state.is_terminal,
    }


def _event(name: str, data: dict[str, Any]) -> bytes:
    # JSON written so has no line ends, which would end the field.
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
