"""Server-sent events by themselves, without a framework around them."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from batches import Vendor
from fault_server import FaultServer
from renting import client_of

from smspartner_async import (
    ConfigurationError,
    PollingPolicy,
    RentalState,
    RentalStatus,
    TransportError,
)
from smspartner_async.web import server_sent_events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from smspartner_async import SMSPartnerClient

READY = RentalStatus(token="tok-1", state=RentalState.READY, message="two\nlines", phone_numbers=3)


async def states_of(*steps: RentalStatus | float | Exception) -> AsyncGenerator[RentalStatus, None]:
    """Yield statuses as `watch` does; a number is a pause in seconds."""
    for step in steps:
        if isinstance(step, RentalStatus):
            yield step
        elif isinstance(step, Exception):
            raise step
        else:
            await asyncio.sleep(step)


async def chunks_of(*steps: RentalStatus | float | Exception, **options: Any) -> list[bytes]:
    async with aclosing(server_sent_events(states_of(*steps), **options)) as stream:
        return [chunk async for chunk in stream]


async def test_a_status_is_one_event_whatever_the_vendor_wrote() -> None:
    """Line ends in the vendor's words do not break the stream's framing."""
    retry, event = await chunks_of(READY)
    assert retry == b"retry: 3000\n\n"
    kind, data, *rest = event.decode().split("\n")
    assert (kind, rest) == ("event: message", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {
        "token": "tok-1",
        "state": "READY",
        "message": "two\nlines",
        "phone_numbers": 3,
        "final": True,
    }


@pytest.mark.looptime
async def test_a_silent_stream_sends_heartbeats() -> None:
    """A comment after each 15 s without an event; browsers ignore it."""
    chunks = await chunks_of(50.0, READY)
    assert chunks[1:4] == [b": still waiting\n\n"] * 3
    assert len(chunks) == 5
    assert len(await chunks_of(50.0, READY, heartbeat=10)) == 1 + 4 + 1


async def test_an_error_is_the_last_event() -> None:
    """What ends the watch is sent as a problem."""
    *_, last = await chunks_of(READY, TransportError("Reset.", maybe_sent=True))
    assert last.startswith(b'event: problem\ndata: {"type": "urn:smspartner-async:TransportError"')


async def test_a_closed_client_ends_a_stream_without_a_problem() -> None:
    """The service stops: the browser shall come back, and gets no problem."""
    assert await chunks_of(ConfigurationError("closed")) == [b"retry: 3000\n\n"]


@pytest.mark.parametrize("heartbeat", [0, -1, float("nan"), float("inf")])
async def test_a_heartbeat_is_a_time(heartbeat: float) -> None:
    """A heartbeat that cannot be is refused at once."""
    with pytest.raises(ValueError, match="heartbeat"):
        await chunks_of(READY, heartbeat=heartbeat)


def quiet(server: FaultServer) -> SMSPartnerClient:
    return client_of(server, polling=PollingPolicy(jitter=0))


@pytest.mark.looptime
@pytest.mark.parametrize("seen", [1, 2, 3], ids=["the beginning", "a state", "a heartbeat"])
async def test_closing_a_stream_ends_its_watch(seen: int) -> None:
    """Wherever it is closed, nobody asks any more, and no task is left."""
    async with FaultServer(Vendor(state=1)) as server, quiet(server) as client:
        await client.status("tok-1")  # opens the connection, with the server's task for it
        tasks = asyncio.all_tasks()
        async with aclosing(server_sent_events(client.watch("tok-1"))) as stream:
            for _ in range(seen):
                await anext(stream)
        asked = server.count("status")
        assert asyncio.all_tasks() == tasks
        assert not client.notify("tok-1")
        await asyncio.sleep(600)
        assert server.count("status") == asked


@pytest.mark.looptime
@pytest.mark.parametrize("how", ["task", "anyio"])
async def test_cancelling_the_reader_ends_the_watch(how: str) -> None:
    """Neither asyncio's cancellation nor anyio's, which comes again and again, leaves it behind."""
    async with FaultServer(Vendor(state=1)) as server, quiet(server) as client:
        await client.status("tok-1")  # opens the connection, with the server's task for it
        tasks = asyncio.all_tasks()

        async def read() -> None:
            async for _ in server_sent_events(client.watch("tok-1")):
                pass

        if how == "task":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read(), 3)
        else:
            with anyio.move_on_after(3):
                await read()
        gc.collect()
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == tasks
        assert not client.notify("tok-1")
        asked = server.count("status")
        await asyncio.sleep(600)
        assert server.count("status") == asked == 3


def test_the_core_does_not_import_it() -> None:
    """Whoever has no web service does not pay for this module, nor it for a framework."""
    script = (
        "import sys, smspartner_async; assert 'smspartner_async.web' not in sys.modules;"
        "import smspartner_async.web; assert not {'fastapi', 'starlette', 'aiohttp.web'}"
        " & (set(sys.modules) - before)"
    )
    script = "import sys, aiohttp; before = set(sys.modules);" + script
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603 - our own
