"""What OpenTelemetry receives of a traced client: spans, events and counters; and no secret."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import faults
import pytest
from eavesdropping import KEY, slips
from fault_server import FaultServer
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from polls import GENERATING, READY, REQUESTED
from renting import TARGETING, receipt

from smspartner_async import (
    APIError,
    ConfigurationError,
    RentalFailedError,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    __version__,
)
from smspartner_async.sandbox import Sandbox

from .conftest import QUICK, TOKEN, Collector, attributes_of

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


def events_of(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes or {})) for event in span.events]


async def test_an_operation_is_a_span_in_the_words_of_http(collector: Collector) -> None:
    """One span for one operation, with HTTP's conventions, a scrubbed URL and a short token."""
    async with FaultServer(default=READY) as server, collector.client_of(server) as client:
        await client.status(TOKEN)
        port = int(server.base_url.split(":")[2].partition("/")[0])
        base = server.base_url
    span = collector.span
    assert span.name == "smspartner status"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.version == __version__
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert attributes_of(span) == {
        "smspartner.operation": "status",
        "smspartner.token": "01234567…",
        "server.address": "127.0.0.1",
        "server.port": port,
        "http.request.method": "GET",
        "url.full": f"{base}/location/status",
        "http.response.status_code": 200,
    }
    assert span.events == ()


async def test_a_request_that_was_sent_again_is_counted_in_its_span(collector: Collector) -> None:
    """Retries stay in the one span, with an event for each failure, and are counted."""
    async with (
        FaultServer(faults.html(503), faults.html(500), READY) as server,
        collector.client_of(server) as client,
    ):
        await client.status(TOKEN)
    attributes = attributes_of(collector.span)
    assert attributes["http.request.resend_count"] == 2
    assert attributes["http.response.status_code"] == 200
    assert "error.type" not in attributes
    assert events_of(collector.span) == [
        ("request failed", {"error.type": "ResponseError", "smspartner.attempt": 1}),
        ("request failed", {"error.type": "ResponseError", "smspartner.attempt": 2}),
    ]
    assert collector.counts == {"smspartner.retries": 2}


async def test_an_operation_that_failed_says_so(collector: Collector) -> None:
    """The span of a call that raised has the error, its class, and the HTTP status."""
    async with (
        FaultServer(default=faults.vendor_error(32, "inconnu", 404)) as server,
        collector.client_of(server) as client,
    ):
        with pytest.raises(APIError):
            await client.status(TOKEN)
    span = collector.span
    attributes = attributes_of(span)
    assert span.status.status_code is StatusCode.ERROR
    assert attributes["error.type"] == "RentalNotFoundError"
    assert attributes["http.response.status_code"] == 404
    assert [name for name, _ in events_of(span)] == ["request failed", "exception"]


async def test_every_operation_has_its_span(collector: Collector, tmp_path: Path) -> None:
    """The whole way of a rental: each step is a span, and what was paid is counted, to the cent."""
    async with (
        Sandbox(speed=50) as sandbox,
        collector.traced(
            SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url, polling=QUICK)
        ) as client,
    ):
        await client.calculate(TARGETING)
        rental = await client.rent(TARGETING, {"06200": 20}, max_total=Decimal(1000))
        await client.wait_until_ready(rental)
        await client.download(rental, tmp_path / "file")
        await client.credits()
        paid = sandbox.paid
        polls = sandbox.requests["status"]
    names = [span.name.removeprefix("smspartner ") for span in collector.spans]
    assert names == ["calculate", "price", "rent", "wait", "download", "credits"]
    price, rent = collector.spans[1:3]
    assert price.parent is not None
    assert price.parent.span_id == rent.context.span_id  # max_total: a part of the rent
    assert paid > 0
    assert collector.counts == {
        "smspartner.rents": 1,
        "smspartner.spent": float(paid),
        "smspartner.polls": polls,
    }


async def test_a_wait_is_one_span_with_an_event_for_each_state(collector: Collector) -> None:
    """However often it asks: new states, and checks that failed, are events; polls are counted."""
    replies = (REQUESTED, REQUESTED, faults.html(502), GENERATING, GENERATING, READY)
    async with FaultServer(*replies) as server, collector.client_of(server) as client:
        await client.wait_until_ready(TOKEN)
    span = collector.span
    assert (span.name, span.kind) == ("smspartner wait", SpanKind.INTERNAL)
    assert attributes_of(span)["smspartner.token"] == "01234567…"
    assert events_of(span) == [
        ("state", {"smspartner.state": "REQUESTED", "smspartner.attempt": 1}),
        ("check failed", {"error.type": "ResponseError", "smspartner.attempt": 3}),
        ("state", {"smspartner.state": "GENERATING", "smspartner.attempt": 4}),
        ("state", {"smspartner.state": "READY", "smspartner.attempt": 6}),
    ]
    assert collector.counts == {"smspartner.polls": 6}


async def test_a_callback_of_a_wait_is_called_as_before(collector: Collector) -> None:
    """`on_poll`, plain or async, is called for each check of a traced wait, within its span."""
    called: list[Any] = []

    async def on_poll(event: Any) -> None:
        await asyncio.sleep(0)
        called.append((event.attempt, trace.get_current_span().get_span_context().span_id))

    async with FaultServer(GENERATING, READY) as server, collector.client_of(server) as client:
        await client.wait_until_ready(TOKEN, on_poll=on_poll)
    here = collector.span.context.span_id
    assert called == [(1, here), (2, here)]


