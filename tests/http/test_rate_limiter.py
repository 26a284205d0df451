"""The budget that all requests of one client share: its rate, its order, and its cool-downs."""

import asyncio
import math
import random
from decimal import Decimal
from typing import Any, Final

import pytest
from fault_server import FaultServer
from faults import busy, json_reply
from polls import GENERATING, TOKEN, Log, all_of, client_of, gaps, now, start

from smspartner_async import (
    Gender,
    RetryPolicy,
    SMSPartnerClient,
    Targeting,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async._http.rate_limiter import RateLimiter

PEOPLE: Final = Targeting(gender=Gender.MIXED, min_age=25, max_age=35, interest=12)
ONCE: Final = RetryPolicy(attempts=1)
RENTED: Final = json_reply({"success": True, "token": TOKEN})


def most_in_a_minute(times: list[float]) -> int:
    """How many times at most lie in a window of 60 s."""
    times = sorted(times)
    return max(sum(0 <= later - start < 60 - 1e-4 for later in times) for start in times)


@pytest.mark.looptime
async def test_the_moment_at_which_the_own_rate_allows_one_needs_a_shared_permit_too() -> None:
    """A shared budget: also exactly then, which in a loop's timers is the usual moment."""

    class NoPermits:
        def next_at(self, _: float) -> float:
            return math.inf

        def take(self) -> None:
            raise AssertionError("there is none")

        def close(self) -> None:
            pass

    limiter = RateLimiter(60)
    assert limiter.try_acquire()
    sent_at = limiter._sent_at
    with limiter.drawing_from(NoPermits()):
        assert limiter._opens_at(sent_at + 1) == math.inf
        assert limiter._opens_at(sent_at + 0.5) == sent_at + 1


# --- the rate --------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.no_cover
@pytest.mark.parametrize("rate", [0.5, 1, 2.5, 7, 60, 360, 1000])
async def test_the_rate_is_kept_to_in_a_burst(rate: float) -> None:
    """A shared budget: of many requests at once, no more leave than fit in any minute."""
    log = Log()
    many = math.ceil(rate * 1.2) + 3
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=rate) as client,
    ):
        ends = await all_of(*(start(client.status(TOKEN)) for _ in range(many)))
    assert not [end for end in ends if isinstance(end, Exception)]
    assert len(log.times) == many
    assert most_in_a_minute(log.times) <= math.ceil(rate)
    assert log.times[-1] - log.times[0] == pytest.approx((many - 1) * 60 / rate, rel=1e-4)


@pytest.mark.looptime
async def test_the_rate_is_shared_by_all_operations() -> None:
    """A shared budget: rents, waits, retries and single requests come out of one budget."""
    log = Log([busy(503), busy(503)])
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=30) as client,
    ):
        await all_of(
            start(client.rent(PEOPLE)),
            start(client.wait_until_ready("a", timeout=90)),
            start(client.wait_until_ready("b", timeout=90)),
            *(start(client.status("c")) for _ in range(20)),
        )
    assert min(gaps(log.times)) >= 2 - 1e-5
    assert most_in_a_minute(log.times) <= 30


@pytest.mark.looptime
async def test_idle_time_is_not_saved_up() -> None:
    """A shared budget: after an idle hour requests leave no closer together than ever."""
    log = Log()
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        await client.status(TOKEN)
        await asyncio.sleep(3600)
        await all_of(*(start(client.status(TOKEN)) for _ in range(5)))
    assert [time - log.times[1] for time in log.times[1:]] == pytest.approx([0, 1, 2, 3, 4])


@pytest.mark.looptime
async def test_a_coarse_clock_does_not_speed_the_rate_up() -> None:
    """A shared budget: timers that fire early, as some systems' do, do not add up over a minute."""
    limiter = RateLimiter(60)
    await limiter.acquire("status")
    began = now()
    tasks = [start(limiter.acquire("status")) for _ in range(2)]
    await asyncio.sleep(0.9)
    assert limiter._timer is not None
    limiter._timer.cancel()
    limiter._on_timer(limiter._timer.when())
    await all_of(*tasks)
    assert now() - began == pytest.approx(2)


@pytest.mark.looptime
async def test_the_first_request_does_not_wait() -> None:
    """A shared budget: where the budget is free, a request leaves at once."""
    began = now()
    async with (
        FaultServer(GENERATING) as server,
        client_of(server, max_requests_per_minute=0.01) as client,
    ):
        await client.status(TOKEN)
    assert now() == began


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, True, "60"])
def test_a_rate_is_a_number_above_0(rate: Any) -> None:
    """Bad input: a rate that cannot be one is a ValueError when the client is made."""
    with pytest.raises(ValueError, match="max_requests_per_minute must be a number above 0"):
        SMSPartnerClient("k-1", max_requests_per_minute=rate)


# --- the order -------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_first_come_first_served() -> None:
    """A shared budget: requests leave in the order of their coming."""
    log = Log()
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        tasks = []
        for number in range(12):
            tasks.append(start(client.status(f"t{number}")))
            await asyncio.sleep(0.3)
        await all_of(*tasks)
    assert log.names == [f"t{number}" for number in range(12)]


