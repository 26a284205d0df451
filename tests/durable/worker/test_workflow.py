"""The steps on their own: what they do when they are done again, or by the wrong one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from downloads import leave_behind
from faults import close_before_head, json_reply, vendor_error
from scripted import FILE, Vendor
from store_jobs import jobs_of
from store_work import at_work, job_of
from tenacity import wait_exponential

from smspartner_async import TargetingError, TransportError
from smspartner_async._rental import StepFailedError
from smspartner_async.durable import _workflow
from smspartner_async.durable._account import Account
from smspartner_async.durable._records import Claim, Job, JobState

if TYPE_CHECKING:
    from pathlib import Path

    from fault_server import FaultServer

    from smspartner_async.durable import Store
    from smspartner_async.durable._context import WorkerContext
    from smspartner_async.durable._records import Paid


async def test_who_did_not_make_the_claim_does_not_pay(
    store: Store, vendor: Vendor, tmp_path: Path, context: WorkerContext
) -> None:
    """The rent of a claim that somebody else made sends nothing, and needs a person."""
    del context
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "another")
    with pytest.raises(StepFailedError) as caught:
        await _workflow.rent(job, "1.80", claimed, fresh=False)
    assert vendor.wire == {}
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "another"
    assert (await store.record("job-1")).state is JobState.RENTING


async def test_nobody_pays_for_a_job_that_another_worker_has_claimed(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """Not even if the workflows of the two are in different databases; the record has its claim."""
    job = job_of(tmp_path)
    first = await _workflow.claim(job, "another's")
    await context.swap_claim(job, None, first)
    with pytest.raises(StepFailedError) as caught:
        await _workflow.rent(job, "1.80", await _workflow.claim(job, "mine"), fresh=True)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "another's"
    assert vendor.wire == {}
    assert await context.swap_claim(job, None, None) == {
        **first,
        "found_by": context.journal.worker_id,
    }


async def test_who_was_frozen_behind_its_claim_finds_the_way_barred(
    store: Store,
    vendor: Vendor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: WorkerContext,
) -> None:
    """As soon as another worker looks for the token, not only when the job is parked."""
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "frozen")
    looked = asyncio.Event()
    thawed = asyncio.Event()

    async def balance(self: Account, *, at_most: float = 0) -> tuple[None, None]:
        del self, at_most
        looked.set()
        await thawed.wait()
        return None, None

    monkeypatch.setattr(Account, "balance", balance)
    other = asyncio.create_task(_workflow.rent(job, "1.80", claimed, fresh=False))
    await looked.wait()
    assert (await store.record("job-1")).state is JobState.RENTING
    thawed.set()
    with pytest.raises(StepFailedError) as caught:
        await _workflow.rent(job, "1.80", claimed, fresh=True)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert vendor.wire == {}
    with pytest.raises(StepFailedError):
        await other


async def test_nobody_pays_for_a_job_that_was_settled_meanwhile(
    context: WorkerContext, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """A worker that was frozen behind its claim finds the job parked, or in another run."""
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "late")
    await context.update_job(job, state=JobState.NEEDS_ATTENTION, facts={"error": "lost"})
    with pytest.raises(StepFailedError):
        await _workflow.rent(job, "1.80", claimed, fresh=True)
    await store.resolve("job-1", not_charged=True)
    with pytest.raises(StepFailedError):
        await _workflow.rent(job, "1.80", claimed, fresh=True)
    assert vendor.wire == {}
    assert (await store.record("job-1")).state is JobState.QUEUED


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_journal_that_cannot_be_read_leaves_an_unknown_outcome_unknown(
    context: WorkerContext, vendor: Vendor, tmp_path: Path, *, fresh: bool
) -> None:
    """It is not taken for a rent that failed, which may be done again."""
    vendor.rents = {1: [close_before_head()]}
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "first")
    (context.journal.path.parent / "unreadable.jsonl").mkdir()
    with pytest.raises(StepFailedError) as caught:
        await _workflow.rent(job, "1.80", claimed, fresh=fresh)
    assert caught.value.state == JobState.NEEDS_ATTENTION.value
    assert caught.value.facts["attention"]["nonce"] == "first"
    lines = caught.value.facts["attention"]["journal_lines"]
    assert len(lines) == int(fresh), "those of the journals that can be read"


async def test_who_was_refused_gives_its_claim_back(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """The next try, which makes a new claim, may rent."""
    del context
    vendor.rents = {1: [vendor_error(11, "Crédit insuffisant")]}
    job = job_of(tmp_path)
    with pytest.raises(StepFailedError, match="credit"):
        await _workflow.rent(job, "1.80", await _workflow.claim(job, "first"), fresh=True)
    claimed = await _workflow.claim(job, "second")
    assert claimed["nonce"] == "second"
    assert (await _workflow.rent(job, "1.80", claimed, fresh=True))["token"] == "tok-1"


async def test_who_did_not_make_the_claim_finds_its_token_in_the_store(
    context: WorkerContext, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """A rent that is done again takes the token that the first one has written down."""
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "first")
    paid = await _workflow.rent(job, "1.80", claimed, fresh=True)
    record = await store.record("job-1")
    assert record.token == paid["token"] == "tok-1"
    context.journal.path.unlink()
    again = await _workflow.rent(job, "1.99", claimed, fresh=False)
    assert again["token"] == "tok-1"
    assert vendor.wire == {1: 1}
    assert (await store.record("job-1")).price == record.price, "as it came with the rental"


async def test_who_did_not_make_the_claim_finds_its_token_in_the_journal(
    context: WorkerContext, store: Store, vendor: Vendor, tmp_path: Path
) -> None:
    """A worker that was killed between the answer and the record has left it on the disk."""
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "first")
    context.journal.write(nonce="first", token="tok-journal")
    paid = await _workflow.rent(job, "1.80", claimed, fresh=False)
    assert (await store.record("job-1")).token == paid["token"] == "tok-journal"
    assert vendor.wire == {}


async def test_nothing_is_sent_that_cannot_be_written_down(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """A journal that takes no line fails the rent before the request."""
    job = job_of(tmp_path)
    claimed = await _workflow.claim(job, "first")
    real = context.journal._file._fd
    with (tmp_path / "read-only").open("w+b") as file:
        file.close()
        context.journal._file._fd = -1
        with pytest.raises(StepFailedError, match="Bad file descriptor"):
            await _workflow.rent(job, "1.80", claimed, fresh=True)
    context.journal._file._fd = real
    assert vendor.wire == {}


async def test_a_token_that_is_known_needs_no_step_that_costs_money(
    context: WorkerContext, server: FaultServer, store: Store, tmp_path: Path
) -> None:
    """A job that was resolved with its token asks neither for a price nor for a rental."""
    job: Job = {**job_of(tmp_path), "token": "tok-known", "price": "1.80"}
    total = await _workflow.price(job)
    claimed: Claim = await _workflow.claim(job, "first")
    paid = await _workflow.rent(job, total, claimed, fresh=True)
    assert paid == {"token": "tok-known", "price": "1.80"}
    assert server.received == []
    assert (await store.record("job-1")).token == "tok-known"


async def test_a_download_done_again_takes_what_is_on_the_disk(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """A file that came before the worker was killed is not asked for a second time."""
    del context
    paid: Paid = {"token": "tok-1", "price": None}
    first = await _workflow.download(job_of(tmp_path), paid)
    await _workflow.wait(paid)  # "already downloaded" is no failure: the disk shows it
    again = await _workflow.download(job_of(tmp_path), paid)
    assert vendor.served == {"tok-1": 1}
    assert again["sha256"] == first["sha256"] == hashlib.sha256(FILE).hexdigest()
    assert (first["verified"], again["verified"]) == (True, False)


async def test_a_file_that_somebody_else_put_there_is_not_taken_for_ours(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """Where the vendor has not served it yet, what is on the disk is something else."""
    del context
    (job,) = jobs_of(1, tmp_path)
    job.path.write_bytes(b"somebody's")
    with pytest.raises(StepFailedError, match=r"was not downloaded yet\. Move this") as failed:
        await _workflow.download(job_of(tmp_path), {"token": "tok-1", "price": None})
    assert "overwrite" not in failed.value.facts["error"]  # a job has no such option
    assert vendor.served == {}
    assert job.path.read_bytes() == b"somebody's"


HEAD = {"status": 200, "framing": "length", "length": len(FILE), "encoding": ""}


async def test_a_download_done_again_finishes_what_is_whole(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """A file: what a killed worker left whole is finished, and nobody is asked for it."""
    del context
    (job,) = jobs_of(1, tmp_path)
    leave_behind(job.path.with_name(f"{job.path.name}.part"), FILE, "tok-1", HEAD)
    done = await _workflow.download(job_of(tmp_path), {"token": "tok-1", "price": None})
    assert done["verified"] is True
    assert job.path.read_bytes() == FILE
    assert vendor.served == {}


async def test_another_file_at_the_name_of_one_that_is_kept_whole(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """A file: somebody's file is not this job's, though the vendor has served the job's."""
    del context
    (job,) = jobs_of(1, tmp_path)
    part = job.path.with_name(f"{job.path.name}.part")
    paid: Paid = {"token": "tok-1", "price": None}
    await _workflow.download(job_of(tmp_path), paid)
    job.path.write_bytes(b"somebody's")
    leave_behind(part, FILE, "tok-1", HEAD)
    with pytest.raises(StepFailedError, match=f"is kept in {part}. Move the first one away.$"):
        await _workflow.download(job_of(tmp_path), paid)
    assert vendor.served == {"tok-1": 1}
    assert (job.path.read_bytes(), part.read_bytes()) == (b"somebody's", FILE)


