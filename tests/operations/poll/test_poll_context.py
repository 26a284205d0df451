"""What is called for a wait runs in its own context, also where others send the request."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING

import pytest
from fault_server import FaultServer
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from polls import GENERATING, READY, TOKEN, Script, client_of

from smspartner_async import PollingPolicy, SMSPartnerClient
from smspartner_async.otel import traced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from smspartner_async import PollEvent

pytestmark = pytest.mark.looptime

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")
NAMES = ("ann", "bob", "eve")


async def three_waits(
    wait: Callable[[SMSPartnerClient, str], Awaitable[object]], client: SMSPartnerClient
) -> None:
    """Let three tasks wait for one rental, each with its name in its context."""

    async def one(name: str, joins: float) -> None:
        await asyncio.sleep(joins)
        WHO.set(name)
        await wait(client, name)

    await asyncio.gather(*(one(name, 5 * place) for place, name in enumerate(NAMES)))


async def test_callbacks_and_strategies_see_the_context_of_the_wait_they_belong_to() -> None:
    """A poll: on_poll, plain or async, and strategies find the variables of who waits."""
    called: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()

    async def wait(client: SMSPartnerClient, name: str) -> None:
        def strategy(_: RetryCallState) -> float:
            asked[name, WHO.get()] += 1
            return 7

        def on_poll(_: PollEvent) -> None:
            called[name, WHO.get()] += 1

        async def on_poll_later(event: PollEvent) -> None:
            await asyncio.sleep(0)
            on_poll(event)

        own = client.with_options(polling=PollingPolicy(wait=strategy))
        await own.wait_until_ready(TOKEN, on_poll=on_poll_later if name == "bob" else on_poll)

    script = Script.of(*[GENERATING] * 6, READY)
    async with FaultServer(script) as server, client_of(server) as client:
        await three_waits(wait, client)
    assert {*called} == {*asked} == {(name, name) for name in NAMES}
    assert script.count < called.total()  # answers were shared


async def test_what_is_logged_of_a_wait_has_its_context(caplog: pytest.LogCaptureFixture) -> None:
    """The log: a filter that adds a request's id from a context variable adds the right one."""
    caplog.set_level(logging.DEBUG, "smspartner_async")
    logged: Counter[str] = Counter()
    called: Counter[str] = Counter()

    def count_by_name(record: logging.LogRecord) -> bool:
        if record.getMessage().startswith("check "):
            logged[WHO.get()] += 1
        return True

    async def wait(client: SMSPartnerClient, name: str) -> None:
        def on_poll(_: PollEvent) -> None:
            called[name] += 1

        await client.wait_until_ready(TOKEN, on_poll=on_poll)

    logger = logging.getLogger("smspartner_async")
    logger.addFilter(count_by_name)
    try:
        script = Script.of(*[GENERATING] * 6, READY)
        async with FaultServer(script) as server, client_of(server) as client:
            await three_waits(wait, client)
    finally:
        logger.removeFilter(count_by_name)
    assert logged == called
    assert {*logged} == {*NAMES}
    assert script.count < logged.total()


async def test_the_span_of_a_wait_is_a_child_of_the_callers() -> None:
    """OpenTelemetry: where waits share their polls, each span has its own parent, as on_poll sees.

    The log finds the span of its wait in the same way.
    """
    finished = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    tracer = provider.get_tracer("test")
    seen: dict[str, set[int]] = {name: set() for name in NAMES}

    async def wait(client: SMSPartnerClient, name: str) -> None:
        def on_poll(_: PollEvent) -> None:
            seen[name].add(trace.get_current_span().get_span_context().span_id)

        with tracer.start_as_current_span(name):
            await client.wait_until_ready(TOKEN, on_poll=on_poll)

    script = Script.of(*[GENERATING] * 6, READY)
    async with FaultServer(script) as server, client_of(server) as client:
        await three_waits(wait, traced(client, tracer_provider=provider))
    spans = finished.get_finished_spans()
    outer = {span.name: span for span in spans if span.name in NAMES}
    for name in NAMES:
        (own,) = (span for span in spans if span.context.span_id in seen[name])
        assert own.name == "smspartner wait"
        assert own.parent is not None
        assert own.parent.span_id == outer[name].context.span_id
