"""Workers: their ids, how they begin and end, and what they do for one another."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from batches import after
from faults import busy, close_before_head

from benchmarks.durable_runs import VendorProcess, WorkerProcess
from smspartner_async import (
    AuthenticationError,
    ConfigurationError,
    PollingPolicy,
    SMSPartnerClient,
    _desk,
)
from smspartner_async._journal import Journal
from smspartner_async.durable import JobState, Store

from .batches import jobs_of
from .scripted import Vendor, rented
from .test_attention import at_work, end_of

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.sandbox import Sandbox

QUICK = PollingPolicy(first_interval=0.05, max_interval=0.2)


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_desk, "_PAUSES", (0.02, 0.04, 0.08, 0.16, 0.32))


async def until_waiting(store: Store, count: int) -> None:
    while len(await store.records(JobState.WAITING)) < count:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)


# --- ids and journals -----------------------------------------------------------------------


def test_each_living_worker_of_a_machine_has_an_id_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    """Ids are held by a lock that ends with the process; after a restart they are the same."""
    one, two = Journal.open(tmp_path, None), Journal.open(tmp_path, None)
    assert one.worker_id != two.worker_id
    one.close()
    again = Journal.open(tmp_path, None)
    assert again.worker_id == one.worker_id
    with pytest.raises(ConfigurationError, match="running already"):
        Journal.open(tmp_path, again.path.stem)
    named = Journal.open(tmp_path, "named")
    assert named.worker_id == "named"
    for journal in (again, two, named):
        journal.close()


async def test_a_journal_that_was_cut_short_goes_on(tmp_path: Path) -> None:
    """After a power cut in the middle of a line, neither the lines before nor after are lost."""
    journal = Journal.open(tmp_path, None)
    journal.write(nonce="aa", token="tok-1")
    await journal.safe()
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"nonce": "bb", "tok')
    journal = Journal.open(tmp_path, None)
    for n in range(20):
        journal.write(nonce=f"c{n}", token=f"tok-{n}")
    await asyncio.gather(*(journal.safe() for _ in range(20)))
    assert journal.token("aa") == "tok-1"
    assert journal.token("bb") is None
    assert [journal.token(f"c{n}") for n in range(20)] == [f"tok-{n}" for n in range(20)]
    journal.close()


async def test_a_full_disk_spoils_no_line_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is written in part fails, and the next one stands on its own."""
    journal, write = Journal.open(tmp_path, None), os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        with pytest.raises(OSError, match="disk is full"):
            journal.write(nonce="aa", token="tok-1")
    journal.write(nonce="aa", token="tok-2")
    assert journal.token("aa") == "tok-2"
    journal.close()


async def test_a_token_is_made_safe_while_the_database_is_away(tmp_path: Path) -> None:
    """Calls to a database that does not answer keep no token from the journal's disk."""
    journal = Journal.open(tmp_path, None)
    away, loop = threading.Event(), asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as only:
        loop.set_default_executor(only)
        errand = loop.run_in_executor(None, away.wait)
        try:
            journal.write(token="tok-1", nonce="n")
            async with asyncio.timeout(5):
                await journal.safe()
        finally:
            away.set()
            await errand
            journal.close()
        loop.set_default_executor(ThreadPoolExecutor())


# --- beginning and ending -------------------------------------------------------------------


async def test_a_worker_with_a_wrong_key_takes_no_job(
    store: Store, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It would fail every job: it does not begin, and can be begun again with the right key."""
    await store.submit(jobs_of(1, tmp_path))
    async with SMSPartnerClient("another-key", base_url=sandbox.base_url) as client:
        with pytest.raises(AuthenticationError):
            async with store.worker(client):
                pass
    assert (await store.record("job-1")).state is JobState.QUEUED
    async with (
        SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url, polling=QUICK) as client,
        store.worker(client),
    ):
        assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_a_second_worker_in_one_process_is_refused(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """DBOS is one for each process. The first worker goes on as if nothing had happened."""
    async with store.worker(client):
        with pytest.raises(ConfigurationError, match="already"):
            async with store.worker(client):
                pass
        await store.submit(jobs_of(1, tmp_path))
        assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_a_wait_is_handed_over_and_nothing_is_paid_again(
    store: Store, tmp_path: Path
) -> None:
    """Leaving the block ends waits at once; the next worker goes on with the token."""
    await store.submit(jobs_of(3, tmp_path))
    vendor = Vendor(states={f"tok-{n}": 1 for n in (1, 2, 3)})
    async with at_work(store, vendor):
        await until_waiting(store, 3)
    vendor.states.clear()
    async with at_work(store, vendor):
        for n in (1, 2, 3):
            assert (await end_of(store, f"job-{n}")).state is JobState.DONE
    assert vendor.wire == {1: 1, 2: 1, 3: 1}


async def test_a_payment_in_flight_is_seen_through(store: Store, tmp_path: Path) -> None:
    """A worker that is told to end waits for the vendor's answer, and keeps the token."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [after(0.5, rented(1))]})
    async with at_work(store, vendor) as server:
        while not server.count("rent"):  # noqa: ASYNC110 - the server is no part of this
            await asyncio.sleep(0.01)
    record = await store.record("job-1")
    assert (record.state, record.token) == (JobState.WAITING, "tok-1")


# --- trouble that passes --------------------------------------------------------------------


@pytest.mark.usefixtures("_short_pauses")
async def test_trouble_that_passes_is_ridden_out_and_paid_once(
    store: Store, tmp_path: Path
) -> None:
    """Prices that do not come, and a rent that was refused with 429, are asked for again."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [busy(429), busy(429)]}, prices=[close_before_head(), close_before_head()])
    async with at_work(store, vendor):
        record = await end_of(store, "job-1")
    assert record.state is JobState.DONE
    assert vendor.wire == {1: 3}
    (path,) = (tmp_path / "rentals.db.journal").iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    claims = [line["nonce"] for line in lines if "sending" in line]
    assert len(set(claims)) == 3, "each try is a claim of its own"
    assert [line["token"] for line in lines if "token" in line] == ["tok-1"]


# --- taking over ----------------------------------------------------------------------------


async def test_the_jobs_of_a_dead_worker_are_taken_over(store: Store, tmp_path: Path) -> None:
    """A worker that is killed leaves waits to the others, who bring the files unasked."""
    await store.submit(jobs_of(3, tmp_path))
    log = tmp_path / "errors.log"
    with VendorProcess.running(log, speed=1.0) as vendor:
        options = {
            "vendor": vendor.url,
            "store": f"sqlite:///{tmp_path}/rentals.db",
            "journal": str(tmp_path / "elsewhere"),
            "worker": {"take_over_after": 1.0},
        }
        other = WorkerProcess(options, log)
        other.start()
        try:
            await until_waiting(store, 3)
        finally:
            other.end()
        async with (
            SMSPartnerClient(vendor.key, base_url=vendor.url, polling=QUICK) as client,
            store.worker(client, take_over_after=1.0) as heir,
            asyncio.timeout(1.5 + 10),  # within 1.5 times that, and a few seconds, as is promised
        ):
            for n in (1, 2, 3):
                record = await end_of(store, f"job-{n}")
                assert (record.state, record.run, record.worker) == (JobState.DONE, 1, heir.id)
        assert len(vendor.report()["rentals"]) == 3
