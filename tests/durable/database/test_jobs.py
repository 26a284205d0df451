"""The rows of jobs: one claim each, and an outcome that stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from scripted import Vendor
from store_jobs import jobs_of
from store_work import at_work, end_of

from smspartner_async.durable import JobState, Store
from smspartner_async.durable._database.jobs import (
    claim_job,
    requeue,
    start_over,
    take_jobs,
    update_jobs,
)
from smspartner_async.durable._database.tables import RUNS
from smspartner_async.durable._database.workers import send_heartbeat

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable._database.database import JobDatabase


async def test_one_claim_stands_in_a_row_whatever_database_the_workflows_are_in(
    store: Store, tmp_path: Path
) -> None:
    """A second worker gets the first one's claim, and its own after that is given back."""
    await store.submit(jobs_of(1, tmp_path))
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as other:

        async def claim(store: Store, before: str, after: str, run: int = 1) -> str:
            return await store._database.run(claim_job, "job-1", run, before, after)

        assert await claim(store, "{}", "a's") == "a's"
        assert await claim(store, "{}", "a's") == "a's", "the same, where a COMMIT is in doubt"
        assert await claim(other, "{}", "b's") == "a's"
        assert await claim(other, "b's", "{}") == "a's"
        assert await claim(other, "{}", "b's", run=2) == "{}", "no such run: nothing is claimed"
        assert await claim(store, "a's", "{}") == "{}"
        assert await claim(other, "{}", "b's", run=2) == "{}", "nor when that was given back"
        assert [row.facts for row in await store._database.read_jobs()] == ["{}"]
        assert await claim(other, "{}", "b's") == "b's"


@pytest.mark.parametrize(
    ("workers", "concurrency", "taken"),
    [
        (("a",), 4, {"a": 4}),
        (("a", "b"), 4, {"a": 2, "b": 2}),
        (("a", "b"), 3, {"a": 2, "b": 1}),  # no more together than may be renting at once
        (("a", "b", "c"), 4, {"a": 2, "b": 2}),
    ],
)
async def test_workers_share_what_may_be_renting_at_once(
    store: Store, tmp_path: Path, workers: tuple[str, ...], concurrency: int, taken: dict[str, int]
) -> None:
    """A worker takes its share of `concurrency`, however often it looks; the first comes first."""
    await store.submit(jobs_of(9, tmp_path))
    run = store._database.run
    heartbeats = {worker: (await run(send_heartbeat, worker))[0] for worker in workers}

    async def look() -> list[tuple[str, int]]:
        return [
            (worker, row.number)
            for worker, heartbeat_at in heartbeats.items()
            for row in await run(take_jobs, worker, heartbeat_at, concurrency)
        ]

    owners = [worker for worker, count in taken.items() for _ in range(count)]
    assert await look() == [(worker, number) for number, worker in enumerate(owners, 1)]
    assert await look() == [(worker, number) for number, worker in enumerate(owners, 1)]


async def test_who_comes_late_leaves_what_is_known_of_an_ended_job(
    store: Store, tmp_path: Path
) -> None:
    """An execution that was overtaken takes neither the file nor the facts out of the record."""
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        done = await end_of(store, "job-1")
    late = {"job": "job-1", "in_run": 1, "by": "frozen", "new_state": "needs_attention"}
    late |= {"new_token": None, "new_price": None, "new_facts": '{"error": "lost"}'}
    assert await store._database.run(update_jobs, [late]) == [True]
    after_that = await store.record("job-1")
    assert (after_that.state, after_that.file) == (JobState.DONE, done.file)
    assert after_that.error is None


async def test_the_first_price_and_token_of_a_job_stay(store: Store, tmp_path: Path) -> None:
    """What was charged is not changed by an update that knows less, or something else."""
    await store.submit(jobs_of(1, tmp_path))
    update = {"job": "job-1", "in_run": 1, "by": "w", "new_state": "waiting", "new_facts": ""}
    prices = ((None, None), ("tok-1", "1.80"), (None, None), (None, "9.00"))
    for token, price in prices:
        paid = update | {"new_token": token, "new_price": price}
        assert await store._database.run(update_jobs, [paid]) == [True]
    record = await store.record("job-1")
    assert (record.token, str(record.price)) == ("tok-1", "1.80")


