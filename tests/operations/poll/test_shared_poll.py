"""One poll for many waiters: what those who wait for one rental share."""

import asyncio

import pytest
from fault_server import FaultServer, Reply
from faults import busy, html, stall_before_head
from polls import (
    GENERATING,
    READY,
    READY_BODY,
    REQUESTED,
    TOKEN,
    Heard,
    Script,
    client_of,
    now,
)

from smspartner_async import (
    ConfigurationError,
    Exchange,
    PollingPolicy,
    RentalState,
    ResponseError,
    SMSPartnerClient,
    WaitTimeoutError,
)

pytestmark = pytest.mark.looptime

EVEN = PollingPolicy(first_interval=10, max_interval=10, multiplier=1, jitter=0)


async def states_of(client: SMSPartnerClient) -> list[RentalState]:
    return [status.state async for status in client.watch(TOKEN)]


async def test_many_waiters_cost_one_request_an_interval() -> None:
    """A poll: fifty waits and fifty watches of one rental ask no oftener than one would."""
    script = Script.of(REQUESTED, GENERATING, GENERATING, READY)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        ready, seen = await asyncio.gather(
            asyncio.gather(*(client.wait_until_ready(TOKEN) for _ in range(50))),
            asyncio.gather(*(states_of(client) for _ in range(50))),
        )
    assert {status.state for status in ready} == {RentalState.READY}
    assert set(map(tuple, seen)) == {
        (RentalState.REQUESTED, RentalState.GENERATING, RentalState.READY)
    }
    assert script.times == pytest.approx([0, 10, 20, 30], abs=0.1)


async def test_a_shared_request_is_reported_to_the_listeners_of_all_who_wait() -> None:
    """One request for many waiters is reported once to each `on_exchange` that one of them has."""
    heard: list[list[Exchange]] = [[], []]
    first, second = (seen.append for seen in heard)
    async with FaultServer(Script.of(GENERATING, READY)) as server, client_of(server) as client:
        plain, own, other = (client.with_options(on_exchange=it) for it in (None, first, second))
        waiting = (own, plain, own, other)
        await asyncio.gather(*(one.wait_until_ready(TOKEN) for one in waiting))
    assert [[one.token for one in seen] for seen in heard] == [[TOKEN] * 2] * 2


async def test_each_waiter_keeps_its_own_deadline_and_callback() -> None:
    """A poll: waiters of one rental end when each of them said, and hear each check."""
    script = Script.of(GENERATING)
    heard = [Heard() for _ in range(3)]
    timeouts = (15.0, 25.0, 35.0)

    async def give_up(client: SMSPartnerClient, timeout: float, on_poll: Heard) -> float:  # noqa: ASYNC109
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_until_ready(TOKEN, timeout=timeout, on_poll=on_poll)
        assert caught.value.attempts == len(on_poll.events)
        return now()

    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        began = now()
        ended = await asyncio.gather(
            *(give_up(client, *one) for one in zip(timeouts, heard, strict=True))
        )
    assert [moment - began for moment in ended] == pytest.approx([14.25, 24, 34], abs=0.01)
    # At 0, 10, 20 and 30, and one last check shortly before each deadline.
    assert script.count <= 7


SLOW = stall_before_head(READY_BODY)


@pytest.mark.parametrize("replies", [[GENERATING, SLOW], [SLOW]], ids=["the first", "the last"])
async def test_many_waiters_of_one_rental_keep_to_their_deadlines(replies: list[Reply]) -> None:
    """A poll: none of two hundred runs past its own by 0.25 s, with a request under way.

    Whether it is sent by the one whose deadline is the first, or the last.
    """
    timeouts = [20.0, *(2 + number / 40 for number in range(200))]

    async def give_up(client: SMSPartnerClient, timeout: float) -> float:  # noqa: ASYNC109
        began = now()
        with pytest.raises(WaitTimeoutError):
            await client.wait_until_ready(TOKEN, timeout=timeout)
        return now() - began

    async with (
        FaultServer(Script.of(*replies)) as server,
        client_of(server, polling=EVEN) as client,
    ):
        ended = await asyncio.gather(*(give_up(client, timeout) for timeout in timeouts))
    late = [end - timeout for end, timeout in zip(ended, timeouts, strict=True)]
    assert max(late) <= 0.25


