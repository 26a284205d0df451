"""The deadlines of those who wait for their turn: each is kept, and all of them take one timer."""

import asyncio
import random
from typing import Any

import pytest
from polls import all_of, in_time, now, start

from smspartner_async import ConfigurationError, TransportError
from smspartner_async._http.rate_limiter import RateLimiter

pytestmark = pytest.mark.looptime


def timers() -> list[asyncio.TimerHandle]:
    """Those of the running loop that are set."""
    loop: Any = asyncio.get_running_loop()
    return [timer for timer in loop._scheduled if not timer.cancelled()]


async def test_each_deadline_in_the_queue_is_kept_with_one_timer() -> None:
    """A poll: whatever the order of the deadlines, each ends its own wait at its time."""
    dice = random.Random(1)
    limiter = RateLimiter(0.001)
    await limiter.acquire("status")
    began, before = now(), len(timers())
    deadlines = [began + dice.uniform(1, 50) for _ in range(300)]
    ended: dict[int, float] = {}

    async def wait(number: int, deadline: float) -> None:
        with pytest.raises(TransportError) as caught:
            await limiter.acquire("status", deadline=deadline, since=dice.random())
        assert caught.value.maybe_sent is False
        ended[number] = now()

    tasks = [start(wait(*one)) for one in enumerate(deadlines)]
    await asyncio.sleep(0.5)
    assert len(timers()) <= before + 2 + 1  # the next permit, the next deadline, and this sleep
    await in_time(all_of(*tasks), "each deadline ends its own wait.")
    assert [ended[number] for number in range(300)] == pytest.approx(deadlines, abs=1e-6)


async def test_a_deadline_that_is_over_ends_the_waiting_at_once() -> None:
    """A poll: who comes too late does not wait for its turn."""
    limiter = RateLimiter(1)
    await limiter.acquire("status")
    began = now()
    late = limiter.acquire("status", deadline=began - 5)
    with pytest.raises(TransportError):
        await in_time(late, "a deadline that is over ends the waiting at once.")
    assert now() == began


async def test_who_has_had_its_turn_is_kept_no_longer() -> None:
    """A shared budget: deadlines far ahead of requests that were sent do not pile up."""
    limiter = RateLimiter(60_000)
    await limiter.acquire("status")
    for _ in range(5):
        await all_of(*(start(limiter.acquire("status", deadline=now() + 1e6)) for _ in range(300)))
    assert limiter.queued == 0
    assert len(limiter._deadlines) < 200


async def test_a_deadline_holds_after_a_turn_that_was_handed_back() -> None:
    """A poll: sent back into the queue by a 429 of another, a request keeps its deadline."""
    limiter = RateLimiter(60)
    await limiter.acquire("status")
    began = now()
    task = start(limiter.acquire("status", deadline=began + 30))
    await asyncio.sleep(0.999)
    assert limiter._timer is not None
    limiter._timer.cancel()
    limiter._on_timer(limiter._timer.when())  # its turn has come, and its task has not run yet
    limiter.cool_down(20)
    others = [start(limiter.acquire("status", priority=True)) for _ in range(100)]
    with pytest.raises(TransportError):
        await in_time(task, "a deadline ends the waiting, also after a turn handed back.")
    assert now() == pytest.approx(began + 30)
    await limiter.close()
    await in_time(all_of(*others), "close() ends all that wait for their turn.")


async def test_close_leaves_no_timer_behind() -> None:
    """A shared budget: what waits when a client is closed fails so, and nothing else happens."""
    limiter = RateLimiter(1)
    await limiter.acquire("status")
    before = len(timers())
    tasks = [start(limiter.acquire("status", deadline=now() + 900)) for _ in range(3)]
    await asyncio.sleep(0)
    await limiter.close()
    ends = await in_time(all_of(*tasks), "close() ends all that wait for their turn.")
    assert {type(end) for end in ends} == {ConfigurationError}
    assert len(timers()) == before


async def test_who_is_closed_in_the_moment_of_its_turn_gets_the_error() -> None:
    """A shared budget: a turn that was granted just before `close` is not used any more."""
    limiter = RateLimiter(60)
    await limiter.acquire("status")
    task = start(limiter.acquire("status"))
    await asyncio.sleep(0.999)
    assert limiter._timer is not None
    limiter._timer.cancel()
    limiter._on_timer(limiter._timer.when())
    await limiter.close()
    with pytest.raises(ConfigurationError):
        await task
