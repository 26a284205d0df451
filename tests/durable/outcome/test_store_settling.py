"""Settling an unknown outcome: when it is refused, and what becomes of a token that comes later."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from scripted import Vendor
from store_jobs import jobs_of
from store_work import LOST, at_work, end_of, late_token, unknown

from smspartner_async.durable import JobRecord, JobState, Store
from smspartner_async.durable._database.jobs import claim_job, take_jobs, update_jobs
from smspartner_async.durable._database.tables import JOBS
from smspartner_async.durable._database.workers import send_heartbeat, sign_off
from smspartner_async.durable._journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async.durable._database.database import JobDatabase


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """The journal of a worker that lives."""
    journal = Journal.open(tmp_path / "journals", "elsewhere")
    yield journal
    journal.close()


async def parked(store: Store, folder: Path, journal: Path, **claim: Any) -> JobRecord:
    """Bring a job to where another worker has found the claim of one that is silent."""
    await store.submit(jobs_of(1, folder))
    claim = {"nonce": "n", "worker": "elsewhere", "journal": str(journal), **claim}
    facts = json.dumps({"error": "lost", "attention": claim})
    note = {"job": "job-1", "in_run": 1, "by": "finder", "new_state": "needs_attention"}
    note |= {"new_token": None, "new_price": None, "new_facts": facts}
    seen, _ = await store._database.run(send_heartbeat, "finder")
    await store._database.run(take_jobs, "finder", seen, 1)
    assert await store._database.run(update_jobs, [note]) == [True]
    return await store.record("job-1")


async def test_a_doubt_whose_holder_is_only_silent_is_not_taken_for_settled(
    store: Store, tmp_path: Path, journal: Journal
) -> None:
    """It may still send its rent: the refusal names the worker, and nothing is done."""
    await parked(store, tmp_path, journal.path)
    with pytest.raises(ValueError, match=r"Worker elsewhere .* second payment") as caught:
        await store.resolve("job-1", not_charged=True)
    assert str(journal.path) in str(caught.value)
    assert "force=True" in str(caught.value)
    record = await store.record("job-1")
    assert (record.state, record.run) == (JobState.NEEDS_ATTENTION, 1)
    await store.resolve("job-1", not_charged=True, force=True)
    assert (await store.record("job-1")).state is JobState.QUEUED


@pytest.mark.parametrize("way_out", [{"token": "tok-9"}, {"give_up": True}])
async def test_what_rents_nothing_is_never_refused(
    store: Store, tmp_path: Path, journal: Journal, way_out: dict[str, Any]
) -> None:
    """A token, or giving it up, costs nothing whoever still sends."""
    await parked(store, tmp_path, journal.path)
    await store.resolve("job-1", **way_out)
    assert (await store.record("job-1")).state is not JobState.NEEDS_ATTENTION


async def test_a_token_that_a_person_has_found_brings_the_price_of_its_claim(
    store: Store, tmp_path: Path, journal: Journal
) -> None:
    """The row itself has none where the worker was lost before it had an answer."""
    record = await parked(store, tmp_path, journal.path, price="1.80")
    assert record.price is None
    await store.resolve("job-1", token="tok-9")
    assert (await store.record("job-1")).price == Decimal("1.80")


async def test_a_holder_that_has_ended_on_this_machine_sends_nothing(
    store: Store, tmp_path: Path, journal: Journal
) -> None:
    """The lock of its journal ends with its process, however that ends."""
    await parked(store, tmp_path, journal.path)
    journal.close()
    await store.resolve("job-1", not_charged=True)
    assert (await store.record("job-1")).state is JobState.QUEUED


async def test_another_workers_journal_in_its_place_proves_nothing(
    store: Store, tmp_path: Path
) -> None:
    """The path may be that of another machine: the file has to name the worker."""
    other = Journal.open(tmp_path / "journals", "somebody-else")
    await parked(store, tmp_path, other.path)
    other.close()
    with pytest.raises(ValueError, match="Worker elsewhere"):
        await store.resolve("job-1", not_charged=True)
    await parked(store, tmp_path, tmp_path / "no-such-file")
    with pytest.raises(ValueError, match="Worker elsewhere"):
        await store.resolve("job-1", not_charged=True)


async def test_a_holder_that_has_signed_off_sends_nothing(
    store: Store, tmp_path: Path, journal: Journal
) -> None:
    """Its rents were allowed to finish before it did so."""
    await parked(store, tmp_path, journal.path)
    await store._database.run(send_heartbeat, "elsewhere")
    with pytest.raises(ValueError, match="Worker elsewhere"):
        await store.resolve("job-1", not_charged=True)
    await store._database.run(sign_off, "elsewhere")
    await store.resolve("job-1", not_charged=True)


async def test_a_holder_that_wrote_the_doubt_down_itself_has_finished(
    store: Store, tmp_path: Path
) -> None:
    """Also while it works on: its own answer was the doubt."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [LOST]})
    async with at_work(store, vendor):
        assert (await end_of(store, "job-1")).attention["holder_done"] is True
        await store.resolve("job-1", not_charged=True)
        assert (await end_of(store, "job-1")).state is JobState.DONE
    assert vendor.wire == {1: 2}


