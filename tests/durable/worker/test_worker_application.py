"""An application that runs DBOS already: our workflows on its own instance."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dbos import DBOS
from fault_server import FaultServer
from scripted import KEY, Vendor, client_of
from store_jobs import jobs_of
from store_work import end_of, until_waiting

from smspartner_async import ConfigurationError
from smspartner_async.durable import JobState, Store, _context, _worker, _workflow
from smspartner_async.durable._database.urls import (
    create_dbos_engine,
    dispose_dbos_engine,
    parse_store_url,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from smspartner_async import SMSPartnerClient
    from smspartner_async.sandbox import Sandbox


@DBOS.workflow(name="application.greeting")
async def greeting(name: str) -> str:
    return f"hello {name}"


@asynccontextmanager
async def application(folder: Path, **config: str) -> AsyncIterator[DBOS]:
    # DBOS's own engine needs SQLite 3.42 under Python 3.12 and newer.
    engine = create_dbos_engine(parse_store_url(f"sqlite:///{folder}/application.db"))
    assert engine is not None
    try:
        dbos = DBOS(
            config={
                "name": "some-application",
                "system_database_engine": engine,
                "application_version": "7",
                **config,  # type: ignore[typeddict-item]
            }
        )
        DBOS.launch()
        yield dbos
    finally:
        await asyncio.to_thread(DBOS.destroy)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        dispose_dbos_engine(engine)


async def running_in(process: str) -> int:
    """How many workflows DBOS has running in a process."""
    found = await DBOS.list_workflows_async(status="PENDING", executor_id=process)
    return len(found)


async def test_an_application_lends_its_own_dbos(
    store: Store, client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Our jobs run on its instance, beside its own workflows, which do not end with the worker."""
    async with application(tmp_path, executor_id="machine-1") as dbos:
        await store.submit(jobs_of(3, tmp_path))
        async with store.worker(client, dbos=dbos) as worker:
            assert worker.id == "machine-1"
            for number in (1, 2, 3):
                assert (await end_of(store, f"job-{number}")).state is JobState.DONE
            assert await greeting("while a worker works") == "hello while a worker works"
        assert await greeting("afterwards") == "hello afterwards"
        # DBOS writes the end of a workflow down after the job's own.
        done = await DBOS.list_workflows_async(name="smspartner.rental")
        ends: list[None] = [
            await (await DBOS.retrieve_workflow_async(flow.workflow_id)).get_result()
            for flow in done
        ]
        assert ends == [None, None, None]
        assert {workflow.app_version for workflow in done} == {"7"}
    assert len(sandbox.rentals) == 3


@asynccontextmanager
async def served_application(
    vendor: Vendor, tmp_path: Path
) -> AsyncIterator[tuple[SMSPartnerClient, DBOS]]:
    """A vendor, a client of it, and an application's DBOS, for two minutes at most."""
    async with (
        asyncio.timeout(120),  # so as not to hang where it is broken
        FaultServer(default=vendor) as server,
        client_of(server) as client,
        application(tmp_path, executor_id="machine-1") as dbos,
    ):
        yield client, dbos


async def test_jobs_of_an_application_continue_with_its_next_worker(
    store: Store, tmp_path: Path
) -> None:
    """A worker that ends while jobs wait hands them to the next one of the same process, at once.

    No worker counts as dead within this test, and nobody looks for orphans.
    """
    await store.submit(jobs_of(2, tmp_path))
    vendor = Vendor(states={"tok-1": 1, "tok-2": 1})
    async with served_application(vendor, tmp_path) as (client, dbos):
        async with store.worker(client, take_over_after=3600, dbos=dbos):
            await until_waiting(store, 2)
        vendor.states.clear()
        async with store.worker(client, take_over_after=3600, dbos=dbos):
            for number in (1, 2):
                assert (await end_of(store, f"job-{number}")).state is JobState.DONE
    assert vendor.wire == {1: 1, 2: 1}


