"""What may be rented: withdrawn before it is claimed, and agreed to anew."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from batches import after
from faults import close_before_head, vendor_error
from scripted import Vendor, rented
from store_jobs import jobs_of
from store_work import at_work, end_of, unknown, until_rent, until_waiting

from smspartner_async.durable import JobState, Store, _workflow
from smspartner_async.durable._claims import JournalClaims
from smspartner_async.durable._database import agreements
from smspartner_async.durable._database.jobs import claim_job
from smspartner_async.durable._database.tables import JOBS, RUNS
from smspartner_async.durable._records import dump_job

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable._database.database import JobDatabase


async def test_a_queued_job_is_withdrawn_and_nothing_is_sent_for_it(
    store: Store, tmp_path: Path
) -> None:
    """No worker takes it; its record says that it was withdrawn; once more changes nothing."""
    await store.submit(jobs_of(2, tmp_path))
    await store.withdraw("job-1")
    await store.withdraw("job-1")
    vendor = Vendor()
    async with at_work(store, vendor):
        assert (await end_of(store, "job-2")).state is JobState.DONE
    record = await store.record("job-1")
    assert (record.state, record.withdrawn, record.run) == (JobState.GIVEN_UP, True, 1)
    assert vendor.wire == {2: 1}


@pytest.mark.parametrize("name", ["1.csv", "sub/../1.CSV", "1.csv.part", "1.csv.part.2"])
async def test_a_file_that_another_job_will_write_is_refused(
    store: Store, tmp_path: Path, name: str
) -> None:
    """A file: in another list, too, while that job's file is to come; then it is on the disk."""
    job, other = jobs_of(2, tmp_path)
    other = evolve(other, path=tmp_path / name)
    await store.submit([job])
    with pytest.raises(ValueError, match=r"^(Several jobs have the same file|While these files)"):
        await store.submit([other])
    with pytest.raises(LookupError):
        await store.record("job-2")
    await store.withdraw("job-1")
    assert await store.submit([other]) == 1


async def test_a_file_of_a_paid_job_that_failed_is_to_come(store: Store, tmp_path: Path) -> None:
    """Of a refused one it is not: nothing was paid, and another job may have its file."""
    jobs = jobs_of(4, tmp_path)
    await store.submit(jobs[:2])
    vendor = Vendor({2: [vendor_error(27, "trop")]}, states={"tok-1": 3})
    async with at_work(store, vendor):
        assert (await end_of(store, "job-1")).token
        assert (await end_of(store, "job-2")).token is None
    with pytest.raises(ValueError, match="same file"):
        await store.submit([evolve(jobs[2], path=jobs[0].path)])
    assert await store.submit([evolve(jobs[3], path=jobs[1].path)]) == 1


async def test_a_withdrawn_job_that_is_listed_again_is_a_new_run(
    store: Store, tmp_path: Path
) -> None:
    """Also with another limit and other volumes: nothing hangs on what was taken back."""
    (job,) = jobs_of(1, tmp_path)
    await store.submit([job])
    await store.withdraw("job-1")
    other = evolve(job, max_total=5, volumes={"06200": 7})
    assert await store.submit([other]) == 1
    record = await store.record("job-1")
    assert (record.state, record.run, record.job) == (JobState.QUEUED, 2, other)
    async with at_work(store, Vendor()):
        assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_who_claims_after_a_withdrawal_sends_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The withdrawal and the claim are one compare-and-swap: here the withdrawal was first."""
    claim = _workflow.claim

    async def claimed(job: Any, nonce: str) -> Any:
        mine = await claim(job, nonce)
        await store.withdraw(job["id"])
        return mine

    monkeypatch.setattr(_workflow, "claim", claimed)
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
        await asyncio.sleep(0.3)
    assert (record.state, record.withdrawn) == (JobState.GIVEN_UP, True)
    after_that = evolve(await store.record("job-1"), changed_at=record.changed_at)
    assert after_that == record, "the worker leaves the record alone"
    assert vendor.wire == {}


async def test_it_is_too_late_while_a_worker_pays(store: Store, tmp_path: Path) -> None:
    """Here the claim was first: the withdrawal is refused, and the job gets its file."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [after(0.4, rented(1))]})
    async with at_work(store, vendor) as server:
        await until_rent(server)
        with pytest.raises(ValueError, match=r"Too late .* is paying for it"):
            await store.withdraw("job-1")
        assert (await end_of(store, "job-1")).state is JobState.DONE
        with pytest.raises(ValueError, match="its token is tok-1"):
            await store.withdraw("job-1")


