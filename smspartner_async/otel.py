"""OpenTelemetry for a client (extra `otel`): spans, and counters of polls, retries, 429s and money.

    client = traced(SMSPartnerClient())

Needs OpenTelemetry's API alone; where its spans and figures go is the application's to set up.
Neither the API key nor a phone number is in them: URLs stand without their query. Tokens are cut
short, save in the words of an exception. What fails in OpenTelemetry is logged, and changes no
call. Nothing of the core imports this, and a client that is not traced pays nothing for it.
"""

from __future__ import annotations

import copy
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from attrs import define, field

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, StatusCode
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "Tracing needs the extra: pip install 'smspartner_async[otel]'", name=_missing.name
    ) from _missing
from yarl import URL

from ._client import SMSPartnerClient
from ._codes import TOO_MANY_REQUESTS
from ._errors import RentOutcomeUnknownError, SMSPartnerError
from ._log import log, shortened
from ._polling import Default

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
    from decimal import Decimal

    from ._checks import HasToken
    from ._exchanges import Exchange
    from ._models import Quote, Rental, RentalState, RentalStatus, Targeting
    from ._polling import PollEvent
    from ._waiting import Wait

__all__ = ["traced"]

_Method = TypeVar("_Method", bound="Callable[..., Any]")
_NAME: Final = "smspartner_async"


