"""Workers that get into each other's way, are frozen, or are ended twice."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from batches import after
from dbos import DBOS
from scripted import Vendor, rented
from store_jobs import jobs_of
from store_work import at_work, end_of, until_rent

from smspartner_async.durable import JobState, Store, _worker
from smspartner_async.durable._database.database import JobDatabase
from smspartner_async.durable._database.workers import send_heartbeat, take_over
from smspartner_async.durable._executions import Executions
from smspartner_async.durable._worker import WorkerRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs whose workflows were begun."""
    begin: Any = DBOS.start_workflow_async
    jobs: list[str] = []

    async def start(workflow: Any, job: Any) -> Any:
        jobs.append(job["id"])
        return await begin(workflow, job)

    monkeypatch.setattr(DBOS, "start_workflow_async", start)
    return jobs


# --- beginning jobs -------------------------------------------------------------------------


async def test_a_job_is_begun_once_however_often_it_is_looked_at(
    store: Store, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for jobs costs nothing in the database of the workflows."""
    monkeypatch.setattr(_worker, "_IDLE", 0.02)
    await store.submit(jobs_of(2, tmp_path))
    vendor = Vendor({1: [after(0.4, rented(1))], 2: [after(0.4, rented(2))]})
    async with at_work(store, vendor):
        for n in (1, 2):
            assert (await end_of(store, f"job-{n}")).state is JobState.DONE
    assert sorted(begun) == ["job-1", "job-2"]


async def test_one_job_that_cannot_be_begun_holds_up_no_other(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is begun at a later look."""
    begin: Any = DBOS.start_workflow_async
    failures = {"job-2": 2}

    async def start(workflow: Any, job: Any) -> Any:
        if failures.get(job["id"], 0):
            failures[job["id"]] -= 1
            raise OSError("away")
        return await begin(workflow, job)

    monkeypatch.setattr(DBOS, "start_workflow_async", start)
    await store.submit(jobs_of(3, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor), asyncio.timeout(120):  # so as not to hang where it is broken
        for n in (1, 3, 2):
            assert (await end_of(store, f"job-{n}")).state is JobState.DONE
    assert failures == {"job-2": 0}
    assert vendor.wire == {1: 1, 2: 1, 3: 1}


# --- workers that were thought dead ---------------------------------------------------------


@pytest.fixture
async def other(store: Store) -> AsyncIterator[JobDatabase]:
    """The database of another worker of the same store."""
    database = JobDatabase(store.url)
    yield database
    database.close()


async def test_a_worker_that_was_taken_over_from_lets_go(
    store: Store, other: JobDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next heartbeat finds that others have taken its jobs."""
    released = asyncio.Event()

    async def hear(self: WorkerRuntime) -> None:
        del self
        released.set()

    monkeypatch.setattr(WorkerRuntime, "_release_lost_jobs", hear)
    async with at_work(store, Vendor()), asyncio.timeout(120):  # so as not to hang if it is broken
        taken_at = None
        while taken_at is None:  # its heartbeat may come in between
            seen = (await other.run(send_heartbeat, "other"))[1]
            ((worker, heartbeat_at),) = (one for one in seen.items() if one[0] != "other")
            taken_at = await other.run(take_over, "other", worker, heartbeat_at)
        await released.wait()


async def test_what_is_begun_during_the_look_is_not_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that was thought dead ends what is others' now, and nothing that is younger."""
    tasks = {name: asyncio.create_task(asyncio.sleep(60)) for name in ("kept", "lost", "new")}
    executions = Executions()
    executions.cancellable |= {tasks["kept"], tasks["lost"]}
    executions.workflows |= {tasks["kept"]: "kept", tasks["lost"]: "lost"}

    async def pending(worker: str) -> set[str]:
        del worker
        executions.cancellable.add(tasks["new"])
        executions.workflows[tasks["new"]] = "new"
        return {"kept"}

    monkeypatch.setattr(_worker, "_pending", pending)
    worker: Any = SimpleNamespace(id="me", _context=SimpleNamespace(executions=executions))
    await WorkerRuntime._release_lost_jobs(worker)
    assert [name for name, task in tasks.items() if task.cancelling()] == ["lost"]
    for task in tasks.values():
        task.cancel()


async def test_a_worker_is_taken_over_from_only_when_two_looks_found_it_as_silent(
    store: Store, other: JobDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause of the database, all look dead at the first look, and show themselves then."""
    looks, heartbeat, done = list[int](), send_heartbeat, asyncio.Event()

    def look(database: JobDatabase, connection: Any, me: str) -> tuple[int, dict[str, int]]:
        found = heartbeat(database, connection, me)
        if me != "frozen" and "frozen" in found[1]:
            looks.append(found[1]["frozen"])
        return found

    async def hear(self: WorkerRuntime, dead: str, seen: int) -> None:
        del self
        if dead == "frozen":
            looks.append(-seen)
            done.set()

    def freeze(database: JobDatabase, connection: Any) -> None:
        heartbeat(database, connection, "frozen")
        connection.exec_driver_sql("UPDATE smspartner_workers SET seen = 1 WHERE id = 'frozen'")

    async with at_work(store, Vendor()), asyncio.timeout(60):  # so as not to hang if it is broken
        monkeypatch.setattr(_worker, "send_heartbeat", look)
        monkeypatch.setattr(WorkerRuntime, "_take_over", hear)
        await other.run(freeze)
        await done.wait()
    assert looks[:3] == [1, 1, -1]


# --- ending ---------------------------------------------------------------------------------


async def test_a_payment_finishes_however_often_its_worker_is_stopped(
    store: Store, tmp_path: Path
) -> None:
    """A second cancellation does not cut a paid request off from its journal."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [after(0.6, rented(1))]}, states={"tok-1": 1})
    sent = asyncio.Event()

    async def work() -> None:
        async with at_work(store, vendor) as server:
            await until_rent(server)
            sent.set()
            await asyncio.sleep(60)

    worker = asyncio.create_task(work())
    await sent.wait()
    for _ in range(3):
        worker.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await worker
    record = await store.record("job-1")
    assert (record.state, record.token) == (JobState.WAITING, "tok-1")
