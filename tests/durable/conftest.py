"""What the tests of durable rentals share: a sandbox, a store, a worker's context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("dbos", reason="the extra 'durable' is not installed")

from dbos_tables import migrations_run_once  # noqa: F401
from fault_server import FaultServer
from scripted import Vendor, client_of
from store_jobs import jobs_of

from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient
from smspartner_async.durable import Store
from smspartner_async.durable._context import WorkerContext, registered
from smspartner_async.durable._database.jobs import take_jobs
from smspartner_async.durable._database.workers import send_heartbeat
from smspartner_async.durable._journal import Journal
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUICK = PollingPolicy(first_interval=0.05, max_interval=0.2)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(speed=100) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[SMSPartnerClient]:
    async with SMSPartnerClient(
        sandbox.api_key,
        base_url=sandbox.base_url,
        polling=QUICK,
        retry=RetryPolicy(attempts=2, first_delay=0.01),
    ) as client:
        yield client


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store:
        yield store


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
async def server(vendor: Vendor) -> AsyncIterator[FaultServer]:
    async with FaultServer(default=vendor) as server:
        yield server


@pytest.fixture
async def context(
    server: FaultServer, store: Store, tmp_path: Path
) -> AsyncIterator[WorkerContext]:
    """A context with one job in its store, that it has taken."""
    await store.submit(jobs_of(1, tmp_path))
    database, journal = store._database, Journal.open(tmp_path / "journal", None)
    heartbeat_at, _ = await database.run(send_heartbeat, journal.worker_id)
    await database.run(take_jobs, journal.worker_id, heartbeat_at, 1)
    async with client_of(server) as client:
        context = WorkerContext(client=client, database=database, journal=journal)
        with registered(context):
            yield context
    journal.close()
