"""An outcome that nobody knows: parked, reported, settled by a person, and never paid for again."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults import json_reply
from scripted import FILE, Vendor
from store_jobs import jobs_of
from store_work import LOST, at_work, end_of, late_token, unknown

from smspartner_async.durable import JobRecord, JobState, Store, StoreError, _context
from smspartner_async.durable._database.jobs import update_jobs

if TYPE_CHECKING:
    from smspartner_async.durable._database.database import JobDatabase


async def test_an_unknown_outcome_parks_the_job_and_keeps_what_is_known(
    store: Store, tmp_path: Path
) -> None:
    """When, by whom, the balance before and now, and the journal's lines: all is in the record."""
    record = await unknown(store, tmp_path)
    assert record.state is JobState.NEEDS_ATTENTION
    assert record.token is None
    assert "may" in (record.error or "")
    known = record.attention
    assert known["worker"] == record.worker
    assert Path(known["journal"]).parent == tmp_path / "rentals.db.journal"
    (line,) = known["journal_lines"]
    assert (line["job"], line["nonce"]) == ("job-1", known["nonce"])
    assert "sending" in line
    assert (known["balance_before"], known["balance_now"]) == ("10", "8.20")
    assert known["balance_before_at"] <= known["claimed_at"] <= known["balance_now_at"]
    assert Decimal(known["price"]) == Decimal("1.80")


async def test_a_token_in_a_reply_that_proves_nothing_is_in_the_record(
    store: Store, tmp_path: Path
) -> None:
    """A person reads what was seen, and where: it is no token of the job until it is resolved."""
    await store.submit(jobs_of(1, tmp_path))
    seen = json_reply({"success": False, "token": "perhaps-1"}, status=502)
    async with at_work(store, Vendor({1: [seen]}, unknown={"perhaps-1"})):
        record = await end_of(store, "job-1")
    assert record.state is JobState.NEEDS_ATTENTION
    assert record.attention["seen_token"] == "perhaps-1"
    assert record.token is None
    assert "perhaps-1" in (record.error or "")


async def test_an_unknown_rent_is_never_sent_again_by_itself(store: Store, tmp_path: Path) -> None:
    """Neither a restart nor submitting the job again rents anything."""
    await unknown(store, tmp_path)
    vendor = Vendor()
    async with at_work(store, vendor):
        assert await store.submit(jobs_of(1, tmp_path)) == 0
        await store.submit(jobs_of(2, tmp_path))
        assert (await end_of(store, "job-2")).state is JobState.DONE
    assert vendor.wire == {2: 1}
    assert (await store.record("job-1")).state is JobState.NEEDS_ATTENTION


async def test_a_person_who_has_found_the_token_gets_the_file(store: Store, tmp_path: Path) -> None:
    """`token=` continues with waiting and downloading, and rents nothing."""
    await unknown(store, tmp_path)
    await store.resolve("job-1", token="tok-found")
    vendor = Vendor()
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
    assert record.state is JobState.DONE
    assert (record.token, record.price) == ("tok-found", Decimal("1.80"))
    assert record.job.path.read_bytes() == FILE
    assert vendor.wire == {}


async def test_a_person_who_knows_that_nothing_was_charged_lets_it_rent_anew(
    store: Store, tmp_path: Path
) -> None:
    """`not_charged=True` prices and rents once more."""
    await unknown(store, tmp_path)
    await store.resolve("job-1", not_charged=True)
    vendor = Vendor()
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
    assert (record.state, record.run, record.token) == (JobState.DONE, 2, "tok-1")
    assert vendor.wire == {1: 1}


async def test_a_job_can_be_given_up(store: Store, tmp_path: Path) -> None:
    """`give_up=True` ends it, with what was known kept."""
    before = await unknown(store, tmp_path)
    await store.resolve("job-1", give_up=True)
    record = await store.record("job-1")
    assert record.state is JobState.GIVEN_UP
    assert record.attention == before.attention


