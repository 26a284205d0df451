"""Workers: how they begin and end, and what they do for one another."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sqlalchemy as sa
from attrs import evolve
from batches import after
from dbos import DBOS
from faults import busy, close_before_head
from scripted import Vendor, rented
from sqlite_trouble import READ_ONLY, refusing
from store_jobs import jobs_of
from store_work import at_work, end_of, until_waiting
from tenacity import wait_exponential

from benchmarks.durable_runs import Postgres, VendorProcess, WorkerProcess
from smspartner_async import (
    AuthenticationError,
    ConfigurationError,
    PollingPolicy,
    SMSPartnerClient,
)
from smspartner_async.durable import JobState, Store, StoreError, _account, _worker
from smspartner_async.durable._database.jobs import take_jobs

if TYPE_CHECKING:
    from smspartner_async.sandbox import Sandbox

QUICK = PollingPolicy(first_interval=0.05, max_interval=0.2)


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_account, "RETRY_WAIT", wait_exponential(multiplier=0.02, max=0.4))


# --- beginning and ending -------------------------------------------------------------------


async def test_a_store_that_is_away_for_a_moment_is_asked_again(
    store: Store, tmp_path: Path
) -> None:
    """The token of a rent goes into it then: the job is not parked meanwhile."""
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    errors = [sa.exc.OperationalError("UPDATE", None, busy)]

    def away(_: sa.Connection, __: Any, statement: str, values: Any, *___: Any) -> None:
        if "UPDATE smspartner_jobs" in statement and "tok-1" in str(values) and errors:
            raise errors.pop()

    sa.event.listen(sa.Engine, "before_cursor_execute", away)
    try:
        await store.submit(jobs_of(1, tmp_path))
        async with at_work(store, Vendor()):
            states = [record.state async for record in store.watch(interval=0.01)]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", away)
    assert not errors
    assert states[-1] is JobState.DONE
    assert JobState.NEEDS_ATTENTION not in states


def guarded(store: str, password: str) -> sa.URL:
    """Let Postgres ask for a password, and return the URL of a store with it."""
    admin = sa.create_engine(sa.make_url(store).set(drivername="postgresql+psycopg"))
    with admin.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE renter LOGIN SUPERUSER PASSWORD '{password}'")
        rules = Path(connection.exec_driver_sql("SHOW hba_file").scalar_one())
        rules.write_text(f"local all renter scram-sha-256\n{rules.read_text()}")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    admin.dispose()
    return sa.make_url(store).set(username="renter", password=password)


async def test_a_worker_ends_its_dbos_in_a_cancelled_scope_too(
    client: SMSPartnerClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scope of anyio's cancels in every turn: DBOS is not left to end beside the next worker."""
    destroy, ended = DBOS.destroy, threading.Event()

    def destroy_slowly() -> None:
        time.sleep(0.3)
        destroy()
        ended.set()

    monkeypatch.setattr(DBOS, "destroy", destroy_slowly)
    with anyio.CancelScope() as scope:
        async with store.worker(client):
            scope.cancel()
    assert ended.is_set()