async def test_a_holder_that_comes_back_says_that_it_sends_nothing_more(
    store: Store, tmp_path: Path
) -> None:
    """The process with its id looks at the doubts about its claims, and is paying for none."""
    async with at_work(store, Vendor()):
        await store.submit(jobs_of(2, tmp_path)[1:])
        worker = (await end_of(store, "job-2")).worker
    await parked(store, tmp_path, tmp_path / "elsewhere.jsonl", worker=worker)
    async with at_work(store, Vendor()):
        while not (await store.record("job-1")).attention.get("holder_done"):
            pass
    await store.resolve("job-1", not_charged=True)


# --- every state ----------------------------------------------------------------------------


async def row_of(store: Store) -> tuple[Any, ...]:
    """The row of the one job, without the time that it was read."""
    (row,) = await store._database.read_jobs()
    return tuple(value for name, value in row._mapping.items() if name != "now")


@pytest.mark.parametrize("token", [None, "tok-1"])
@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize(
    ("settle", "allowed"),
    [
        ("resume", {JobState.FAILED}),
        ("not_charged", {JobState.NEEDS_ATTENTION}),
    ],
)
async def test_what_is_settled_in_which_state(
    store: Store,
    tmp_path: Path,
    *,
    settle: str,
    allowed: set[JobState],
    state: JobState,
    token: str | None,
) -> None:
    """In any other state, paid or not, it is refused, and nothing of the row changes."""
    await store.submit(jobs_of(1, tmp_path))

    def put(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.update(JOBS).values(state=state.value, token=token, price="1.80"))

    await store._database.run(put)
    before = await row_of(store)
    done = (
        store.resume("job-1")
        if settle == "resume"
        else store.resolve("job-1", not_charged=True, force=True)
    )
    if state in allowed:
        await done
        record = await store.record("job-1")
        assert (record.state, record.run, record.token) == (JobState.QUEUED, 2, token)
    else:
        with pytest.raises(ValueError, match=f"is {state.name}, not "):
            await done
        assert await row_of(store) == before


# --- tokens that come late ------------------------------------------------------------------


async def settled(store: Store, folder: Path) -> None:
    """Bring a job to its second run, because a person was sure that the first was not charged."""
    await unknown(store, folder)
    await store.resolve("job-1", not_charged=True)


async def test_a_late_token_fences_a_new_run_that_nobody_has_claimed(
    store: Store, tmp_path: Path
) -> None:
    """The job continues from the token of its first run, and is not rented a second time."""
    await settled(store, tmp_path)
    assert await store._database.run(update_jobs, [late_token("job-1")]) == [False]
    record = await store.record("job-1")
    assert (record.run, record.token, record.late_tokens) == (3, "tok-late", ())
    assert await store._database.run(claim_job, "job-1", 2, "{}", '{"nonce": "n"}') == "{}"
    vendor = Vendor()
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
    assert (record.state, record.token) == (JobState.DONE, "tok-late")
    assert vendor.wire == {}


