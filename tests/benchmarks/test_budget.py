"""A shared budget is fair: how late a file is known to be ready, in virtual time.

The benchmarks play the same with ten times as many rentals and requests.
"""

from __future__ import annotations

import random

import pytest

from benchmarks.schedules import Scenario, round_robin
from benchmarks.virtual import play_client
from smspartner_async import PollingPolicy

SCENARIOS = (
    Scenario("all at once", rentals=1000, median=60, sigma=0.6),
    Scenario("all at once, long tail", rentals=1000, median=60, sigma=1.2),
    Scenario("over ten minutes", rentals=1000, median=60, sigma=0.6, over=600),
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_budget_is_spent_on_those_unasked_longest(scenario: Scenario) -> None:
    """A shared budget: hardly later than the best round-robin on average, and nobody starves."""
    random.seed(1)  # of the jitter
    smaller = scenario.smaller(2)
    jobs = smaller.jobs(seed=1)
    best = round_robin(jobs, per_minute=smaller.per_minute)
    ours = play_client(jobs, policy=PollingPolicy(), per_minute=smaller.per_minute)
    assert ours.mean <= 1.25 * best.mean
    assert ours.worst <= 3 * ours.mean
    assert ours.requests <= best.requests
