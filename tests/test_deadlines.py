"""One timer ends every request in its time: the moments are exact, in virtual time."""

from __future__ import annotations

import asyncio

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspartner_async._deadlines import Deadlines


async def overrun(deadlines: Deadlines, after: float, limit: float, work: float) -> float | None:
    """Begin after so many seconds; tell when the work was ended, or `None` where it was not."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(after)
    scope = deadlines.add(loop.time() + limit)
    try:
        async with scope:
            await asyncio.sleep(work)
    except TimeoutError:
        return loop.time()
    finally:
        deadlines.discard(scope)
    return None


_TENTHS = st.integers(0, 100).map(lambda tenths: tenths / 10)


@given(st.lists(st.tuples(_TENTHS, _TENTHS, _TENTHS), max_size=12))
def test_each_ends_at_its_own_moment(requests: list[tuple[float, float, float]]) -> None:
    """Whatever comes in whatever order, what takes longer than its limit ends at that, no other."""

    async def play() -> list[float | None]:
        deadlines = Deadlines()
        return await asyncio.gather(*(overrun(deadlines, *request) for request in requests))

    loop = looptime.new_event_loop(start=0)
    try:
        ends = loop.run_until_complete(play())
    finally:
        loop.close()
    for (after, limit, work), end in zip(requests, ends, strict=True):
        if work < limit:
            assert end is None
        elif work > limit:
            assert end == pytest.approx(after + limit, abs=0.001)


async def test_a_timer_that_finds_nothing_to_end_leaves_nothing_behind() -> None:
    """Requests that end in time leave one timer at most, and an end to all leaves none."""
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    for _ in range(100):
        deadlines.discard(deadlines.add(loop.time() + 30))
    assert deadlines._timer is not None
    assert deadlines._timer.when() - loop.time() <= 30
    await deadlines.end_all()
    assert deadlines._timer is None