async def test_what_may_be_paid_or_has_ended_is_not_withdrawn(store: Store, tmp_path: Path) -> None:
    """Neither one in doubt, nor one that a person let rent anew, nor one that was refused."""
    await unknown(store, tmp_path)
    with pytest.raises(ValueError, match="it is NEEDS_ATTENTION"):
        await store.withdraw("job-1")
    await store.resolve("job-1", not_charged=True)
    with pytest.raises(ValueError, match="earlier run"):
        await store.withdraw("job-1")
    assert (await store.record("job-1")).state is JobState.QUEUED
    await store.submit(jobs_of(3, tmp_path)[1:])
    async with at_work(store, Vendor({1: [close_before_head()], 2: [vendor_error(27, "trop")]})):
        assert (await end_of(store, "job-2")).state is JobState.FAILED
        assert (await end_of(store, "job-1")).state is JobState.NEEDS_ATTENTION
    with pytest.raises(ValueError, match="it is FAILED"):
        await store.withdraw("job-2")
    await store.resolve("job-1", give_up=True)
    with pytest.raises(ValueError, match="it is GIVEN_UP"):
        await store.withdraw("job-1")
    with pytest.raises(LookupError, match="job-9"):
        await store.withdraw("job-9")


async def test_all_that_nobody_has_claimed_is_taken_back_at_once(
    store: Store, tmp_path: Path
) -> None:
    """What a person let rent anew too, since that agreement is of an earlier run of the command."""
    await unknown(store, tmp_path)
    await store.resolve("job-1", not_charged=True)
    await store.submit(jobs_of(4, tmp_path)[1:])
    assert await store._database.run(claim_job, "job-3", 1, "{}", '{"nonce": "n"}')
    assert await store._database.run(agreements.withdraw_all) == ["job-1", "job-2", "job-4"]
    assert (await store.record("job-3")).state is JobState.QUEUED


async def test_a_new_agreement_is_a_new_run_of_what_nobody_has_claimed(
    store: Store, tmp_path: Path
) -> None:
    """Queued, withdrawn or refused jobs take the new limit; what is claimed or paid stays."""
    jobs = jobs_of(6, tmp_path)
    await store.submit(jobs)
    async with at_work(store, Vendor({1: [vendor_error(27, "trop")]})):
        states = [(await end_of(store, job.id)).state for job in jobs[:2]]
        assert states == [JobState.FAILED, JobState.DONE]
        for job in jobs[2:]:
            await end_of(store, job.id)
    await store.submit(jobs_of(9, tmp_path))
    await store.withdraw("job-7")
    await store._database.run(claim_job, "job-8", 1, "{}", '{"nonce": "n"}')
    listed = [evolve(job, max_total=9) for job in jobs_of(10, tmp_path)]
    agreed = await store._database.run(agreements.agree, {job.id: dump_job(job) for job in listed})
    assert sorted(agreed) == ["job-1", "job-10", "job-7", "job-9"]
    runs = {r.id: (r.run, r.job.max_total) for r in await store.records()}
    assert {runs[name] for name in ("job-1", "job-7", "job-9")} == {(2, Decimal(9))}
    assert runs["job-10"] == (1, Decimal(9))
    assert {runs[name][0] for name in ("job-2", "job-8")} == {1}
    again = await store._database.run(agreements.agree, {job.id: dump_job(job) for job in listed})
    assert sorted(again) == sorted(agreed)
    assert (await store.record("job-1")).run == 2, "the same agreement is no new one"


async def test_runs_whose_outcome_is_open_are_those_with_a_claim_and_no_token(store: Store) -> None:
    """A batch: a worker looks for their tokens, which may have come after a person settled."""
    rows = [
        {"job": "job-1", "run": 1, "claim": "{}", "token": None},
        {"job": "job-1", "run": 2, "claim": '{"nonce": "n"}', "token": None},
        {"job": "job-2", "run": 1, "claim": '{"nonce": "m"}', "token": "tok-2"},
    ]

    def write(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.insert(RUNS), rows)

    await store._database.run(write)
    found = await store._database.run(agreements.open_runs)
    assert found == [("job-1", 2, '{"nonce": "n"}')]


# --- what journals know, and an older copy of the store does not ------------------------------

REFUSED = '{"error": "Volume trop grand"}'
GIVEN_UP = '{"attention": {"nonce": "n-0"}}'
HERE, OF_0_1 = {"store": "this"}, dict[str, str]()


