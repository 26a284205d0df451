"""A job that fails, by a refusal, a defect or a database, strands no job and costs no token."""

from __future__ import annotations

import asyncio
import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from dbos._sys_db import SystemDatabase
from faults import vendor_error
from scripted import Vendor
from store_jobs import jobs_of
from store_work import LOST, at_work, end_of

from smspartner_async import SMSPartnerClient
from smspartner_async.durable import JobState, Store, StoreError, _context, _workflow
from smspartner_async.durable._database.jobs import claim_job, update_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable._database.database import JobDatabase

REFUSED = vendor_error(27, "Volume trop grand")


async def test_a_refusal_fails_the_job_and_can_be_resumed(store: Store, tmp_path: Path) -> None:
    """A job that the vendor refused was not charged; resumed, it is priced and rented."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [REFUSED]})
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
        assert record.state is JobState.FAILED
        assert record.token is None
        assert "volume" in (record.error or "").lower()
        await store.resume("job-1")
        record = await end_of(store, "job-1")
    assert (record.state, record.error) == (JobState.DONE, None)
    assert vendor.wire == {1: 2}


async def test_a_paid_job_that_failed_is_resumed_from_its_token(
    store: Store, tmp_path: Path
) -> None:
    """What is paid is not paid for again, whatever went wrong afterwards."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor(states={"tok-1": 3})
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
        assert (record.state, record.token) == (JobState.FAILED, "tok-1")
        vendor.states["tok-1"] = 2
        await store.resume("job-1")
        record = await end_of(store, "job-1")
    assert (record.state, record.token) == (JobState.DONE, "tok-1")
    assert vendor.wire == {1: 1}


async def test_nothing_is_rented_above_the_limit_or_without_a_place_for_the_file(
    store: Store, tmp_path: Path
) -> None:
    """A price above `max_total`, or a file that is there, fails the job before it costs money."""
    dear, taken = jobs_of(2, tmp_path, max_total=Decimal(1))
    taken.path.write_text("somebody's")
    await store.submit([dear, taken])
    vendor = Vendor()
    async with at_work(store, vendor):
        assert "limit is 1" in ((await end_of(store, dear.id)).error or "")
        assert "exists" in ((await end_of(store, taken.id)).error or "")
    assert vendor.wire == {}
    assert taken.path.read_text() == "somebody's"


async def test_a_defect_before_the_payment_fails_the_job_and_it_can_be_resumed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, which is known, and nobody has to look into it."""

    async def defect(*_: Any) -> None:
        raise ZeroDivisionError

    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    with monkeypatch.context() as broken:
        broken.setattr(SMSPartnerClient, "price", defect)
        async with at_work(store, vendor):
            record = await end_of(store, "job-1")
    assert (record.state, record.token) == (JobState.FAILED, None)
    assert "ZeroDivisionError" in (record.error or "")
    await store.resume("job-1")
    async with at_work(store, vendor):
        assert (await end_of(store, "job-1")).state is JobState.DONE
    assert vendor.wire == {1: 1}


async def test_a_defect_after_the_payment_fails_the_job_once_and_keeps_its_token(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not tried again and again by itself; resumed, it continues from its token."""
    tries = 0

    async def defect(*_: Any, **__: Any) -> None:
        nonlocal tries
        tries += 1
        raise ZeroDivisionError

    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    with monkeypatch.context() as broken:
        broken.setattr(SMSPartnerClient, "wait_until_ready", defect)
        async with at_work(store, vendor):
            record = await end_of(store, "job-1")
            await asyncio.sleep(0.3)  # some looks at what needs attention
    assert (record.state, record.token) == (JobState.FAILED, "tok-1")
    assert tries == 1
    await store.resume("job-1")
    async with at_work(store, vendor):
        assert (await end_of(store, "job-1")).state is JobState.DONE
    assert vendor.wire == {1: 1}


