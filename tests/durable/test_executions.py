"""How the executions of a worker end with it."""

from __future__ import annotations

import asyncio

import pytest

from smspartner_async.durable._executions import Executions


async def test_draining_cancels_what_is_interruptible_and_awaits_the_rest() -> None:
    """A wait ends at once; a payment ends by itself; nothing new becomes cancellable."""
    executions, paid = Executions(), asyncio.Event()

    async def wait() -> None:
        with executions.execution_of("one"), executions.interruptible():
            await asyncio.sleep(60)

    async def pay() -> None:
        with executions.execution_of("two"):
            await paid.wait()

    waiting, paying = asyncio.create_task(wait()), asyncio.create_task(pay())
    await asyncio.sleep(0)
    assert executions.workflows == {waiting: "one", paying: "two"}
    draining = asyncio.create_task(executions.drain())
    await asyncio.wait((waiting,), timeout=5)
    assert waiting.cancelled()
    assert not paying.done()
    for refused in (executions.interruptible(), executions.execution_of("three")):
        with pytest.raises(asyncio.CancelledError), refused:
            pytest.fail("it began what nobody would wait for")
    draining.cancel()
    await asyncio.wait((draining,), timeout=0.3)
    assert not draining.done(), "a cancellation cut off a payment"
    paid.set()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert paying.done()
    assert not executions.workflows