@pytest.mark.parametrize(
    ("row", "line", "token", "expected"),
    [
        (("queued", 1, "{}"), HERE, "tok", ("queued", 3, "tok")),
        (("queued", 1, "{}"), HERE, None, ("needs_attention", 2, None)),
        (("queued", 5, "{}"), HERE, "tok", ("queued", 6, "tok")),
        (("queued", 5, "{}"), HERE, None, ("needs_attention", 5, None)),
        (("queued", 5, "{}"), OF_0_1, "tok", ("queued", 5, None)),
        (("queued", 2, "{}"), OF_0_1, "tok", ("queued", 3, "tok")),
        (("failed", 2, REFUSED), OF_0_1, None, ("failed", 2, None)),
        (("failed", 1, REFUSED), OF_0_1, None, ("needs_attention", 2, None)),
        (("failed", 2, REFUSED), HERE, None, ("needs_attention", 2, None)),
        (("given_up", 2, agreements.WITHDRAWN), OF_0_1, "tok", ("queued", 3, "tok")),
        (("given_up", 1, GIVEN_UP), HERE, "tok", ("queued", 3, "tok")),
        (("renting", 1, "{}"), HERE, "tok", ("renting", 1, None)),
        (("needs_attention", 1, GIVEN_UP), HERE, "tok", ("needs_attention", 1, None)),
    ],
)
async def test_what_a_journal_alone_knows_is_recorded(
    store: Store,
    tmp_path: Path,
    row: tuple[str, int, str],
    line: dict[str, str],
    token: str | None,
    *,
    expected: tuple[str, int, str | None],
) -> None:
    """A rent of run 2: of a job that a worker has, that is in doubt or settled, nothing changes."""
    (job,) = jobs_of(1, tmp_path)
    await store.submit([job])
    state, run, facts = row

    def put_back(database: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.update(JOBS).values(state=state, run=run, facts=facts))

    await store._database.run(put_back)
    claims = JournalClaims("this", beside_store=True)
    of_job = {"at": "2026-01-02T03:04:05+00:00", "job": "JOB-1", "run": 2, "nonce": "n-1", **line}
    claims.add({**of_job, "sending": dump_job(job)}, "w", tmp_path / "w.jsonl")
    if token is not None:
        claims.add({**of_job, "token": token, "price": "1.80"}, "w", tmp_path / "w.jsonl")
    changed = expected != (state, run, None)
    for found in (["job-1"] if changed else [], []):  # once more changes nothing
        assert await store._database.run(agreements.adopt, lambda _: claims) == found
    record = await store.record("job-1")
    assert (record.state.value, record.run, record.token) == expected
    assert record.price == (Decimal("1.80") if expected[2] else None)
    if expected[0] == "needs_attention" and changed:
        assert record.attention["journal_lines"] == [{**of_job, "sending": dump_job(job)}]
    kept = await store._database.run(agreements.claim_ids_of, "job-1")
    assert kept == ({"n-0"} if changed and facts == GIVEN_UP else set())


async def test_a_rent_that_two_spellings_may_mean_is_left_alone(
    store: Store, tmp_path: Path
) -> None:
    """A store of release 0.1 may have both: whose rent a journal means is looked at later."""
    (job,) = jobs_of(1, tmp_path)
    await store.submit([job])

    def add_other(database: JobDatabase, connection: sa.Connection) -> None:
        other = {"id": "Job-1", "content": dump_job(job), "state": "queued", "run": 1}
        connection.execute(sa.insert(JOBS).values(**other, facts="{}", changed=0))

    await store._database.run(add_other)
    claims = JournalClaims("this", beside_store=True)
    line = {"at": "2026-01-02", "job": "job-1", "run": 1, "nonce": "n", "sending": "{}"}
    claims.add(line, "w", tmp_path / "w.jsonl")
    assert await store._database.run(agreements.adopt, lambda _: claims) == []


async def test_a_paid_job_whose_folder_was_moved_brings_its_file_to_the_new_one(
    store: Store, tmp_path: Path
) -> None:
    """DBOS keeps the input of the run before, and the old path with it: a new run continues."""
    (job,) = jobs_of(1, tmp_path)
    await store.submit([job])
    async with at_work(store, Vendor(states={"tok-1": 1})):
        await until_waiting(store, 1)
    moved = evolve(job, path=tmp_path / "moved" / "1.csv")
    moved.path.parent.mkdir()
    await store._database.run(agreements.move, {job.id: dump_job(moved)})
    vendor = Vendor()
    async with at_work(store, vendor):
        record = await end_of(store, job.id)
    assert (record.state, record.run, record.token) == (JobState.DONE, 2, "tok-1")
    assert moved.path.exists()
    assert not job.path.exists()
    assert vendor.wire == {}
