"""PollingPolicy and RetryPolicy: which numbers they take, and what they make of them."""

import math
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError
from tenacity import AsyncRetrying, RetryCallState

from smspartner_async import PollingPolicy, RetryPolicy

NO_NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, -1, "1", b"1", True, None, [1])


@pytest.mark.parametrize("policy", [PollingPolicy, RetryPolicy])
def test_policies_check_their_numbers(policy: type[Any]) -> None:
    """A poll, 1: no number of a policy may be NaN, infinite, negative, a bool, text or missing."""
    names = {field.name for field in policy.__attrs_attrs__} - {"timeout"}
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
    """A poll, 1: a policy takes a number at the end of its range, and none beyond."""
    assert getattr(policy(**{name: right}), name) == right
    with pytest.raises(ValueError, match=name):
        policy(**{name: wrong})


@pytest.mark.parametrize("policy", [PollingPolicy(), RetryPolicy()])
def test_policies_are_frozen(policy: Any) -> None:
    """A poll, 1: a policy that several clients share cannot be changed behind their backs."""
    for field in policy.__attrs_attrs__:
        with pytest.raises(FrozenInstanceError):
            setattr(policy, field.name, 5)


@pytest.mark.parametrize("attempt", [1, 2, 100, 2_000, 1_000_000])
def test_backoff_does_not_overflow(attempt: int) -> None:
    """A poll, 1: thousands of checks later the interval still is the cap."""
    policy = PollingPolicy(first_interval=30, max_interval=30.0, multiplier=1e6, jitter=0)
    assert policy.interval(attempt) == 30
    state = RetryCallState(AsyncRetrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    assert RetryPolicy(first_delay=8, max_delay=8).delay(state) <= 8
