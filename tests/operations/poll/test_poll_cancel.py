"""A wait that is cancelled, left or timed out from outside: at once, and with nothing left over."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import anyio
import pytest
from fault_server import FaultServer, Reply
from faults import busy, html, stall_before_head, stall_within_body, stall_within_head
from polls import (
    GENERATING,
    READY,
    READY_BODY,
    REQUESTED,
    TOKEN,
    Script,
    client_of,
    now,
    strange_tasks,
)

from smspartner_async import (
    PollEvent,
    PollingPolicy,
    RateLimitError,
    RentalState,
    RetryPolicy,
    SMSPartnerClient,
    SMSPartnerError,
)


async def _hang(_: PollEvent) -> None:
    await asyncio.Event().wait()


async def _watched(client: SMSPartnerClient) -> None:
    async for _ in client.watch(TOKEN):
        pass


# What a wait is doing when it is cancelled: its server's replies, on_poll, the client's options.
BUSY_WITH: Final[dict[str, tuple[Reply, Callable[[PollEvent], Any] | None, dict[str, Any]]]] = {
    "sleeping": (GENERATING, None, {}),
    "the request": (stall_before_head(READY_BODY), None, {}),
    "the head": (stall_within_head(READY_BODY), None, {}),
    "the body": (stall_within_body(READY_BODY), None, {}),
    "on_poll": (GENERATING, _hang, {}),
    "the queue": (GENERATING, None, {"max_requests_per_minute": 0.1}),
    "a cool-down": (busy(429, "600"), None, {"retry": RetryPolicy(attempts=1)}),
}


@pytest.mark.looptime
@pytest.mark.parametrize("doing", BUSY_WITH)
@pytest.mark.parametrize("watching", [False, True])
async def test_a_cancellation_goes_through_at_once(doing: str, *, watching: bool) -> None:
    """A poll: wherever it is, a wait ends within a loop turn of its cancellation, for good."""
    reply, on_poll, options = BUSY_WITH[doing]
    async with FaultServer(reply) as server, client_of(server, **options) as client:
        if doing in ("the queue", "a cool-down"):
            with suppress(RateLimitError):
                await client.status(TOKEN)
        coroutine = (
            _watched(client) if watching else client.wait_until_ready(TOKEN, on_poll=on_poll)
        )
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        await asyncio.sleep(1)
        sent = server.count("status")
        task.cancel("mine")
        await asyncio.sleep(0)
        assert task.done()
        with pytest.raises(asyncio.CancelledError) as caught:
            task.result()
        assert caught.value.args == ("mine",)
        assert not strange_tasks()
        await asyncio.sleep(3600)
        assert [received.operation for received in server.received] == ["status"] * sent
        assert sent == 1


@pytest.mark.looptime
@pytest.mark.parametrize("doing", ["the request", "the head", "the body"])
async def test_a_cancellation_hangs_up(doing: str) -> None:
    """A poll: the connection of a request that was cancelled does not stay open."""
    async with FaultServer(BUSY_WITH[doing][0]) as server, client_of(server) as client:
        task = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(1)
        (serving,) = server._tasks
        assert not serving.done()
        task.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait((serving,))  # it ends when the client hangs up
        assert task.cancelled()


@pytest.mark.looptime
async def test_a_cancellation_at_any_moment_is_clean() -> None:
    """A poll: cancelled after any number of loop turns, a wait leaves nothing behind."""

    async def on_poll(_: PollEvent) -> None:
        await asyncio.sleep(0.01)

    policy = PollingPolicy(first_interval=0.05)
    outcomes = set()
    for turns in range(0, 160, 2):
        script = Script.of(REQUESTED, html(502), GENERATING, READY)
        async with FaultServer(script) as server, client_of(server, polling=policy) as client:
            task = asyncio.create_task(client.wait_until_ready(TOKEN, on_poll=on_poll))
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled = task.cancel()
            await asyncio.sleep(0)
            assert task.done()
            assert task.cancelled() is cancelled
            assert not strange_tasks()
            outcomes.add(cancelled)
            assert {received.operation for received in server.received} <= {"status"}
    assert True in outcomes


@pytest.mark.looptime
@pytest.mark.parametrize("doing", BUSY_WITH)
async def test_a_timeout_of_the_caller_is_raised_as_one(doing: str) -> None:
    """A poll: `asyncio.timeout` around a wait works as around anything else."""
    reply, on_poll, options = BUSY_WITH[doing]
    began = now()
    async with FaultServer(reply) as server, client_of(server, **options) as client:
        with suppress(RateLimitError):
            if "max_requests_per_minute" in options or "retry" in options:
                await client.status(TOKEN)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(5):
                await client.wait_until_ready(TOKEN, on_poll=on_poll)
    assert not isinstance(caught.value, SMSPartnerError)
    assert now() - began == pytest.approx(5)


@pytest.mark.looptime
async def test_leaving_a_watch_leaves_nothing_running() -> None:
    """A poll: `break` out of a watch, or aclose(), and no more is asked."""
    script = Script.of(REQUESTED, GENERATING, REQUESTED, READY)
    async with FaultServer(script) as server, client_of(server) as client:
        async for status in client.watch(TOKEN):
            if status.state is RentalState.GENERATING:
                break
        await asyncio.sleep(5)
        assert not strange_tasks()
        changes = client.watch(TOKEN)
        await anext(changes)
        await changes.aclose()
        assert not strange_tasks()
        await asyncio.sleep(3600)
        with pytest.raises(StopAsyncIteration):
            await anext(changes)
    assert len(script.times) == 3


@pytest.mark.looptime
async def test_one_wait_of_many_is_cancelled_alone() -> None:
    """A poll: the other waits of a client continue."""
    script = Script.of(*[GENERATING] * 20, READY)
    async with FaultServer(script) as server, client_of(server) as client:
        tasks = [asyncio.create_task(client.wait_until_ready(TOKEN)) for _ in range(5)]
        await asyncio.sleep(3)
        tasks[2].cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends].count(True) == 1


@pytest.mark.looptime
@pytest.mark.parametrize("doing", BUSY_WITH)
async def test_a_scope_of_anyio_ends_a_wait_without_spinning(doing: str) -> None:
    """A poll: a cancelled scope of anyio's is left within a few turns of the loop."""
    reply, on_poll, options = BUSY_WITH[doing]
    scope = anyio.CancelScope()
    async with FaultServer(reply) as server, client_of(server, **options) as client:
        with suppress(RateLimitError):
            if "max_requests_per_minute" in options or "retry" in options:
                await client.status(TOKEN)

        async def waiting() -> None:
            with scope:
                await client.wait_until_ready(TOKEN, on_poll=on_poll)

        task = asyncio.create_task(waiting())
        await asyncio.sleep(1)
        scope.cancel()
        turns = 0
        while not task.done() and turns <= 3:
            await asyncio.sleep(0)
            turns += 1
        assert turns <= 3
        assert scope.cancelled_caught
        assert not strange_tasks()
