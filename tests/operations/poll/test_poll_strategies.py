"""Strategies of tenacity's in a wait: it does what they return, and what they see is true."""

import asyncio
import doctest
import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from fault_server import FaultServer, Reply
from faults import busy, html, vendor_error
from polls import GENERATING, READY, REQUESTED, TOKEN, Heard, Script, client_of, now
from tenacity import RetryCallState

from smspartner_async import (
    ConfigurationError,
    PollingPolicy,
    RateLimitError,
    RentalNotFoundError,
    RentalState,
    RentalStatus,
    ResponseError,
    RetryPolicy,
    SMSPartnerClient,
    WaitTimeoutError,
)

pytestmark = pytest.mark.looptime


async def polled(script: Script, policy: PollingPolicy, **options: Any) -> tuple[object, Heard]:
    """Wait with this policy; the status or the error that came of it, and what on_poll heard."""
    heard = Heard()
    async with FaultServer(script) as server, client_of(server, polling=policy) as client:
        wait = client.wait_until_ready(TOKEN, on_poll=heard, **options)
        (end,) = await asyncio.gather(wait, return_exceptions=True)
    return end, heard


# --- wait ------------------------------------------------------------------------------------

INTERVALS: dict[str, tuple[Any, list[float]]] = {
    "fixed": (tenacity.wait_fixed(3), [3, 3, 3, 3, 3]),
    "incrementing": (tenacity.wait_incrementing(1, 2), [1, 3, 5, 7, 9]),
    "exponential": (tenacity.wait_exponential(multiplier=1, max=5), [1, 2, 4, 5, 5]),
    "a sum": (tenacity.wait_fixed(3) + tenacity.wait_incrementing(1, 1), [4, 5, 6, 7, 8]),
    "a chain": (tenacity.wait_chain(*map(tenacity.wait_fixed, (1, 5, 60))), [1, 5, 60, 60, 60]),
    "by age": (lambda state: 5 if state.seconds_since_start < 10 else 20, [5, 5, 20, 20, 20]),
    "none": (tenacity.wait_none(), [0.001] * 5),
}


@pytest.mark.parametrize("name", INTERVALS)
async def test_the_interval_of_a_wait_is_what_the_strategy_returned(name: str) -> None:
    """A poll: the time between two polls, and `next_delay`, are the strategy's, in seconds."""
    strategy, expected = INTERVALS[name]
    script = Script.of(*[GENERATING] * 5, READY)
    _, heard = await polled(script, PollingPolicy(wait=strategy))
    assert script.gaps == pytest.approx(expected, abs=1e-4)
    assert heard.delays == [*(pytest.approx(seconds, abs=1e-4) for seconds in expected), None]


class Spy(tenacity.wait.wait_base):
    """One of tenacity's objects around another; `returned` is what each call of it came to."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self.returned: list[float] = []

    def __call__(self, retry_state: RetryCallState) -> float:
        self.returned.append(self.strategy(retry_state))
        return self.returned[-1]


RANDOM: dict[str, tuple[Any, float, float]] = {
    "exponential with jitter": (tenacity.wait_exponential_jitter(max=60, jitter=3), 1, 60),
    "random exponential": (tenacity.wait_random_exponential(min=1, max=20), 0, 20),
    "fixed plus random": (tenacity.wait_fixed(10) + tenacity.wait_random(0, 2), 10, 12),
    "a sum": (
        sum([tenacity.wait_fixed(1), tenacity.wait_random(0, 1)], tenacity.wait_none()),
        1,
        2,
    ),
    "a chain of random ones": (
        tenacity.wait_chain(*(tenacity.wait_random(low, low + 1) for low in range(3, 30))),
        3,
        30,
    ),
}


@pytest.mark.parametrize("name", RANDOM)
async def test_each_interval_is_one_answer_of_the_strategy(name: str) -> None:
    """A poll: the time between two polls is the number that tenacity's object returned then."""
    strategy, least, most = RANDOM[name]
    spy = Spy(strategy)
    script = Script.of(*[GENERATING] * 20, READY)
    _, heard = await polled(script, PollingPolicy(wait=spy, timeout=None))
    assert len(spy.returned) == 20
    assert script.gaps == pytest.approx(spy.returned, abs=1e-4)
    assert heard.delays == [*(pytest.approx(one, abs=1e-3) for one in spy.returned), None]
    assert least <= min(spy.returned) < max(spy.returned) <= most


