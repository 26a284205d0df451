"""A watch ends whatever the clocks of a database and its workers do."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from paths import ROOT
from store_jobs import jobs_of

from smspartner_async.durable import JobState, Store
from smspartner_async.durable._database.tables import JOBS, SECOND

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable._database.database import JobDatabase

WRITER = """
import asyncio, sys
import sqlalchemy as sa
from smspartner_async.durable import Store
from smspartner_async.durable._database.tables import JOBS
async def main():
    async with Store(sys.argv[1]) as store:
        def end(database, connection):
            connection.execute(sa.update(JOBS).values(state="given_up", changed=database.now))
        await store._database.run(end)
asyncio.run(main())
"""


async def states_of(store: Store) -> list[JobState]:
    async with asyncio.timeout(120):  # so as not to hang where it is broken
        return [record.state async for record in store.watch(interval=0.05)]


@pytest.mark.parametrize("shift", ["-1h", "+1h", "-5s", "+5s"])
async def test_a_change_of_a_process_whose_clock_is_wrong_is_seen(
    store: Store, tmp_path: Path, shift: str
) -> None:
    """SQLite takes the time of the process that writes: here it is shifted by libfaketime."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("faketime is not installed")
    await store.submit(jobs_of(1, tmp_path))
    watching = asyncio.create_task(states_of(store))
    await asyncio.sleep(0.3)
    written = await asyncio.to_thread(
        subprocess.run,
        [faketime, "-f", shift, sys.executable, "-c", WRITER, str(store.url)],
        cwd=ROOT,
        env={**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
        check=False,
    )
    assert written.returncode == 0
    assert await watching == [JobState.QUEUED, JobState.GIVEN_UP]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_job_that_comes_while_clocks_differ_is_watched_to_its_end(
    store: Store, tmp_path: Path, hours: int
) -> None:
    """Its rows bear times of another clock from the beginning to the end."""
    await store.submit(jobs_of(1, tmp_path))

    def change(state: str) -> None:
        def work(database: JobDatabase, connection: sa.Connection) -> None:
            moment = database.now + hours * 3600 * SECOND
            connection.execute(sa.update(JOBS).values(state=state, changed=moment))

        tasks.append(asyncio.ensure_future(store._database.run(work)))

    tasks: list[asyncio.Future[None]] = []
    loop = asyncio.get_running_loop()
    for number, state in enumerate(("renting", "waiting", "given_up"), 1):
        loop.call_later(0.8 * number, change, state)
    seen = await states_of(store)
    await asyncio.gather(*tasks)
    assert seen[0] is JobState.QUEUED
    assert seen[-1] is JobState.GIVEN_UP
