"""A client that is closed ends the waits that share its polls, at once and without a promise."""

import asyncio
from typing import Any

import pytest
from fault_server import FaultServer
from faults import busy, stall_before_head
from polls import (
    GENERATING,
    READY_BODY,
    TOKEN,
    Heard,
    Script,
    client_of,
    in_time,
    now,
)

from smspartner_async import (
    ConfigurationError,
)

pytestmark = pytest.mark.looptime


async def test_closing_the_client_ends_all_waits_at_once() -> None:
    """close() ends a thousand waits, asleep or with a request under way, with a clear error."""
    script = Script.of(GENERATING)
    async with FaultServer(script) as server:
        client = client_of(server)
        waits = [asyncio.create_task(client.wait_until_ready(f"tok-{n}")) for n in range(1000)]
        await asyncio.sleep(1.5)
        began = now()
        await client.close()
        ends = asyncio.gather(*waits, return_exceptions=True)
        errors = await in_time(ends, "close() ends the waits.")
        assert now() - began < 0.5
    assert {type(error) for error in errors} == {ConfigurationError}
    assert "closed" in str(errors[0])


@pytest.mark.parametrize("status", [429, 503])
async def test_closing_ends_a_wait_that_was_asked_to_be_patient(status: int) -> None:
    """close() does not sleep out a `Retry-After`, and asks nothing more."""
    script = Script.of(busy(status, "600"))
    async with FaultServer(script) as server:
        client = client_of(server)
        wait = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None))
        await asyncio.sleep(5)
        began = now()
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await in_time(wait, "close() ends a wait that sleeps.")
        assert now() - began < 0.1
    assert script.count == 1


async def test_closing_promises_no_further_check(caplog: pytest.LogCaptureFixture) -> None:
    """close() ends a wait whose request it breaks off: no log line speaks of a next check."""
    heard = Heard()
    async with FaultServer(stall_before_head(READY_BODY)) as server:
        client = client_of(server)
        wait = asyncio.create_task(client.wait_until_ready(TOKEN, on_poll=heard))
        await asyncio.sleep(1)
        await client.close()
        await in_time(asyncio.wait([wait]), "close() ends a wait with a request under way.")
    assert isinstance(wait.exception(), ConfigurationError)
    assert [(type(event.error), event.next_delay) for event in heard.events] == [
        (ConfigurationError, None)
    ]
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_closing_ends_requests_that_wait_for_a_connection() -> None:
    """close() ends in an error of ours also what was queued for one of few connections."""
    async with FaultServer(stall_before_head(READY_BODY)) as server:
        client = client_of(server, max_connections=2)
        waits = [asyncio.create_task(client.wait_until_ready(f"tok-{n}")) for n in range(20)]
        await asyncio.sleep(1)
        assert server.accepted == 2
        began = now()
        await client.close()
        await in_time(asyncio.wait(waits), "close() ends what waits for a connection.")
        assert now() - began < 0.5
    assert [wait.cancelled() for wait in waits] == [False] * 20
    assert {type(wait.exception()) for wait in waits} == {ConfigurationError}


async def test_closing_the_client_empties_its_queue() -> None:
    """close() ends at once what waits for its turn in the request budget, or for a cool-down."""
    script = Script.of(busy(429, "600"))
    async with FaultServer(script) as server:
        client = client_of(server, max_requests_per_minute=6, request_timeout=1000)
        calls: list[asyncio.Task[Any]]
        calls = [asyncio.create_task(client.credits()) for _ in range(3)]
        calls.append(asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None)))
        await asyncio.sleep(1)
        began = now()
        await client.close()
        ends = asyncio.gather(*calls[1:], return_exceptions=True)
        errors = await in_time(ends, "close() ends what waits for its turn.")
        assert now() - began < 0.5
        calls[0].cancel()
    assert {type(error) for error in errors} == {ConfigurationError}
