"""Report each request to `on_exchange` and to the log.

Nothing here runs for a client without a listener whose log is not at DEBUG.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import field, frozen
from multidict import CIMultiDict

from smspartner_async._callbacks import call_plain_or_log
from smspartner_async._errors import SMSPartnerError
from smspartner_async._log import log, log_fields, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smspartner_async._wire.codec import Request

    from .state import ResponseHead

    OnExchange = Callable[["Exchange"], object]


@frozen(kw_only=True, eq=False)
class Exchange:
    """One request and its outcome: what `on_exchange` is called with.

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


@frozen(kw_only=True, eq=False, repr=False)
class ExchangeReport:
    """Reports one request to the log and to the listeners, once it has ended.

    `listeners` is called at the end: other waits may have joined the request meanwhile.
    """

    request: Request
    redact: Callable[[str], str]
    listeners: Callable[[], Sequence[OnExchange]]
    attempt: int
    polling: bool
    head: ResponseHead
    _started: float = field(factory=lambda: asyncio.get_running_loop().time(), init=False)

    def send(self, error: BaseException | None) -> None:
        """Report the end of the request: its error, or `None` for a success."""
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
            http_status=self.head.http_status,
            headers=self._clean_headers() if listeners else {},
            elapsed=asyncio.get_running_loop().time() - self._started,
            error=error if isinstance(error, SMSPartnerError) else None,
        )
        _write_to_log(exchange)
        for listener in listeners:
            # Logged, not raised: a rental may be paid by now, and its token must not be lost.
            call_plain_or_log(
                listener, exchange, failed=f"on_exchange failed during {exchange.operation}"
            )

    def _clean_headers(self) -> CIMultiDict[str]:
        redact = self.redact
        pairs = self.head.headers.items()
        return CIMultiDict((redact(name), redact(value)) for name, value in pairs)


def _write_to_log(exchange: Exchange) -> None:
    came = "no reply" if exchange.http_status is None else f"HTTP {exchange.http_status}"
    log.debug(
        "%s: %s after %.3f s",
        subject(exchange.operation, exchange.token),
        came if exchange.error is None else f"{came}, {type(exchange.error).__name__},",
        exchange.elapsed,
        extra=log_fields(
            exchange.operation,
            exchange.token,
            attempt=exchange.attempt,
            http_status=exchange.http_status,
            elapsed=exchange.elapsed,
        ),
    )
