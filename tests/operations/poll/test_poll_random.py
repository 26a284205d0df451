"""Waits of two rentals that join, leave, fail and are closed at random: whatever comes, they end.

Time is virtual, and requests go over real sockets. A number is all that a run depends on.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from fault_server import FaultServer
from faults import busy, html, stall_before_head
from polls import GENERATING, READY, READY_BODY, client_of, now, said
from tenacity import stop_after_attempt, wait_chain, wait_fixed, wait_random

from smspartner_async import ConfigurationError, PollingPolicy, SMSPartnerError

if TYPE_CHECKING:
    from fault_server import Received, Reply
    from tenacity import RetryCallState

    from smspartner_async import PollEvent, SMSPartnerClient

REPLIES = [GENERATING, READY, html(502), busy(429, "3"), said(3), busy(503, "2")]
REPLIES += [stall_before_head(READY_BODY)]
WEIGHTS = (70, 4, 8, 3, 1, 4, 3)


class MineError(Exception):
    """What a callback of the application's raises."""


def _fails_at_five(state: RetryCallState) -> float:
    return 2 if state.attempt_number != 5 else 1 / (state.attempt_number - 5)


STRATEGIES: tuple[Any, ...] = (
    wait_fixed(2),
    wait_random(0.5, 3),
    wait_chain(wait_fixed(1), wait_fixed(9)),
    _fails_at_five,
)


async def _wait(client: SMSPartnerClient, dice: random.Random) -> None:
    def on_poll(_: PollEvent) -> None:
        if dice.random() < 0.02:
            raise MineError

    async def on_poll_later(event: PollEvent) -> None:
        await asyncio.sleep(dice.uniform(0, 2))
        on_poll(event)

    await asyncio.sleep(dice.uniform(0, 30))
    stop = dice.choice([None, stop_after_attempt(7)])
    own = client.with_options(polling=PollingPolicy(wait=dice.choice(STRATEGIES), stop=stop))
    token, timeout = dice.choice(["a", "b"]), dice.choice([None, 5, 40])
    began = now()
    try:
        if dice.random() < 0.3:
            async for _ in own.watch(token, timeout=timeout):
                pass
        else:
            callback = dice.choice([None, on_poll, on_poll_later])
            await own.wait_until_ready(token, timeout=timeout, on_poll=callback)
    finally:
        assert timeout is None or now() - began <= timeout + 0.25


@pytest.mark.looptime
@pytest.mark.parametrize("number", range(8))
async def test_waits_end_whatever_comes_and_leave_nothing_behind(number: int) -> None:
    """A poll: in time, by an error of the client's own or of the callback's; no turn is lost."""
    dice = random.Random(number)

    def answer(_: Received) -> Reply:
        return dice.choices(REPLIES, WEIGHTS)[0]

    async with FaultServer(answer) as server:
        client = client_of(
            server,
            max_requests_per_minute=dice.choice([None, 60, 600]),
            max_connections=dice.choice([1, 3, 100]),
            request_timeout=5,
        )
        tasks = [asyncio.create_task(_wait(client, dice)) for _ in range(25)]
        loop = asyncio.get_running_loop()
        for task in dice.sample(tasks, 7):
            loop.call_later(dice.uniform(0, 60), task.cancel)
        loop.call_later(dice.uniform(0, 30), client.notify, "a")
        await asyncio.sleep(dice.uniform(20, 70))
        await client.close()
        _, left = await asyncio.wait(tasks, timeout=40)
        assert not left
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(ConfigurationError):
            await client.status("a")
    kinds = (type(None), SMSPartnerError, MineError, asyncio.CancelledError)
    assert [end for end in ends if not isinstance(end, kinds)] == []
    assert not client._polls._rentals
    assert client._pipeline.limiter._in_use == 0
