"""PollingPolicy and RetryPolicy: which numbers and strategies they take, and the delays of them."""

import asyncio
import copy
import doctest
import math
import pickle
from collections.abc import Callable, Generator
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import attrs
import pytest
import tenacity
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st
from tenacity import AsyncRetrying, Future, RetryCallState
from tenacity.wait import wait_base

from smspartner_async import (
    ConfigurationError,
    PollingPolicy,
    RateLimitError,
    RentalState,
    RentalStatus,
    RetryPolicy,
)
from smspartner_async import _policies as policies
from smspartner_async._policies import PollState

NO_NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, -1, "1", b"1", True, None, [1])
STRATEGIES = {"wait", "stop"}
STATUS = RentalStatus(token="tok-1", state=RentalState.GENERATING)
BUSY = RateLimitError(code=None, message="", http_status=429, operation="status", retry_after=7.5)


def attempt(number: int, error: Exception | None = None) -> RetryCallState:
    """What tenacity itself passes to a strategy after attempt `number`."""
    state = RetryCallState(AsyncRetrying(), fn=None, args=(), kwargs={})
    state.attempt_number = number
    if error is not None:
        state.set_exception((type(error), error, None))
    return state


@pytest.mark.parametrize("policy", [PollingPolicy, RetryPolicy])
def test_policies_check_their_numbers(policy: type[Any]) -> None:
    """A poll: no number of a policy may be NaN, infinite, negative, a bool, text or missing."""
    names = {field.name for field in policy.__attrs_attrs__} - {"timeout"} - STRATEGIES
    assert len(names) >= 3
    for name in names:
        for wrong in NO_NUMBERS:
            with pytest.raises(ValueError, match=f"{name} must be a (whole )?number"):
                policy(**{name: wrong})


@pytest.mark.parametrize(
    ("policy", "name", "wrong", "right"),
    [
        (PollingPolicy, "first_interval", 0, 0.001),
        (PollingPolicy, "max_interval", 0, 0.001),
        (PollingPolicy, "multiplier", 0.99, 1),
        (PollingPolicy, "jitter", 1.01, 1),
        (PollingPolicy, "jitter", -0.01, 0),
        (PollingPolicy, "timeout", -0.01, 0),
        (PollingPolicy, "max_consecutive_errors", 0, 1),
        (PollingPolicy, "max_consecutive_errors", 1.5, 1),
        (RetryPolicy, "attempts", 0, 1),
        (RetryPolicy, "attempts", 2.0, 2),
        (RetryPolicy, "first_delay", -0.01, 0),
        (RetryPolicy, "max_delay", -0.01, 0),
    ],
)
def test_policies_know_their_ranges(
    policy: type[Any], name: str, wrong: float, right: float
) -> None:
    """A poll: a policy takes a number at the end of its range, and none beyond."""
    assert getattr(policy(**{name: right}), name) == right
    with pytest.raises(ValueError, match=name):
        policy(**{name: wrong})


@pytest.mark.parametrize("policy", [PollingPolicy(), RetryPolicy()])
def test_policies_are_frozen(policy: Any) -> None:
    """A poll: a policy that several clients share cannot be changed behind their backs."""
    for field in policy.__attrs_attrs__:
        with pytest.raises(FrozenInstanceError):
            setattr(policy, field.name, 5)


# --- the numbers -----------------------------------------------------------------------------


def test_an_interval_grows_by_the_multiplier_up_to_the_cap() -> None:
    """A poll: without jitter, the intervals are the powers of the multiplier, capped."""
    policy = PollingPolicy(first_interval=2, multiplier=3, max_interval=30, jitter=0)
    assert [policy.interval(checks) for checks in (1, 2, 3, 4, 5)] == [2, 6, 18, 30, 30]
    steady = PollingPolicy(first_interval=5, multiplier=1, jitter=0)
    assert [steady.interval(checks) for checks in (1, 2, 50)] == [5, 5, 5]


def test_a_delay_doubles_up_to_the_cap_and_is_shortened_by_half_at_most() -> None:
    """Retries: the delays of the default policy lie between half and the whole of 0.5 to 8 s."""
    for number, whole in ((1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8), (6, 8)):
        delays = [RetryPolicy().delay(attempt(number)) for _ in range(200)]
        assert whole / 2 <= min(delays) < whole * 0.6
        assert whole * 0.9 < max(delays) <= whole