async def test_a_wait_that_ends_badly_says_so(collector: Collector) -> None:
    """The span of a wait for a rental that failed is an error, with the state it ended in."""
    async with (
        FaultServer(default=faults.json_reply({"success": True, "status": 3})) as server,
        collector.client_of(server) as client,
    ):
        with pytest.raises(RentalFailedError):
            await client.wait_until_ready(TOKEN)
    assert attributes_of(collector.span)["error.type"] == "RentalFailedError"
    assert events_of(collector.span)[0][1]["smspartner.state"] == "FAILED"


async def test_a_watch_is_a_span_that_is_not_its_callers(collector: Collector) -> None:
    """What runs in the loop over a watch is outside of its span; leaving early is no error."""
    async with (
        FaultServer(default=GENERATING) as server,
        collector.client_of(server) as client,
        aclosing(client.watch(TOKEN)) as states,
    ):
        async for _ in states:
            assert not trace.get_current_span().get_span_context().is_valid
            break
    assert collector.span.name == "smspartner wait"
    assert collector.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes_of(collector.span)


async def test_on_rented_is_called_as_before(collector: Collector) -> None:
    """A traced rent calls the caller's callback, async ones too."""
    called: list[str] = []

    async def on_rented(rental: Any) -> None:
        await asyncio.sleep(0)
        called.append(rental.token)

    async with (
        FaultServer(default=faults.good(receipt())) as server,
        collector.client_of(server) as client,
    ):
        await client.rent(TARGETING, on_rented=on_rented)
    assert called == ["tok-1"]


class Broken(SpanProcessor):
    """One that raises where it should not, which the SDK passes on."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError(f"no room left for {span.name}")


@pytest.mark.parametrize("broken", ["spans", "counters"])
async def test_telemetry_that_fails_costs_no_token(
    broken: str,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A paid request: telemetry of a rental comes second, and is logged where it fails."""
    if broken == "spans":
        collector.tracers.add_span_processor(Broken())
    else:
        monkeypatch.setattr("opentelemetry.sdk.metrics.Counter.add", None)  # calling it raises
    called: list[str] = []
    async with (
        FaultServer(faults.good(receipt()), default=faults.html(502)) as server,
        collector.client_of(server) as client,
    ):
        rental = await client.rent(TARGETING, on_rented=lambda rental: called.append(rental.token))
        assert (rental.token, called) == ("tok-1", ["tok-1"])
        with pytest.raises(RentOutcomeUnknownError):
            await client.rent(TARGETING)
    assert "OpenTelemetry failed; the call is not affected" in caplog.text


async def test_a_traced_client_is_the_client_that_it_was_made_of(collector: Collector) -> None:
    """They share connections and their end; copies are traced; callbacks are called as before."""
    seen: list[Any] = []
    async with FaultServer(default=READY) as server:
        plain = SMSPartnerClient(KEY, base_url=server.base_url, on_exchange=seen.append)
        client = collector.traced(plain)
        await client.status(TOKEN)
        await plain.status(TOKEN)
        await client.with_options(request_timeout=9).status(TOKEN)
        assert len(server.connections) == 1
        assert len(seen) == 3
        assert len(collector.spans) == 2
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await plain.status(TOKEN)


async def test_nothing_that_is_reported_shows_a_secret(
    collector: Collector, tmp_path: Path
) -> None:
    """A secret: neither the key nor a number is in any span, event, or count, whatever comes."""
    echo = {"apiKey": KEY, "comment": f"{KEY} 0612345678"}
    replies = (
        faults.vendor_error(77, f"{KEY} 0612345678"),
        faults.json_reply({"success": True, "status": f"{KEY} 0612345678"} | echo),
        faults.redirect(302, f"/v1/me?apiKey={KEY}"),
        faults.html(500),
        faults.close_before_head(),
        faults.busy(429, "900"),
    )
    async with FaultServer(default=READY) as server:
        for number, reply in enumerate(replies):
            server.play(default=reply)
            async with collector.client_of(server) as client:
                for call in (
                    client.calculate(TARGETING),
                    client.rent(TARGETING),
                    client.status(TOKEN),
                    client.wait_until_ready(TOKEN, timeout=0.05),
                    client.download(TOKEN, tmp_path / str(number)),
                    client.credits(),
                ):
                    await asyncio.gather(call, return_exceptions=True)
    texts = [span.to_json() for span in collector.spans]
    texts.append(str(collector.metrics_read.get_metrics_data()))
    assert len(texts) > 30
    assert [found for text in texts if (found := slips(text))] == []


def test_without_the_extra_it_says_what_to_install() -> None:
    """Whoever has no OpenTelemetry reads the name of the extra, and not of a module."""
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "try:\n    import smspartner_async.otel\n"
        "except ImportError as error:\n    print(error.name, error)"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("opentelemetry ")
    assert "pip install 'smspartner_async[otel]'" in ran.stdout


def test_the_api_alone_is_enough() -> None:
    """Without an SDK, a client can be traced all the same: the API does nothing then."""
    script = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from smspartner_async import SMSPartnerClient\n"
        "from smspartner_async.otel import traced\n"
        "print(traced(SMSPartnerClient('k')))"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "<SMSPartnerClient https://api.smspartner.fr/v1>"
