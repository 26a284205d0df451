"""The live table of a batch: counts that add up, an estimate that makes sense, any width."""

from __future__ import annotations

import io
import logging
from decimal import Decimal

import pytest
from batches import jobs_of
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

pytest.importorskip("dbos")

from smspartner_async.cli._batch.progress import Progress, RepeatedTrouble
from smspartner_async.durable import JobState

from .test_plan import recorded

JOBS = jobs_of(2000)
PRICE = Decimal("1.80")
ENDS = [JobState.DONE, JobState.FAILED, JobState.NEEDS_ATTENTION, JobState.GIVEN_UP]
PAID = {JobState.WAITING, JobState.DONE}


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress_of(jobs: int, clock: Clock | None = None, paid: set[str] | None = None) -> Progress:
    return Progress(jobs, Decimal("3600.00"), lambda: 12345, paid or set(), clock or Clock())


def move(progress: Progress, number: int, *states: JobState) -> None:
    """Show the records of a job as it goes from state to state; it is paid from WAITING on."""
    for state in states:
        token = f"tok{number}" if state in PAID else None
        progress.update(recorded(JOBS[number], state, token=token, price=PRICE))


def shown(progress: Progress, width: int) -> list[str]:
    screen = io.StringIO()
    Console(file=screen, width=width).print(progress)
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 34, 80, 200])
def test_the_table_is_as_high_for_thousands_as_for_none(width: int) -> None:
    """Two thousand jobs in every state need no more lines than a screen has, nor any wider ones."""
    progress = progress_of(len(JOBS))
    for number in range(1900):
        end = [*ENDS[:3], None][number % 4]
        move(progress, number, JobState.RENTING, JobState.WAITING, *([end] if end else []))
    rows = shown(progress, width)
    assert len(rows) <= 16
    assert max(map(len, rows)) <= width
    if width >= 80:
        text = "\n".join(rows)
        for words in ("475", "3,420.00 of 3,600.00", "12,345", "outcome unknown", "100"):
            assert words in text


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(ENDS)), max_size=10))
def test_every_job_stands_in_one_place(ends: list[tuple[int, JobState]]) -> None:
    """Whatever becomes of the jobs, the states add up to all of them."""
    progress = progress_of(10)
    for number, end in dict(ends).items():
        move(progress, number, JobState.QUEUED, JobState.RENTING, end)
    assert progress.states.total() + progress.to_do == 10
    assert progress.ended == len(dict(ends))


def test_a_job_goes_through_the_states_and_is_paid_once() -> None:
    """A job is to do, renting, being made and done; its price counts once, also without WAITING."""
    progress = progress_of(2)
    move(progress, 0, JobState.QUEUED)
    assert progress.to_do == 2
    for state in (JobState.RENTING, JobState.WAITING, JobState.WAITING, JobState.DONE):
        move(progress, 0, state)
        assert +progress.states == {state: 1}
    move(progress, 1, JobState.QUEUED, JobState.DONE)  # between two looks at the store
    assert progress.spent == 2 * PRICE


def test_what_is_paid_without_a_known_price_makes_the_sum_a_least() -> None:
    """The price of a token may be missing, in a journal of release 0.1 for example."""
    progress = progress_of(2)
    move(progress, 0, JobState.DONE)
    assert "spent 1.80 of 3,600.00" in progress.line()
    progress.update(recorded(JOBS[1], JobState.DONE, token="tok"))
    assert "spent at least 1.80 of 3,600.00" in progress.line()


def test_what_an_earlier_run_paid_is_not_spent_again() -> None:
    """The price of a job that was paid before this run is not counted as spent in it."""
    progress = progress_of(1, paid={JOBS[0].id})
    move(progress, 0, JobState.WAITING, JobState.DONE)
    assert progress.spent == 0


def test_the_time_left_is_estimated_from_pace_and_time_a_job_takes() -> None:
    """With one job begun a second and ten seconds for each, a hundred take about 110 seconds."""
    clock = Clock()
    progress = progress_of(100, clock)
    for second in range(20):
        clock.now = 101.0 + second
        move(progress, second, JobState.RENTING)
        assert (progress.left() is None) == (second <= 10)
        if second >= 10:
            move(progress, second - 10, JobState.DONE)
    assert progress.left() == pytest.approx(90)
    assert "time left about 1:30" in progress.line()


def test_what_keeps_many_jobs_waiting_is_shown_once_a_minute() -> None:
    """Each error that a request is sent again for is one line a minute; other lines all show."""
    shows = RepeatedTrouble(clock := Clock())

    def record(error: str, **fields: object) -> logging.LogRecord:
        made = logging.makeLogRecord({"msg": "attempt %d: %s", **fields})
        made.args = (1, error)
        return made

    assert [shows(record("no network", delay=0.1)) for _ in range(3)] == [True, False, False]
    assert shows(record("HTTP 503", delay=0.1))
    assert all(shows(record("no network", **fields)) for fields in ({}, {"delay": None}))
    clock.now += 59
    assert not shows(record("no network", delay=0.1))
    clock.now += 2
    assert [shows(record("no network", delay=0.1)) for _ in range(2)] == [True, False]


def test_the_time_left_is_never_negative() -> None:
    """A job that takes longer than the others makes the estimate zero, and not less."""
    clock = Clock()
    progress = progress_of(2, clock)
    move(progress, 0, JobState.RENTING, JobState.DONE)
    move(progress, 1, JobState.RENTING)
    clock.now += 500
    assert progress.left() == 0
