"""Spans and counters around a client and its calls."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, StatusCode
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "Tracing needs the extra: pip install 'smspartner_async[otel]'", name=_missing.name
    ) from _missing
from yarl import URL

from smspartner_async import __version__
from smspartner_async._client import SMSPartnerClient
from smspartner_async._error_codes import TOO_MANY_REQUESTS
from smspartner_async._errors import RentOutcomeUnknownError, SMSPartnerError
from smspartner_async._log import log, short_token
from smspartner_async._policies import Default
from smspartner_async._validation import check_callback, check_methods, check_type

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
    from decimal import Decimal

    from smspartner_async._http.exchange import Exchange
    from smspartner_async._models import Quote, Rental, RentalState, RentalStatus, Targeting
    from smspartner_async._operations.poll import Poller
    from smspartner_async._operations.status_poller import PollEvent
    from smspartner_async._validation import HasToken

_Method = TypeVar("_Method", bound="Callable[..., Any]")
_NAME: Final = "smspartner_async"


def traced(
    client: SMSPartnerClient,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> SMSPartnerClient:
    """Return a client that works as `client` does, and reports to OpenTelemetry.

    Use it in place of `client`: they share everything, and closing either closes both. Copies made
    by its `with_options` are traced too.

    >>> async with traced(SMSPartnerClient()) as client:
    ...     rental = await client.rent(women, {"06200": 20})

    Args:
        client: the client, as it is to be used.
        tracer_provider: where spans go; by default the application's global one.
        meter_provider: where counts go; by default the application's global one.

    Raises:
        TypeError: an argument of another type.
    """
    check_type("client", client, SMSPartnerClient)
    if tracer_provider is not None:
        check_methods("tracer_provider", tracer_provider, "TracerProvider", "get_tracer")
    if meter_provider is not None:
        check_methods("meter_provider", meter_provider, "MeterProvider", "get_meter")
    tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
    meter = metrics.get_meter(_NAME, __version__, meter_provider)
    return _TracedClient(client, tracer, meter)


def _in_span(method: _Method) -> _Method:
    """Make a span for each call of an operation."""

    @wraps(method)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._telemetry.operation(method.__name__):
            return await method(self, *args, **kwargs)

    return cast("_Method", call)


class _TracedClient(SMSPartnerClient):
    """A client that shares the pipeline of another one, and reports to OpenTelemetry."""

    def __init__(
        self, client: SMSPartnerClient, tracer: trace.Tracer, meter: metrics.Meter
    ) -> None:
        self.__dict__.update(client.__dict__)  # a shallow copy, of another class
        self._telemetry = _Telemetry(self._pipeline.transport.base_url, tracer, meter)
        options = self._pipeline.options.changed(self._telemetry.exchanged)
        self._pipeline = self._pipeline.with_options(options)

    calculate = _in_span(SMSPartnerClient.calculate)
    status = _in_span(SMSPartnerClient.status)
    download = _in_span(SMSPartnerClient.download)
    credits = _in_span(SMSPartnerClient.credits)

    async def _price(
        self, targeting: Targeting, volumes: Mapping[str, int] | None, *, priority: bool
    ) -> Quote:
        with self._telemetry.operation("price"):
            return await super()._price(targeting, volumes, priority=priority)

    async def rent(
        self,
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
        *,
        max_total: Decimal | int | None = None,
        on_rented: Callable[[Rental], Awaitable[object] | object] | None = None,
    ) -> Rental:
        check_callback("on_rented", on_rented, "a Rental")

        def rented(rental: Rental) -> Awaitable[object] | object:
            # Counted here: the call may be cancelled before it returns, and the rental is paid.
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

    async def _changes(self, wait: Poller) -> AsyncGenerator[RentalStatus, None]:
        # Not the current span: the caller's own code runs between two states.
        with self._telemetry.waiting(wait):
            async with aclosing(wait.changes()) as changes:
                async for status in changes:
                    yield status


class _Telemetry:
    """The spans and counters, by OpenTelemetry's semantic conventions where there are some."""

    def __init__(self, base_url: str, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        url = URL(base_url)
        self._base_url, self._tracer = base_url, tracer
        self._server = {"server.address": url.host or "", "server.port": url.port or 0}
        count = meter.create_counter
        self._polls = count("smspartner.polls", "{request}", "Requests made by waits.")
        self._retries = count("smspartner.retries", "{request}", "Requests sent once more.")
        self._rate_limited = count("smspartner.rate_limited", "{reply}", "Replies of HTTP 429.")
        self._rents = count("smspartner.rents", "{rental}", "Rents that are, or may be, paid.")
        self._spent = count("smspartner.spent", "{currency}", "What rents cost, where known.")

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """Make a span for one operation, from its first request to its last."""
        with self._span(name, SpanKind.CLIENT) as span, _current(span):
            before = _OPERATION.set(span)
            try:
                yield
            except RentOutcomeUnknownError:
                with _logging_failures():
                    self._rents.add(1, {"smspartner.outcome": "unknown"})
                raise
            finally:
                _OPERATION.reset(before)

    @contextmanager
    def waiting(self, wait: Poller) -> Iterator[trace.Span]:
        """Make a span for one wait, with an event for each new state and each failed check."""
        state: RentalState | None = None
        users_callback = wait.on_poll

        def polled(event: PollEvent) -> Awaitable[object] | object:
            nonlocal state
            place: dict[str, Any] = {"smspartner.attempt": event.attempt}
            with _logging_failures():
                if event.error is not None:
                    span.add_event("check failed", place | _error_attributes(event.error))
                if event.status is not None and event.status.state is not state:
                    state = event.status.state
                    span.add_event("state", place | {"smspartner.state": state.name})
            return users_callback(event) if users_callback is not None else None

        with self._span("wait", SpanKind.INTERNAL) as span:
            span.set_attribute("smspartner.token", short_token(wait.token))
            wait.on_poll = polled
            yield span

    def exchanged(self, exchange: Exchange) -> None:
        """Count a request, and record it in its operation's span unless a wait made it."""
        words = _error_attributes(exchange.error)
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
            span.set_attribute("smspartner.token", short_token(exchange.token))
        if exchange.http_status is not None:
            span.set_attribute("http.response.status_code", exchange.http_status)
        if exchange.attempt > 1:
            span.set_attribute("http.request.resend_count", exchange.attempt - 1)
        if words:
            span.add_event("request failed", {**words, "smspartner.attempt": exchange.attempt})

    def rented(self, rental: Rental) -> None:
        """Count a paid rental, and its price."""
        total = rental.total
        with _logging_failures():
            self._rents.add(1, {"smspartner.outcome": "rented"})
            if total is not None and total > 0:
                self._spent.add(float(total))

    @contextmanager
    def _span(self, name: str, kind: SpanKind) -> Iterator[trace.Span]:
        attributes: dict[str, Any] = {"smspartner.operation": name, **self._server}
        span: trace.Span = trace.INVALID_SPAN
        with _logging_failures():
            span = self._tracer.start_span(f"smspartner {name}", kind=kind, attributes=attributes)
        try:
            yield span
        except GeneratorExit:
            raise  # the caller closed the generator
        except BaseException as error:
            with _logging_failures():
                span.set_attribute("error.type", type(error).__name__)
                if isinstance(error, Exception):
                    span.set_status(StatusCode.ERROR, type(error).__name__)
                if isinstance(error, SMSPartnerError):
                    span.record_exception(error)
            raise
        finally:
            with _logging_failures():
                span.end()


_OPERATION: Final[ContextVar[trace.Span | None]] = ContextVar("_OPERATION", default=None)


@contextmanager
def _logging_failures() -> Iterator[None]:
    """Log what an exporter or span processor raises: the call may just have paid."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever an exporter raises
        log.exception("OpenTelemetry failed; the call is not affected")


def _current(span: trace.Span) -> Any:
    """Make a span the current one, for logs and for the spans of other libraries."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _error_attributes(error: SMSPartnerError | None) -> dict[str, Any]:
    return {} if error is None else {"error.type": type(error).__name__}
