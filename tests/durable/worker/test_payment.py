"""Fresh when it is spent: what is looked at as the last thing before a rent is sent."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from faults import busy, close_before_head, json_reply, vendor_error
from scripted import Vendor, client_of, rented
from store_work import job_of, until_rent

from smspartner_async import RetryPolicy, SMSPartnerClient
from smspartner_async._rental import StepFailedError
from smspartner_async._values.instant import Instant
from smspartner_async.durable import JobState, StoreError, _payment, _workflow
from smspartner_async.durable._database.database import JobDatabase
from smspartner_async.durable._database.tables import JOBS
from smspartner_async.durable._journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from fault_server import FaultServer

    from smspartner_async.durable import Store
    from smspartner_async.durable._context import WorkerContext
    from smspartner_async.durable._records import Job

DEAR = {"success": True, "op": "price", "datas": [], "cost": {"quantity": 20, "total": "9.00"}}


async def rent_of(folder: Path, *, max_total: str | None = "1.8") -> Any:
    job = job_of(folder)
    job["content"] = json.dumps(json.loads(job["content"]) | {"max_total": max_total})
    claimed = await _workflow.claim(job, "mine")
    return await _workflow.rent(job, "1.80", claimed, fresh=True)


async def given_back(context: WorkerContext) -> list[str]:
    """The claims that the journal says were given back, each behind the line that it was sent."""
    await context.journal.flush()
    lines = [json.loads(line) for line in context.journal.path.read_text().splitlines()]
    pairs = itertools.pairwise(lines)
    return [
        line["nonce"]
        for before, line in pairs
        if line.get("given_back") is True and "sending" in before
    ]


def outcome(caught: pytest.ExceptionInfo[StepFailedError]) -> tuple[str, bool]:
    return caught.value.state, caught.value.again


# --- the price ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["1.8", "0"])
async def test_a_price_of_another_process_is_asked_for_again_before_the_rent(
    context: WorkerContext, server: FaultServer, vendor: Vendor, tmp_path: Path, limit: str
) -> None:
    """A worker that continues with a recorded price finds that it has risen, and rents nothing."""
    vendor.prices = [json_reply(DEAR)]
    with pytest.raises(StepFailedError, match=r"9\.00"):
        await rent_of(tmp_path, max_total=limit)
    assert server.count("price") == 1
    assert vendor.wire == {}
    assert (await context.swap_claim(job_of(tmp_path), None, None)) is None, (
        "the claim is given back"
    )


async def test_a_price_that_still_holds_is_not_asked_for_again(
    context: WorkerContext, server: FaultServer, vendor: Vendor, tmp_path: Path
) -> None:
    """One of this process, and of the last minute."""
    del context
    await _workflow.price(job_of(tmp_path))
    assert (await rent_of(tmp_path))["token"] == "tok-1"
    assert (server.count("price"), vendor.wire) == (1, {1: 1})


@pytest.mark.parametrize("clock", ["monotonic", "wall", "set back"])
async def test_a_price_grows_old_by_either_clock(
    context: WorkerContext, server: FaultServer, vendor: Vendor, tmp_path: Path, clock: str
) -> None:
    """Also while the machine slept, and where its clock was set back; the new price is recorded."""
    await _workflow.price(job_of(tmp_path))
    ((workflow, at),) = context.priced.items()
    context.priced[workflow] = {
        "monotonic": Instant(at.monotonic - 60.5, at.wall),
        "wall": Instant(at.monotonic, at.wall - 60.5),
        "set back": Instant(at.monotonic, at.wall + 3600),
    }[clock]
    vendor.prices = [json_reply({**DEAR, "cost": {"total": "1.70"}})]
    vendor.rents = {1: [json_reply({"success": True, "token": "tok-1"})]}
    assert await rent_of(tmp_path) == {"token": "tok-1", "price": "1.70"}
    assert server.count("price") == 2


async def test_a_price_is_asked_for_again_three_times_at_most(
    context: WorkerContext,
    server: FaultServer,
    vendor: Vendor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the rent comes too late each time, nothing is sent, and the job tries again later."""
    monkeypatch.setattr(_payment, "_PRICE_MAX_AGE", -1.0)
    with pytest.raises(StepFailedError, match="was not sent") as caught:
        await rent_of(tmp_path)
    assert outcome(caught) == ("failed", True)
    assert (server.count("price"), vendor.wire) == (4, {})
    assert await given_back(context) == ["mine"]


