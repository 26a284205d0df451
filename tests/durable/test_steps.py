"""The steps on their own: what they do when they are done again, or by the wrong one."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from fault_server import FaultServer
from faults import vendor_error

from smspartner_async import _rental
from smspartner_async._desk import Desk, Job, opened
from smspartner_async._journal import Journal
from smspartner_async._records import JobState, written
from smspartner_async._rental import Claim, Paid, StepFailedError

from .batches import jobs_of
from .scripted import FILE, Vendor, client_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from smspartner_async import SMSPartnerClient


@define(eq=False, kw_only=True)
class PlainDesk(Desk):
    """A desk whose notes are a list, and whose claims are a table."""

    notes: list[dict[str, Any]] = field(factory=list)
    claims: dict[str, str] = field(factory=dict)

    async def note(self, job: Job, **what: Any) -> None:
        self.notes.append({"id": job["id"], **what})

    async def claim(self, job: Job, nonce: str, *, give_back: bool = False) -> bool:
        its_own = self.claims.setdefault(job["id"], nonce) == nonce
        if give_back and its_own:
            del self.claims[job["id"]]
        return its_own

    async def token_of(self, job: Job, nonce: str) -> str | None:
        del job
        return self.journal.token(nonce)


@contextmanager
def desk_of(client: SMSPartnerClient, folder: Path) -> Iterator[PlainDesk]:
    desk = PlainDesk(client=client)
    desk.journal = Journal.open(folder, None)
    with opened(desk):
        yield desk
    desk.journal.close()


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def server(vendor: Vendor) -> AsyncIterator[FaultServer]:
    async with FaultServer(default=vendor) as server:
        yield server


@pytest.fixture
async def desk(server: FaultServer, tmp_path: Path) -> AsyncIterator[PlainDesk]:
    async with client_of(server) as client:
        with desk_of(client, tmp_path / "journal") as desk:
            yield desk


def job_of(folder: Path) -> Job:
    (job,) = jobs_of(1, folder)
    return {"id": job.id, "run": 1, "content": written(job), "token": None, "price": None}


async def test_who_did_not_make_the_claim_does_not_pay(
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
) -> None:
    """The rent of a claim that somebody else made sends nothing, and needs a person."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "another")
    with pytest.raises(StepFailedError) as caught:
        await _rental.rent(job, "1.80", claimed, fresh=False)
    assert vendor.wire == {}
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "another"
    assert desk.notes == []


async def test_nobody_pays_for_a_job_that_another_worker_has_claimed(
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
) -> None:
    """Not even where the workflows of the two are in different databases."""
    job = job_of(tmp_path)
    desk.claims["job-1"] = "another's"
    claimed = await _rental.claim(job, "mine")
    with pytest.raises(StepFailedError) as caught:
        await _rental.rent(job, "1.80", claimed, fresh=True)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert vendor.wire == {}
    assert desk.claims == {"job-1": "another's"}


async def test_who_was_refused_gives_its_claim_back(
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
) -> None:
    """The next try, which makes a claim of its own, may rent."""
    vendor.rents = {1: [vendor_error(11, "Crédit insuffisant")]}
    job = job_of(tmp_path)
    with pytest.raises(StepFailedError, match="credit"):
        await _rental.rent(job, "1.80", await _rental.claim(job, "first"), fresh=True)
    assert desk.claims == {}
    paid = await _rental.rent(job, "1.80", await _rental.claim(job, "second"), fresh=True)
    assert paid["token"] == "tok-1"


async def test_who_did_not_make_the_claim_finds_its_token_in_the_journal(
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
) -> None:
    """A worker that was killed between the answer and the record has left it on the disk."""
    job = job_of(tmp_path)
    claimed = await _rental.claim(job, "first")
    paid = await _rental.rent(job, "1.80", claimed, fresh=True)
    assert paid["token"] == "tok-1"
    again = await _rental.rent(job, "1.80", claimed, fresh=False)
    assert again["token"] == "tok-1"
    assert vendor.wire == {1: 1}
    assert [note["token"] for note in desk.notes] == ["tok-1", "tok-1"]


async def test_nothing_is_sent_that_cannot_be_written_down(
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
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
    desk: PlainDesk, server: FaultServer, tmp_path: Path
) -> None:
    """A job that was resolved with its token asks neither for a price nor for a rental."""
    job: Job = {**job_of(tmp_path), "token": "tok-known", "price": "1.80"}
    total = await _rental.price(job)
    claimed: Claim = await _rental.claim(job, "first")
    paid = await _rental.rent(job, total, claimed, fresh=True)
    assert paid == {"token": "tok-known", "price": "1.80"}
    assert server.received == []
    assert desk.notes[0]["token"] == "tok-known"


async def test_a_download_done_again_takes_what_is_on_the_disk(
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
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
    desk: PlainDesk, vendor: Vendor, tmp_path: Path
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
    desk: PlainDesk, server: FaultServer, tmp_path: Path
) -> None:
    """Many claims cost one request for the balance."""
    del desk
    for number in range(5):
        claimed = await _rental.claim(job_of(tmp_path), str(number))
        assert claimed["balance_before"] == "10"
    assert server.count("credits") == 1
