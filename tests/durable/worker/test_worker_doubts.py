"""What a worker does about doubts and ids, without the workflows: on its store and its journal."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from scripted import Vendor
from store_jobs import jobs_of
from store_work import at_work, until_waiting

from smspartner_async import ConfigurationError
from smspartner_async.durable import JobState, Store, _worker
from smspartner_async.durable._database.database import JobDatabase
from smspartner_async.durable._database.tables import JOBS
from smspartner_async.durable._database.workers import send_heartbeat
from smspartner_async.durable._worker import WorkerRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable._context import WorkerContext


@pytest.fixture
def worker(context: WorkerContext, tmp_path: Path) -> WorkerRuntime:
    """The worker whose context it is. It has no DBOS, and begins no job."""
    worker = WorkerRuntime(
        client=context.client,
        database=context.database,
        folder=tmp_path / "journal",
        beside_store=True,
        worker_id=None,
        concurrency=1,
        max_requests_per_minute=None,
        take_over_after=3600,
        require_max_total=False,
        dbos=None,
    )
    worker._context = context
    return worker


async def put_in_doubt(context: WorkerContext, **claim: str) -> None:
    """Leave job-1 with a claim, and without a price in its row."""
    facts = json.dumps({"error": "lost", "attention": {"nonce": "mine", **claim}})

    def put(_: JobDatabase, connection: sa.Connection) -> None:
        doubt = {"state": JobState.NEEDS_ATTENTION.value, "facts": facts}
        connection.execute(sa.update(JOBS).values(**doubt))

    await context.database.run(put)


# --- doubts ---------------------------------------------------------------------------------


async def test_a_doubt_ends_with_the_token_of_the_workers_own_journal(
    worker: WorkerRuntime, context: WorkerContext, store: Store
) -> None:
    """The job continues from it, with the price that its claim was made for."""
    await put_in_doubt(context, worker=worker.id, price="1.80")
    context.journal.write(nonce="mine", job="job-1", run=1, token="tok-1")
    await worker._reconcile()
    record = await store.record("job-1")
    assert (record.state, record.run, record.token) == (JobState.QUEUED, 2, "tok-1")
    assert record.price == Decimal("1.80")
    assert record.attention == {}


async def test_a_doubt_about_another_workers_claim_is_left_to_that_worker(
    worker: WorkerRuntime, context: WorkerContext, store: Store
) -> None:
    """It may still send its rent: nobody else can say that it does not."""
    await put_in_doubt(context, worker="elsewhere")
    await worker._reconcile()
    assert "holder_done" not in (await store.record("job-1")).attention


@pytest.mark.parametrize("paying", [True, False])
async def test_a_doubt_is_marked_when_its_own_worker_sends_nothing_more(
    worker: WorkerRuntime, context: WorkerContext, store: Store, *, paying: bool
) -> None:
    """And not while this process is paying with the claim."""
    await put_in_doubt(context, worker=worker.id)
    if paying:
        context.executions.paying.add("mine")
    await worker._reconcile()
    assert (await store.record("job-1")).attention.get("holder_done", False) is not paying


# --- ids ------------------------------------------------------------------------------------


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the worker has waited. The store is one that other machines use, too."""
    monkeypatch.setattr(JobDatabase, "is_sqlite", False)
    pauses = list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


async def test_an_id_whose_worker_sends_a_heartbeat_is_refused(
    worker: WorkerRuntime, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its first one, even if that comes late: heartbeats are due after 900 s."""

    async def live_on(seconds: float) -> None:
        pauses.append(seconds)
        if sum(pauses) > 1700:
            time.sleep(0.002)  # noqa: ASYNC251 - SQLite's clock counts in milliseconds
            await worker.database.run(send_heartbeat, worker.id)

    await worker.database.run(send_heartbeat, worker.id)
    monkeypatch.setattr(asyncio, "sleep", live_on)
    with pytest.raises(ConfigurationError, match="is running already"):
        await worker._register()
    assert sum(pauses) == 1800


async def test_an_id_whose_worker_is_silent_is_taken(
    worker: WorkerRuntime, pauses: list[float]
) -> None:
    """Its last heartbeat was a moment ago, and none follows: it was restarted."""
    await worker.database.run(send_heartbeat, worker.id)
    await worker._register()
    _, seen = await worker.database.run(send_heartbeat, "other")
    assert seen == {worker.id: worker._heartbeat_at}
    assert sum(pauses) == 1800


# --- workflows ------------------------------------------------------------------------------


async def test_the_pending_workflows_of_one_worker_are_those_alone(
    store: Store, tmp_path: Path
) -> None:
    """Who takes over from a dead worker resumes what was that worker's, and disturbs no other."""
    await store.submit(jobs_of(2, tmp_path))
    vendor = Vendor(states={"tok-1": 1, "tok-2": 1})

    def give_away(_: JobDatabase, connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "UPDATE workflow_status SET executor_id = 'dead' "
            "WHERE workflow_uuid = 'smspartner:job-1:1'"
        )

    async with at_work(store, vendor, worker_id="me"):
        await until_waiting(store, 2)
        await store._database.run(give_away)
        found: list[Any] = [await _worker._pending(*of) for of in (["dead"], ["me"], [])]
        vendor.states.clear()
    one, two = {"smspartner:job-1:1": "dead"}, {"smspartner:job-2:1": "me"}
    assert found == [one, two, one | two]
