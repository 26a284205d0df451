"""README's FastAPI service: a server that stops, and the errors that FastAPI itself makes."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from batches import Vendor, after, rented
from fault_server import FaultServer
from renting import now


@pytest.mark.looptime
async def test_a_stopping_server_cuts_its_streams_when_the_grace_is_over(
    start_fastapi: Any,
) -> None:
    """The server waits the 5 s of README's command for open streams, and no longer."""
    async with FaultServer(Vendor(state=1)) as server, start_fastapi(server.base_url) as service:
        async with service.events("tok-1") as events:
            assert await events.state() == "GENERATING"
            begun = now()
            stopping = asyncio.create_task(service.stop())
            with pytest.raises(aiohttp.ClientPayloadError):
                await events.next()
            await stopping
            assert now() - begun == pytest.approx(5, abs=1)
        asked = server.count("status")
        await asyncio.sleep(600)
        assert server.count("status") == asked


@pytest.mark.looptime
async def test_a_rent_in_flight_finishes_beyond_the_grace(
    start_fastapi: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller is cut off with the grace, but the lifespan ends after the token is reported."""
    vendor = Vendor({14: after(20, rented(14))})
    async with FaultServer(vendor) as server, start_fastapi(server.base_url) as service:
        renting = asyncio.create_task(service.rent())
        await asyncio.sleep(1)
        assert vendor.wire[14] == 1
        begun = now()
        await service.stop()
        assert now() - begun == pytest.approx(19, abs=1)
        assert "k-1 Rental(token='tok-14'" in capsys.readouterr().out
        await asyncio.wait((renting,))
        assert renting.exception() is not None or renting.result()[0] == 500
        assert vendor.wire[14] == 1
