"""When a wait asks: at once, ever more slowly, not before the vendor wants it, never too late."""

import asyncio
import math
import random
from decimal import Decimal
from typing import Any

import pytest
from fault_server import FaultServer, Reply
from faults import (
    busy,
    close_within_body,
    garbage_status_line,
    html,
    json_reply,
    stall_before_head,
)
from polls import (
    GENERATING,
    READY,
    READY_BODY,
    REQUESTED,
    TOKEN,
    Script,
    client_of,
    end_of_wait,
    now,
    said,
)

from smspartner_async import (
    PollEvent,
    PollingPolicy,
    RentalState,
    TransportError,
    WaitTimeoutError,
)

STEADY = PollingPolicy(jitter=0)
NO_NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, -1, "1", b"1", True, None, [1])


# --- 1: the rhythm ---------------------------------------------------------------------------


@pytest.mark.looptime
async def test_asks_at_once() -> None:
    """A poll: the first check is made without any delay."""
    async with FaultServer(READY) as server, client_of(server) as client:
        began = now()
        assert (await client.wait_until_ready(TOKEN)).state is RentalState.READY
        assert now() == began


@pytest.mark.looptime
async def test_backs_off_exponentially_up_to_the_cap() -> None:
    """A poll: each interval is `multiplier` times the one before, and never above the cap."""
    script = Script.of(*[GENERATING] * 10, READY)
    await end_of_wait(script, policy=STEADY)
    grown = [2 * 1.4**n for n in range(10)]
    assert script.gaps == pytest.approx([min(30, gap) for gap in grown], abs=1e-5)


@pytest.mark.looptime
async def test_jitters_around_the_interval() -> None:
    """A poll: with jitter each interval is up to that fraction longer or shorter."""
    policy = PollingPolicy(first_interval=10, multiplier=1, max_interval=30, jitter=0.2)
    script = Script.of(*[GENERATING] * 60, READY)
    await end_of_wait(script, policy=policy)
    assert all(8 - 1e-5 <= gap <= 12 + 1e-5 for gap in script.gaps)
    assert min(script.gaps) < 9
    assert max(script.gaps) > 11


@pytest.mark.looptime
async def test_no_jitter_goes_beyond_the_longest_interval() -> None:
    """A poll: the longest interval is the longest with its jitter, too."""
    policy = PollingPolicy(first_interval=10, max_interval=10, jitter=0.2)
    script = Script.of(*[GENERATING] * 60, READY)
    await end_of_wait(script, policy=policy)
    assert all(8 - 1e-5 <= gap <= 10 + 1e-5 for gap in script.gaps)
    assert min(script.gaps) < 9


@pytest.mark.looptime
async def test_gives_up_by_default() -> None:
    """A poll: without a word about it, a wait ends after 900 s."""
    script = Script.of(GENERATING)
    error, _ = await end_of_wait(script)
    assert isinstance(error, WaitTimeoutError)
    assert 890 < error.elapsed <= 900


@pytest.mark.looptime
async def test_takes_the_timeout_of_the_policy_or_the_one_given() -> None:
    """A poll: the timeout is the policy's, and one that is given goes before it."""
    policy = PollingPolicy(timeout=50)
    error, _ = await end_of_wait(Script.of(GENERATING), policy=policy)
    assert isinstance(error, WaitTimeoutError)
    assert 45 < error.elapsed <= 50
    error, _ = await end_of_wait(Script.of(GENERATING), policy=policy, timeout=20)
    assert isinstance(error, WaitTimeoutError)
    assert 18 < error.elapsed <= 20


@pytest.mark.looptime
@pytest.mark.parametrize("reply", [GENERATING, html(502), garbage_status_line(b""), busy(429)])
@pytest.mark.parametrize("seconds", [0, 0.0, -0.0])
async def test_zero_is_exactly_one_check(seconds: float, reply: Reply) -> None:
    """A poll: `timeout=0` asks once and never again, whatever the answer."""
    script = Script.of(reply)
    for most_errors in (10, 1):
        policy = PollingPolicy(max_consecutive_errors=most_errors)
        error, heard = await end_of_wait(script, timeout=seconds, policy=policy)
        assert isinstance(error, WaitTimeoutError)
        assert error.attempts == 1
        assert heard.delays == [None]
    assert len(script.times) == 2


