"""Workers for the tests of durable rentals, and how long to wait for what they do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fault_server import FaultServer
from faults import close_before_head
from scripted import Vendor, client_of
from store_jobs import jobs_of

from smspartner_async.durable import JobState
from smspartner_async.durable._records import dump_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from smspartner_async.durable import JobRecord, Store
    from smspartner_async.durable._records import Job

LOST = close_before_head()


@asynccontextmanager
async def at_work(store: Store, vendor: Vendor, **options: Any) -> AsyncIterator[FaultServer]:
    """Run a worker whose vendor answers as scripted."""
    async with (
        FaultServer(default=vendor) as server,
        client_of(server) as client,
        store.worker(client, take_over_after=0.4, **options),
    ):
        yield server


async def end_of(store: Store, job_id: str) -> JobRecord:
    """Wait until a job is not open."""
    async for _ in store.watch([job_id], interval=0.02):
        pass
    return await store.record(job_id)


async def until_rent(server: FaultServer) -> None:
    """Wait until a rent has come to the vendor."""
    while not server.count("rent"):  # noqa: ASYNC110 - the server is no part of this
        await asyncio.sleep(0.01)


async def until_waiting(store: Store, count: int) -> None:
    """Wait until so many jobs are paid, and their files are being made."""
    while len(await store.records(JobState.WAITING)) < count:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.02)


def late_token(job_id: str) -> dict[str, Any]:
    """What a worker that was frozen writes down when it has its answer at last."""
    late = {"job": job_id, "in_run": 1, "by": "frozen", "new_state": "waiting"}
    return late | {"new_token": "tok-late", "new_price": None, "new_facts": ""}


async def unknown(store: Store, folder: Path) -> JobRecord:
    """Bring a job of this store to where it needs attention."""
    await store.submit(jobs_of(1, folder))
    async with at_work(store, Vendor({1: [LOST]})):
        return await end_of(store, "job-1")


def job_of(folder: Path) -> Job:
    """Job 1 as its workflow gets it."""
    (job,) = jobs_of(1, folder)
    return {"id": job.id, "run": 1, "content": dump_job(job), "token": None, "price": None}
