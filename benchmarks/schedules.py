"""When others poll, and what it costs them: requests and lateness. Pure; time is a number.

Lateness is the time from "the file is ready" to "we know". A rental is asked about at once, and
then after each interval of the schedule, until it is found ready.
"""

from __future__ import annotations

import heapq
import math
import random
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from .stats import percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@frozen
class Job:
    """A rental: when the waiting for it begins, and when its file is ready."""

    start: float
    ready: float


@frozen
class Scenario:
    """How the rentals come, and how long their files take: log-normal, median and sigma."""

    name: str
    rentals: int
    median: float
    sigma: float
    over: float = 0.0
    """Seconds over which the rentals come, evenly; 0 is all at once."""
    per_minute: float = 360.0
    """Requests that all of them share."""

    def smaller(self, tenths: int) -> Scenario:
        """Make a smaller one in which each rental fares as in this one."""
        return evolve(
            self,
            rentals=self.rentals * tenths // 10,
            per_minute=self.per_minute * tenths / 10,
        )

    def jobs(self, seed: int) -> list[Job]:
        """Draw the rentals, in the order of their coming."""
        dice = random.Random(seed)  # noqa: S311 - repeats a run
        starts = sorted(dice.uniform(0, self.over) for _ in range(self.rentals))
        return [
            Job(start, start + dice.lognormvariate(math.log(self.median), self.sigma))
            for start in starts
        ]


@frozen
class Outcome:
    """What knowing all the rentals ready has cost."""

    requests: int
    lateness: list[float]

    @property
    def mean(self) -> float:
        """Mean lateness in seconds."""
        return sum(self.lateness) / len(self.lateness)

    @property
    def p95(self) -> float:
        """The lateness that one in twenty is over."""
        return percentile(self.lateness, 0.95)

    @property
    def worst(self) -> float:
        """The longest lateness."""
        return max(self.lateness)

    @property
    def each(self) -> float:
        """Requests for each rental."""
        return self.requests / len(self.lateness)


@frozen
class Schedule:
    """The interval before the next poll, from the number of polls made and the age of the wait."""

    name: str
    rule: str
    interval: Callable[[int, float, random.Random], float]


def _google(polls: int, _: float, dice: random.Random) -> float:
    return dice.uniform(0, min(60.0, 2.0 ** (polls - 1)))


def _exoscale(_: int, age: float, __: random.Random) -> float:
    young, old, short, long = 30.0, 900.0, 3.0, 60.0
    slope = (long - short) / (old - young)
    return min(max(short + slope * (age - young), short), long)


AZURE: Final = Schedule("azure-core", "every 30 s", lambda *_: 30.0)
OPENAI: Final = Schedule("openai-python", "every 1 s", lambda *_: 1.0)
GOOGLE: Final = Schedule("google-api-core", "full jitter, 1 s doubled up to 60 s", _google)
EXOSCALE: Final = Schedule(
    "exoscale", "every 3 s while younger than 30 s, then linearly to 60 s at 15 min", _exoscale
)
OTHERS: Final = (AZURE, OPENAI, GOOGLE, EXOSCALE)


def play(
    jobs: Sequence[Job],
    schedule: Schedule,
    *,
    seed: int,
    scale: float = 1.0,
    per_minute: float | None = None,
) -> Outcome:
    """Poll by a schedule with its intervals `scale` times as long.

    With a budget, requests go out at even distances in the order in which they fell due.
    """
    dice = random.Random(seed)  # noqa: S311 - repeats a run
    distance = 60 / per_minute if per_minute else 0.0
    free_at = -math.inf
    lateness = [0.0] * len(jobs)
    polls = [0] * len(jobs)
    due = [(job.start, number) for number, job in enumerate(jobs)]
    heapq.heapify(due)
    while due:
        wanted, number = heapq.heappop(due)
        now = max(wanted, free_at)
        free_at = now + distance
        polls[number] += 1
        job = jobs[number]
        if now >= job.ready:
            lateness[number] = now - job.ready
        else:
            interval = schedule.interval(polls[number], now - job.start, dice)
            heapq.heappush(due, (now + interval * scale, number))
    return Outcome(sum(polls), lateness)


def round_robin(jobs: Sequence[Job], *, per_minute: float) -> Outcome:
    """Do the best that a round-robin can: every slot goes to the unfinished one unasked longest."""
    distance = 60 / per_minute
    lateness = [0.0] * len(jobs)
    requests = 0
    now = -math.inf
    # Since when each is unasked: its coming, or its last poll.
    waiting = [(job.start, number) for number, job in enumerate(jobs)]
    heapq.heapify(waiting)
    while waiting:
        since, number = heapq.heappop(waiting)
        now = max(now + distance, since)
        requests += 1
        if now >= jobs[number].ready:
            lateness[number] = now - jobs[number].ready
        else:
            heapq.heappush(waiting, (now, number))
    return Outcome(requests, lateness)