async def test_a_late_token_of_a_job_that_was_paid_again_is_a_second_payment(
    store: Store, tmp_path: Path
) -> None:
    """It stands in the record, whatever becomes of the job; twice is once."""
    await settled(store, tmp_path)
    async with at_work(store, Vendor()):
        await end_of(store, "job-1")
    for _ in range(2):
        await store._database.run(update_jobs, [late_token("job-1")])
    record = await store.record("job-1")
    assert (record.state, record.token, record.late_tokens) == (
        JobState.DONE,
        "tok-1",
        ("tok-late",),
    )
    assert (await store.records())[0].late_tokens == ("tok-late",)
    await store.resolve("job-1", give_up=True)  # a person has looked into it
    await store._database.run(update_jobs, [late_token("job-1")])
    record = await store.record("job-1")
    assert (record.state, record.token, record.late_tokens) == (JobState.DONE, "tok-1", ())
    with pytest.raises(ValueError, match="is DONE"):
        await store.resolve("job-1", give_up=True)


@pytest.mark.parametrize("state", ["renting", "waiting", "done", "failed", "needs_attention"])
async def test_a_late_note_of_an_older_run_changes_nothing_in_the_new_one(
    store: Store, tmp_path: Path, state: str
) -> None:
    """Neither its state, nor its facts, nor when it has changed."""
    await store.submit(jobs_of(1, tmp_path))

    def in_run_2(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.update(JOBS).values(run=2, state="renting", worker="me"))

    await store._database.run(in_run_2)
    before = await row_of(store)
    late = late_token("job-1") | {"new_token": None, "new_price": "9.99", "new_state": state}
    late |= {"new_facts": '{"error": "lost"}'}
    assert await store._database.run(update_jobs, [late]) == [False]
    assert await row_of(store) == before


async def test_a_late_token_of_a_job_in_doubt_or_given_up_is_kept(
    store: Store, tmp_path: Path
) -> None:
    """A second doubt is left to a person, with the token; a job that was given up has it."""
    await settled(store, tmp_path)
    claim = '{"nonce": "n"}'
    assert await store._database.run(claim_job, "job-1", 2, "{}", claim) == claim
    await store._database.run(update_jobs, [late_token("job-1")])
    record = await store.record("job-1")
    assert (record.state, record.run, record.token) == (JobState.QUEUED, 2, None)
    assert record.late_tokens == ("tok-late",)
    change = evolve(jobs_of(3, tmp_path)[2], id="other")
    await store.submit([change])
    await store.withdraw("other")
    await store._database.run(update_jobs, [late_token("other") | {"in_run": 0}])
    other = await store.record("other")
    assert (other.state, other.token) == (JobState.GIVEN_UP, "tok-late")


async def test_a_late_token_that_stands_in_the_journal_alone_is_found(
    store: Store, tmp_path: Path
) -> None:
    """Its worker died before the database had it, and the job was settled meanwhile."""
    record = await unknown(store, tmp_path)
    await store.resolve("job-1", not_charged=True)
    async with at_work(store, Vendor()):
        assert (await end_of(store, "job-1")).state is JobState.DONE
    with Path(record.attention["journal"]).open("a") as journal:  # noqa: ASYNC230 - a test
        journal.write(f'{{"nonce": "{record.attention["nonce"]}", "token": "tok-late"}}\n')
    async with at_work(store, Vendor()), asyncio.timeout(120):  # so as not to hang if it is broken
        while not (await store.record("job-1")).late_tokens:
            pass


async def test_the_token_of_another_job_settles_nothing(store: Store, tmp_path: Path) -> None:
    """Two jobs of one rental would be one file for two payments."""
    await store.submit(jobs_of(2, tmp_path))
    async with at_work(store, Vendor({2: [LOST]})):
        paid, doubt = [await end_of(store, f"job-{number}") for number in (1, 2)]
        assert doubt.state is JobState.NEEDS_ATTENTION
    with pytest.raises(ValueError, match="is the token of job 'job-1'; nothing was done"):
        await store.resolve("job-2", token=str(paid.token))
    assert (await store.record("job-2")).state is JobState.NEEDS_ATTENTION
