"""A collector of what OpenTelemetry receives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from eavesdropping import KEY
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from smspartner_async import (
    PollingPolicy,
    RetryPolicy,
    SMSPartnerClient,
)
from smspartner_async.otel import traced

if TYPE_CHECKING:
    from fault_server import FaultServer
    from opentelemetry.sdk.trace import ReadableSpan
TOKEN = "0123456789abcdef"
QUICK = PollingPolicy(first_interval=0.01, max_interval=0.01, jitter=0)


@define
class Collector:
    """OpenTelemetry's SDK, which keeps what it receives."""

    spans_kept: InMemorySpanExporter = field(factory=InMemorySpanExporter)
    metrics_read: InMemoryMetricReader = field(factory=InMemoryMetricReader)
    tracers: TracerProvider = field(init=False)
    meters: MeterProvider = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_kept))
        self.meters = MeterProvider([self.metrics_read])

    def client_of(self, server: FaultServer, **options: Any) -> SMSPartnerClient:
        retry = RetryPolicy(attempts=3, first_delay=0)
        options = {"base_url": server.base_url, "retry": retry, "polling": QUICK, **options}
        return self.traced(SMSPartnerClient(KEY, **options))

    def traced(self, client: SMSPartnerClient) -> SMSPartnerClient:
        return traced(client, tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.spans_kept.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    @property
    def counts(self) -> dict[str, float]:
        """Every counter's sum over all attributes."""
        data = self.metrics_read.get_metrics_data()
        return {
            metric.name: sum(point.value for point in metric.data.data_points)  # type: ignore[union-attr,misc] # sums alone
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collector() -> Collector:
    """Collect what a traced client reports."""
    return Collector()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})
