"""The counters of a traced client: requests, refusals by rate, money and unknown outcomes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import faults
import pytest
from fault_server import FaultServer
from polls import GENERATING, READY
from renting import TARGETING, arrival, receipt

from smspartner_async import (
    RateLimitError,
    RentOutcomeUnknownError,
)

from .conftest import TOKEN, attributes_of

if TYPE_CHECKING:
    from .conftest import Collector


async def test_waits_together_count_their_requests_once(collector: Collector) -> None:
    """Ten waits for one rental are ten spans, and one request an interval."""
    async with FaultServer(GENERATING, READY) as server, collector.client_of(server) as client:
        await asyncio.gather(*(client.wait_until_ready(TOKEN) for _ in range(10)))
        assert collector.counts == {"smspartner.polls": server.count("status")}
    assert len(collector.spans) == 10


async def test_429s_are_counted_wherever_they_come(collector: Collector) -> None:
    """A shared budget: each 429 is counted, in a call and in a wait."""
    async with (
        FaultServer(faults.busy(429), READY, faults.busy(429), READY) as server,
        collector.client_of(server) as client,
    ):
        await client.status(TOKEN)
        await client.wait_until_ready(TOKEN)
    assert collector.counts == {
        "smspartner.rate_limited": 2,
        "smspartner.retries": 1,
        "smspartner.polls": 2,
    }


async def test_money_is_counted_even_if_the_caller_is_cancelled(collector: Collector) -> None:
    """A paid request that ran to its answer is counted, and its span has the cancellation."""
    async with (
        FaultServer(default=faults.stall_before_head(receipt(), 0.1)) as server,
        collector.client_of(server) as client,
    ):
        rent = asyncio.create_task(client.rent(TARGETING))
        await arrival(server)
        rent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rent
    assert collector.counts == {"smspartner.rents": 1, "smspartner.spent": 1.8}
    assert attributes_of(collector.span)["error.type"] == "CancelledError"


async def test_an_unknown_outcome_is_counted(collector: Collector) -> None:
    """A rent that may have been charged is counted apart, and no money that is known."""
    async with (
        FaultServer(default=faults.html(502)) as server,
        collector.client_of(server) as client,
    ):
        with pytest.raises(RentOutcomeUnknownError):
            await client.rent(TARGETING)
    assert collector.counts == {"smspartner.rents": 1}
    assert attributes_of(collector.span)["error.type"] == "RentOutcomeUnknownError"


async def test_a_rate_limit_of_the_client_is_no_request(collector: Collector) -> None:
    """A call that a cool-down refuses was not sent: its span has no HTTP in it."""
    async with (
        FaultServer(default=faults.busy(429, "900")) as server,
        collector.client_of(server) as client,
    ):
        for _ in range(2):
            with pytest.raises(RateLimitError):
                await client.credits()
        assert len(server.received) == 1
    assert "http.request.method" not in attributes_of(collector.spans[1])
    assert collector.counts == {"smspartner.rate_limited": 1}
