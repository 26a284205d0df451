"""What a batch has left to do, as the list and the records of its store say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from batches import jobs_of
from fault_server import FaultServer
from faults import json_reply, vendor_error
from scripted import client_of

pytest.importorskip("dbos")

from smspartner_async import AuthenticationError
from smspartner_async.cli._batch.plan import make_plan, price_jobs, with_known_ids
from smspartner_async.durable import JobConflictError, JobRecord, JobState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault_server import Received, Reply

    from smspartner_async.batch import RentalJob

S = JobState


def recorded(job: RentalJob, state: JobState, **facts: Any) -> JobRecord:
    facts = {"changed_at": datetime(2026, 1, 2, tzinfo=UTC), **facts}
    return JobRecord(job=job, state=state, **facts)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("state", "token", "place"),
    [
        (None, None, "to_rent"),
        (S.QUEUED, None, "to_rent"),
        (S.QUEUED, "tok", "under_way"),
        (S.RENTING, None, "under_way"),
        (S.WAITING, "tok", "under_way"),
        (S.FAILED, "tok", "under_way"),
        (S.FAILED, None, "to_rent"),
        (S.NEEDS_ATTENTION, None, "in_doubt"),
        (S.DONE, "tok", None),
        (S.GIVEN_UP, None, None),
        (S.GIVEN_UP, "tok", None),
    ],
)
def test_what_is_left_to_do_follows_from_the_state(
    tmp_path: Path, state: JobState | None, token: str | None, place: str | None, *, listed: bool
) -> None:
    """Only a job of the list is to be rented; what is paid or in doubt counts without it, too."""
    (job,) = jobs_of(1, tmp_path)
    records = {} if state is None else {job.id: recorded(job, state, token=token)}
    plan = make_plan([job] if listed else [], records)
    assert [one.id for one in plan.to_rent] == [job.id] * (listed and place == "to_rent")
    assert [one.id for one in plan.under_way] == [job.id] * (place == "under_way")
    assert [one.id for one in plan.in_doubt] == [job.id] * (place == "in_doubt")
    assert plan.is_idle() == (place is None or (place == "to_rent" and not listed))


def test_what_was_withdrawn_may_be_rented(tmp_path: Path) -> None:
    """A job that was taken back before anything was sent is not given up for good."""
    (job,) = jobs_of(1, tmp_path)
    plan = make_plan([job], {job.id: recorded(job, S.GIVEN_UP, withdrawn=True)})
    assert plan.to_rent == (job,)


def test_a_lower_limit_or_another_path_is_no_change(tmp_path: Path) -> None:
    """Neither the limit nor the path is what is bought; the volumes are."""
    (job,) = jobs_of(1, tmp_path)
    stored = evolve(job, max_total=Decimal("1.80"), path=tmp_path / "elsewhere.txt")
    assert make_plan([job], {job.id: recorded(stored, S.DONE, token="tok")}).is_idle()
    with pytest.raises(JobConflictError, match=r"'1' \(differs in volumes\)"):
        make_plan([evolve(job, volumes={"06200": 3})], {job.id: recorded(stored, S.DONE)})


def test_an_id_means_a_job_in_any_spelling(tmp_path: Path) -> None:
    """An exact id goes first; else exactly one that differs in case or accents; never a guess."""
    (job,) = jobs_of(1, tmp_path)
    cafe, other = evolve(job, id="CAFE\u0301"), evolve(job, id="caf\u00e9")
    assert with_known_ids([cafe], [recorded(other, S.DONE)]) == (other,)
    assert with_known_ids([cafe], [recorded(other, S.DONE), recorded(cafe, S.DONE)]) == (cafe,)
    assert with_known_ids([cafe], [recorded(job, S.DONE)]) == (cafe,)
    third = evolve(job, id="Caf\u00e9")
    with pytest.raises(ValueError, match="may be any of"):
        with_known_ids([cafe], [recorded(other, S.DONE), recorded(third, S.DONE)])


# --- prices ------------------------------------------------------------------------------------


async def test_each_job_is_priced_and_what_is_refused_is_left_out(tmp_path: Path) -> None:
    """The sum is that of all that may be rented; a refusal is of one job, and counts nothing."""
    one, two, three = jobs_of(3, tmp_path)
    two = evolve(two, max_total=Decimal("1.79"))
    counted: list[None] = []
    replies = {1: price_of("1.80", 20), 2: price_of("1.80", 20), 3: vendor_error(5, "Refus")}
    async with FaultServer(default=by_interest(replies)) as server, client_of(server) as client:
        priced = await price_jobs(client, [one, two, three], 2, lambda: counted.append(None))
    assert [(job.id, job.max_total) for job in priced.jobs] == [(one.id, Decimal("1.80"))]
    assert [job.id for job, _ in priced.refused] == [two.id, three.id]
    assert (priced.total, priced.contacts, len(counted)) == (Decimal("1.80"), 20, 3)


@pytest.mark.parametrize("none", [None, "-1.00"])
async def test_a_price_that_is_not_known_makes_no_sum(tmp_path: Path, none: str | None) -> None:
    """Nobody agrees to a total that leaves a job out; the dearest known prices come first.

    What is below 0 is no price, and lowers no sum.
    """
    jobs = jobs_of(3, tmp_path)
    replies = {1: price_of("1.80", 20), 2: price_of("2.50", 30), 3: price_of(none, 5)}
    async with FaultServer(default=by_interest(replies)) as server, client_of(server) as client:
        priced = await price_jobs(client, jobs, 10, lambda: None)
    assert (priced.total, priced.contacts) == (None, 55)
    assert priced.dearest() == [(Decimal("2.50"), jobs[1].id), (Decimal("1.80"), jobs[0].id)]


async def test_what_is_the_fault_of_no_job_ends_the_pricing(tmp_path: Path) -> None:
    """A key that is refused is raised once, however many jobs were being priced."""
    refusal = vendor_error(10, "Clef invalide")
    async with FaultServer(default=refusal) as server, client_of(server) as client:
        with pytest.raises(AuthenticationError):
            await price_jobs(client, jobs_of(5, tmp_path), 5, lambda: None)


def price_of(total: str | None, quantity: int) -> Reply:
    cost = {"quantity": quantity, **({} if total is None else {"total": float(total)})}
    return json_reply({"success": True, "op": "price", "datas": [], "cost": cost})


def by_interest(replies: dict[int, Reply]) -> Callable[[Received], Reply]:
    return lambda received: replies[int(json.loads(received.body)["parameters"]["interest"])]
