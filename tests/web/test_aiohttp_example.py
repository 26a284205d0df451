"""README's aiohttp service: browsers that leave unnoticed, and a server that stops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from batches import Vendor, after, rented
from fault_server import FaultServer
from renting import now
from services import KEY

from smspartner_async.sandbox import Sandbox


@pytest.mark.looptime
async def test_without_handler_cancellation_a_heartbeat_finds_that_a_browser_left(
    start_aiohttp: Any,
) -> None:
    """Pasted into a server with aiohttp's defaults, the watch still ends, with a heartbeat."""
    async with (
        Sandbox(api_key=KEY, speed=0.001) as sandbox,
        start_aiohttp(sandbox.base_url, handler_cancellation=False) as service,
    ):
        token = await service.token()
        async with service.events(token) as events:
            assert await events.state() == "REQUESTED"
        await asyncio.sleep(35)
        asked = sandbox.requests["status"]
        await asyncio.sleep(600)
        assert sandbox.requests["status"] == asked


@pytest.mark.looptime
@pytest.mark.parametrize("cancels", [True, False], ids=["handlers cancelled", "aiohttp's default"])
async def test_a_rent_in_flight_finishes_however_handlers_end(
    start_aiohttp: Any, capsys: pytest.CaptureFixture[str], *, cancels: bool
) -> None:
    """When the server stops after the caller left, its token is reported first."""
    vendor = Vendor({14: after(5, rented(14))})
    async with (
        FaultServer(vendor) as server,
        start_aiohttp(server.base_url, handler_cancellation=cancels) as service,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.rent(), 1)
        await service.stop()
        assert "k-1 Rental(token='tok-14'" in capsys.readouterr().out
        assert vendor.wire[14] == 1


@pytest.mark.looptime
async def test_a_stopping_server_ends_its_streams_and_answers_a_rent_in_flight(
    start_aiohttp: Any,
) -> None:
    """Streams end at once and without a problem, so browsers come back. The rent gets its 202."""
    vendor = Vendor({14: after(5, rented(14))}, state=1)
    async with (
        FaultServer(vendor) as server,
        start_aiohttp(server.base_url) as service,
        service.events("tok-1") as events,
    ):
        assert await events.state() == "GENERATING"
        renting = asyncio.create_task(service.rent())
        await asyncio.sleep(1)
        assert vendor.wire[14] == 1
        begun = now()
        stopping = asyncio.create_task(service.stop())
        assert await events.next() == ("", None)
        assert now() - begun < 1
        assert await renting == (202, {"token": "tok-14"})
        await stopping
        assert now() - begun < 6
