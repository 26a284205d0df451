"""One poll, once a call: its turn, its request, its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fault_server import FaultServer
from polls import GENERATING, TOKEN, client_of, now

from smspartner_async import RentalState, SMSPartnerClient, TransportError
from smspartner_async._operations.status_poller import StatusPoller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspartner_async import Exchange


def poller_of(client: SMSPartnerClient) -> StatusPoller:
    return StatusPoller(TOKEN, client._wire, client._pipeline)


async def test_a_poll_asks_for_its_own_token_and_reads_the_status() -> None:
    """It sends one request, reports it to listeners once it has ended, and returns the status."""
    heard: list[Exchange] = []

    def listeners() -> Sequence[object]:
        return [heard.append]

    async with FaultServer(GENERATING) as server, client_of(server) as client:
        poller = poller_of(client)
        assert poller.try_acquire()
        status = await poller.poll(now() + 5, listeners)  # type: ignore[arg-type]
        assert (status.token, status.state) == (TOKEN, RentalState.GENERATING)
        assert server.count("status") == 1
        assert server.received[0].target.endswith(f"token={TOKEN}")
    ((exchange),) = heard
    assert (exchange.operation, exchange.http_status) == ("status", 200)


@pytest.mark.looptime
async def test_a_turn_that_does_not_come_in_time_sends_nothing() -> None:
    """At one request a minute the second turn is a minute away: too late for this deadline."""
    async with (
        FaultServer(GENERATING) as server,
        client_of(server, max_requests_per_minute=1) as client,
    ):
        poller = poller_of(client)
        assert poller.try_acquire()
        await poller.poll(None, tuple)
        assert not poller.try_acquire()
        began = now()
        with pytest.raises(TransportError) as caught:
            await poller.acquire(now() + 10, now())
        assert not caught.value.maybe_sent
        assert now() - began == pytest.approx(10, abs=0.1)
        await poller.acquire(None, now())
        await poller.poll(None, tuple)
        assert now() - began == pytest.approx(60, abs=1)
        assert server.count("status") == 2


async def test_it_has_the_options_of_its_client_and_sees_it_closed() -> None:
    """A copy's options are those that count; `close` shows at once."""
    async with FaultServer(GENERATING) as server, client_of(server) as client:
        quick = client.with_options(request_timeout=3)
        poller = poller_of(quick)
        assert poller.options.request_timeout == 3
        assert not poller.is_closed
        await client.close()
        assert poller.is_closed