async def test_a_retry_after_is_the_least_interval() -> None:
    """A poll: `Retry-After` outlasts a shorter interval of a strategy, and no longer one."""
    script = Script.of(busy(503, "20"), GENERATING, busy(503, "2"), READY)
    await polled(script, PollingPolicy(wait=tenacity.wait_fixed(5)))
    assert script.times == pytest.approx([0, 20, 25, 30], abs=1e-4)


async def test_the_deadline_bounds_any_strategy() -> None:
    """A poll: an interval longer than the time that is left ends in the last check, not later."""
    script = Script.of(GENERATING)
    error, _ = await polled(script, PollingPolicy(wait=tenacity.wait_fixed(1e9)), timeout=100)
    assert isinstance(error, WaitTimeoutError)
    assert script.times == pytest.approx([0, 99], abs=1e-4)


async def test_a_strategy_may_choose_by_the_outcome() -> None:
    """A poll: a strategy sees the status of a check, or its error, as tenacity's outcome."""

    def by_outcome(state: RetryCallState) -> float:
        assert state.outcome is not None
        if state.outcome.failed:
            assert isinstance(state.outcome.exception(), ResponseError)
            return 30
        status = state.outcome.result()
        assert isinstance(status, RentalStatus)
        return 7 if status.state is RentalState.REQUESTED else 3

    script = Script.of(REQUESTED, html(502), GENERATING, READY)
    await polled(script, PollingPolicy(wait=by_outcome))
    assert script.times == pytest.approx([0, 7, 37, 40], abs=1e-4)


async def test_what_a_strategy_sees() -> None:
    """A poll: number, times and sleeps are those of the wait, in one state that is kept."""
    seen: list[tuple[float, ...]] = []
    states: set[int] = set()
    began = now()

    def look(state: RetryCallState) -> float:
        assert state.outcome_timestamp is not None
        assert state.seconds_since_start is not None
        states.add(id(state))
        seen.append(
            (
                state.attempt_number,
                state.start_time - began,
                state.outcome_timestamp - began,
                state.seconds_since_start,
                state.idle_for,
            )
        )
        return 10.0 * state.attempt_number

    await polled(Script.of(*[GENERATING] * 3, READY), PollingPolicy(wait=look))
    assert seen == [
        pytest.approx((1, 0, 0, 0, 0), abs=1e-3),
        pytest.approx((2, 0, 10, 10, 10), abs=1e-3),
        pytest.approx((3, 0, 30, 30, 30), abs=1e-3),
    ]
    assert len(states) == 1


def _meddles(state: RetryCallState) -> float:
    state.attempt_number, state.start_time, state.idle_for = 0, state.start_time + 1000, -1
    state.upcoming_sleep, state.outcome_timestamp, state.outcome = 1e9, None, None
    return 10


async def test_a_strategy_that_changes_its_state_moves_no_deadline() -> None:
    """A poll: what a strategy writes into the state changes neither times nor events."""
    seen: list[tuple[int, float, float | None]] = []

    def stop(state: RetryCallState) -> bool:
        seen.append((state.attempt_number, state.idle_for, state.seconds_since_start))
        _meddles(state)
        return False

    script = Script.of(GENERATING)
    policy = PollingPolicy(wait=tenacity.wait_fixed(10), stop=stop)
    error, heard = await polled(script, policy, timeout=40)
    assert script.times == pytest.approx([0, 10, 20, 30, 39], abs=1e-3)
    assert [event.attempt for event in heard.events] == [1, 2, 3, 4, 5]
    assert seen == [pytest.approx((n, 10 * n - 10, 10 * n - 10), abs=1e-3) for n in (1, 2, 3, 4)]
    assert isinstance(error, WaitTimeoutError)
    assert error.elapsed == pytest.approx(39, abs=1e-3)

    script = Script.of(GENERATING)
    await polled(script, PollingPolicy(wait=_meddles), timeout=40)
    assert script.times == pytest.approx([0, 10, 20, 30, 39], abs=1e-3)


# --- the recipes of the documentation --------------------------------------------------------