async def test_a_job_is_queued_again_only_from_the_states_that_are_named(
    store: Store, tmp_path: Path
) -> None:
    """A new run begins behind the old one, whose claim is kept; any other state stays as it is."""

    def kept(_: JobDatabase, connection: sa.Connection) -> list[sa.Row[Any]]:
        return list(connection.execute(sa.select(RUNS)).all())

    await store.submit(jobs_of(1, tmp_path))
    run = store._database.run
    await run(claim_job, "job-1", 1, "{}", '{"nonce": "n", "worker": "w"}')
    assert not await run(requeue, "job-1", [JobState.FAILED], {"facts": "{}"})
    assert [row.run for row in await store._database.read_jobs()] == [1]
    assert await run(kept) == [], "the claim is of this run yet"
    assert await run(requeue, "job-1", [JobState.QUEUED], {"facts": "{}"})
    assert [(row.run, row.facts) for row in await store._database.read_jobs()] == [(2, "{}")]
    (old,) = await run(kept)
    assert (old.job, old.run, old.claim) == ("job-1", 1, '{"nonce": "n", "worker": "w"}')


@pytest.mark.parametrize(
    ("facts", "token", "starts_over"),
    [("{}", None, True), ("a claim", None, False), ("a claim", "tok-1", True)],
    ids=["unclaimed", "claimed", "paid"],
)
async def test_a_job_that_may_be_paid_without_a_token_does_not_start_over(
    store: Store, tmp_path: Path, facts: str, token: str | None, *, starts_over: bool
) -> None:
    """A new run could pay for it a second time; one that has its token continues from it."""
    run = store._database.run
    await store.submit(jobs_of(1, tmp_path))
    assert not await run(start_over, "job-1", 1), "nobody works on it"
    await run(take_jobs, "a", (await run(send_heartbeat, "a"))[0], 1)
    await run(claim_job, "job-1", 1, "{}", facts)
    if token is not None:
        paid = {"job": "job-1", "in_run": 1, "by": "a", "new_state": "waiting", "new_facts": ""}
        await run(update_jobs, [paid | {"new_token": token, "new_price": "5.00"}])
    assert not await run(start_over, "job-1", 2), "another run"
    assert await run(start_over, "job-1", 1) is starts_over
    (row,) = await store._database.read_jobs()
    assert (row.token, row.run) == (token, 1 + starts_over)
    assert row.state == ("queued" if starts_over else "renting")
    assert row.facts == ("{}" if starts_over else facts)


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("{}", ("tok-late", 3)),  # nobody has claimed the new run: it is fenced
        ('{"nonce": "n"}', (None, 2)),  # it may be paid as well: both are reported
    ],
)
async def test_a_token_that_comes_late_is_kept(
    store: Store, tmp_path: Path, claim: str, expected: tuple[str | None, int]
) -> None:
    """A batch: the token of an ended run is stored, and no unclaimed run is paid beside it."""
    await store.submit(jobs_of(1, tmp_path))
    run = store._database.run
    await run(requeue, "job-1", [JobState.QUEUED], {})
    await run(claim_job, "job-1", 2, "{}", claim)
    late = {"job": "job-1", "in_run": 1, "by": "old", "new_state": "waiting"}
    late |= {"new_token": "tok-late", "new_price": None, "new_facts": ""}
    assert await run(update_jobs, [late]) == [False]
    (row,) = await store._database.read_jobs()
    assert (row.token, row.run) == expected

    def tokens(_: JobDatabase, connection: sa.Connection) -> list[str]:
        return list(connection.execute(sa.select(RUNS.c.token)).scalars())

    assert await run(tokens) == ["tok-late"]
