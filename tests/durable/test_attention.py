"""An outcome that nobody knows: parked, told of, settled by a person, and never paid for again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from dbos._sys_db import SystemDatabase
from fault_server import FaultServer
from faults import close_before_head, vendor_error

from smspartner_async import SMSPartnerClient, _desk, _rental
from smspartner_async._ledger import Ledger
from smspartner_async.durable import JobRecord, JobState, Store, StoreError

from .batches import jobs_of
from .scripted import FILE, Vendor, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LOST = close_before_head()
NO_MONEY = vendor_error(11, "Crédit insuffisant")


@asynccontextmanager
async def at_work(store: Store, vendor: Vendor) -> AsyncIterator[FaultServer]:
    async with (
        FaultServer(default=vendor) as server,
        client_of(server) as client,
        store.worker(client, take_over_after=0.4),
    ):
        yield server


async def end_of(store: Store, job_id: str) -> JobRecord:
    """Wait until a job is not open."""
    async for _ in store.watch([job_id], interval=0.02):
        pass
    return await store.record(job_id)


def late_token(job_id: str) -> dict[str, Any]:
    """What a worker that was frozen writes down when it has its answer at last."""
    late = {"job": job_id, "in_run": 1, "by": "frozen", "new_state": "waiting"}
    return late | {"new_token": "tok-late", "new_price": None, "new_facts": ""}


async def unknown(store: Store, folder: Path) -> JobRecord:
    """Bring a job of this store to where it needs attention."""
    await store.submit(jobs_of(1, folder))
    async with at_work(store, Vendor({1: [LOST]})):
        return await end_of(store, "job-1")


async def test_an_unknown_outcome_parks_the_job_and_tells_what_is_known(
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
    """`token=` goes on with waiting and downloading, and rents nothing."""
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


async def test_a_token_that_turns_up_in_the_journal_is_gone_on_with(
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
    """What no one foresaw parks the job with its journal, and the token there is gone on with."""
    write, failures = Ledger.note, [ZeroDivisionError(), StoreError("The database is broken.")]

    def note(self: Ledger, connection: Any, notes: Any) -> list[bool]:
        if failures and any(note["new_token"] for note in notes):
            raise failures.pop()
        return write(self, connection, notes)

    monkeypatch.setattr(Ledger, "note", note)
    await store.submit(jobs_of(1, tmp_path))
    vendor, parked = Vendor(), list[JobRecord]()
    async with at_work(store, vendor), asyncio.timeout(30):  # so as not to hang where it is broken
        while (record := await store.record("job-1")).state is not JobState.DONE:
            if record.state is JobState.NEEDS_ATTENTION:
                parked.append(record)
            assert record.state is not JobState.FAILED
    assert not failures
    assert vendor.wire == {1: 1}
    assert record.token == "tok-1"
    assert [line.get("token") for line in parked[0].attention["journal_lines"]] == [None, "tok-1"]


async def test_a_token_that_a_frozen_worker_brings_late_is_gone_on_with(
    store: Store, tmp_path: Path
) -> None:
    """It reaches the record although others have parked the job meanwhile."""
    record = await unknown(store, tmp_path)
    assert await store._ledger(Ledger.note, [late_token("job-1")]) == [True]
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
    """A token that is in the record is gone on with, whatever lies among the journals."""
    await store.submit(jobs_of(2, tmp_path))
    async with at_work(store, Vendor({1: [LOST], 2: [LOST]})):
        for n in (1, 2):
            assert (await end_of(store, f"job-{n}")).state is JobState.NEEDS_ATTENTION
    await store._ledger(Ledger.note, [late_token("job-2")])
    (tmp_path / "rentals.db.journal" / "unreadable.jsonl").mkdir()
    async with at_work(store, Vendor()), asyncio.timeout(30):  # so as not to hang if it is broken
        while (await store.record("job-2")).state is not JobState.DONE:  # noqa: ASYNC110 - a worker
            await asyncio.sleep(0.01)


async def test_a_refusal_fails_the_job_and_can_be_resumed(store: Store, tmp_path: Path) -> None:
    """A job that the vendor refused was not charged; resumed, it is priced and rented."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [NO_MONEY]})
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
        assert record.state is JobState.FAILED
        assert record.token is None
        assert "credit" in (record.error or "")
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
    """It is not tried again and again by itself; resumed, it goes on from its token."""
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

    monkeypatch.setattr(_rental, "rent", defect)
    claim = _rental.claim

    async def claimed(job: Any, nonce: str) -> Any:
        mine = await claim(job, nonce)
        await (await _desk.at_desk()).claim(job, None, mine)
        return mine

    monkeypatch.setattr(_rental, "claim", claimed)
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