@pytest.mark.parametrize("number", [1, 2, 100, 2_000, 1_000_000])
@pytest.mark.parametrize("multiplier", [2, 1e6])
def test_backoff_does_not_overflow(number: int, multiplier: float) -> None:
    """A poll: thousands of checks later the interval still is the cap."""
    policy = PollingPolicy(first_interval=30, max_interval=30.0, multiplier=multiplier, jitter=0)
    assert policy.interval(number) == 30
    assert RetryPolicy(first_delay=8, max_delay=8).delay(attempt(number)) <= 8


@given(
    first=st.floats(0.001, 1e6),
    most=st.floats(0.001, 1e6),
    multiplier=st.floats(1, 1e6),
    jitter=st.floats(0, 1),
    checks=st.integers(1, 10**7),
)
def test_any_numbers_give_an_interval_in_bounds(
    first: float, most: float, multiplier: float, jitter: float, checks: int
) -> None:
    """A poll: no interval is below 1 ms, above the cap, or outside of its jitter."""
    policy = PollingPolicy(
        first_interval=first, max_interval=most, multiplier=multiplier, jitter=jitter
    )
    interval = policy.interval(checks)
    assert 0.001 <= interval <= max(most, 0.001)
    assert interval >= min(first, most) * (1 - jitter) * (1 - 1e-9)


# --- strategies ------------------------------------------------------------------------------

TENACITY: dict[str, tuple[Any, list[float]]] = {
    "fixed": (tenacity.wait_fixed(3), [3, 3, 3, 3]),
    "none": (tenacity.wait_none(), [0.001] * 4),
    "incrementing": (tenacity.wait_incrementing(1, 2), [1, 3, 5, 7]),
    "exponential": (tenacity.wait_exponential(multiplier=1, max=5), [1, 2, 4, 5]),
    "a sum": (tenacity.wait_fixed(3) + tenacity.wait_incrementing(1, 1), [4, 5, 6, 7]),
    "a chain": (
        tenacity.wait_chain(*map(tenacity.wait_fixed, (1, 5, 60))),
        [1, 5, 60, 60],
    ),
    "a function": (lambda state: 10 * state.attempt_number, [10, 20, 30, 40]),
    "below nothing": (lambda state: -state.attempt_number, [0.001] * 4),
}


@pytest.mark.parametrize("name", TENACITY)
def test_a_strategy_gives_the_interval_and_the_delay(name: str) -> None:
    """A poll: an interval is what the strategy returns, and never below 1 ms."""
    strategy, expected = TENACITY[name]
    polling, retry = PollingPolicy(wait=strategy), RetryPolicy(wait=strategy)
    assert [polling.interval(checks) for checks in (1, 2, 3, 4)] == expected
    least = [0 if seconds == 0.001 else seconds for seconds in expected]
    assert [retry.delay(attempt(number)) for number in (1, 2, 3, 4)] == least