@pytest.mark.looptime
async def test_paid_requests_go_first() -> None:
    """A shared budget: a rent does not wait behind polls."""
    log = Log()
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        tasks = [start(client.status(f"t{number}")) for number in range(4)]
        await asyncio.sleep(0.1)
        tasks += [start(client.rent(PEOPLE)), start(client.status("t4"))]
        await all_of(*tasks)
    assert log.names == ["t0", "rent", "t1", "t2", "t3", "t4"]


@pytest.mark.looptime
async def test_the_price_of_a_rent_goes_first_too() -> None:
    """A shared budget: with `max_total`, a rent waits behind no polls, and neither does its price.

    A price that is asked for alone does: it comes in its turn.
    """
    reply = {"success": True, "token": TOKEN, "status": 1, "cost": {"total": "1.80"}}
    async with (
        FaultServer(default=json_reply(reply)) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        tasks = [start(client.status(f"t{number}")) for number in range(4)]
        await asyncio.sleep(0.1)
        tasks += [start(client.price(PEOPLE)), start(client.rent(PEOPLE, max_total=Decimal(5)))]
        await all_of(*tasks)
        came = [received.operation for received in server.received]
    assert came == ["status", "price", "rent", "status", "status", "status", "price"]


@pytest.mark.looptime
async def test_of_two_polls_the_one_unasked_longest_goes_first() -> None:
    """A shared budget: a rental with a long interval does not wait for its turn on top of that."""
    order: list[str] = []
    limiter = RateLimiter(60)
    await limiter.acquire("status")

    async def poll(name: str, since: float) -> None:
        await limiter.acquire("status", since=since)
        order.append(name)

    began = now()
    tasks = [start(poll("asked a second ago", began - 1)), start(poll("asked just now", began))]
    await asyncio.sleep(0.1)
    tasks.append(start(poll("asked a minute ago", began - 60)))
    await all_of(*tasks)
    assert order == ["asked a minute ago", "asked a second ago", "asked just now"]


# --- those who leave the queue ---------------------------------------------------------------


@pytest.mark.looptime
async def test_the_turn_of_a_cancelled_one_goes_to_the_next() -> None:
    """A shared budget: a cancelled request leaves no gap."""
    log = Log()
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        tasks = [start(client.status(f"t{number}")) for number in range(6)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        tasks[3].cancel()
        await all_of(*tasks)
    assert log.names == ["t0", "t2", "t4", "t5"]
    assert [time - log.times[0] for time in log.times] == pytest.approx([0, 1, 2, 3])


@pytest.mark.looptime
async def test_a_turn_that_comes_together_with_a_cancellation_is_handed_on() -> None:
    """A shared budget: cancelled in the very moment of its turn, a request leaves it to another."""
    limiter = RateLimiter(60)
    await limiter.acquire("status")
    first, second, third = (start(limiter.acquire("status")) for _ in range(3))
    await asyncio.sleep(0.999)
    began = now()
    assert limiter._timer is not None
    limiter._timer.cancel()
    limiter._on_timer(limiter._timer.when())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert now() == began
    await third
    assert now() - began == pytest.approx(1)


@pytest.mark.looptime
async def test_an_unsent_check_says_so() -> None:
    """A shared budget: a deadline that comes in the queue ends the wait, and nothing is sent."""
    log = Log()
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=1) as client,
    ):
        tasks = [start(client.status("t0")), start(client.wait_until_ready("w", timeout=30))]
        tasks.append(start(client.status("t1")))
        ends = await all_of(*tasks)
    assert isinstance(ends[1], WaitTimeoutError)
    assert isinstance(ends[1].__cause__, TransportError)
    assert ends[1].__cause__.maybe_sent is False
    assert log.names == ["t0", "t1"]
    assert log.times[1] - log.times[0] == pytest.approx(60)


@pytest.mark.looptime
@pytest.mark.parametrize("number", range(15))
async def test_no_slot_is_lost_whoever_leaves(number: int) -> None:
    """A shared budget: under any comings, cancellations and deadlines the slots are all used."""
    seed = random.Random(number)
    limiter = RateLimiter(60)
    left: list[tuple[float, int]] = []

    async def pass_through(order: int, deadline: float | None) -> None:
        await limiter.acquire("status", deadline=deadline)
        left.append((now(), order))

    began = now()
    tasks = []
    for order in range(40):
        deadline = began + seed.uniform(0, 30) if seed.random() < 0.3 else None
        tasks.append(start(pass_through(order, deadline)))
        if seed.random() < 0.3:
            await asyncio.sleep(0.2)
            moment = seed.choice([0.0, 1 - now() % 1, seed.uniform(0, 20)])
            asyncio.get_running_loop().call_later(moment, seed.choice(tasks).cancel)
    ends = await all_of(*tasks)
    assert len(left) == sum(end is None for end in ends)
    assert {type(end) for end in ends} <= {type(None), TransportError, asyncio.CancelledError}
    times = [time - began for time, _ in left]
    assert times == pytest.approx(range(len(times)), abs=1e-4)
    assert [order for _, order in left] == sorted(order for _, order in left)