async def test_a_job_that_fails_leaves_the_claim_of_another_worker_alone(
    store: Store, tmp_path: Path
) -> None:
    """A worker with another database for its workflows may be paying: a person is told of it."""
    await store.submit(jobs_of(1, tmp_path))
    claim = '{"nonce": "another\'s", "worker": "elsewhere"}'
    assert await store._ledger(Ledger.claim, "job-1", 1, "{}", claim) == claim
    async with at_work(store, Vendor(prices=[NO_MONEY])):
        record = await end_of(store, "job-1")
    assert record.state is JobState.NEEDS_ATTENTION
    assert record.attention["worker"] == "elsewhere"
    assert "credit" in (record.error or "")


async def test_nobody_can_claim_a_job_that_is_being_failed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even between the look at the claim and the record of the failure."""
    note, late = Ledger.note, list[str]()

    def slow(self: Ledger, connection: Any, notes: Any) -> list[bool]:
        if any(note["new_state"] == "failed" for note in notes):
            late.append(self.claim(connection, "job-1", 1, "{}", '{"nonce": "late"}'))
        return note(self, connection, notes)

    monkeypatch.setattr(Ledger, "note", slow)
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor(prices=[NO_MONEY])):
        assert (await end_of(store, "job-1")).state is JobState.FAILED
    (stands,) = late
    assert "nonce" not in stands


async def test_an_end_that_cannot_be_written_down_strands_no_job(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store refuses the record, the job is taken up again, and not paid again."""
    note, failures = Ledger.note, [StoreError("The database is broken.")]

    def broken(self: Ledger, connection: Any, notes: Any) -> list[bool]:
        if failures and any(note["new_state"] == "done" for note in notes):
            raise failures.pop()
        return note(self, connection, notes)

    monkeypatch.setattr(Ledger, "note", broken)
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor), asyncio.timeout(30):  # so as not to hang if it is broken
        record = await end_of(store, "job-1")
    assert not failures
    assert (record.state, record.run, record.token) == (JobState.DONE, 1, "tok-1")
    assert vendor.wire == {1: 1}
    assert vendor.served == {"tok-1": 1}


@pytest.mark.parametrize("kept", [False, True])
async def test_an_error_of_the_workflows_database_strands_no_job(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    """A payment whose record failed is gone on with, also where DBOS records the error for it."""
    record = SystemDatabase.record_operation_result
    failures = 1 if kept else 2  # DBOS tries to record the error, too

    def broken(self: SystemDatabase, result: Any, **how: Any) -> None:
        nonlocal failures
        if result["function_name"] == "smspartner.rent" and failures:
            failures -= 1
            raise sa.exc.InternalError("INSERT", None, Exception("read only"))
        record(self, result, **how)

    monkeypatch.setattr(SystemDatabase, "record_operation_result", broken)
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor), asyncio.timeout(30):  # so as not to hang if it is broken
        ended = await end_of(store, "job-1")
        assert ended.token == "tok-1"
        assert ended.state is (JobState.FAILED if kept else JobState.DONE)
        if kept:
            await store.resume("job-1")
            assert (await end_of(store, "job-1")).state is JobState.DONE
    assert not failures
    assert vendor.wire == {1: 1}
