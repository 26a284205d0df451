"""Waiters of one rental with different strategies: each keeps its own due time, all share answers.

The waits, their strategies and the moments at which they join are hypothesis's, the time is
virtual, and the requests go over real sockets.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import looptime
import pytest
from attrs import define, field, frozen
from fault_server import FaultServer
from hypothesis import given
from hypothesis import strategies as st
from polls import GENERATING, READY, TOKEN, Heard, Script, client_of
from tenacity import wait_chain, wait_exponential, wait_fixed, wait_incrementing

from smspartner_async import PollingPolicy, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fault_server import Received, Reply
    from tenacity import RetryCallState

    from smspartner_async import PollEvent, SMSPartnerClient

CLOSE = 0.01  # seconds of virtual time that requests and turns of the loop may take together


@frozen
class Waiter:
    """One wait: when it begins, how it polls, and when it gives up."""

    joins: float
    strategy: Any
    timeout: float | None = None


@define
class Played:
    """When requests came; of each waiter its begin, events and the intervals of its strategy."""

    requests: list[float] = field(factory=list)
    began: dict[int, float] = field(factory=dict)
    ended: dict[int, float] = field(factory=dict)
    events: dict[int, list[tuple[float, PollEvent]]] = field(factory=dict)
    intervals: dict[int, list[float]] = field(factory=dict)


async def _play(waiters: Sequence[Waiter], ready_at: float) -> Played:
    loop = asyncio.get_running_loop()
    played = Played()

    def answer(_: Received) -> Reply:
        played.requests.append(loop.time())
        return READY if loop.time() >= ready_at else GENERATING

    async def wait(client: SMSPartnerClient, number: int, waiter: Waiter) -> None:
        await asyncio.sleep(waiter.joins)
        played.began[number] = loop.time()
        events = played.events[number] = []
        intervals = played.intervals[number] = []

        def strategy(state: RetryCallState) -> float:
            intervals.append(waiter.strategy(state))
            return intervals[-1]

        own = client.with_options(polling=PollingPolicy(wait=strategy))
        try:
            await own.wait_until_ready(
                TOKEN,
                timeout=waiter.timeout,
                on_poll=lambda event: events.append((loop.time(), event)),
            )
        except WaitTimeoutError:
            assert waiter.timeout is not None
        played.ended[number] = loop.time()

    async with FaultServer(answer) as server, client_of(server) as client:
        await asyncio.gather(*(wait(client, *one) for one in enumerate(waiters)))
        assert not client._polls._rentals
    return played


def play(waiters: Sequence[Waiter], ready_at: float) -> Played:
    """Let all wait in a new loop, with virtual time from 0 on."""

    def new_loop() -> asyncio.AbstractEventLoop:
        return looptime.new_event_loop(start=0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_play(waiters, ready_at))


seconds = st.floats(0.5, 40)
any_strategy = st.one_of(
    seconds.map(wait_fixed),
    st.lists(seconds, min_size=1, max_size=4).map(lambda some: wait_chain(*map(wait_fixed, some))),
    st.builds(wait_exponential, multiplier=seconds, max=st.just(60), exp_base=st.floats(1, 3)),
    st.builds(wait_incrementing, start=seconds, increment=st.floats(-5, 20)).map(
        lambda strategy: strategy + wait_fixed(0.5)
    ),
)
any_waiter = st.builds(
    Waiter,
    joins=st.floats(0, 100),
    strategy=any_strategy,
    timeout=st.one_of(st.none(), st.floats(0.5, 150)),
)


@pytest.mark.no_cover
@given(st.lists(any_waiter, min_size=1, max_size=5), st.floats(0, 120))
def test_nobody_polls_later_than_its_own_due_time(waiters: list[Waiter], ready_at: float) -> None:
    """A poll: each waiter hears of the next check by the time that its own strategy gave."""
    played = play(waiters, ready_at)
    for number, waiter in enumerate(waiters):
        events = played.events[number]
        assert events[0][0] == pytest.approx(played.began[number], abs=CLOSE)
        for (heard, event), (next_heard, _) in itertools.pairwise(events):
            assert event.next_delay is not None
            assert next_heard <= heard + event.next_delay + CLOSE
        for place, (heard, event) in enumerate(events, 1):
            assert event.attempt == place
            assert event.elapsed == pytest.approx(heard - played.began[number], abs=CLOSE)
        if waiter.timeout is not None:
            assert played.ended[number] <= played.began[number] + waiter.timeout + CLOSE


@pytest.mark.no_cover
@given(st.lists(any_waiter, min_size=1, max_size=5), st.floats(0, 120))
def test_every_answer_is_an_attempt_of_all(waiters: list[Waiter], ready_at: float) -> None:
    """A poll: one request is one check of everybody who waits at that moment."""
    played = play(waiters, ready_at)
    for number in range(len(waiters)):
        heard = [moment for moment, _ in played.events[number]]
        made = [
            moment
            for moment in played.requests
            if played.began[number] + CLOSE < moment < played.ended[number] - CLOSE
        ]
        for moment in made:
            assert min(abs(moment - one) for one in heard) < CLOSE


@pytest.mark.no_cover
@given(st.lists(any_waiter, min_size=1, max_size=5), st.floats(0, 120))
def test_no_request_is_made_before_anybody_is_due(waiters: list[Waiter], ready_at: float) -> None:
    """A poll: a request has somebody who is due by its strategy, joins, or checks a last time."""
    played = play(waiters, ready_at)
    due = [*played.began.values()]
    for events in played.events.values():
        due += [moment + (event.next_delay or 0.0) for moment, event in events]
    for moment in played.requests:
        assert min(abs(moment - one) for one in due) < CLOSE


@pytest.mark.no_cover
@given(st.lists(st.floats(0.5, 40), min_size=1, max_size=6), st.floats(0, 100))
def test_together_they_ask_no_oftener_than_the_most_eager_alone(
    intervals: list[float], ready_at: float
) -> None:
    """A poll: waiters who began together make exactly the requests of the one with least wait."""
    alone = play([Waiter(0, wait_fixed(min(intervals)))], ready_at)
    together = play([Waiter(0, wait_fixed(interval)) for interval in intervals], ready_at)
    assert together.requests == pytest.approx(alone.requests, abs=CLOSE)


@pytest.mark.no_cover
@given(st.lists(any_waiter, min_size=1, max_size=4), st.floats(0, 120), st.floats(0.5, 5))
def test_lazier_joiners_add_no_requests(
    waiters: list[Waiter], ready_at: float, eager: float
) -> None:
    """A poll: who joins a wait and is never the first to be due costs no request."""
    lazy = [Waiter(one.joins, wait_fixed(eager) + one.strategy) for one in waiters]
    first = Waiter(0, wait_fixed(eager))
    # The first one's answers are never older than its interval, so a joiner takes the last of them.
    alone = play([first], max(ready_at, *(one.joins for one in lazy)) + 1)
    together = play([first, *lazy], max(ready_at, *(one.joins for one in lazy)) + 1)
    assert together.requests == pytest.approx(alone.requests, abs=CLOSE)


@pytest.mark.looptime
async def test_a_newcomer_reuses_an_answer_younger_than_its_own_first_interval() -> None:
    """A poll: a newcomer says by its own strategy whether an answer is fresh, and what is due."""
    script = Script.of(GENERATING)
    slow = PollingPolicy(wait=wait_fixed(100))
    async with FaultServer(script) as server, client_of(server, polling=slow) as client:
        tasks = [asyncio.create_task(client.wait_until_ready(TOKEN))]
        await asyncio.sleep(20)
        # Its first interval is 30 s, so the answer of 20 s ago will do for the next 10 s.
        easy = client.with_options(polling=PollingPolicy(wait=wait_fixed(30)))
        tasks.append(asyncio.create_task(easy.wait_until_ready(TOKEN)))
        await asyncio.sleep(15)
        assert script.times == pytest.approx([0, 30], abs=CLOSE)
        # Its first interval is 3 s, and the last answer is 5 s old.
        eager = client.with_options(polling=PollingPolicy(wait=wait_fixed(3)))
        heard = Heard()
        tasks.append(asyncio.create_task(eager.wait_until_ready(TOKEN, on_poll=heard)))
        await asyncio.sleep(1)
        assert script.times == pytest.approx([0, 30, 35], abs=CLOSE)
        assert heard.delays == [pytest.approx(3, abs=CLOSE)]  # of its request alone
        for task in tasks:
            task.cancel()