async def test_another_asks_when_the_one_who_does_is_cancelled() -> None:
    """A poll: cancelling the waiter whose request is under way ends that waiter alone."""
    script = Script.of(stall_before_head(READY_BODY), READY)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        asker = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(1)
        follower = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(1)
        asker.cancel()
        began = now()
        assert (await follower).state is RentalState.READY
        assert now() - began < 1
        assert asker.cancelled()
    assert script.count == 2


async def test_a_request_cut_short_by_one_deadline_is_no_error_of_the_others() -> None:
    """A poll: only the waiter whose deadline came loses the request that it had under way."""
    script = Script.of(stall_before_head(READY_BODY), READY)
    heard = Heard()
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        hasty = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=2))
        await asyncio.sleep(1)
        status = await client.wait_until_ready(TOKEN, on_poll=heard)
        with pytest.raises(WaitTimeoutError):
            await hasty
    assert status.state is RentalState.READY
    assert [event.error for event in heard.events] == [None]


async def test_a_deadline_is_kept_while_another_waiter_asks() -> None:
    """A poll: a waiter does not stay for the answer to somebody else's request."""
    async with FaultServer(stall_before_head(READY_BODY)) as server, client_of(server) as client:
        patient = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=20))
        await asyncio.sleep(1)
        began = now()
        with pytest.raises(WaitTimeoutError):
            await client.wait_until_ready(TOKEN, timeout=3)
        assert now() - began == pytest.approx(3, abs=0.25)
        with pytest.raises(WaitTimeoutError):
            await patient


async def test_a_newcomer_takes_an_answer_of_just_now() -> None:
    """A poll: who joins gets the last answer where it is fresh, and asks at once where not."""
    script = Script.of(GENERATING)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        first = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None))
        await asyncio.sleep(5)
        status = await anext(aiter(client.watch(TOKEN)))
        assert (status.state, script.count) == (RentalState.GENERATING, 1)
        first.cancel()
    script = Script.of(html(502), GENERATING)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        first = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None))
        await asyncio.sleep(5)
        assert (await anext(aiter(client.watch(TOKEN)))).state is RentalState.GENERATING
        assert script.times == pytest.approx([0, 5], abs=0.01), "an error is never fresh"
        first.cancel()


@pytest.mark.parametrize("old", [html(502), GENERATING], ids=["an error", "an answer"])
async def test_a_newcomer_gets_nothing_old(old: Reply) -> None:
    """A poll: what others heard longer ago than its first interval is not for a newcomer."""
    slow = PollingPolicy(first_interval=100, max_interval=100, jitter=0)
    script = Script.of(old, READY)
    heard = Heard()
    async with FaultServer(script) as server, client_of(server, polling=slow) as client:
        first = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None))
        await asyncio.sleep(11)
        began = now()
        hasty = client.with_options(polling=EVEN)
        status = await hasty.wait_until_ready(TOKEN, on_poll=heard)
        assert now() - began < 0.1
        assert status.state is RentalState.READY
        assert [(event.error, event.status) for event in heard.events] == [(None, status)]
        assert (await first).state is RentalState.READY


async def test_every_waiter_raises_a_separate_error() -> None:
    """A poll: what will not pass reaches all waiters, each as an error that is theirs."""
    bad = PollingPolicy(max_consecutive_errors=1)
    async with FaultServer(html(502)) as server, client_of(server, polling=bad) as client:
        errors = await asyncio.gather(
            *(client.wait_until_ready(TOKEN) for _ in range(3)), return_exceptions=True
        )
    assert [type(error) for error in errors] == [ResponseError] * 3
    assert len({id(error) for error in errors}) == 3
    assert [len(error.__notes__) for error in errors] == [1, 1, 1]  # type: ignore[union-attr]  # all are errors
    assert server.count("status") == 1


async def test_the_last_to_leave_ends_the_polling() -> None:
    """A poll: when nobody waits any more, nothing is asked, kept or left running."""
    script = Script.of(GENERATING)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        waits = [asyncio.create_task(client.wait_until_ready(TOKEN)) for _ in range(3)]
        await asyncio.sleep(1)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        await asyncio.sleep(3600)
        assert script.count == 1
        assert not client._polls._rentals


async def test_a_notification_asks_now() -> None:
    """notify() makes a waiting poll happen now, for all who wait, and says that somebody did."""
    script = Script.of(GENERATING, READY)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        waits = [asyncio.create_task(client.wait_until_ready(TOKEN)) for _ in range(3)]
        await asyncio.sleep(4)
        assert client.notify(TOKEN)
        await asyncio.gather(*waits)
        assert not client.notify(TOKEN)
    assert script.times == pytest.approx([0, 4], abs=0.1)