def traced(
    client: SMSPartnerClient,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> SMSPartnerClient:
    """Make a client that does all that `client` does, and tells OpenTelemetry of it.

    It takes the place of `client`: they share everything, and closing either closes both. What
    `with_options` makes of it is traced too.

    Args:
        client: the client, as it is to be used.
        tracer_provider: where spans go; by default the application's global one.
        meter_provider: where counts go; by default the application's global one.
    """
    tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
    meter = metrics.get_meter(_NAME, meter_provider=meter_provider)
    return _TracedClient(client, tracer, meter)


def _spanned(method: _Method) -> _Method:
    """Make a span of each call of an operation."""

    @wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._telemetry.operation(method.__name__):
            return await method(self, *args, **kwargs)

    return cast("_Method", call)


class _TracedClient(SMSPartnerClient):
    """A client on top of what another one has."""

    def __init__(
        self, client: SMSPartnerClient, tracer: trace.Tracer, meter: metrics.Meter
    ) -> None:
        vars(self).update(vars(client))
        self._telemetry = _Telemetry(self._transport.base_url, tracer, meter)
        self._dispatcher = copy.copy(self._dispatcher)
        self._dispatcher.listeners = (*self._dispatcher.listeners, self._telemetry.exchanged)

    calculate = _spanned(SMSPartnerClient.calculate)
    status = _spanned(SMSPartnerClient.status)
    download = _spanned(SMSPartnerClient.download)
    credits = _spanned(SMSPartnerClient.credits)

    async def _price(
        self, targeting: Targeting, volumes: Mapping[str, int] | None, *, urgent: bool
    ) -> Quote:
        with self._telemetry.operation("price"):
            return await super()._price(targeting, volumes, urgent=urgent)

    async def rent(
        self,
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
        *,
        max_total: Decimal | int | None = None,
        on_rented: Callable[[Rental], Awaitable[object] | object] | None = None,
    ) -> Rental:
        def rented(rental: Rental) -> Awaitable[object] | object:
            # Here, and not when the call returns: it may be cancelled, and the rental is paid.
            self._telemetry.rented(rental)
            return on_rented(rental) if on_rented is not None else None

        with self._telemetry.operation("rent"):
            return await super().rent(targeting, volumes, max_total=max_total, on_rented=rented)

    async def wait_until_ready(
        self,
        token: str | HasToken,
        *,
        timeout: float | Default | None = Default.POLICY,  # noqa: ASYNC109 - as in the client
        on_poll: Callable[[PollEvent], Awaitable[object] | object] | None = None,
    ) -> RentalStatus:
        wait = self._wait(token, timeout, on_poll)
        with self._telemetry.waiting(wait) as span, _current(span):
            return await wait.until_ready()

    def watch(
        self, token: str | HasToken, *, timeout: float | Default | None = Default.POLICY
    ) -> AsyncGenerator[RentalStatus, None]:
        return self._changes(self._wait(token, timeout, None))

    async def _changes(self, wait: Wait) -> AsyncGenerator[RentalStatus, None]:
        # Not the current span: whoever loops over this goes on in between.
        with self._telemetry.waiting(wait):
            async with aclosing(wait.changes()) as changes:
                async for status in changes:
                    yield status


@define(eq=False)
class _Telemetry:
    """What is told to OpenTelemetry, and in which words."""

    _base_url: str
    _tracer: trace.Tracer
    _meter: metrics.Meter
    _server: dict[str, str | int] = field(init=False)
    _polls: metrics.Counter = field(init=False)
    _retries: metrics.Counter = field(init=False)
    _rate_limited: metrics.Counter = field(init=False)
    _rents: metrics.Counter = field(init=False)
    _spent: metrics.Counter = field(init=False)

    def __attrs_post_init__(self) -> None:
        url = URL(self._base_url)
        self._server = {"server.address": url.host or "", "server.port": url.port or 0}
        count = self._meter.create_counter
        self._polls = count("smspartner.polls", "{request}", "Requests made by waits.")
        self._retries = count("smspartner.retries", "{request}", "Requests sent once more.")
        self._rate_limited = count("smspartner.rate_limited", "{reply}", "Replies of HTTP 429.")
        self._rents = count("smspartner.rents", "{rental}", "Rents that are, or may be, paid.")
        self._spent = count("smspartner.spent", "{currency}", "What rents cost, where told.")

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Make a span for one operation, from its first request to its last."""
        with self._span(name, SpanKind.CLIENT) as span, _current(span):
            before = _OPERATION.set(span)
            try:
                yield
            except RentOutcomeUnknownError:
                with _harmless():
                    self._rents.add(1, {"smspartner.outcome": "unknown"})
                raise
            finally:
                _OPERATION.reset(before)

    @contextmanager
    def waiting(self, wait: Wait) -> Iterator[trace.Span]:
        """Make a span for one wait, with an event for each new state and each failed check."""
        state: RentalState | None = None
        told = wait.on_poll

        def polled(event: PollEvent) -> Awaitable[object] | object:
            nonlocal state
            place: dict[str, Any] = {"smspartner.attempt": event.attempt}
            with _harmless():
                if event.error is not None:
                    span.add_event("check failed", place | _words_of(event.error))
                if event.status is not None and event.status.state is not state:
                    state = event.status.state
                    span.add_event("state", place | {"smspartner.state": state.name})
            return told(event) if told is not None else None

        with self._span("wait", SpanKind.INTERNAL) as span:
            span.set_attribute("smspartner.token", shortened(wait.token))
            wait.on_poll = polled
            yield span

    def exchanged(self, exchange: Exchange) -> None:
        """Count a request; and unless a wait made it, tell of it in its operation's span."""
        words = _words_of(exchange.error)
        labels = {"smspartner.operation": exchange.operation, **words}
        if exchange.http_status == TOO_MANY_REQUESTS:
            self._rate_limited.add(1, {"smspartner.operation": exchange.operation})
        if exchange.polling:
            self._polls.add(1, labels)
            return
        if exchange.attempt > 1:
            self._retries.add(1, labels)
        if (span := _OPERATION.get()) is None:
            return
        span.set_attribute("http.request.method", exchange.method)
        span.set_attribute("url.full", self._base_url + exchange.path)
        if exchange.token is not None:
            span.set_attribute("smspartner.token", shortened(exchange.token))
        if exchange.http_status is not None:
            span.set_attribute("http.response.status_code", exchange.http_status)
        if exchange.attempt > 1:
            span.set_attribute("http.request.resend_count", exchange.attempt - 1)
        if words:
            span.add_event("request failed", {**words, "smspartner.attempt": exchange.attempt})

    def rented(self, rental: Rental) -> None:
        """Count what is paid."""
        total = rental.cost.total if rental.cost is not None else None
        with _harmless():
            self._rents.add(1, {"smspartner.outcome": "rented"})
            if total is not None and total > 0:
                self._spent.add(float(total))

    @contextmanager
    def _span(self, name: str, kind: SpanKind) -> Iterator[trace.Span]:
        attributes = {"smspartner.operation": name, **self._server}
        span: trace.Span = trace.INVALID_SPAN
        with _harmless():
            span = self._tracer.start_span(f"smspartner {name}", kind=kind, attributes=attributes)
        try:
            yield span
        except GeneratorExit:
            raise  # whoever watched has seen enough
        except BaseException as error:
            with _harmless():
                span.set_attribute("error.type", type(error).__name__)
                if isinstance(error, Exception):
                    span.set_status(StatusCode.ERROR, type(error).__name__)
                if isinstance(error, SMSPartnerError):
                    span.record_exception(error)
            raise
        finally:
            with _harmless():
                span.end()


_OPERATION: Final[ContextVar[trace.Span | None]] = ContextVar("_OPERATION", default=None)


@contextmanager
def _harmless() -> Iterator[None]:
    """Keep a failing exporter or span processor away from a call, which may just have paid."""
    try:
        yield
    except Exception:  # noqa: BLE001 - as said above
        log.exception("OpenTelemetry failed; the call goes on")


def _current(span: trace.Span) -> Any:
    """Let logs, and the spans of others, refer to this one meanwhile."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _words_of(error: SMSPartnerError | None) -> dict[str, Any]:
    return {} if error is None else {"error.type": type(error).__name__}