async def test_a_password_reaches_the_database_of_the_workflows_too(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Postgres may ask for one, whatever a message shows in its place."""
    url = guarded(postgres.store("guarded"), "p@ss:w/rd")
    async with Store(url.render_as_string(hide_password=False)) as store:
        await store.submit(jobs_of(1, tmp_path))
        async with at_work(store, Vendor(), journal=tmp_path / "journal"):
            assert (await end_of(store, "job-1")).state is JobState.DONE
    with pytest.raises(StoreError, match="password") as caught:
        async with Store(url.set(password="guess").render_as_string(hide_password=False)):
            pass
    assert "guess" not in str(caught.value)


async def test_a_queue_is_read_when_a_job_has_changed_and_not_on_and_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has nothing to do asks the database for nothing between two heartbeats."""
    reads = 0

    def take(*given: Any, **options: Any) -> Any:
        nonlocal reads
        reads += 1
        return take_jobs(*given, **options)

    monkeypatch.setattr(_worker, "take_jobs", take)
    monkeypatch.setattr(_worker, "_IDLE", 3600)
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        await end_of(store, "job-1")
        before = -1
        for _ in range(40):
            if before == reads:
                break
            before = reads
            await asyncio.sleep(0.5)
        assert before == reads > 1


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
    """DBOS is one for each process. The first worker is not disturbed."""
    async with store.worker(client):
        with pytest.raises(ConfigurationError, match="already"):
            async with store.worker(client):
                pass
        await store.submit(jobs_of(1, tmp_path))
        assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_a_worker_gets_the_permits_of_its_store(store: Store, tmp_path: Path) -> None:
    """A shared budget: what is reserved by the database's clock is due by that of the worker."""
    await store.submit(jobs_of(2, tmp_path))
    async with asyncio.timeout(120), at_work(store, Vendor(), max_requests_per_minute=6000):
        for number in (1, 2):
            assert (await end_of(store, f"job-{number}")).state is JobState.DONE


async def test_a_wait_is_handed_over_and_nothing_is_paid_again(
    store: Store, tmp_path: Path
) -> None:
    """Leaving the block ends waits at once; the next worker continues with the token."""
    await store.submit(jobs_of(3, tmp_path))
    vendor = Vendor(states={f"tok-{n}": 1 for n in (1, 2, 3)})
    async with at_work(store, vendor):
        await until_waiting(store, 3)
    vendor.states.clear()
    async with at_work(store, vendor):
        for n in (1, 2, 3):
            assert (await end_of(store, f"job-{n}")).state is JobState.DONE
    assert vendor.wire == {1: 1, 2: 1, 3: 1}


async def test_a_payment_in_flight_is_allowed_to_finish(store: Store, tmp_path: Path) -> None:
    """A worker that ends waits for the vendor's answer, and keeps the token."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [after(0.5, rented(1))]})
    async with at_work(store, vendor) as server:
        while not server.count("rent"):  # noqa: ASYNC110 - the server is no part of this
            await asyncio.sleep(0.01)
    record = await store.record("job-1")
    assert (record.state, record.token) == (JobState.WAITING, "tok-1")


async def test_a_job_without_a_limit_is_left_in_the_queue_whenever_it_comes(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that requires limits takes the others, says so once, and continues from tokens."""
    one, two, three = jobs_of(3, tmp_path)
    unlimited = [evolve(one, max_total=None), evolve(three, max_total=None)]
    vendor = Vendor({3: [close_before_head()]})
    await store.submit(unlimited[1:])
    async with at_work(store, vendor):
        assert (await end_of(store, "job-3")).state is JobState.NEEDS_ATTENTION
    async with asyncio.timeout(60), at_work(store, vendor, require_max_total=True):
        await store.submit([*unlimited[:1], two])
        await store.resolve("job-3", token="tok-3")
        assert (await end_of(store, "job-2")).state is JobState.DONE
        assert (await end_of(store, "job-3")).state is JobState.DONE
        while "left in the queue" not in caplog.text:  # noqa: ASYNC110 - another task
            await asyncio.sleep(0.01)
    assert (await store.record("job-1")).state is JobState.QUEUED
    assert vendor.wire == {2: 1, 3: 1}
    assert caplog.text.count("left in the queue, without a max_total: 'job-1'") == 1
    async with at_work(store, vendor):
        assert (await end_of(store, "job-1")).state is JobState.DONE


# --- trouble that passes --------------------------------------------------------------------


@pytest.mark.usefixtures("_short_pauses")
async def test_trouble_that_passes_ends_no_job_and_it_is_paid_once(
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
    assert len(set(claims)) == 3, "each try is a separate claim"
    assert [line["token"] for line in lines if "token" in line] == ["tok-1"]


# --- taking over ----------------------------------------------------------------------------


@pytest.mark.usefixtures("quick_processes")
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


# --- a disk that takes nothing more ---------------------------------------------------------


@pytest.mark.parametrize("passes", [False, True])
async def test_a_worker_ends_when_its_store_cannot_be_written_any_more(
    store: Store, tmp_path: Path, *, passes: bool
) -> None:
    """The block is cancelled, and ends with one `StoreError`; no rent is sent from then on.

    So it ends where it can be written again by then, too: what was to be written is missing.
    Nothing that was paid is forgotten, and the next worker pays for nothing twice.
    """
    await store.submit(jobs_of(6, tmp_path))
    vendor = Vendor({1: [after(0.3, rented(1))]})

    async def work_until_it_ends(broken: threading.Event) -> None:
        async with asyncio.timeout(120), at_work(store, vendor, concurrency=1):
            while not vendor.wire:  # noqa: ASYNC110 - the vendor's own count
                await asyncio.sleep(0.005)
            broken.set()
            try:
                await asyncio.Event().wait()
            finally:
                if passes:
                    broken.clear()

    with refusing(READ_ONLY) as broken:
        with pytest.raises(StoreError, match=r"readonly.* Make its file and folder writable"):
            await work_until_it_ends(broken)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        assert vendor.wire == {1: 1}
        broken.clear()
    async with asyncio.timeout(120), at_work(store, vendor):
        # In doubt at first, where that could be written: the token is in the journal.
        while len(await store.records(JobState.DONE)) < 6:  # noqa: ASYNC110 - another task
            await asyncio.sleep(0.02)
    assert vendor.wire == dict.fromkeys(range(1, 7), 1)