@pytest.mark.looptime
async def test_zero_finds_what_is_ready() -> None:
    """A poll: `timeout=0` gives the status of a file that is ready."""
    ready, _ = await end_of_wait(Script.of(READY), timeout=0)
    assert getattr(ready, "state", None) is RentalState.READY


@pytest.mark.looptime
async def test_the_one_check_takes_up_to_the_request_timeout() -> None:
    """A poll: the single check of `timeout=0` is bounded by `request_timeout`, and not less."""
    script = Script.of(stall_before_head(READY_BODY, 6.9))
    ready, _ = await end_of_wait(script, timeout=0, request_timeout=7.0)
    assert getattr(ready, "state", None) is RentalState.READY
    began = now()
    error, _ = await end_of_wait(
        Script.of(stall_before_head(READY_BODY)), timeout=0, request_timeout=7.0
    )
    assert isinstance(error, WaitTimeoutError)
    assert now() - began == pytest.approx(7)


@pytest.mark.looptime
@pytest.mark.no_cover
async def test_none_is_endless() -> None:
    """A poll: `timeout=None` waits for longer than a day, if it takes that."""
    policy = PollingPolicy(first_interval=3600, max_interval=3600, jitter=0)
    script = Script.of(*[GENERATING] * 26, READY)
    ready, _ = await end_of_wait(script, policy=policy, timeout=None)
    assert getattr(ready, "state", None) is RentalState.READY
    assert script.times[-1] == pytest.approx(26 * 3600)


@pytest.mark.parametrize(
    "seconds", [*(wrong for wrong in NO_NUMBERS if wrong is not None), -1e-9, Decimal(5)]
)
async def test_refuses_what_is_no_timeout(seconds: Any) -> None:
    """A poll: NaN, infinity, negatives, bools and text are a ValueError; nothing is sent."""
    async with FaultServer(READY) as server, client_of(server) as client:
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            await client.wait_until_ready(TOKEN, timeout=seconds)
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            client.watch(TOKEN, timeout=seconds)
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            PollingPolicy(timeout=seconds)
        assert server.accepted == 0


# --- 2: the deadline, in virtual time --------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("seconds", "last_check"), [(100, 99), (10, 9.5), (1, 0.95), (3.0, 2.85), (0.1, 0.095)]
)
async def test_checks_once_more_before_the_deadline(seconds: float, last_check: float) -> None:
    """A poll: the last check is 1 s, or a twentieth of the timeout, before the deadline."""
    script = Script.of(GENERATING)
    error, heard = await end_of_wait(script, policy=STEADY, timeout=seconds)
    assert isinstance(error, WaitTimeoutError)
    assert script.times[-1] == pytest.approx(last_check, abs=1e-5)
    assert heard.delays[-1] is None
    assert len(script.times) == error.attempts == len(heard.events)


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [1e-300, 1e-9, 1e-6, 1e-4])
async def test_a_tiny_timeout_ends(seconds: float) -> None:
    """A poll: a timeout of next to nothing asks at most twice and ends."""
    began = now()
    error, heard = await end_of_wait(Script.of(stall_before_head(READY_BODY)), timeout=seconds)
    assert isinstance(error, WaitTimeoutError)
    assert error.attempts == len(heard.events) <= 2
    assert now() - began <= seconds + 2e-6


@pytest.mark.looptime
@pytest.mark.parametrize("request_timeout", [3.0, 30.0, 3000.0])
@pytest.mark.parametrize("seconds", [0.5, 2.0, 31.0, 100.0])
async def test_a_hanging_request_ends_with_the_wait(seconds: float, request_timeout: float) -> None:
    """A poll: requests in flight end at the deadline, however long they might take."""
    script = Script.of(stall_before_head(READY_BODY))
    began = now()
    error, _ = await end_of_wait(script, timeout=seconds, request_timeout=request_timeout)
    assert isinstance(error, WaitTimeoutError)
    assert isinstance(error.__cause__, TransportError)
    assert now() - began <= seconds + 1e-5