@pytest.mark.parametrize("policy", [PollingPolicy(jitter=0.5), RetryPolicy()])
def test_the_numbers_are_strategies_of_tenacity(
    policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll: the backoff of the numbers is computed by tenacity's wait_exponential."""
    seen: list[int] = []

    def asked(_: object, retry_state: RetryCallState) -> float:
        seen.append(retry_state.attempt_number)
        return 4.0

    monkeypatch.setattr(tenacity.wait_exponential, "__call__", asked)
    assert 2 <= policy.delay(attempt(3)) <= 6
    assert seen == [3]
    assert isinstance(policy._strategy, wait_base)


def test_a_retry_after_is_the_least_delay_of_a_strategy() -> None:
    """Retries: what the vendor asks to wait outlasts a strategy, and a longer delay stays."""
    assert RetryPolicy(wait=tenacity.wait_fixed(1)).delay(attempt(1, BUSY)) == 7.5
    assert RetryPolicy(wait=tenacity.wait_fixed(9)).delay(attempt(1, BUSY)) == 9


@pytest.mark.parametrize(
    ("policy", "numbers"),
    [
        (PollingPolicy, {"first_interval": 5}),
        (PollingPolicy, {"max_interval": 60, "jitter": 0}),
        (PollingPolicy, {"multiplier": 2}),
        (RetryPolicy, {"first_delay": 1}),
        (RetryPolicy, {"max_delay": 2}),
    ],
)
def test_a_strategy_and_numbers_are_one_too_many(
    policy: type[Any], numbers: dict[str, float]
) -> None:
    """Bad input: `wait` beside a number whose place it takes is refused, and names the number."""
    with pytest.raises(ValueError, match=" and ".join(numbers)):
        policy(wait=tenacity.wait_fixed(1), **numbers)
    with pytest.raises(ValueError, match=" and ".join(numbers)):
        attrs.evolve(policy(**numbers), wait=tenacity.wait_fixed(1))


def test_a_policy_with_a_strategy_can_be_evolved_and_copied() -> None:
    """A poll: attrs.evolve, copy and pickle keep the strategy; other fields go beside it."""
    policy = PollingPolicy(wait=tenacity.wait_fixed(3), stop=tenacity.stop_after_attempt(2))
    evolved = attrs.evolve(policy, timeout=5, max_consecutive_errors=2)
    loaded = pickle.loads(pickle.dumps(evolved))  # noqa: S301 - made here
    for one in (evolved, loaded, copy.deepcopy(evolved)):
        assert (one.timeout, one.max_consecutive_errors, one.interval(1)) == (5, 2, 3)
        assert [one.stops(attempt(number)) for number in (1, 2)] == [False, True]
    assert attrs.evolve(RetryPolicy(wait=tenacity.wait_fixed(3)), attempts=2).delay(attempt(1)) == 3
    assert attrs.evolve(PollingPolicy(jitter=0), first_interval=7).interval(1) == 7


async def _sleepy(_: RetryCallState) -> float:
    await asyncio.sleep(0)
    return 1.0


class _Awaited:
    def __await__(self) -> Generator[None, None, float]:
        yield
        return 1.0


class _Sleepy:
    async def __call__(self, _: RetryCallState) -> float:
        return 1.0


def _alone() -> float:
    return 1.0


@pytest.mark.parametrize("wrong", [5, "5", tenacity.wait_fixed, _sleepy, _Sleepy(), True, _alone])
def test_what_is_no_strategy_is_refused_at_once(wrong: Any) -> None:
    """Bad input: a number, a class or a coroutine function is refused with what to pass instead."""
    for policy in (PollingPolicy, RetryPolicy):
        with pytest.raises(TypeError, match=r"wait must be .* such as wait_fixed\(5\)"):
            policy(wait=wrong)
    with pytest.raises(TypeError, match=r"stop must be .* such as stop_after_attempt\(10\)"):
        PollingPolicy(stop=wrong)


def test_a_stop_is_no_wait_and_a_wait_no_stop() -> None:
    """Bad input: strategies that were mixed up are refused before anything is sent."""
    with pytest.raises(TypeError, match="wait must be"):
        PollingPolicy(wait=cast("Any", tenacity.stop_after_attempt(3)))
    with pytest.raises(TypeError, match="stop must be"):
        PollingPolicy(stop=cast("Any", tenacity.wait_fixed(3)))


class _UntoldError(Exception):
    def __str__(self) -> str:
        raise LookupError


class _Undecided:
    def __bool__(self) -> bool:
        raise LookupError


def no_delay(value: object) -> Any:
    def strategy(_: RetryCallState) -> Any:
        return value

    return strategy


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, -math.inf, 10**400, "5", None, True, [1], 1j),
        *(Decimal(5), timedelta(seconds=5)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("policy", [PollingPolicy, RetryPolicy])
def test_what_is_no_delay_is_refused_with_the_name_of_the_strategy(
    policy: type[Any], value: object
) -> None:
    """Bad input: a strategy that returns no finite number is named, with what it returned."""
    with pytest.raises(ConfigurationError, match=r"no_delay\.<locals>\.strategy returned"):
        policy(wait=no_delay(value)).delay(attempt(1))


class _OfNoUse(tenacity.wait.wait_base):
    def __call__(self, retry_state: RetryCallState) -> float:
        raise RuntimeError(f"there is no outcome of {retry_state.attempt_number} yet")


def test_a_strategy_that_raises_is_named() -> None:
    """Bad input: what a strategy raises is the cause of an error that names the strategy."""
    with pytest.raises(ConfigurationError, match="wait strategy _OfNoUse raised") as caught:
        PollingPolicy(wait=_OfNoUse()).interval(1)
    assert isinstance(caught.value.__cause__, RuntimeError)

    def stop(state: RetryCallState) -> bool:
        return 1 // (state.attempt_number - 1) > 0

    with pytest.raises(ConfigurationError, match=r"stop strategy .*\.stop raised ZeroDivision"):
        PollingPolicy(stop=stop).stops(attempt(1))


def _raising(error: BaseException) -> Any:
    return lambda _: (_ for _ in ()).throw(error)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (lambda state: _sleepy(state), "it returned an awaitable"),  # noqa: PLW0108 - no async def
        (lambda _: _Awaited(), "it returned an awaitable"),
        (_raising(_UntoldError()), "_UntoldError: <exception str"),
        (_raising(BUSY), r"RateLimitError: [^.]*429\)\. Nothing more"),
        (_raising(asyncio.CancelledError("mine")), "CancelledError: mine"),
    ],
)
def test_a_strategy_that_has_to_be_awaited_is_refused(strategy: Any, said: str) -> None:
    """Bad input: a coroutine is neither a delay nor a yes; no error text is lost to another one."""
    asked: list[tuple[str, Callable[[], object]]] = [
        ("wait", lambda: PollingPolicy(wait=strategy).interval(1)),
        ("wait", lambda: RetryPolicy(wait=strategy).delay(attempt(1))),
        ("stop", lambda: PollingPolicy(stop=strategy).stops(attempt(1))),
    ]
    for purpose, ask in asked:
        with pytest.raises(ConfigurationError, match=rf"The {purpose} strategy .* raised .*{said}"):
            ask()


