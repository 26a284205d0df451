"""One timer ends every request in its time: the moments are exact, in virtual time."""

from __future__ import annotations

import asyncio

import looptime
import pytest
from fault_server import FaultServer, Received, Reply
from hypothesis import given
from hypothesis import strategies as st
from polls import GENERATING, TOKEN, client_of

from smspartner_async import RentalState, RetryPolicy
from smspartner_async._http.deadlines import Deadlines, for_each


async def overrun(deadlines: Deadlines, after: float, limit: float, work: float) -> float | None:
    """Begin after so many seconds; return when the work was ended, or `None` where it was not."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(after)
    try:
        with deadlines.at(loop.time() + limit):
            await asyncio.sleep(work)
    except TimeoutError:
        return loop.time()
    return None


_TENTHS = st.integers(0, 100).map(lambda tenths: tenths / 10)


@pytest.mark.no_cover
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


async def test_a_reply_that_came_while_the_loop_stood_still_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What keeps the loop from reading a reply in time does not make that an error.

    100,000 waits that begin at once on a busy machine do so to the requests sent first.
    """
    loop = asyncio.get_running_loop()
    clock = loop.time

    def answer(_: Received) -> Reply:
        monkeypatch.setattr(loop, "time", lambda: clock() + 60)
        return GENERATING

    retry = RetryPolicy(attempts=1)
    async with (
        FaultServer(answer) as server,
        client_of(server, request_timeout=30, retry=retry) as client,
    ):
        status = await client.status(TOKEN)
    assert status.state is RentalState.GENERATING


async def test_a_request_ends_soon_after_the_loop_stood_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no reply came meanwhile either, there is a second to read one, and no more."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    deadlines, began = Deadlines(), clock()
    with pytest.raises(TimeoutError), deadlines.at(loop.time() + 30):  # noqa: PT012
        monkeypatch.setattr(loop, "time", lambda: clock() + 60)
        await asyncio.Event().wait()
    assert 1 <= clock() - began < 20
    assert deadlines._timer is None


async def test_a_timer_that_finds_nothing_to_end_leaves_nothing_behind() -> None:
    """Requests that end in time leave one timer at most, and an end to all leaves none."""
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    for _ in range(100):
        with deadlines.at(loop.time() + 30):
            pass
    assert deadlines._timer is not None
    assert deadlines._timer.when() - loop.time() <= 30
    await deadlines.end_all()
    assert deadlines._timer is None


async def test_when_all_were_ended_none_is_under_way() -> None:
    """`close()` comes back when the requests that it has ended are over."""
    deadlines = Deadlines()

    async def request() -> None:
        with deadlines.at(asyncio.get_running_loop().time() + 1000):
            await asyncio.sleep(1000)

    tasks = [asyncio.create_task(request()) for _ in range(3)]
    await asyncio.sleep(0)
    await deadlines.end_all()
    assert all(task.done() for task in tasks)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [TimeoutError] * 3


async def test_a_cancellation_beside_the_end_stays_a_cancellation() -> None:
    """A task that somebody else cancels in the turn in which its time ends is a cancelled one."""
    deadlines = Deadlines()

    async def request() -> None:
        with deadlines.at(asyncio.get_running_loop().time() + 1000):
            await asyncio.sleep(10)

    for ends_first in (True, False):
        task = asyncio.create_task(request())
        await asyncio.sleep(0)
        (deadline,) = deadlines._open
        for act in (deadline.end, task.cancel) if ends_first else (task.cancel, deadline.end):
            act()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_a_request_whose_time_is_over_leaves_its_task_uncancelled() -> None:
    """Who catches the `TimeoutError` is not cancelled; a scope around it counts no cancellation."""
    deadlines = Deadlines()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError), deadlines.at(loop.time() + 0.01):
            await asyncio.sleep(10)
        assert task.cancelling() == 0
        await asyncio.sleep(0)


async def test_what_a_request_fails_with_at_its_end_is_raised_as_it_is() -> None:
    """An error of the block's own is no `TimeoutError`, and its task is not left cancelled."""
    deadlines = Deadlines()
    task = asyncio.current_task()
    assert task is not None

    async def fail() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise KeyError from None

    with pytest.raises(KeyError), deadlines.at(asyncio.get_running_loop().time() + 0.01):
        await fail()
    assert task.cancelling() == 0


# --- ending many at once -----------------------------------------------------------------------


async def test_many_calls_leave_the_loop_its_turns() -> None:
    """Ten thousand waits that are ended together do not stop the loop: a hundred end a turn."""
    turns, made = 0, list[int]()

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    await for_each(range(10_000), made.append)
    counting.cancel()
    assert made == list(range(10_000))
    assert turns >= 99


async def test_a_cancelled_end_of_many_makes_the_rest_of_the_calls() -> None:
    """Whoever cancels close() leaves nobody waiting."""
    made = list[int]()
    ending = asyncio.create_task(for_each(range(1000), made.append))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert made == list(range(1000))