async def test_what_dbos_executes_here_again_is_not_queued_a_second_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that a worker handed over, and DBOS gave back to this process, has one execution."""
    await store.submit(jobs_of(1, tmp_path))
    vendor, begun, again = Vendor(states={"tok-1": 1}), asyncio.Event(), list[list[str]]()
    wait: Any = _context.wait_for_worker

    async def waiting() -> Any:
        begun.set()
        return await wait()

    async def resume(workflows: Iterable[str]) -> None:
        again.append([*workflows])

    async with served_application(vendor, tmp_path) as (client, dbos):
        async with store.worker(client, take_over_after=3600, dbos=dbos):
            await until_waiting(store, 1)
        vendor.states.clear()
        monkeypatch.setattr(_workflow, "wait_for_worker", waiting)
        await DBOS.resume_workflows_async(["smspartner:job-1:1"])  # as one elsewhere would
        await begun.wait()
        monkeypatch.setattr(_worker, "_resume", resume)
        async with store.worker(client, take_over_after=3600, dbos=dbos):
            assert (await end_of(store, "job-1")).state is JobState.DONE
    assert again == [[]]
    assert vendor.wire == {1: 1}


PROGRAM = """
import asyncio, sys
from dbos import DBOS
from smspartner_async import PollingPolicy, SMSPartnerClient
from smspartner_async.durable import Store
from smspartner_async.durable._database.urls import create_dbos_engine, parse_store_url

async def main(folder, url, key, name):
    engine = create_dbos_engine(parse_store_url(f"sqlite:///{folder}/application.db"))
    dbos = DBOS(config={"name": "some-application", "system_database_engine": engine,
                 "application_version": "7", "executor_id": name})
    DBOS.launch()
    quick = PollingPolicy(first_interval=0.05, max_interval=0.2)
    async with (
        Store(f"sqlite:///{folder}/rentals.db") as store,
        SMSPartnerClient(key, base_url=url, polling=quick) as client,
        store.worker(client, take_over_after=0.8, dbos=dbos),
    ):
        await asyncio.sleep(300)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_dbos_hands_to_a_process_without_a_worker_is_taken_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DBOS lets every process of an application take part; workers get the jobs all the same.

    No file is ready before the first worker is dead: it dies in no download.
    """
    monkeypatch.setattr(_context, "_WORKER_TIMEOUT", 0.3)
    await store.submit(jobs_of(3, tmp_path))
    vendor = Vendor(states={"tok-1": 1, "tok-2": 1, "tok-3": 1})
    async with (
        asyncio.timeout(240),  # so as not to hang where it is broken
        FaultServer(default=vendor) as server,
    ):
        with ExitStack() as ends:

            def worker(name: str) -> subprocess.Popen[bytes]:
                words = (str(tmp_path), server.base_url, KEY, name)
                command = [sys.executable, "-c", PROGRAM, *words]
                process = subprocess.Popen(command)  # noqa: S603 - ours
                ends.callback(process.wait)
                ends.callback(process.kill)
                return process

            first = worker("machine-1")
            await until_waiting(store, 3)
            first.kill()
            async with application(tmp_path, executor_id="web"):
                await DBOS.resume_workflows_async([f"smspartner:job-{n}:1" for n in (1, 2, 3)])
                while await running_in("web") < 3:  # noqa: ASYNC110 - another thread
                    await asyncio.sleep(0.01)
                vendor.states.clear()
                worker("machine-2")
                for n in (1, 2, 3):
                    record = await end_of(store, f"job-{n}")
                    assert (record.state, record.run) == (JobState.DONE, 1), record.error
    assert vendor.wire == {1: 1, 2: 1, 3: 1}
    assert vendor.served == {"tok-1": 1, "tok-2": 1, "tok-3": 1}


async def test_an_instance_with_the_default_executor_id_is_refused(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """DBOS's default executor_id is the same for all processes, which would do the same jobs."""
    async with application(tmp_path) as dbos:
        with pytest.raises(ConfigurationError, match="executor_id"):
            async with store.worker(client, dbos=dbos):
                pass


async def test_an_instance_that_was_not_passed_is_not_touched(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """DBOS takes one configuration for each process: a second one would silently be ignored."""
    async with application(tmp_path, executor_id="machine-1"):
        with pytest.raises(ConfigurationError, match="dbos="):
            async with store.worker(client):
                pass
        assert await greeting("still") == "hello still"
