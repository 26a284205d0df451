"""What a batch makes of the records of its store: what is left to do, and what is written down."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from batches import jobs_of

from smspartner_async._batch_run import JobChangedError
from smspartner_async._batch_store import Follower, StoreLostError, planned_in_store
from smspartner_async._display import Display
from smspartner_async._display_batch import Stage, Tally
from smspartner_async._records import JobRecord, JobState
from smspartner_async._results import Line, Results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smspartner_async.batch import RentalJob

S = JobState


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Results]:
    with Results(tmp_path / "results.jsonl") as results:
        yield results


def recorded(job: RentalJob, state: JobState, **facts: Any) -> JobRecord:
    return JobRecord(job=job, state=state, changed_at=datetime(2026, 1, 2, tzinfo=UTC), **facts)


@pytest.mark.parametrize(
    ("state", "token", "place"),
    [
        (None, None, "to_rent"),
        (S.QUEUED, None, "under_way"),
        (S.RENTING, None, "under_way"),
        (S.WAITING, "tok", "under_way"),
        (S.FAILED, "tok", "under_way"),
        (S.FAILED, None, "to_rent"),
        (S.NEEDS_ATTENTION, None, "in_doubt"),
        (S.DONE, "tok", None),
        (S.GIVEN_UP, None, None),
    ],
)
def test_what_is_left_to_do_follows_from_the_state(
    results: Results, tmp_path: Path, state: JobState | None, token: str | None, place: str | None
) -> None:
    """A paid job is never to be rented; one in doubt is left alone; one that ended is left out."""
    (job,) = jobs_of(1, tmp_path)
    records = {} if state is None else {job.id: recorded(job, state, token=token)}
    plan = planned_in_store([job], records, results)
    assert plan.jobs == (job,)
    for name in ("to_rent", "under_way", "in_doubt"):
        assert getattr(plan, name) == ((job,) if name == place else ())


def test_a_lower_limit_is_no_change(results: Results, tmp_path: Path) -> None:
    """The price that was agreed to stands in the store as the job's limit; that is no change."""
    (job,) = jobs_of(1, tmp_path)
    stored = evolve(job, max_total=Decimal("1.80"))
    plan = planned_in_store([job], {job.id: recorded(stored, S.QUEUED)}, results)
    assert plan.under_way == (job,)
    with pytest.raises(JobChangedError, match="'1'"):
        planned_in_store(
            [evolve(job, volumes={"06200": 3})], {job.id: recorded(stored, S.DONE)}, results
        )


@pytest.mark.parametrize("line", [Line.RENTING, Line.PAID, Line.DONE, Line.UNKNOWN, Line.FAILED])
def test_what_the_results_know_and_the_store_does_not_is_not_rented(
    results: Results, tmp_path: Path, line: Line
) -> None:
    """A job that the results tell of, in a store that does not know it, stops everything."""
    one, two = jobs_of(2, tmp_path)
    results.add(line, two.id)
    with pytest.raises(StoreLostError, match="'2'"):
        planned_in_store([one, two], {}, results)


def test_what_workers_do_is_written_down_once(results: Results, tmp_path: Path) -> None:
    """Each change of a job is one line: the token as soon as it is known, then its end."""
    job, other = jobs_of(2, tmp_path)
    tally = Tally(1, None, lambda: 0)
    follower = Follower(results, tally, Display(unseen=True, together=True), frozenset({job.id}))
    for state, token in ((S.QUEUED, None), (S.RENTING, None), (S.WAITING, "tok"), (S.DONE, "tok")):
        for _ in range(2):
            price = Decimal("1.80") if token else None
            follower.moved(recorded(job, state, token=token, price=price))
    follower.moved(recorded(other, S.DONE, token="old", price=Decimal(5)))  # by an earlier run
    told = [line for line in results.path.read_text().splitlines() if '"id": "1"' in line]
    assert [part.partition('"state": "')[2].partition('"')[0] for part in told] == [
        "renting",
        "paid",
        "done",
    ]
    assert tally.spent == Decimal("1.80")
    assert tally.to_do == 0
    assert +tally.stages == {Stage.DONE: 1}
    assert results.of(other.id).token == "old"


@pytest.mark.parametrize(
    ("state", "token", "line"),
    [
        (S.FAILED, None, Line.NOT_RENTED),
        (S.FAILED, "tok", Line.FAILED),
        (S.NEEDS_ATTENTION, None, Line.UNKNOWN),
        (S.GIVEN_UP, None, Line.GIVEN_UP),
    ],
)
def test_an_end_without_a_file_is_written_down(
    results: Results, tmp_path: Path, state: JobState, token: str | None, line: Line
) -> None:
    """What failed, is in doubt or given up is in the results as that, with its token if paid."""
    (job,) = jobs_of(1, tmp_path)
    display = Display(unseen=True, together=True)
    follower = Follower(results, Tally(1, None, lambda: 0), display, frozenset({job.id}))
    follower.moved(recorded(job, state, token=token, error="No."))
    assert (results.of(job.id).line, results.of(job.id).token) == (line, token)
