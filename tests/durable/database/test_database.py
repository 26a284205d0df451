"""The database of a store: group commits, locks that are lost, servers that change."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from store_work import job_of

from smspartner_async.durable import JobState, Store, StoreError
from smspartner_async.durable._database import database as database_module
from smspartner_async.durable._database.database import JobDatabase, create_tables
from smspartner_async.durable._database.workers import send_heartbeat

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.durable_runs import Postgres
    from smspartner_async.durable._context import WorkerContext


async def test_updates_during_a_transaction_share_the_next_one(
    context: WorkerContext, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty updates, 19 of them during the first, are two transactions; each is kept then."""
    transactions: list[int] = []
    batch, begun, may_end = JobDatabase.batch, threading.Event(), threading.Event()

    def slow(self: JobDatabase, connection: Any, works: list[Any]) -> list[Any]:
        transactions.append(len(works))
        begun.set()
        may_end.wait(30)
        return batch(self, connection, works)

    def update() -> asyncio.Task[None]:
        job = job_of(tmp_path)
        return asyncio.create_task(context.update_job(job, state=JobState.WAITING, token="tok-1"))

    monkeypatch.setattr(JobDatabase, "batch", slow)
    first = update()
    assert await asyncio.to_thread(begun.wait, 30)
    others = [update() for _ in range(19)]
    await asyncio.sleep(0)  # all of them begin
    may_end.set()
    await first
    assert (await store.record("job-1")).token == "tok-1"
    await asyncio.gather(*others)
    assert transactions == [1, 19]
    assert context.freed.is_set()


async def test_a_failed_transaction_is_raised_for_each_and_the_next_one_works(
    context: WorkerContext, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for an update that was not written."""

    def broken(self: JobDatabase, *_: Any) -> None:
        del self
        raise StoreError("The disk is full.")

    job = job_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(JobDatabase, "batch", broken)
        async with asyncio.timeout(10):
            results = await asyncio.gather(
                *(context.update_job(job, state=JobState.WAITING) for _ in range(3)),
                return_exceptions=True,
            )
    assert [type(result) for result in results] == [StoreError] * 3
    await context.update_job(job, state=JobState.WAITING)
    assert (await store.record("job-1")).state is JobState.WAITING


async def test_a_run_of_a_job_is_read_while_it_is_the_jobs_current_one(
    context: WorkerContext, store: Store, tmp_path: Path
) -> None:
    """Another run, or a job that is not there, is none."""
    job = job_of(tmp_path)
    row = await context.database.read_run(job)
    assert row is not None
    assert (row.id, row.run, row.state) == ("job-1", 1, JobState.RENTING.value)
    assert await context.database.read_run({**job, "run": 2}) is None
    assert await context.database.read_run({**job, "id": "no-job"}) is None
    assert (await store.record("job-1")).run == 1


async def test_who_is_frozen_with_the_lock_in_its_hand_loses_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres nobody waits for long for a worker that stands still; it does its work again."""
    url = sa.make_url(postgres.store("frozen")).set(drivername="postgresql+psycopg")
    alone = database_module._LOCK["postgresql"]
    monkeypatch.setitem(database_module._LOCK, "postgresql", alone.replace("10s", "200ms"))
    frozen, other = JobDatabase(url, reconnect=True), JobDatabase(url)
    tries = 0

    def work(self: JobDatabase, connection: sa.Connection) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            time.sleep(1)
        return int(connection.execute(sa.select(self.now)).scalar_one())

    held = asyncio.create_task(frozen.run(work))
    while not tries:  # noqa: ASYNC110 - another thread
        await asyncio.sleep(0.01)
    await other.run(create_tables)
    assert tries == 1, "the lock was had while the first was asleep"
    assert await held > 0
    assert tries == 2
    frozen.close()
    other.close()


async def test_a_standby_that_is_not_promoted_yet_is_waited_for(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker outlives a failover: what cannot be written now is written when it can.

    The log says so once, with the cause, however often it is tried.
    """
    url = Store(postgres.store("standby")).url
    patient, impatient, other = JobDatabase(url, reconnect=True), JobDatabase(url), JobDatabase(url)
    await other.run(create_tables)

    def read_only(self: JobDatabase, connection: sa.Connection, value: str) -> None:
        del self
        setting = f"ALTER DATABASE standby SET default_transaction_read_only = {value}"
        connection.exec_driver_sql(setting)
        connection.exec_driver_sql(  # it is heard by new connections
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'standby' AND pid <> pg_backend_pid()"
        )

    await other.run(read_only, "on")
    async with asyncio.timeout(120):  # so as not to hang where it is broken
        written = asyncio.create_task(patient.run(send_heartbeat, "me"))
        while "the store is away" not in caplog.text:  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # in which it is tried again
        assert not written.done()
        assert caplog.text.count("the store is away, and is asked again: ") == 1
        assert "read-only" in caplog.text
        with pytest.raises(StoreError, match="read-only"):
            await impatient.run(send_heartbeat, "other")
        await other.run(read_only, "off")
        assert (await written)[0]
    for database in (patient, impatient, other):
        database.close()


async def test_a_server_that_takes_no_more_is_left_for_one_that_does(postgres: Postgres) -> None:
    """A connection that was good when it was opened may lead to a standby now."""
    url = Store(postgres.store("demoted")).url
    patient, impatient = JobDatabase(url, reconnect=True), JobDatabase(url)
    await impatient.run(create_tables)

    def demoted(self: JobDatabase, connection: sa.Connection) -> None:
        del self
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    await patient.run(demoted)
    await impatient.run(demoted)
    async with asyncio.timeout(120):  # so as not to hang where it is broken
        assert (await patient.run(send_heartbeat, "me"))[0]
    with pytest.raises(StoreError, match="read-only"):
        await impatient.run(send_heartbeat, "other")
    for database in (patient, impatient):
        database.close()