async def test_without_a_limit_no_price_is_asked_for_again(
    context: WorkerContext, server: FaultServer, vendor: Vendor, tmp_path: Path
) -> None:
    """It would be compared with nothing."""
    assert (await rent_of(tmp_path, max_total=None))["token"] == "tok-1"
    assert (server.count("price"), vendor.wire) == (0, {1: 1})
    assert context.executions.paying == set()


# --- the journal ----------------------------------------------------------------------------


async def test_each_line_is_on_the_disk_before_anyone_continues(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synced with the claim before the rent is sent, and with the token before the database.

    Its end is waited for, however slow the disk is.
    """
    events, fsync, journal = list[str](), os.fsync, context.journal.path
    await _workflow.price(job_of(tmp_path))

    def sync(fd: int) -> None:
        last = journal.read_text().splitlines()[-1]
        time.sleep(0.1)
        fsync(fd)
        if os.path.samestat(os.fstat(fd), journal.stat()):
            events.extend(f"synced {name}" for name in ("sending", "token") if f'"{name}"' in last)

    def execute(*statement: Any) -> None:
        if "token = coalesce" in statement[2]:
            events.append("database")

    class Replies(list[Any]):
        def pop(self, *index: Any) -> Any:
            events.append("sent")
            return super().pop(*index)

    vendor.rents = {1: Replies([rented(1)])}
    monkeypatch.setattr(os, "fsync", sync)
    sa.event.listen(sa.Engine, "before_cursor_execute", execute)
    try:
        await rent_of(tmp_path)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", execute)
    assert events == ["synced sending", "sent", "synced token", "database"]


async def test_a_claim_that_was_refused_is_given_back_in_the_journal(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """A batch: a store that does not know the claim need not take it for one that was paid."""
    vendor.rents = {1: [vendor_error(5, "Interest inconnu")]}
    with pytest.raises(StepFailedError):
        await rent_of(tmp_path)
    assert await given_back(context) == ["mine"]


async def test_a_claim_whose_outcome_nobody_knows_is_not_given_back(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """It stays in the store and in the journal: what may be paid is not rented again."""
    vendor.rents = {1: [close_before_head()]}
    with pytest.raises(StepFailedError) as caught:
        await rent_of(tmp_path)
    assert outcome(caught) == ("needs_attention", False)
    assert "seen_token" not in caught.value.facts["attention"]
    assert await given_back(context) == []
    standing = await context.swap_claim(job_of(tmp_path), None, None)
    assert standing is not None
    assert standing["nonce"] == "mine"


async def test_an_unforeseen_error_in_the_paid_step_parks_the_job(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rent was sent, and nobody knows what became of it: it is not given back."""
    real = SMSPartnerClient.rent

    async def defect(*args: Any, **options: Any) -> None:
        await real(*args, **options)
        raise ZeroDivisionError

    monkeypatch.setattr(SMSPartnerClient, "rent", defect)
    with pytest.raises(StepFailedError) as caught:
        await rent_of(tmp_path)
    assert outcome(caught) == ("needs_attention", False)
    assert caught.value.facts["attention"]["nonce"] == "mine"
    assert "ZeroDivisionError" in caught.value.facts["error"]
    assert "token" in caught.value.facts["attention"]["journal_lines"][-1]
    standing = await context.swap_claim(job_of(tmp_path), None, None)
    assert standing is not None
    assert standing["nonce"] == "mine"
    assert vendor.wire == {1: 1}


# --- the claim ------------------------------------------------------------------------------


async def test_a_job_that_is_settled_in_the_pause_of_a_429_is_not_rented_behind_it(
    context: WorkerContext, server: FaultServer, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """Each sending looks anew, also the second one of one rent."""
    vendor.rents = {1: [busy(429)]}
    context.client = client_of(
        server, retry=RetryPolicy(attempts=2, first_delay=0.5, max_delay=0.5)
    )
    job = job_of(tmp_path)
    async with context.client:
        renting = asyncio.create_task(rent_of(tmp_path))
        await until_rent(server)
        await context.update_job(job, state=JobState.NEEDS_ATTENTION, facts={"error": "lost"})
        await store.resolve("job-1", not_charged=True)
        with pytest.raises(StepFailedError, match="before anything was sent"):
            await renting
    assert vendor.wire == {1: 1}
    assert (await store.record("job-1")).state is JobState.QUEUED


async def test_a_claim_that_another_worker_fences_is_not_paid(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence is set between the claim and the sending, when the journal was written."""
    job, flush = job_of(tmp_path), type(context.journal).flush
    claimed = await _workflow.claim(job, "mine")

    async def fenced(self: Any) -> None:
        await flush(self)
        monkeypatch.undo()
        with pytest.raises(StepFailedError):
            await _workflow.rent(job, "1.80", claimed, fresh=False)

    monkeypatch.setattr(type(context.journal), "flush", fenced)
    with pytest.raises(StepFailedError, match="before anything was sent"):
        await _workflow.rent(job, "1.80", claimed, fresh=True)
    assert vendor.wire == {}


async def test_nothing_is_sent_where_the_store_cannot_be_read(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by a worker that waits for its database otherwise; it tries again later."""
    row = JobDatabase.read_run

    async def away(self: JobDatabase, job: Job, *, reconnect: bool | None = None) -> Any:
        if reconnect is False:
            raise StoreError("It is away.")
        return await row(self, job, reconnect=reconnect)

    monkeypatch.setattr(JobDatabase, "read_run", away)
    with pytest.raises(StepFailedError, match=r"It is away\.") as caught:
        await rent_of(tmp_path)
    assert outcome(caught) == ("failed", True)
    assert vendor.wire == {}
    assert await context.swap_claim(job_of(tmp_path), None, None) is None


async def test_nothing_is_sent_where_the_store_takes_nothing_more(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """It can be read, and would not keep the token: its disk is full, for example."""
    await _workflow.price(job_of(tmp_path))
    context.database.failure = StoreError("The disk is full.")
    with pytest.raises(StepFailedError, match=r"The disk is full\.") as caught:
        await rent_of(tmp_path)
    assert outcome(caught) == ("failed", True)
    assert vendor.wire == {}


async def test_a_look_that_took_too_long_is_none(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have settled the job since."""
    del context
    monkeypatch.setattr(_payment, "_CHECK_MAX_AGE", 0.0)
    await _workflow.price(job_of(tmp_path))
    with pytest.raises(StepFailedError, match="took longer than") as caught:
        await rent_of(tmp_path)
    assert outcome(caught) == ("failed", True)
    assert vendor.wire == {}


async def test_a_job_that_has_a_token_by_now_is_not_paid(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim may still stand in its row."""
    await _workflow.price(job_of(tmp_path))
    flush = Journal.flush

    def pay(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.update(JOBS).values(token="tok-other"))

    async def flushed(self: Journal) -> None:  # the last thing before the rent is sent
        await flush(self)
        await context.database.run(pay)

    monkeypatch.setattr(Journal, "flush", flushed)
    with pytest.raises(StepFailedError, match="withdrawn or settled"):
        await rent_of(tmp_path)
    assert vendor.wire == {}


async def test_of_two_tokens_of_one_run_both_are_kept(
    context: WorkerContext, store: Store, tmp_path: Path
) -> None:
    """The later one is that of the job, and the other one is shown as a second payment."""
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "mine")
    for token in ("tok-1", "tok-2"):
        await context.update_job(
            job, state=JobState.WAITING, token=token, price="1.80", claim=claimed
        )
    record = await store.record(job["id"])
    assert (record.token, record.late_tokens) == ("tok-2", ("tok-1",))