async def test_settling_a_job_that_does_not_need_it_is_refused(
    store: Store, tmp_path: Path
) -> None:
    """Exactly one way out, of a job that is there and needs it; else nothing is done."""
    await store.submit(jobs_of(1, tmp_path))
    for wrong in ({}, {"token": "t", "give_up": True}, {"not_charged": True, "give_up": True}):
        with pytest.raises(ValueError, match="exactly one"):
            await store.resolve("job-1", **wrong)
    with pytest.raises(ValueError, match="QUEUED, not NEEDS_ATTENTION"):
        await store.resolve("job-1", not_charged=True)
    with pytest.raises(ValueError, match="QUEUED, not FAILED"):
        await store.resume("job-1")
    with pytest.raises(LookupError, match="job-9"):
        await store.resolve("job-9", give_up=True)
    assert (await store.record("job-1")).run == 1


async def test_a_job_continues_from_a_token_that_turns_up_in_the_journal(
    store: Store, tmp_path: Path
) -> None:
    """A worker that comes back and finds the answer in its journal needs no person."""
    record = await unknown(store, tmp_path)
    with Path(record.attention["journal"]).open("a") as journal:  # noqa: ASYNC230 - a test
        journal.write(f'{{"nonce": "{record.attention["nonce"]}", "token": "tok-late"}}\n')
    vendor = Vendor()
    async with at_work(store, vendor):
        async for seen in store.watch(interval=0.02):
            record = seen
            if record.state is JobState.NEEDS_ATTENTION:
                break
        while record.state is not JobState.DONE:
            record = await store.record("job-1")
    assert record.token == "tok-late"
    assert vendor.wire == {}


async def test_a_record_that_fails_after_the_payment_costs_neither_money_nor_token(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no one foresaw parks the job with its journal, and the token there is used."""
    write, failures = update_jobs, [ZeroDivisionError(), StoreError("The database is broken.")]

    def note(self: JobDatabase, connection: Any, notes: Any) -> list[bool]:
        if failures and any(note["new_token"] for note in notes):
            raise failures.pop()
        return write(self, connection, notes)

    monkeypatch.setattr(_context, "update_jobs", note)
    await store.submit(jobs_of(1, tmp_path))
    vendor, parked = Vendor(), list[JobRecord]()
    async with at_work(store, vendor), asyncio.timeout(120):  # so as not to hang where it is broken
        while (record := await store.record("job-1")).state is not JobState.DONE:
            if record.state is JobState.NEEDS_ATTENTION:
                parked.append(record)
            assert record.state is not JobState.FAILED
    assert not failures
    assert vendor.wire == {1: 1}
    assert record.token == "tok-1"
    assert [line.get("token") for line in parked[0].attention["journal_lines"]] == [None, "tok-1"]


async def test_a_job_continues_from_a_token_that_a_frozen_worker_brings_late(
    store: Store, tmp_path: Path
) -> None:
    """It reaches the record although others have parked the job meanwhile."""
    record = await unknown(store, tmp_path)
    assert await store._database.run(update_jobs, [late_token("job-1")]) == [True]
    parked = await store.record("job-1")
    assert parked.state is JobState.NEEDS_ATTENTION
    assert (parked.token, parked.attention) == ("tok-late", record.attention)
    vendor = Vendor()
    async with at_work(store, vendor):
        while (await store.record("job-1")).state is not JobState.DONE:
            pass
    assert vendor.wire == {}


async def test_a_journal_that_cannot_be_read_holds_up_no_other_job(
    store: Store, tmp_path: Path
) -> None:
    """A token that is in the record is used, whatever lies among the journals."""
    await store.submit(jobs_of(2, tmp_path))
    async with at_work(store, Vendor({1: [LOST], 2: [LOST]})):
        for n in (1, 2):
            assert (await end_of(store, f"job-{n}")).state is JobState.NEEDS_ATTENTION
    await store._database.run(update_jobs, [late_token("job-2")])
    (tmp_path / "rentals.db.journal" / "unreadable.jsonl").mkdir()
    async with at_work(store, Vendor()), asyncio.timeout(120):  # so as not to hang if it is broken
        while (await store.record("job-2")).state is not JobState.DONE:  # noqa: ASYNC110 - a worker
            await asyncio.sleep(0.01)
