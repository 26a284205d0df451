"""Copies of a client with other options: what differs, what is shared, and who may close."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fault_server import FaultServer
from faults import busy, empty, json_reply, stall_before_head
from polls import GENERATING, READY, READY_BODY, TOKEN, Script, client_of, now

from smspartner_async import (
    APIError,
    ConfigurationError,
    PollingPolicy,
    RentalState,
    RetryPolicy,
    TransportError,
    WaitTimeoutError,
)

pytestmark = pytest.mark.looptime


async def test_a_copy_has_its_own_timeout_and_leaves_the_original_its() -> None:
    """The shorter `request_timeout` of a copy ends its own requests alone."""
    async with (
        FaultServer(default=stall_before_head(READY_BODY, 3)) as server,
        client_of(server, retry=RetryPolicy(attempts=1)) as client,
    ):
        hurried = client.with_options(request_timeout=1)
        original = asyncio.create_task(client.status(TOKEN))
        with pytest.raises(TransportError, match="request_timeout is 1 s"):
            await hurried.status(TOKEN)
        assert now() < 1.3
        assert (await original).state is RentalState.READY


async def test_a_copy_has_its_own_retries() -> None:
    """A copy tries as often as its policy says, and the original as often as its own."""
    async with (
        FaultServer(default=empty(503)) as server,
        client_of(server, retry=RetryPolicy(attempts=3, first_delay=0)) as client,
    ):
        for each, attempts in (
            (client.with_options(retry=RetryPolicy(attempts=1)), 1),
            (client, 3),
        ):
            server.received.clear()
            with pytest.raises(Exception, match="503"):
                await each.status(TOKEN)
            assert server.count("status") == attempts


async def test_a_copy_has_its_own_way_of_polling() -> None:
    """A copy's policy governs its waits."""
    script = Script.of(GENERATING)
    polling = PollingPolicy(first_interval=1, multiplier=1, jitter=0, timeout=3.5)
    async with FaultServer(default=script) as server, client_of(server) as client:
        with pytest.raises(WaitTimeoutError):
            await client.with_options(polling=polling).wait_until_ready(TOKEN)
    assert script.times[:4] == pytest.approx([0, 1, 2, 3], abs=0.1)
    assert now() == pytest.approx(3.5, abs=0.3)


async def test_a_copy_of_a_copy_keeps_what_it_does_not_change() -> None:
    """Options add up, and what is not given stays."""
    async with FaultServer(default=empty(503)) as server, client_of(server) as client:
        once = client.with_options(retry=RetryPolicy(attempts=1)).with_options(request_timeout=9)
        with pytest.raises(Exception, match="503"):
            await once.status(TOKEN)
        assert server.count("status") == 1
        assert once._pipeline.transport.request_timeout == 9


async def test_copies_share_one_connection() -> None:
    """What a copy asks goes over the connection that the original has open."""
    async with FaultServer(default=READY) as server, client_of(server) as client:
        for each in (client.with_options(request_timeout=9), client, client.with_options()):
            await each.status(TOKEN)
        assert len(server.received) == 3
        assert len(server.connections) == 1


async def test_copies_share_the_request_budget() -> None:
    """A shared budget: `max_requests_per_minute` counts the requests of all copies together."""
    script = Script.of(READY)
    async with (
        FaultServer(default=script) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        every = (client, client.with_options(request_timeout=9), client.with_options())
        await asyncio.gather(*(each.status(TOKEN) for each in every))
    assert script.times == pytest.approx([0, 1, 2], abs=0.1)


async def test_copies_share_the_cool_down() -> None:
    """A shared budget: a 429 that a copy meets pauses the original too."""
    script = Script.of(busy(429, "5"), READY)
    async with FaultServer(default=script) as server, client_of(server) as client:
        with pytest.raises(APIError):
            await client.with_options(retry=RetryPolicy(attempts=1)).status(TOKEN)
        await client.status(TOKEN)
    assert script.gaps == pytest.approx([5], abs=0.2)


async def test_copies_wait_together() -> None:
    """One request an interval, however many copies wait for a rental; notify() wakes them all."""
    script = Script.of(GENERATING, READY)
    even = PollingPolicy(first_interval=10, jitter=0)
    async with FaultServer(default=script) as server, client_of(server, polling=even) as client:
        every = [client, *(client.with_options(request_timeout=n) for n in (8, 9))]
        waits = [asyncio.create_task(each.wait_until_ready(TOKEN)) for each in every]
        await asyncio.sleep(1)
        assert client.with_options().notify(TOKEN)
        await asyncio.gather(*waits)
    assert script.count == 2
    assert script.gaps == pytest.approx([1], abs=0.2)


async def test_a_copy_cannot_be_closed_on_its_own() -> None:
    """Leaving a copy's block would close what others use: it is refused before anything is sent."""
    async with FaultServer(default=READY) as server, client_of(server) as client:
        copy = client.with_options(request_timeout=9)
        with pytest.raises(ConfigurationError, match="closed together"):
            await copy.close()
        with pytest.raises(ConfigurationError, match="closed together"):
            async with copy:
                raise AssertionError
        assert (await copy.status(TOKEN)).state is RentalState.READY


async def test_a_copy_is_closed_with_its_original() -> None:
    """After `close()` no copy sends anything, made before or after; waits of copies end."""
    async with FaultServer(default=GENERATING) as server:
        client = client_of(server)
        before = client.with_options(request_timeout=9)
        wait = asyncio.create_task(before.wait_until_ready(TOKEN))
        await asyncio.sleep(1)
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await wait
        for copy in (before, client.with_options()):
            with pytest.raises(ConfigurationError, match="closed"):
                await copy.status(TOKEN)
        assert server.count("status") == 1


def test_a_copy_belongs_to_the_loop_of_its_original() -> None:
    """A copy carried into a second asyncio.run() says so, as its original does."""

    async def use() -> Any:
        async with FaultServer(default=READY) as server:
            client = client_of(server)
            await client.with_options().status(TOKEN)
            await client._pipeline.transport.close()
            return client

    client = asyncio.run(use())
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(client.with_options().status(TOKEN))


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_a_number_out_of_its_range_is_refused(seconds: float) -> None:
    """Bad input: a copy checks its numbers as a client does."""
    async with FaultServer(default=json_reply({})) as server, client_of(server) as client:
        with pytest.raises(ValueError, match="request_timeout"):
            client.with_options(request_timeout=seconds)