def test_a_stop_without_a_truth_value_is_refused() -> None:
    """Bad input: what cannot be read as a yes or no is an error that names the strategy."""
    with pytest.raises(ConfigurationError, match=r"stop strategy .* raised LookupError"):
        PollingPolicy(stop=no_delay(_Undecided())).stops(attempt(1))


# --- what a strategy sees --------------------------------------------------------------------


def test_the_state_of_a_wait_is_one_of_tenacity() -> None:
    """A poll: a strategy finds every attribute that tenacity documents."""
    state = PollState(3, start_time=100.0)
    assert isinstance(state, RetryCallState)
    assert {*vars(attempt(1))} <= {*dir(state)}
    assert (state.outcome, state.seconds_since_start) == (None, None)
    assert "none yet" in repr(state)

    state.record(STATUS, 107.5)
    assert (state.attempt_number, state.seconds_since_start) == (3, 7.5)
    assert isinstance(state.outcome, Future)
    assert state.outcome.result() is STATUS
    assert not state.outcome.failed
    assert state.outcome is state.outcome

    state.record(BUSY, 110.0)
    assert state.outcome.failed
    assert state.outcome.exception() is BUSY
    assert "RateLimitError" in repr(state)


def test_the_outcome_is_made_when_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll: a strategy that does not look at the outcome pays for none."""
    monkeypatch.setattr(policies, "Future", None)
    state = PollState(1)
    state.record(STATUS, 1.0)
    assert PollingPolicy(wait=tenacity.wait_fixed(3)).delay(state) == 3
    with pytest.raises(AttributeError):
        _ = state.outcome


@pytest.mark.parametrize("policy", [PollingPolicy, RetryPolicy])
def test_the_recipes_of_the_documentation_run(policy: type[Any]) -> None:
    """The examples in the documentation of the policies make policies that work."""
    (example,) = doctest.DocTestFinder(recurse=False).find(policy, globs={policy.__name__: policy})
    assert example.examples
    names: dict[str, Any] = example.globs
    runner = doctest.DocTestRunner()
    assert runner.run(example, clear_globs=False).failed == 0
    recipes = {name: made for name, made in names.items() if isinstance(made, policy)}
    if policy is RetryPolicy:
        assert recipes["policy"].delay(attempt(1)) == 2
        return
    assert len(recipes) == 5
    assert 1 <= recipes["exponential"].interval(1) <= 4
    assert recipes["exponential"].interval(20) == 60
    assert [recipes["chain"].interval(checks) for checks in (1, 2, 3, 9)] == [5, 5, 60, 60]
    assert 10 <= recipes["fixed_plus_random"].interval(1) <= 12
    for age, interval in ((599.0, 5), (600.0, 60)):
        state = PollState(9)
        state.record(STATUS, age)
        assert recipes["patient"].delay(state) == interval
    assert [recipes["limited"].stops(attempt(number)) for number in (19, 20)] == [False, True]
