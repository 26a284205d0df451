"""What durable rentals cost: a job on its way, and a job that waits."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from smspartner_async.durable import JobState, Store

from .durable_processes import jobs_of
from .durable_runs import PATIENCE, Run, VendorProcess, started, submit

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SETTLING: Final = 3.0  # seconds, before anything is measured


@frozen
class Cost:
    """What so many jobs took."""

    jobs: int
    seconds: float
    cpu: float
    """Seconds of the worker's process."""


def cost_of(
    program: str, url: str, folder: Path, *, jobs: int, first: int = 1, warm: int = 0
) -> Cost:
    """Time the whole path (`timed`), or workflows of empty steps (`bare`), in a process alone."""
    log = folder / "errors.log"
    with VendorProcess.running(log, speed=10**6) as vendor:
        options = {"vendor": vendor.url, "store": url, "folder": str(folder)}
        numbers = {"jobs": jobs, "first": first, "warm": warm}
        with started(program, options | numbers, log) as process:
            try:
                written = process.communicate(timeout=max(jobs, PATIENCE))[0].strip()
            finally:
                process.kill()
    if not written:
        raise RuntimeError(log.read_text("utf-8"))
    return Cost(jobs - warm, *json.loads(written.rpartition("\n")[2]))


@frozen
class Waiting:
    """A worker all of whose jobs wait."""

    waiting: int
    charges: int
    memory: int
    """Bytes of the worker's process in RAM."""
    rows: int
    """Of all tables of the database."""
    requests: float
    """That came at the vendor's, a second."""
    cpu: float
    """Seconds of the worker's process, a second."""


def waiting_run(folder: Path, counts: Iterable[int], *, seconds: float) -> list[Waiting]:
    """Let ever more jobs wait in one worker on SQLite, and look on for some seconds each time."""
    database = folder / "rentals.db"
    url = f"sqlite:///{database}"
    found = []
    with Run.prepared(url, folder, delay=0.0, speed=1e-6, polling={}) as run:
        (worker,) = run.workers
        worker.at_work()
        for count in counts:
            asyncio.run(submit(url, jobs_of(count, folder)))
            waiting = asyncio.run(_waiting(url, count))
            time.sleep(_SETTLING)
            before = len(run.vendor.report()["times"]), _cpu(worker.process.pid)
            time.sleep(seconds)
            cpu = _cpu(worker.process.pid) - before[1]
            report = run.vendor.report()
            found.append(
                Waiting(
                    waiting=waiting,
                    charges=len(report["rentals"]),
                    memory=_memory(worker.process.pid),
                    rows=_rows(database),
                    requests=(len(report["times"]) - before[0]) / seconds,
                    cpu=cpu / seconds,
                )
            )
    return found


async def _waiting(url: str, count: int) -> int:
    """Wait until so many jobs wait, or until no more come; return how many do."""
    async with Store(url) as store:
        known, patience = 0, time.monotonic() + PATIENCE / 5
        while known < count and time.monotonic() < patience:
            await asyncio.sleep(1)
            now = len(await store.records(JobState.WAITING))
            if now > known:
                known, patience = now, time.monotonic() + PATIENCE / 5
        return known


def _rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        counts = [f'SELECT count(*) FROM "{name}"' for (name,) in tables]  # noqa: S608 - no input
        return sum(int(connection.execute(count).fetchone()[0]) for count in counts)


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
