"""Workers of release 0.1 and of this one share a store, as during an upgrade."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from paths import ROOT
from store_work import late_token, unknown

from benchmarks.durable_processes import jobs_of
from benchmarks.durable_runs import Run, VendorProcess, WorkerProcess, submit
from smspartner_async.durable import JobState, Store
from smspartner_async.durable._database.jobs import update_jobs

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = "fdfa443"
READER = """
import asyncio, json, sys
from smspartner_async.durable import Store
async def main():
    async with Store(sys.argv[1]) as store:
        records = await store.records()
        seen = [record async for record in store.watch([record.id for record in records[:1]])]
        known = [[one.id, one.state.value, one.run, one.token] for one in records]
        print(json.dumps(known))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def release_0_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Release 0.1, where the repository has its history."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path_factory.mktemp("release-0.1")
    archive = subprocess.run(  # noqa: S603 - git itself
        ["git", "-C", str(ROOT), "archive", RELEASE, "smspartner_async", "benchmarks"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        pytest.skip("the history of the repository is not here")
    unpack = ["tar", "-x", "-C", str(folder)]
    subprocess.run(unpack, input=archive.stdout, check=True)  # noqa: S603 - a fixed command
    return folder


def is_of_release_0_1(part: Path) -> bool:
    """Whether a part is of release 0.1, which proves none whole, and finishes none after a kill.

    This one writes what a head said before any byte of its body.
    """
    sidecar = part.with_name(f"{part.name}.json")
    return not sidecar.exists() or '"framing"' not in sidecar.read_text("utf-8")


@pytest.mark.skipif(
    sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42),
    reason="release 0.1 needs SQLite 3.42 under Python 3.12 and newer",
)
@pytest.mark.usefixtures("quick_processes")
@pytest.mark.parametrize("seed", [1, 2] if os.environ.get("CI_LONG") else [1])
def test_workers_of_both_releases_share_a_store_through_a_whole_batch(
    release_0_1: Path, tmp_path: Path, seed: int
) -> None:
    """Killed again and again, in turn: no job is paid twice, and no charge is lost."""
    url, log = f"sqlite:///{tmp_path}/rentals.db", tmp_path / "errors.log"
    asyncio.run(submit(url, jobs_of(16, tmp_path)))
    with VendorProcess.running(log, delay=0.1, speed=20.0) as vendor:
        workers = [
            WorkerProcess(
                {
                    "vendor": vendor.url,
                    "store": url,
                    "journal": str(tmp_path / "rentals.db.journal"),
                    "worker": {"take_over_after": 2.0, "concurrency": 4},
                },
                log,
                root=root,
            )
            for root in (release_0_1, ROOT)
        ]
        run = Run(url, tmp_path, vendor, workers, random.Random(seed))
        try:
            for worker in workers:
                worker.start()
            for number in range(6):
                worker = workers[(number + seed) % 2]
                worker.at_work()
                time.sleep(run.chance.uniform(0, 0.8))
                run.kill(worker)
            run.finish()
            first, settled = run.audits()
        finally:
            for worker in workers:
                worker.end()
    assert run.kills > 0
    old = sum(map(is_of_release_0_1, tmp_path.glob("*.part")))
    for books in (first, settled):
        assert books.lost_whole <= old, books
        assert evolve(books, lost_whole=0).holds, books
    assert (settled.charges, settled.attention) == (16, 0)


async def test_release_0_1_reads_what_this_one_writes(
    store: Store, release_0_1: Path, tmp_path: Path
) -> None:
    """Withdrawn, settled anew, with a late token, parked with what it does not know."""
    await unknown(store, tmp_path)
    await store.submit([evolve(job, path=tmp_path / job.id) for job in jobs_of(4, tmp_path)[1:]])
    await store.withdraw("job-2")
    await store.withdraw("job-3")
    await store.submit([evolve(job, path=tmp_path / job.id) for job in jobs_of(3, tmp_path)[2:]])
    await store._database.run(update_jobs, [late_token("job-4") | {"in_run": 0}])
    assert (await store.record("job-1")).attention["holder_done"]
    read = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", READER, str(store.url)],
        cwd=release_0_1,
        capture_output=True,
        text=True,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == [
        ["job-1", JobState.NEEDS_ATTENTION.value, 1, None],
        ["job-2", JobState.GIVEN_UP.value, 1, None],
        ["job-3", JobState.QUEUED.value, 2, None],
        ["job-4", JobState.QUEUED.value, 2, "tok-late"],
    ]