async def test_a_notification_during_a_request_asks_once_more() -> None:
    """notify() is not lost on a request under way, whose answer may be older than the news."""
    script = Script.of(stall_before_head(b'{"success": true, "status": 1}', 3), READY)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        wait = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(1)
        assert client.notify(TOKEN)
        assert (await wait).state is RentalState.READY
    assert script.times == pytest.approx([0, 3], abs=0.1)


async def test_a_notification_keeps_to_the_budget() -> None:
    """A shared budget: a thousand notifications ask no oftener than the budget allows."""
    script = Script.of(GENERATING)
    async with (
        FaultServer(script) as server,
        client_of(server, polling=EVEN, max_requests_per_minute=6) as client,
    ):
        wait = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None))
        for _ in range(1000):
            await asyncio.sleep(0.06)
            client.notify(TOKEN)
        wait.cancel()
    assert script.count <= 7
    assert min(script.gaps) >= 10 - 0.01


async def test_a_notification_is_not_the_last_check() -> None:
    """A poll: a notification before the last check of a wait does not take its place."""
    script = Script.of(GENERATING)
    even = PollingPolicy(first_interval=30, max_interval=30, multiplier=1, jitter=0)
    async with FaultServer(script) as server, client_of(server, polling=even) as client:
        wait = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=91))
        await asyncio.sleep(62)
        client.notify(TOKEN)
        with pytest.raises(WaitTimeoutError) as caught:
            await wait
    assert caught.value.elapsed == pytest.approx(90, abs=1.5)
    assert script.times == pytest.approx([0, 30, 60, 62, 90], abs=0.5)


async def test_a_single_check_does_not_wait_for_another_waiter() -> None:
    """A poll: `timeout=0` ends within `request_timeout`, also where somebody else is asking."""
    async with (
        FaultServer(busy(429, "600")) as server,
        client_of(server, request_timeout=5) as client,
    ):
        endless = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=None))
        await asyncio.sleep(10)
        began = now()
        with pytest.raises(WaitTimeoutError):
            await client.wait_until_ready(TOKEN, timeout=0)
        assert now() - began <= 5.25
        endless.cancel()


async def test_a_notification_is_not_lost_on_a_busy_callback() -> None:
    """notify() and close() reach a waiter whose on_poll is running."""

    async def slow(_: object) -> None:
        await asyncio.sleep(2)

    script = Script.of(GENERATING)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        wait = asyncio.create_task(client.wait_until_ready(TOKEN, on_poll=slow))
        await asyncio.sleep(1)
        assert client.notify(TOKEN)
        await asyncio.sleep(2)
        assert script.times == pytest.approx([0, 2], abs=0.1)
        await client.close()
        await asyncio.sleep(4)  # the callback, twice: it hears of the end as well
        assert isinstance(wait.exception(), ConfigurationError)


async def test_an_answer_is_not_lost_on_a_busy_watcher() -> None:
    """A watcher whose body takes long continues with the answer that came meanwhile."""
    script = Script.of(GENERATING, READY)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        states = client.watch(TOKEN)
        await anext(states)
        other = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(15)
        assert (await other).state is RentalState.READY
        began = now()
        assert (await anext(states)).state is RentalState.READY
        assert now() - began < 0.1
    assert script.count == 2


async def test_retry_after_outlasts_notifications_and_other_waiters() -> None:
    """A poll: no notification, and nobody who leaves, makes a wait ask before the vendor's time."""
    script = Script.of(busy(503, "60"), READY)
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        wait = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(5)
        client.notify(TOKEN)
        assert (await wait).state is RentalState.READY
    assert script.times == pytest.approx([0, 60], abs=0.1)


async def test_the_refusal_of_one_is_no_error_of_the_others() -> None:
    """A poll: a pause that is too long for one waiter's deadline does not concern the others."""
    script = Script.of(busy(429, "100"), READY)
    heard = Heard()
    async with FaultServer(script) as server, client_of(server, polling=EVEN) as client:
        patient = asyncio.create_task(client.wait_until_ready(TOKEN, timeout=500, on_poll=heard))
        await asyncio.sleep(5)
        with pytest.raises(WaitTimeoutError):
            await client.wait_until_ready(TOKEN, timeout=10)
        assert (await patient).state is RentalState.READY
    assert [event.error is None for event in heard.events] == [False, True]