@pytest.mark.looptime
async def test_on_poll_does_not_put_the_checks_off() -> None:
    """A poll: a slow on_poll takes its time out of the interval, so the last check is made."""
    script = Script.of(GENERATING)

    async def slowly(_: PollEvent) -> None:
        await asyncio.sleep(0.4)

    async with FaultServer(script) as server, client_of(server, polling=STEADY) as client:
        with pytest.raises(WaitTimeoutError):
            await client.wait_until_ready(TOKEN, timeout=4, on_poll=slowly)
    assert script.times == pytest.approx([0, 2, 3.8], abs=1e-5)


# --- any policy, any replies -----------------------------------------------------------------

PASSING = (
    html(502),
    html(200),
    busy(503),
    busy(429),
    close_within_body(READY_BODY),
    json_reply({"success": True}),
)
PENDING = (REQUESTED, GENERATING, said(4))


def any_policy(seed: random.Random) -> PollingPolicy:
    return PollingPolicy(
        first_interval=10 ** seed.uniform(-2, 2),
        max_interval=10 ** seed.uniform(-2, 2.5),
        multiplier=seed.choice([1, 1.01, 1.5, 2, 10]),
        jitter=seed.choice([0, 0.2, 1, seed.random()]),
        max_consecutive_errors=seed.choice([1, 3, 1000]),
    )


@pytest.mark.looptime
@pytest.mark.parametrize("number", range(40))
async def test_any_wait_keeps_to_its_bounds(number: int) -> None:
    """A poll: no delay is above cap x (1 + jitter), below 0, or past the deadline."""
    seed = random.Random(number)
    policy = any_policy(seed)
    timeout = policy.first_interval * seed.choice([0.3, 1, 7, 30])
    asked_for = [0.0 if seed.random() < 0.8 else round(timeout * seed.random(), 2) for _ in "12345"]
    waits = [busy(503, str(seconds)) for seconds in asked_for]  # after a 429 the gate has a say too
    script = Script.of(*seed.choices([*PENDING, *PASSING, *waits], k=60), READY)
    end, heard = await end_of_wait(script, policy=policy, timeout=timeout)
    assert len(script.times) == len(heard.events)
    assert script.times[-1] <= timeout + 1e-5
    for event, gap in zip(heard.events, script.gaps, strict=False):
        assert event.next_delay == pytest.approx(gap, abs=1e-5)
        asked = getattr(event.error, "retry_after", None) or 0.0
        assert asked - 1e-5 <= gap <= max(asked, policy.max_interval * (1 + policy.jitter)) + 1e-5
    assert heard.delays[-1] is None
    assert None not in heard.delays[:-1]
    if isinstance(end, WaitTimeoutError):
        assert end.elapsed <= timeout + 1e-5


@pytest.mark.looptime
@pytest.mark.parametrize("number", range(12))
async def test_errors_leave_the_backoff_as_it_is(number: int) -> None:
    """A poll: the checks of a wait with errors come when those of one without errors come."""
    seed = random.Random(number)
    policy = PollingPolicy(
        first_interval=10 ** seed.uniform(-2, 2),
        max_interval=10 ** seed.uniform(-1, 2.5),
        multiplier=seed.choice([1, 1.1, 1.5, 3]),
        jitter=0,
        max_consecutive_errors=1000,
    )
    smooth = Script.of(*[GENERATING] * 25, READY)
    await end_of_wait(smooth, policy=policy, timeout=None)
    rough = Script.of(*seed.choices([GENERATING, *PASSING], k=25), READY)
    await end_of_wait(rough, policy=policy, timeout=None)
    assert rough.times == pytest.approx(smooth.times, abs=1e-4)
    assert rough.gaps == pytest.approx(sorted(rough.gaps), abs=1e-5)
