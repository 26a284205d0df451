"""The steps on their own: what they do when they are done again, or by the wrong one."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from fault_server import FaultServer
from faults import close_before_head, vendor_error

from smspartner_async import _rental
from smspartner_async._desk import Claim, Desk, Job, opened
from smspartner_async._journal import Journal
from smspartner_async._ledger import Ledger
from smspartner_async._records import JobState, written
from smspartner_async._rental import Paid, StepFailedError

from .batches import jobs_of
from .scripted import FILE, Vendor, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from smspartner_async.durable import Store


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def server(vendor: Vendor) -> AsyncIterator[FaultServer]:
    async with FaultServer(default=vendor) as server:
        yield server


@pytest.fixture
async def desk(server: FaultServer, store: Store, tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk with one job in its store, that it has taken."""
    await store.submit(jobs_of(1, tmp_path))
    ledger, journal = store._ledger, Journal.open(tmp_path / "journal", None)
    beat_at, _ = await ledger(Ledger.beat, journal.worker_id)
    await ledger(Ledger.feed, journal.worker_id, beat_at, 1)
    async with client_of(server) as client:
        desk = Desk(client=client, ledger=ledger, journal=journal)
        with opened(desk):
            yield desk
    journal.close()


def job_of(folder: Path) -> Job:
    (job,) = jobs_of(1, folder)
    return {"id": job.id, "run": 1, "content": written(job), "token": None, "price": None}


async def test_who_did_not_make_the_claim_does_not_pay(
    store: Store, vendor: Vendor, tmp_path: Path, desk: Desk
) -> None:
    """The rent of a claim that somebody else made sends nothing, and needs a person."""
    del desk
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "another")
    with pytest.raises(StepFailedError) as caught:
        await _rental.rent(job, "1.80", claimed, fresh=False)
    assert vendor.wire == {}
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "another"
    assert (await store.record("job-1")).state is JobState.RENTING


async def test_nobody_pays_for_a_job_that_another_worker_has_claimed(
    desk: Desk, vendor: Vendor, tmp_path: Path
) -> None:
    """Not even where the workflows of the two are in different databases; its claim is told."""
    job = job_of(tmp_path)
    first = await _rental.claim(job, "another's")
    await desk.claim(job, None, first)
    with pytest.raises(StepFailedError) as caught:
        await _rental.rent(job, "1.80", await _rental.claim(job, "mine"), fresh=True)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "another's"
    assert vendor.wire == {}
    assert await desk.claim(job, None, None) == first


async def test_who_was_frozen_behind_its_claim_finds_the_way_barred(
    store: Store,
    vendor: Vendor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    desk: Desk,
) -> None:
    """As soon as another worker looks for the token, not only when the job is parked."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "frozen")
    looked = asyncio.Event()
    thawed = asyncio.Event()

    async def balance(self: Desk, *, at_most: float = 0) -> tuple[None, None]:
        del self, at_most
        looked.set()
        await thawed.wait()
        return None, None

    monkeypatch.setattr(type(desk), "balance", balance)
    other = asyncio.create_task(_rental.rent(job, "1.80", claimed, fresh=False))
    await looked.wait()
    assert (await store.record("job-1")).state is JobState.RENTING
    thawed.set()
    with pytest.raises(StepFailedError) as caught:
        await _rental.rent(job, "1.80", claimed, fresh=True)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert vendor.wire == {}
    with pytest.raises(StepFailedError):
        await other


async def test_nobody_pays_for_a_job_that_was_settled_meanwhile(
    desk: Desk, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """A worker that was frozen behind its claim finds the job parked, or in another run."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "late")
    await desk.note(job, state=JobState.NEEDS_ATTENTION, facts={"error": "lost"})
    with pytest.raises(StepFailedError):
        await _rental.rent(job, "1.80", claimed, fresh=True)
    await store.resolve("job-1", not_charged=True)
    with pytest.raises(StepFailedError):
        await _rental.rent(job, "1.80", claimed, fresh=True)
    assert vendor.wire == {}
    assert (await store.record("job-1")).state is JobState.QUEUED


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_journal_that_cannot_be_read_leaves_an_unknown_outcome_unknown(
    desk: Desk, vendor: Vendor, tmp_path: Path, *, fresh: bool
) -> None:
    """It is not taken for a rent that failed, which may be done again."""
    vendor.rents = {1: [close_before_head()]}
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "first")
    (desk.journal.path.parent / "unreadable.jsonl").mkdir()
    with pytest.raises(StepFailedError) as caught:
        await _rental.rent(job, "1.80", claimed, fresh=fresh)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "first"
    lines = caught.value.facts["attention"]["journal_lines"]
    assert len(lines) == int(fresh), "those of the journals that can be read"