async def test_a_defect_after_a_claim_parks_the_job_with_what_is_known(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where something may have been sent, a person gets the claim: who, when, and its journal."""

    async def defect(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_workflow, "rent", defect)
    claim = _workflow.claim

    async def claimed(job: Any, nonce: str) -> Any:
        mine = await claim(job, nonce)
        await (await _context.wait_for_worker()).swap_claim(job, None, mine)
        return mine

    monkeypatch.setattr(_workflow, "claim", claimed)
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        record = await end_of(store, "job-1")
    assert record.state is JobState.NEEDS_ATTENTION
    assert record.attention["worker"] == record.worker
    assert record.attention["claimed_at"]


async def test_a_wrong_token_can_be_put_right(store: Store, tmp_path: Path) -> None:
    """A job that failed with the token that somebody gave it takes another, but no other job's."""
    await store.submit(jobs_of(2, tmp_path))
    async with at_work(store, Vendor({1: [LOST]}, states={"tok-2": 0, "tok-typo": 3})):
        assert (await end_of(store, "job-1")).state is JobState.NEEDS_ATTENTION
        while (await store.record("job-2")).token is None:  # noqa: ASYNC110 - another task
            await asyncio.sleep(0.01)
        with pytest.raises(ValueError, match="token of job 'job-2'"):
            await store.resolve("job-1", token="tok-2")
        await store.resolve("job-1", token="tok-typo")
        wrong = await end_of(store, "job-1")
        assert (wrong.state, wrong.price) == (JobState.FAILED, Decimal("1.80"))
        await store.resolve("job-1", token="tok-1")
        right = await end_of(store, "job-1")
    assert (right.state, right.token, right.price) == (JobState.DONE, "tok-1", Decimal("1.80"))
    assert right.late_tokens == (), "nobody paid for what was mistyped"


async def test_a_job_that_fails_leaves_the_claim_of_another_worker_alone(
    store: Store, tmp_path: Path
) -> None:
    """A worker with another database for its workflows may be paying: a person decides."""
    await store.submit(jobs_of(1, tmp_path))
    claim = '{"nonce": "another\'s", "worker": "elsewhere"}'
    assert await store._database.run(claim_job, "job-1", 1, "{}", claim) == claim
    async with at_work(store, Vendor(prices=[REFUSED])):
        record = await end_of(store, "job-1")
    assert record.state is JobState.NEEDS_ATTENTION
    assert record.attention["worker"] == "elsewhere"
    assert "volume" in (record.error or "").lower()


async def test_nobody_can_claim_a_job_that_is_being_failed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even between the look at the claim and the record of the failure."""
    note, late = update_jobs, list[str]()

    def slow(self: JobDatabase, connection: Any, notes: Any) -> list[bool]:
        if any(note["new_state"] == "failed" for note in notes):
            late.append(claim_job(self, connection, "job-1", 1, "{}", '{"nonce": "late"}'))
        return note(self, connection, notes)

    monkeypatch.setattr(_context, "update_jobs", slow)
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor(prices=[REFUSED])):
        assert (await end_of(store, "job-1")).state is JobState.FAILED
    (stands,) = late
    assert "nonce" not in stands


async def test_an_end_that_cannot_be_written_down_strands_no_job(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store refuses the record, the job is taken up again, and not paid again."""
    note, failures = update_jobs, [StoreError("The database is broken.")]

    def broken(self: JobDatabase, connection: Any, notes: Any) -> list[bool]:
        if failures and any(note["new_state"] == "done" for note in notes):
            raise failures.pop()
        return note(self, connection, notes)

    monkeypatch.setattr(_context, "update_jobs", broken)
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor), asyncio.timeout(120):  # so as not to hang if it is broken
        record = await end_of(store, "job-1")
    assert not failures
    assert (record.state, record.run, record.token) == (JobState.DONE, 1, "tok-1")
    assert vendor.wire == {1: 1}
    assert vendor.served == {"tok-1": 1}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("step", ["price", "claim", "rent", "wait", "download"])
async def test_an_error_of_the_workflows_database_strands_no_job_and_fails_none(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, *, kept: bool
) -> None:
    """What was done is not done again, also where DBOS records the error as the step's outcome."""
    record = SystemDatabase.record_operation_result
    failures = 1 if kept else 2  # DBOS tries to record the error, too

    def broken(self: SystemDatabase, result: Any, **how: Any) -> None:
        nonlocal failures
        if result["function_name"] == f"smspartner.{step}" and failures:
            failures -= 1
            raise sa.exc.InternalError("INSERT", None, Exception("read only"))
        record(self, result, **how)

    monkeypatch.setattr(SystemDatabase, "record_operation_result", broken)
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor), asyncio.timeout(120):  # so as not to hang if it is broken
        ended = await end_of(store, "job-1")
    assert not failures
    assert (ended.state, ended.token) == (JobState.DONE, "tok-1")
    assert vendor.wire == {1: 1}
    assert vendor.served == {"tok-1": 1}


async def test_a_full_disk_under_the_workflows_database_ends_the_worker_with_one_sentence(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a person can help: the block ends, and nothing is asked for again and again."""

    def full(*_: Any, **__: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise sa.exc.OperationalError("INSERT", None, error)

    monkeypatch.setattr(SystemDatabase, "record_operation_result", full)
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    with pytest.raises(StoreError, match="disk is full"):
        async with at_work(store, vendor), asyncio.timeout(60) as bound:
            await end_of(store, "job-1")
    assert not bound.expired()
    assert vendor.wire == {}
