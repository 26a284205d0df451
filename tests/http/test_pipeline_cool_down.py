"""The cool-down that all requests of one client share: who pauses, and who comes back when."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from fault_server import Close, Drip, FaultServer, Reply, Send
from faults import busy, head
from polls import GENERATING, READY, TOKEN, Log, all_of, client_of, gaps, now, start
from renting import TARGETING, arrival

from smspartner_async import (
    Exchange,
    PollingPolicy,
    RateLimitError,
    RentalState,
    RetryPolicy,
    SMSPartnerError,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async._http.rate_limiter import RateLimiter

ONCE = RetryPolicy(attempts=1)


def assert_spread(times: list[float], begin: float, end: float) -> None:
    """Apart from each other, none before the cool-down ends, all within as long again."""
    assert begin - 1e-5 <= min(times)
    assert max(times) <= end + 1e-5
    # The server notes when it reads: now and then it reads two at one instant of virtual time.
    assert len(set(times)) > 0.8 * len(times)


@pytest.mark.looptime
@pytest.mark.parametrize("many", [1, 7, 60])
async def test_one_429_pauses_all(many: int) -> None:
    """A shared budget: after a 429 nothing leaves for its Retry-After; then all do, spread out."""
    log = Log([busy(429, "20")])
    async with FaultServer(log) as server, client_of(server) as client:
        tasks = [start(client.status("t0"))]
        await asyncio.sleep(1)
        tasks += [start(client.status(f"t{number}")) for number in range(1, many)]
        ends = await all_of(*tasks)
    assert not [end for end in ends if isinstance(end, Exception)]
    assert len(log.times) == 1 + many
    first, *later = log.times
    assert_spread([time - first for time in later], 20, 40)


@pytest.mark.looptime
async def test_a_429_pauses_all_from_its_head_on() -> None:
    """A shared budget: its body may come slowly, and others are held back meanwhile."""
    slow = (Send(head(429, "Retry-After: 20", "Content-Length: 9")), Drip(b"x" * 9, pause=1))
    log = Log([Reply(slow)])
    async with FaultServer(log) as server, client_of(server) as client:
        first = start(client.status("t0"))
        await asyncio.sleep(2)
        ends = await all_of(first, start(client.status("t1")))
    assert not [end for end in ends if isinstance(end, Exception)]
    began, *later = log.times
    assert min(later) - began >= 20 - 1e-5


@pytest.mark.looptime
@pytest.mark.parametrize("asked_for", ["0.05", "0.3", "1", "5", "29"])
@pytest.mark.parametrize("many", [2, 40])
async def test_those_who_were_refused_together_come_back_spread_out(
    many: int, asked_for: str
) -> None:
    """A shared budget: many 429s at once do not bring many requests at once, however short."""
    log = Log([busy(429, asked_for)] * many)
    async with FaultServer(log) as server, client_of(server) as client:
        ends = await all_of(*(start(client.status(TOKEN)) for _ in range(many)))
    assert not [end for end in ends if isinstance(end, Exception)]
    first = log.times[0]
    pause = float(asked_for)
    again = [time - first for time in log.times[many:]]
    assert len(again) == many
    # The backoff of 0.5 s at most may add to a short pause.
    assert_spread(again, pause, max(2 * pause, 0.5 + pause))


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [1.0, 30.0])
async def test_a_thousand_restart_spread_out(seconds: float) -> None:
    """A shared budget: a thousand that were paused are through after as long again."""
    limiter = RateLimiter(None)
    left: list[float] = []

    async def pass_through() -> None:
        await limiter.acquire("status")
        left.append(now())

    began = now()
    limiter.cool_down(seconds)
    await all_of(*(start(pass_through()) for _ in range(1000)))
    assert len(left) == 1000
    assert_spread([time - began for time in left], seconds, 2 * seconds)


@pytest.mark.looptime
async def test_those_who_come_as_a_short_pause_ends_are_spread_out() -> None:
    """A shared budget: requests that come in the instant when a pause ends leave one by one."""
    limiter = RateLimiter(None)
    left: list[float] = []

    async def pass_through() -> None:
        await limiter.acquire("status")
        left.append(now())

    began = now()
    limiter.cool_down(0.1)
    await asyncio.sleep(0.1)
    await all_of(*(start(pass_through()) for _ in range(40)))
    assert_spread([time - began for time in left], 0.1, 0.2)


@pytest.mark.looptime
async def test_waits_come_back_spread_out() -> None:
    """A shared budget: waits too are paused by the 429 of any request, and restart spread out."""
    log = Log()
    policy = PollingPolicy(first_interval=3, max_interval=3, jitter=0)
    async with FaultServer(log) as server, client_of(server, polling=policy) as client:
        waits = [start(client.wait_until_ready(f"w{number}")) for number in range(25)]
        await asyncio.sleep(1)
        log.limits.append(busy(429, "20"))
        limited = now()
        await client.status(TOKEN)
        await asyncio.sleep(10)
        for wait in waits:
            wait.cancel()
        await all_of(*waits)
    restarts = [time - limited for time in log.times[26:]]
    assert_spread(restarts[:26], 20, 40)


@pytest.mark.looptime
async def test_a_429_pauses_all_even_if_its_rent_was_cancelled() -> None:
    """A shared budget: the answer to a rent that was cancelled counts as any other."""
    log = Log([busy(429, "20")])
    async with FaultServer(log) as server, client_of(server) as client:
        rent = start(client.rent(TARGETING))
        await arrival(server)
        rent.cancel()
        await all_of(rent)
        await client.status(TOKEN)
    first, second = log.times
    assert second - first >= 20 - 1e-5


def limited(body: bytes, length: int) -> Reply:
    return Reply((Send(head(429, "Retry-After: 20", f"Content-Length: {length}") + body), Close()))


@pytest.mark.looptime
@pytest.mark.parametrize("call", ["rent", "status", "download"])
@pytest.mark.parametrize("body", [b"", b'{"success": fal'])
async def test_a_429_that_was_cut_pauses_all(call: str, body: bytes, tmp_path: Path) -> None:
    """A shared budget: the head of a 429 asks for the pause, whatever comes of its body."""
    log = Log([limited(body, 50)])
    async with FaultServer(log) as server, client_of(server, retry=ONCE) as client:
        arguments = {"rent": (TARGETING,), "status": (TOKEN,), "download": (TOKEN, tmp_path / "a")}
        await all_of(start(getattr(client, call)(*arguments[call])))
        limited_at = now()
        await client.status(TOKEN)
        assert now() - limited_at == pytest.approx(20)


@pytest.mark.looptime
async def test_a_429_that_is_a_rental_pauses_all_after_its_token_was_asked_about() -> None:
    """A shared budget: a rental may come as a 429; asking about its token does not wait for it."""
    body = b'{"token": "tok-1"}'
    log = Log([limited(body, len(body))])
    async with FaultServer(log) as server, client_of(server, retry=ONCE) as client:
        began = now()
        assert (await client.rent(TARGETING)).token == "tok-1"
        assert now() == began
        await client.status(TOKEN)
        assert now() - began == pytest.approx(20)


@pytest.mark.looptime
async def test_a_few_restart_at_the_vendors_known_rate() -> None:
    """A shared budget: few paused requests do not take the whole of as long again."""
    log = Log([busy(429, "20")])
    async with FaultServer(log) as server, client_of(server) as client:
        tasks = [start(client.status(TOKEN))]
        await asyncio.sleep(1)
        tasks += [start(client.status(TOKEN)) for _ in range(2)]
        await all_of(*tasks)
    assert [time - log.times[0] - 20 for time in log.times[1:]] == pytest.approx(
        [0, 1 / 6, 2 / 6], abs=1e-5
    )


@pytest.mark.looptime
async def test_the_rate_holds_after_a_cool_down() -> None:
    """A shared budget: restarts go no faster than `max_requests_per_minute`."""
    log = Log([busy(429, "5")])
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=30) as client,
    ):
        await all_of(*(start(client.status(TOKEN)) for _ in range(10)))
    assert min(gaps(log.times)) >= 2 - 1e-5
    assert len(log.times) == 11


@pytest.mark.looptime
async def test_a_second_429_pauses_once_more() -> None:
    """A shared budget: a 429 to one that came back begins the pause anew; none shortens it."""
    log = Log([busy(429, "20"), busy(429, "25"), GENERATING, busy(429, "3")])
    seen: list[Exchange] = []
    async with FaultServer(log) as server, client_of(server, on_exchange=seen.append) as client:
        await client.status(TOKEN)
        assert [one.attempt for one in seen] == [1, 2, 3]
        assert [time - log.times[0] for time in log.times] == pytest.approx([0, 20, 45])
        limiter = client._pipeline.limiter
        limiter.cool_down(20)
        limiter.cool_down(1)
        began = now()
        log.limits.clear()
        await client.status(TOKEN)
        assert now() - began == pytest.approx(20)


@pytest.mark.looptime
@pytest.mark.parametrize("reply", [busy(429), busy(429, "0"), busy(503, "20")])
async def test_nothing_else_pauses_the_others(reply: Reply) -> None:
    """A shared budget: a 429 without a time, or a 503, is the matter of that request alone."""
    log = Log([reply])
    async with FaultServer(log) as server, client_of(server, retry=ONCE) as client:
        began = now()
        with suppress(SMSPartnerError):
            await client.status(TOKEN)
        await client.status(TOKEN)
        assert now() == began


@pytest.mark.looptime
async def test_what_a_long_pause_ends_says_that_it_is_not_sent() -> None:
    """A shared budget: the vendor has refused another request, and not this one."""
    log = Log([busy(429, "60")])
    async with FaultServer(log) as server, client_of(server, retry=ONCE) as client:
        with pytest.raises(RateLimitError, match="refused to return the status"):
            await client.status(TOKEN)
        with pytest.raises(RateLimitError, match=r"\(rent\) cannot wait so long, and is not sent"):
            await client.rent(TARGETING)
        assert len(log.times) == 1


@pytest.mark.looptime
async def test_a_pause_is_the_clients_own() -> None:
    """A shared budget: another client, of another account perhaps, is not paused."""
    log = Log([busy(429, "20")])
    async with (
        FaultServer(log) as server,
        client_of(server, retry=ONCE) as one,
        client_of(server) as other,
    ):
        with pytest.raises(RateLimitError):
            await one.status(TOKEN)
        began = now()
        await other.status(TOKEN)
        assert now() == began


@pytest.mark.looptime
async def test_a_pause_ends() -> None:
    """A shared budget: an hour after a cool-down requests leave together as before."""
    log = Log([busy(429, "20")])
    async with FaultServer(log) as server, client_of(server, retry=ONCE) as client:
        with pytest.raises(RateLimitError):
            await client.status(TOKEN)
        await asyncio.sleep(3600)
        began = now()
        await all_of(*(start(client.status(TOKEN)) for _ in range(10)))
        assert now() == began


@pytest.mark.looptime
async def test_those_in_the_queue_hear_of_a_long_pause() -> None:
    """A shared budget: requests that already wait fail at once for a pause too long for them."""
    log = Log([busy(429, "600")])
    async with (
        FaultServer(log) as server,
        client_of(server, max_requests_per_minute=12) as client,
    ):
        began = now()
        tasks = [start(client.status(TOKEN)) for _ in range(3)]
        tasks.append(start(client.wait_until_ready(TOKEN, timeout=300)))
        patient = start(client.wait_until_ready(TOKEN, timeout=3000))
        ends = await all_of(*tasks)
        assert now() == began
        assert [type(end) for end in ends] == [RateLimitError] * 3 + [WaitTimeoutError]
        assert "The vendor asks to wait 600" in str(ends[3])
        server.play(READY)
        assert (await patient).state is RentalState.READY
        assert now() - began == pytest.approx(600)
    assert len(log.times) == 1


@pytest.mark.looptime
async def test_one_cancelled_while_it_hears_of_a_pause_is_cancelled() -> None:
    """A shared budget: a cancellation that comes together with a long pause stays one."""
    limiter = RateLimiter(0.05)
    began = now()
    await limiter.acquire("status")
    waiting = start(limiter.acquire("status", max_wait=30))
    other = start(limiter.acquire("status"))
    await asyncio.sleep(0.5)
    limiter.cool_down(600)
    limiter.cool_down(601)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await other
    assert now() - began == pytest.approx(1200)


@pytest.mark.looptime
async def test_a_deadline_that_is_past_is_no_rate_limit() -> None:
    """A shared budget: a turn that comes too late is reported as such, long after a cool-down."""
    limiter = RateLimiter(1)
    limiter.cool_down(1)
    await limiter.acquire("status")
    with pytest.raises(TransportError, match="were waiting before this one"):
        await limiter.acquire("status", deadline=now() - 1)