async def test_who_was_refused_gives_its_claim_back(
    desk: Desk, vendor: Vendor, tmp_path: Path
) -> None:
    """The next try, which makes a claim of its own, may rent."""
    del desk
    vendor.rents = {1: [vendor_error(11, "Crédit insuffisant")]}
    job = job_of(tmp_path)
    with pytest.raises(StepFailedError, match="credit"):
        await _rental.rent(job, "1.80", await _rental.claim(job, "first"), fresh=True)
    claimed = await _rental.claim(job, "second")
    assert claimed["nonce"] == "second"
    assert (await _rental.rent(job, "1.80", claimed, fresh=True))["token"] == "tok-1"


async def test_who_did_not_make_the_claim_finds_its_token_in_the_store(
    desk: Desk, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """A rent that is done again takes the token that the first one has written down."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "first")
    paid = await _rental.rent(job, "1.80", claimed, fresh=True)
    record = await store.record("job-1")
    assert record.token == paid["token"] == "tok-1"
    desk.journal.path.unlink()
    again = await _rental.rent(job, "1.99", claimed, fresh=False)
    assert again["token"] == "tok-1"
    assert vendor.wire == {1: 1}
    assert (await store.record("job-1")).price == record.price, "as it was told with the rental"


async def test_who_did_not_make_the_claim_finds_its_token_in_the_journal(
    desk: Desk, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """A worker that was killed between the answer and the record has left it on the disk."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "first")
    desk.journal.write(nonce="first", token="tok-journal")
    paid = await _rental.rent(job, "1.80", claimed, fresh=False)
    assert (await store.record("job-1")).token == paid["token"] == "tok-journal"
    assert vendor.wire == {}


async def test_nothing_is_sent_that_cannot_be_written_down(
    desk: Desk, vendor: Vendor, tmp_path: Path
) -> None:
    """A journal that takes no line fails the rent before the request."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "first")
    real = desk.journal._fd
    with (tmp_path / "read-only").open("w+b") as file:
        file.close()
        desk.journal._fd = -1
        with pytest.raises(StepFailedError, match="Bad file descriptor"):
            await _rental.rent(job, "1.80", claimed, fresh=True)
    desk.journal._fd = real
    assert vendor.wire == {}


async def test_a_token_that_is_known_needs_no_step_that_costs_money(
    desk: Desk, server: FaultServer, store: Store, tmp_path: Path
) -> None:
    """A job that was resolved with its token asks neither for a price nor for a rental."""
    job: Job = {**job_of(tmp_path), "token": "tok-known", "price": "1.80"}
    total = await _rental.price(job)
    claimed: Claim = await _rental.claim(job, "first")
    paid = await _rental.rent(job, total, claimed, fresh=True)
    assert paid == {"token": "tok-known", "price": "1.80"}
    assert server.received == []
    assert (await store.record("job-1")).token == "tok-known"


async def test_a_download_done_again_takes_what_is_on_the_disk(
    desk: Desk, vendor: Vendor, tmp_path: Path
) -> None:
    """A file that came before the worker was killed is not asked for a second time."""
    del desk
    paid: Paid = {"token": "tok-1", "price": None}
    first = await _rental.download(job_of(tmp_path), paid)
    await _rental.wait(paid)  # "already downloaded" is no failure: the disk tells
    again = await _rental.download(job_of(tmp_path), paid)
    assert vendor.served == {"tok-1": 1}
    assert again["sha256"] == first["sha256"] == hashlib.sha256(FILE).hexdigest()
    assert (first["verified"], again["verified"]) == (True, False)


async def test_a_file_that_somebody_else_put_there_is_not_taken_for_ours(
    desk: Desk, vendor: Vendor, tmp_path: Path
) -> None:
    """Where the vendor has not served it yet, what is on the disk is something else."""
    del desk
    (job,) = jobs_of(1, tmp_path)
    job.path.write_bytes(b"somebody's")
    with pytest.raises(StepFailedError, match="exists"):
        await _rental.download(job_of(tmp_path), {"token": "tok-1", "price": None})
    assert vendor.served == {}
    assert job.path.read_bytes() == b"somebody's"


async def test_the_balance_is_asked_for_once_a_minute_at_most(
    desk: Desk, server: FaultServer, tmp_path: Path
) -> None:
    """Many claims cost one request for the balance."""
    del desk
    for number in range(5):
        claimed = await _rental.claim(job_of(tmp_path), str(number))
        assert claimed["balance_before"] == "10"
    assert server.count("credits") == 1
