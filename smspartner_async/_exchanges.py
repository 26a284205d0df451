"""One request as seen from outside: for `on_exchange`, and for the log.

Nothing here runs for a client that nobody watches.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from attrs import field, frozen
from multidict import CIMultiDict

from ._errors import SMSPartnerError
from ._log import fields, log, shortened
from ._transport import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tenacity import RetryCallState

    from ._retry import Gate
    from ._wire import Request

    OnExchange = Callable[["Exchange"], object]


@frozen(kw_only=True, eq=False)
class Exchange:
    """One request, and what came of it: `on_exchange` is told of each.

    Attributes:
        operation: calculate, price, rent, status, download or credits.
        token: the rental that was asked about; `None` where it was about none.
        method: of HTTP.
        path: behind the base URL, without the query, in which the API key stands.
        attempt: 1, or more where the same request was sent before.
        polling: whether it is a check of a wait (`wait_until_ready`, `watch`).
        http_status: of the reply; `None` where not even its head came.
        headers: of the reply, looked up without regard to case, with the API key removed wherever
            it is echoed; empty where none came.
        elapsed: seconds that it took: for a rent with its `on_rented`, for a download to its end.
        error: what it failed with; `None` where it succeeded or was cancelled.
    """

    operation: str
    token: str | None
    method: str
    path: str
    attempt: int
    polling: bool
    http_status: int | None
    headers: Mapping[str, str] = field(repr=False)
    elapsed: float
    error: SMSPartnerError | None


class Watch(Head):
    """Stands around one request, as the gate does, and tells of it once it has ended.

    `listeners` is asked at the end: others may have begun to wait for the answer meanwhile.
    """

    def __init__(
        self,
        request: Request,
        gate: Gate,
        *,
        clean: Callable[[str], str],
        listeners: Callable[[], Sequence[OnExchange]],
        attempt: int,
        polling: bool,
    ) -> None:
        super().__init__()
        self.request = request
        self.gate = gate
        self.clean = clean
        self.listeners = listeners
        self.attempt = attempt
        self.polling = polling
        self._started = 0.0

    def __enter__(self) -> Self:
        self._started = asyncio.get_running_loop().time()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._tell(error)
        self.gate.__exit__(kind, error, traceback)

    def _tell(self, error: BaseException | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, SMSPartnerError):
            return  # of the disk, say: nothing was sent
        listeners = self.listeners()
        exchange = Exchange(
            operation=self.request.operation,
            token=self.request.token,
            method=self.request.method,
            path=self.request.target.partition("?")[0],
            attempt=self.attempt,
            polling=self.polling,
            http_status=self.http_status,
            headers=self._clean_headers() if listeners else {},
            elapsed=asyncio.get_running_loop().time() - self._started,
            error=error if isinstance(error, SMSPartnerError) else None,
        )
        _write_down(exchange)
        for listener in listeners:
            try:
                listener(exchange)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001 - as below
                # A rental may be paid by now: nothing is worth losing its token. A cancellation
                # that comes from in here is one of something that the listener looked at.
                log.exception("on_exchange failed; %s goes on", exchange.operation)

    def _clean_headers(self) -> CIMultiDict[str]:
        pairs = self.headers.items()
        return CIMultiDict((self.clean(name), self.clean(value)) for name, value in pairs)


def _write_down(exchange: Exchange) -> None:
    came = "no reply" if exchange.http_status is None else f"HTTP {exchange.http_status}"
    log.debug(
        "%s: %s after %.3f s",
        _subject(exchange.operation, exchange.token),
        came if exchange.error is None else f"{came}, {type(exchange.error).__name__},",
        exchange.elapsed,
        extra=fields(
            exchange.operation,
            exchange.token,
            attempt=exchange.attempt,
            http_status=exchange.http_status,
            elapsed=exchange.elapsed,
        ),
    )


def tell_of_retry(request: Request, state: RetryCallState) -> None:
    """Write down that a request failed and is sent once more."""
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning(
        "%s: attempt %d failed, the next one is in %.1f s: %s",
        _subject(request.operation, request.token),
        state.attempt_number,
        state.upcoming_sleep,
        error,
        extra=fields(
            request.operation,
            request.token,
            attempt=state.attempt_number,
            delay=state.upcoming_sleep,
            http_status=getattr(error, "http_status", None),
        ),
    )


def _subject(operation: str, token: str | None) -> str:
    return operation if token is None else f"{operation} of rental {shortened(token)}"