def recipe(name: str) -> PollingPolicy:
    """Make the policy that the documentation of `PollingPolicy` calls so."""
    found = doctest.DocTestFinder(recurse=False)
    (example,) = found.find(PollingPolicy, globs={"PollingPolicy": PollingPolicy})
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    policy = example.globs[name]
    assert isinstance(policy, PollingPolicy)
    return policy


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("exponential", [1, 2, 4, 8, 16, 32, 60, 60], [4, 5, 7, 11, 19, 35, 60, 60]),
        ("chain", [5, 5, 60, 60, 60], [5, 5, 60, 60, 60]),
        ("fixed_plus_random", [10] * 8, [12] * 8),
        ("patient", [5] * 120 + [60] * 20, [5] * 120 + [60] * 20),
    ],
)
async def test_a_recipe_makes_a_whole_wait(name: str, least: list[int], most: list[int]) -> None:
    """A poll: with the policies of the documentation, requests come when it says, to the end."""
    script = Script.of(*[GENERATING] * len(least), READY)
    status, heard = await polled(script, recipe(name))
    assert isinstance(status, RentalStatus)
    assert status.state is RentalState.READY
    assert len(script.gaps) == len(least) == len(heard.events) - 1
    for low, gap, high in zip(least, script.gaps, most, strict=True):
        assert low - 1e-3 <= gap <= high + 1e-3


async def test_the_recipe_with_a_limit_makes_twenty_checks() -> None:
    """A poll: at most 20 checks, as the documentation says, by the default intervals."""
    script = Script.of(GENERATING)
    error, _ = await polled(script, recipe("limited"))
    assert isinstance(error, WaitTimeoutError)
    assert error.attempts == script.count == 20
    assert 1.6 <= script.gaps[0] <= 2.4
    assert 24 <= min(script.gaps[-10:]) <= max(script.gaps) <= 30 + 1e-3


# --- stop ------------------------------------------------------------------------------------

STOPS: dict[str, tuple[Any, list[float]]] = {
    "attempts": (tenacity.stop_after_attempt(3), [0, 10, 20]),
    "one attempt": (tenacity.stop_after_attempt(1), [0]),
    "after a delay": (tenacity.stop_after_delay(15), [0, 10, 20]),
    "before a delay": (tenacity.stop_before_delay(15), [0, 10]),
    "any": (tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(35), [0, 10, 20, 30]),
    "all": (tenacity.stop_after_attempt(2) & tenacity.stop_after_delay(35), [0, 10, 20, 30, 40]),
    "a function": (lambda state: state.idle_for > 15, [0, 10, 20]),
}


@pytest.mark.parametrize("name", STOPS)
async def test_a_stop_strategy_ends_the_wait_and_says_so(name: str) -> None:
    """A poll: `stop` is asked after each check; the error says who ended the wait."""
    stop, times = STOPS[name]
    script = Script.of(GENERATING)
    policy = PollingPolicy(wait=tenacity.wait_fixed(10), stop=stop, timeout=None)
    error, heard = await polled(script, policy)
    assert isinstance(error, WaitTimeoutError)
    assert "stop strategy ended the wait" in str(error)
    assert script.times == pytest.approx(times, abs=1e-3)
    assert error.attempts == len(times)
    assert error.last_status is not None
    assert heard.delays == [*[pytest.approx(10, abs=1e-3)] * (len(times) - 1), None]


async def test_a_stop_after_a_failed_check_has_the_error_as_its_cause() -> None:
    """A poll: what the last check failed with is the cause of the error that ends the wait."""
    error, _ = await polled(
        Script.of(html(502)), PollingPolicy(stop=tenacity.stop_after_attempt(2))
    )
    assert isinstance(error, WaitTimeoutError)
    assert isinstance(error.__cause__, ResponseError)


async def test_a_stop_is_not_asked_at_the_end_of_the_rental() -> None:
    """A poll: a file that is ready is returned, also by the last check that `stop` allows."""
    ready, _ = await polled(
        Script.of(GENERATING, READY), PollingPolicy(stop=tenacity.stop_after_attempt(2))
    )
    assert isinstance(ready, RentalStatus)
    assert ready.state is RentalState.READY


async def test_a_watch_yields_before_a_stop_ends_it() -> None:
    """A poll: watch yields the status of the check that `stop` ends it with."""
    policy = PollingPolicy(stop=tenacity.stop_after_attempt(1))
    async with FaultServer(GENERATING) as server, client_of(server, polling=policy) as client:
        changes = client.watch(TOKEN)
        assert (await anext(changes)).state is RentalState.GENERATING
        with pytest.raises(WaitTimeoutError, match="stop strategy"):
            await anext(changes)
        assert server.count("status") == 1


# --- strategies that do not work -------------------------------------------------------------


async def _watched(client: SMSPartnerClient) -> list[RentalStatus]:
    return [status async for status in client.watch(TOKEN)]