async def test_the_balance_is_asked_for_once_a_minute_at_most(
    context: WorkerContext, server: FaultServer, tmp_path: Path
) -> None:
    """Many claims cost one request for the balance."""
    del context
    for number in range(5):
        claimed = await _workflow.claim(job_of(tmp_path), str(number))
        assert claimed["balance_before"] == "10"
    assert server.count("credits") == 1


async def test_what_passes_is_tried_until_it_succeeds(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often; what does not pass is raised at once."""
    monkeypatch.setattr(_workflow, "RETRY_WAIT", wait_exponential(multiplier=0.001, max=0.01))
    failures: list[Exception] = [TransportError("Reset.", maybe_sent=True)] * 5
    failures.append(BlockingIOError("another download has the part"))

    async def attempt() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert await _workflow.retry_until_success(context, attempt) == "done"
    assert not failures
    failures.append(TargetingError((("min_age", "must be at least 18"),)))
    with pytest.raises(TargetingError):
        await _workflow.retry_until_success(context, attempt)


async def test_a_token_that_was_seen_is_in_what_a_person_reads(
    context: WorkerContext, vendor: Vendor, tmp_path: Path
) -> None:
    """A reply that proves nothing may name a token: it is no token of the job."""
    seen = json_reply({"success": False, "token": "perhaps-1"}, status=502)
    vendor.rents, vendor.unknown = {1: [seen]}, {"perhaps-1"}
    job = job_of(tmp_path)
    with pytest.raises(StepFailedError) as caught:
        await _workflow.rent(job, "1.80", await _workflow.claim(job, "mine"), fresh=True)
    assert caught.value.facts["attention"]["seen_token"] == "perhaps-1"
    assert await context.find_token(job, "mine") is None


async def test_a_job_fails_as_what_its_claim_is_known_to_be(
    context: WorkerContext, store: Store, tmp_path: Path
) -> None:
    """Unpaid without a claim; with another's, it may be paid; with a token, it is."""
    job, facts = job_of(tmp_path), {"error": "broken"}
    claimed = await _workflow.claim(job, "another's")
    await context.swap_claim(job, None, claimed)
    outcome = await _workflow._record_failure(context, job, facts)
    assert outcome == (JobState.NEEDS_ATTENTION, {"error": "broken", "attention": claimed})
    context.journal.write(nonce="another's", token="tok-1")
    assert await _workflow._record_failure(context, job, facts) == (JobState.FAILED, facts)
    assert (await store.record("job-1")).token == "tok-1"
    await context.swap_claim(job, claimed, None)
    assert await _workflow._record_failure(context, job, facts) == (JobState.FAILED, facts)
    assert await context.swap_claim(job, None, claimed) is None, "a failed job was claimed"


@pytest.mark.parametrize(
    ("state", "facts", "level", "text"),
    [
        (JobState.DONE, {"file": {"path": "/a.csv"}}, "INFO", "job 'job-1' is done: /a.csv"),
        (JobState.FAILED, {"error": "refused"}, "WARNING", "job 'job-1' failed: refused"),
        (
            JobState.NEEDS_ATTENTION,
            {"error": "lost"},
            "ERROR",
            "job 'job-1' needs attention: lost",
        ),
    ],
)
def test_an_end_is_logged(  # noqa: PLR0917 - a table
    state: JobState,
    facts: dict[str, Any],
    level: str,
    text: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`smspartner worker` shows it: the worse it is for the money, the louder."""
    caplog.set_level(logging.INFO)
    _workflow.log_outcome(job_of(tmp_path), state, facts)
    (entry,) = caplog.records
    assert (entry.levelname, entry.message) == (level, text)


# --- a whole workflow --------------------------------------------------------------------------


async def test_each_job_comes_to_the_outcome_that_its_replies_prove(
    store: Store, tmp_path: Path
) -> None:
    """Done with its file, failed unpaid, or left to a person: and each is paid once at most."""
    refused = vendor_error(5, "Interest inconnu")
    vendor = Vendor({2: [refused], 3: [close_before_head()]}, prices=[close_before_head()])
    await store.submit(jobs_of(3, tmp_path))
    async with at_work(store, vendor):
        ends = {record.id: record async for record in store.watch(interval=0.02)}
    states = {name: record.state for name, record in sorted(ends.items())}
    assert states == {
        "job-1": JobState.DONE,
        "job-2": JobState.FAILED,
        "job-3": JobState.NEEDS_ATTENTION,
    }
    assert vendor.wire == {1: 1, 2: 1, 3: 1}
    assert ends["job-1"].job.path.read_bytes() == FILE
    assert (ends["job-2"].token, ends["job-3"].token) == (None, None)
