"""The live table of a batch: counts that add up, an estimate that makes sense, any width."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from batches import jobs_of
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from smspartner_async import (
    Rental,
    RentalState,
    RentalStatus,
    RentOutcomeUnknownError,
    SMSPartnerError,
    TransportError,
)
from smspartner_async._display_batch import Stage, Tally
from smspartner_async.batch import JobEvent, JobStep

if TYPE_CHECKING:
    from smspartner_async.batch import RentalJob

JOBS = jobs_of(2000)
UNKNOWN = RentOutcomeUnknownError(
    targeting=JOBS[0].targeting,
    volumes=None,
    sent_at=datetime(2026, 1, 2, tzinfo=UTC),
    cause=TransportError("Gone.", maybe_sent=True),
)
ENDS = {
    Stage.DONE: (JobStep.DOWNLOADED, None),
    Stage.FAILED: (JobStep.FAILED, SMSPartnerError("No.")),
    Stage.UNKNOWN: (JobStep.FAILED, UNKNOWN),
}


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def tally_of(jobs: int, clock: Clock | None = None) -> Tally:
    return Tally(jobs, Decimal("3600.00"), lambda: 12345, clock or Clock())


def hear(tally: Tally, job: RentalJob, *steps: JobStep, end: Stage | None = None) -> None:
    for step in steps:
        tally.heard(JobEvent(job=job, step=step, rental=Rental(token="tok")), Decimal("1.80"))
    if end is not None:
        step, error = ENDS[end]
        tally.heard(JobEvent(job=job, step=step, error=error), Decimal("1.80"))


def shown(tally: Tally, width: int) -> list[str]:
    screen = io.StringIO()
    Console(file=screen, width=width).print(tally)
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 34, 80, 200])
def test_the_table_is_as_high_for_thousands_as_for_none(width: int) -> None:
    """Two thousand jobs in every stage need no more lines than a screen has, nor any wider ones."""
    tally = tally_of(len(JOBS))
    for number, job in enumerate(JOBS[:1900]):
        hear(tally, job, JobStep.PRICED, JobStep.RENTED, end=[*ENDS, None][number % 4])
    rows = shown(tally, width)
    assert len(rows) <= 16
    assert max(map(len, rows)) <= width
    if width >= 80:
        text = "\n".join(rows)
        for words in ("475", "3,420.00 of 3,600.00", "12,345", "outcome unknown", "100"):
            assert words in text


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([*ENDS])), max_size=10))
def test_every_job_stands_in_one_place(ends: list[tuple[int, Stage]]) -> None:
    """Whatever becomes of the jobs, the stages add up to all of them."""
    tally = tally_of(10)
    for number, end in dict(ends).items():
        hear(tally, JOBS[number], JobStep.PRICED, end=end)
    assert tally.stages.total() + tally.to_do == 10
    assert tally.ended == len(dict(ends))


def test_a_job_goes_through_the_stages() -> None:
    """A job is renting, being made, ready and done, one after the other."""
    tally = tally_of(1)
    job = JOBS[0]
    steps = [
        (JobStep.PRICED, None, Stage.RENTING),
        (JobStep.RENTED, None, Stage.AT_VENDOR),
        (JobStep.STATE, RentalState.GENERATING, Stage.AT_VENDOR),
        (JobStep.STATE, RentalState.READY, Stage.READY),
        (JobStep.DOWNLOADED, None, Stage.DONE),
    ]
    for step, state, stage in steps:
        status = None if state is None else RentalStatus(token="tok", state=state)
        tally.heard(JobEvent(job=job, step=step, status=status), Decimal("1.80"))
        assert +tally.stages == {stage: 1}
    assert tally.spent == Decimal("1.80")


def test_the_time_left_is_estimated_from_pace_and_time_a_job_takes() -> None:
    """With one job begun a second and ten seconds for each, a hundred take about 110 seconds."""
    clock = Clock()
    tally = tally_of(100, clock)
    for second in range(20):
        clock.now = 101.0 + second
        hear(tally, JOBS[second], JobStep.PRICED)
        assert (tally.left() is None) == (second <= 10)
        if second >= 10:
            hear(tally, JOBS[second - 10], end=Stage.DONE)
    assert tally.left() == pytest.approx(90)
    assert "time left about 1:30" in tally.line()


def test_the_time_left_is_never_negative() -> None:
    """A job that takes longer than the others makes the estimate zero, and not less."""
    clock = Clock()
    tally = tally_of(2, clock)
    hear(tally, JOBS[0], JobStep.PRICED, end=Stage.DONE)
    hear(tally, JOBS[1], JobStep.PRICED)
    clock.now += 500
    assert tally.left() == 0