def _raising(_: RetryCallState) -> float:
    raise LookupError("no such interval")


def _nan(_: RetryCallState) -> float:
    return math.nan


def _text(_: RetryCallState) -> Any:
    return "5"


@pytest.mark.parametrize("broken", [_raising, _nan, _text])
@pytest.mark.parametrize("watching", [False, True])
async def test_a_broken_wait_strategy_ends_the_wait_by_its_name(
    broken: Callable[[RetryCallState], float], *, watching: bool
) -> None:
    """Bad input: a strategy that raises, or returns no delay, is named; the rental is not lost."""
    policy = PollingPolicy(wait=broken)
    async with FaultServer(GENERATING) as server, client_of(server, polling=policy) as client:
        call = _watched(client) if watching else client.wait_until_ready(TOKEN)
        with pytest.raises(ConfigurationError, match=broken.__name__) as caught:
            await call
        assert server.count("status") == 1
    assert isinstance(caught.value.__cause__, LookupError) is (broken is _raising)
    (note,) = caught.value.__notes__
    assert f"rental {TOKEN}; checks made: 1, failed in a row: 0." in note
    assert "wait for it again" in note


async def test_a_broken_stop_strategy_ends_the_wait_by_its_name() -> None:
    """Bad input: a stop strategy that raises is named, after the check that on_poll hears of."""

    def stop(_: RetryCallState) -> bool:
        raise LookupError

    error, heard = await polled(Script.of(GENERATING), PollingPolicy(stop=stop))
    assert isinstance(error, ConfigurationError)
    assert "stop strategy" in str(error)
    assert isinstance(error.__cause__, LookupError)
    assert heard.delays == [None]


async def test_a_retry_is_delayed_by_its_strategy(caplog: pytest.LogCaptureFixture) -> None:
    """Retries: the time between two attempts of one request is what the strategy returned."""
    caplog.set_level(logging.WARNING, "smspartner_async")
    script = Script.of(html(502), html(502), GENERATING)
    retry = RetryPolicy(wait=tenacity.wait_chain(tenacity.wait_fixed(4), tenacity.wait_fixed(9)))
    async with FaultServer(script) as server, client_of(server, retry=retry) as client:
        await client.status(TOKEN)
    assert script.times == pytest.approx([0, 4, 13], abs=1e-4)
    assert [getattr(record, "delay", None) for record in caplog.records] == [4, 9]


async def test_a_newcomer_asks_anew_where_an_answer_is_older_than_its_first_interval() -> None:
    """A poll: what its later intervals would be does not make an old answer do."""
    script, heard = Script.of(GENERATING), Heard()
    slow = PollingPolicy(wait=tenacity.wait_fixed(100))
    async with FaultServer(script) as server, client_of(server, polling=slow) as client:
        tasks = [asyncio.create_task(client.wait_until_ready(TOKEN))]
        await asyncio.sleep(10)
        later = PollingPolicy(wait=tenacity.wait_incrementing(3, 50))
        newcomer = client.with_options(polling=later)
        tasks.append(asyncio.create_task(newcomer.wait_until_ready(TOKEN, on_poll=heard)))
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
    assert script.times == pytest.approx([0, 10], abs=0.01)
    assert heard.delays == [pytest.approx(3, abs=0.01)]  # of the new answer alone


# --- notes -----------------------------------------------------------------------------------


async def test_the_note_of_a_wait_does_not_advise_to_wait_for_a_wrong_token() -> None:
    """What is said: waiting again is no advice where the vendor does not know the rental."""
    error, _ = await polled(Script.of(vendor_error(32, "Inconnu")), PollingPolicy())
    assert isinstance(error, RentalNotFoundError)
    (note,) = error.__notes__
    assert f"rental {TOKEN}; checks made: 1, failed in a row: 1." in note
    assert "again" not in note
    assert "not affected" not in note


@pytest.mark.parametrize("reply", [vendor_error(10, "Clé"), html(404)])
async def test_the_note_of_a_wait_says_that_the_rental_is_not_affected(reply: Reply) -> None:
    """What is said: an error that ends a wait says how to continue with the rental."""
    error, _ = await polled(Script.of(reply), PollingPolicy(max_consecutive_errors=1))
    assert isinstance(error, Exception)
    assert not isinstance(error, RateLimitError)
    (note,) = error.__notes__
    assert "you can wait for it again with its token" in note
