"""The account's requests a minute, kept by all workers together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from eager import begin_tasks_at_once, needs_eager_tasks
from polls import in_time

from smspartner_async import ConfigurationError, SMSPartnerClient, TransportError, WaitTimeoutError
from smspartner_async._http.rate_limiter import RateLimiter
from smspartner_async.durable import Store, StoreError
from smspartner_async.durable._shared_limit import SharedPermits
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


# --- a client's limiter that draws from it -----------------------------------------------------


async def test_calls_continue_at_the_clients_own_rate_when_the_worker_ends(
    store: Store, client: SMSPartnerClient
) -> None:
    """The shared limit ends with its worker: for calls that wait, later ones, and for copies."""
    async with store.worker(client, max_requests_per_minute=1):
        copy = client.with_options(request_timeout=5)
        waiting = [asyncio.create_task(each.credits()) for each in (client, copy, client)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in waiting)
    rest = asyncio.gather(*waiting, client.credits(), copy.credits())
    await in_time(rest, "the shared limit ends with its worker.")


async def test_a_wait_for_a_shared_permit_keeps_its_deadline(
    store: Store, client: SMSPartnerClient
) -> None:
    """The shared limit: a deadline ends the waiting for a permit, and nothing was sent."""
    async with store.worker(client, max_requests_per_minute=1):
        wait = client.wait_until_ready("t0", timeout=0.2)
        with pytest.raises(WaitTimeoutError) as caught:
            await in_time(wait, "a deadline ends the waiting for a shared permit.")
    assert isinstance(caught.value.__cause__, TransportError)
    assert caught.value.__cause__.maybe_sent is False


async def test_closing_the_client_ends_the_waiting_for_a_shared_permit(
    store: Store, sandbox: Sandbox
) -> None:
    """The shared limit: close() ends those who wait for a permit."""
    client = SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url)
    async with store.worker(client, max_requests_per_minute=1):
        waiting = asyncio.create_task(client.credits())
        await asyncio.sleep(0.3)
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await in_time(waiting, "close() ends the waiting for a shared permit.")


def evenly(distance: float) -> Callable[[int], Awaitable[list[float]]]:
    """Give moments `distance` apart, without a database."""
    free = 0.0

    async def reserve(wanted: int) -> list[float]:
        nonlocal free
        free = max(free, asyncio.get_running_loop().time())
        moments = [free + number * distance for number in range(wanted)]
        free += wanted * distance
        return moments

    return reserve


@pytest.mark.looptime
async def test_urgent_requests_go_ahead_and_cancelled_ones_take_no_permit() -> None:
    """A rent does not wait behind a thousand polls."""
    limiter = RateLimiter(None)
    order: list[str] = []

    async def ask(name: str, *, priority: bool = False) -> None:
        await limiter.acquire("status", priority=priority)
        order.append(name)

    with limiter.drawing_from(SharedPermits(limiter, evenly(1.0))):
        polls = [asyncio.create_task(ask(f"poll-{n}")) for n in range(4)]
        await asyncio.sleep(0.5)
        rent = asyncio.create_task(ask("rent", priority=True))
        polls[1].cancel()
        await asyncio.wait([*polls, rent])
    assert order == ["poll-0", "rent", "poll-2", "poll-3"]


@pytest.mark.looptime
async def test_a_frozen_worker_cannot_catch_up_on_its_permits() -> None:
    """A permit whose moment has passed is worth nothing."""

    async def long_ago(wanted: int) -> list[float]:
        now = asyncio.get_running_loop().time()
        calls.append(wanted)
        return [now - 10.0] * wanted if len(calls) == 1 else [now + n for n in range(wanted)]

    calls: list[int] = []
    limiter = RateLimiter(None)
    started = asyncio.get_running_loop().time()
    with limiter.drawing_from(SharedPermits(limiter, long_ago)):
        await asyncio.gather(*(limiter.acquire("status") for _ in range(3)))
    assert calls == [3, 3]
    assert asyncio.get_running_loop().time() - started == pytest.approx(2.0, abs=0.01)


@pytest.mark.looptime
async def test_a_reservation_that_fails_is_made_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waits for a permit is not forgotten when the database fails."""
    calls: list[int] = []

    async def reserve(wanted: int) -> list[float]:
        calls.append(wanted)
        if len(calls) < 3:
            raise StoreError("away")
        return [asyncio.get_running_loop().time()] * wanted

    limiter = RateLimiter(None)
    with limiter.drawing_from(SharedPermits(limiter, reserve)):
        await limiter.acquire("status")
    assert calls == [1, 1, 1]
    assert asyncio.get_running_loop().time() == pytest.approx(2.0)
    assert "no permits could be reserved" in caplog.text


@needs_eager_tasks
async def test_eager_tasks_get_permits() -> None:
    """A reservation that begins at once does not end before its request stands in the queue."""
    begin_tasks_at_once()

    async def reserve(wanted: int) -> list[float]:
        await asyncio.sleep(0)
        return [asyncio.get_running_loop().time()] * wanted

    async with Sandbox() as box, SMSPartnerClient(box.api_key, base_url=box.base_url) as client:
        limiter = client._pipeline.limiter
        with limiter.drawing_from(SharedPermits(limiter, reserve)):
            for _ in range(3):
                await in_time(client.credits(), "a request gets its permit.")
