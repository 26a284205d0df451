"""Runs of durable rentals in which something is killed, and what must hold after each.

Used by `python -m benchmarks durability`, and by the tests in short.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define, field, frozen

from smspartner_async.durable import JobState, Store

from .durable_audit import Audit, audit
from .durable_processes import AT_ONCE, KEY, MOMENTS, jobs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from smspartner_async.batch import RentalJob
    from smspartner_async.durable import JobRecord

ROOT: Final = Path(__file__).resolve().parent.parent
PATIENCE: Final = 300.0  # seconds for anything that a run waits for
_DIARY: Final = "deaths.log"


def started(
    program: str, options: dict[str, Any], log: Path, root: Path = ROOT
) -> subprocess.Popen[str]:
    """Start one of `durable_processes`; what it has to complain of goes to `log`."""
    with log.open("a") as errors:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.durable_processes", program, json.dumps(options)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


@define
class VendorProcess:
    """The counting sandbox."""

    _process: subprocess.Popen[str]
    url: str
    key: str = KEY

    @classmethod
    @contextmanager
    def running(
        cls, log: Path, *, delay: float = 0.0, speed: float = 20.0, busy: bool = False
    ) -> Iterator[Self]:
        """Run one."""
        options = {"delay": delay, "speed": speed, "busy": busy}
        with started("vendor", options, log) as process:
            try:
                assert process.stdout is not None  # noqa: S101 - a pipe was asked for
                yield cls(process, process.stdout.readline().strip())
            finally:
                process.kill()

    def report(self) -> dict[str, Any]:
        """Ask what it knows."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        report: dict[str, Any] = json.loads(self._process.stdout.readline())
        return report


@define
class WorkerProcess:
    """A worker, to be killed."""

    options: dict[str, Any]
    log: Path
    root: Path = ROOT
    """Where the release lies that it runs."""
    process: subprocess.Popen[str] = field(init=False)

    def start(self, die: tuple[str, int] | None = None) -> None:
        """Start it, without waiting until it works; `die` names a moment at which it dies."""
        options = self.options if die is None else self.options | {"die": die}
        self.process = started("worker", options, self.log, self.root)

    def at_work(self) -> None:
        """Wait until it works, or has ended."""
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        self.process.stdout.readline()

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> int:
        """Kill it, if it lives; its exit code."""
        self.signal(signal.SIGKILL)
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return code


class PostgresMissingError(Exception):
    """There is no Postgres on this machine."""


@define
class Postgres:
    """A Postgres server of this process, on a unix socket in a new folder."""

    _folder: Path
    _bin: Path
    _user: str | None

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """Run one, as a user who is not root; leaves nothing behind.

        Raises:
            PostgresMissingError: it is not installed.
        """
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        initdb = str(found[-1]) if found else shutil.which("initdb")
        if initdb is None:
            raise PostgresMissingError("Postgres (initdb) is not installed")
        user = None
        if os.geteuid() == 0:  # Postgres refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = "postgres" if "postgres" in names else "nobody"
        # Not in pytest's folder, which nobody else may enter; and a socket's path is short.
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if user is not None:
            shutil.chown(folder, user)
        server = cls(folder, Path(initdb).resolve().parent, user)
        try:
            server._run(
                "initdb", "-N", "-A", "trust", "-U", "smspartner", "--no-locale", "-E", "UTF8"
            )
            server._control("start")
            try:
                yield server
            finally:
                server._control("stop", "-m", "immediate")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def store(self, name: str) -> str:
        """Make a database; its URL."""
        where = ["-h", str(self._folder), "-U", "smspartner"]
        self._run("createdb", *where, name, data=False)
        return f"postgresql://smspartner@/{name}?host={self._folder}"

    def restart(self) -> None:
        """Break every connection, as a crash does, and come back."""
        self._control("restart", "-m", "immediate")

    def _control(self, *command: str) -> None:
        options = f"-c listen_addresses='' -k {self._folder} -c max_connections=200"
        self._run("pg_ctl", *command, "-w", "-o", options, "-l", str(self._folder / "log"))

    def _run(self, program: str, *arguments: str, data: bool = True) -> None:
        where = ["-D", str(self._folder / "data")] if data else []
        subprocess.run(  # noqa: S603 - Postgres's own programs
            [str(self._bin / program), *where, *arguments],
            user=self._user,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )


@define
class Run:
    """One store, one vendor, some workers, and what is done to them."""

    url: str
    folder: Path
    vendor: VendorProcess
    workers: list[WorkerProcess]
    chance: random.Random
    kills: int = 0
    freezes: int = 0

    @classmethod
    @contextmanager
    def prepared(
        cls,
        url: str,
        folder: Path,
        *,
        workers: int = 1,
        seed: int = 0,
        delay: float = 0.05,
        speed: float = 20.0,
        busy: bool = False,
        polling: Mapping[str, float] | None = None,
        **options: Any,
    ) -> Iterator[Self]:
        """Prepare a run; whatever it has started is ended afterwards."""
        with ExitStack() as stack:
            log = folder / "errors.log"
            vendor = stack.enter_context(
                VendorProcess.running(log, delay=delay, speed=speed, busy=busy)
            )
            crew = [
                WorkerProcess(
                    {
                        "vendor": vendor.url,
                        "store": url,
                        # Each as on a separate machine, save one that is alone.
                        "journal": str(folder / f"journal-{number}"),
                        "worker": options,
                        "diary": str(folder / _DIARY),
                    }
                    | ({} if polling is None else {"polling": dict(polling)}),
                    log,
                )
                for number in range(workers)
            ]
            run = cls(url, folder, vendor, crew, random.Random(seed))  # noqa: S311 - not secret
            for worker in crew:
                worker.start()
                stack.callback(worker.end)
            yield run

    @property
    def deaths(self) -> Counter[str]:
        """How many workers have died at which moment."""
        diary = self.folder / _DIARY
        return Counter(diary.read_text("utf-8").splitlines() if diary.exists() else ())

    def kill(self, worker: WorkerProcess, then_at: str | None = None) -> None:
        """End a worker as a power cut does, and start it again, to die once more at a moment."""
        self.kills += worker.process.poll() is None
        worker.end()
        worker.start(None if then_at is None else (then_at, self.chance.randint(1, 2)))

    def freeze(self, worker: WorkerProcess, seconds: float) -> None:
        """Let a worker miss some seconds of its life."""
        self.freezes += 1
        worker.signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.signal(signal.SIGCONT)

    def finish(self) -> None:
        """Let the workers end by themselves; start again those that fail, as a service is."""
        deadline = time.monotonic() + PATIENCE
        while at_work := [worker for worker in self.workers if worker.process.poll() != 0]:
            for worker in at_work:
                if worker.process.poll() is not None:
                    worker.end()
                    worker.start()
            if time.monotonic() > deadline:
                log = (self.folder / "errors.log").read_text()[-4000:]
                raise TimeoutError(f"The workers do not come to an end.\n{log}")
            time.sleep(0.2)

    def audit(self) -> Audit:
        """Compare the books of store and vendor."""
        return audit(asyncio.run(_records(self.url)), self.vendor.report())

    def audits(self) -> tuple[Audit, Audit]:
        """Compare the books now, and after a person has settled what needs attention."""
        first = self.audit()
        if not first.attention:
            return first, first
        tokens = {f"job-{r['job']}": r["token"] for r in self.vendor.report()["rentals"]}
        asyncio.run(_settle(self.url, tokens))
        for worker in self.workers:
            worker.end()
            worker.start()
        self.finish()
        return first, self.audit()


async def submit(url: str, jobs: Iterable[RentalJob]) -> None:
    """Put jobs into a store."""
    async with Store(url) as store:
        await store.submit(jobs)


async def _records(url: str) -> tuple[JobRecord, ...]:
    async with Store(url) as store:
        return await store.records()


async def _settle(url: str, tokens: dict[str, str]) -> None:
    async with Store(url) as store:
        for record in await store.records(JobState.NEEDS_ATTENTION):
            token = tokens.get(record.id)
            await store.resolve(record.id, token=token, not_charged=token is None)


def sqlite_run(folder: Path, seed: int, *, jobs: int = 8) -> tuple[Audit, Audit, Run]:
    """Kill a worker on SQLite again and again, until all is done.

    First at one of the `MOMENTS`, then at random times. Gives the audit, the one after a person has
    settled what was unknown, and what was done.
    """
    url = f"sqlite:///{folder}/rentals.db"
    asyncio.run(submit(url, jobs_of(jobs, folder)))
    with Run.prepared(url, folder, seed=seed, busy=True, take_over_after=2.0, concurrency=4) as run:
        (worker,) = run.workers
        run.kill(worker, MOMENTS[seed % len(MOMENTS)])
        worker.process.wait(PATIENCE)
        for _ in range(run.chance.randint(1, 4)):
            worker.at_work()
            time.sleep(run.chance.uniform(0, 0.8))
            run.kill(worker)
        run.finish()
        return *run.audits(), run


def postgres_run(
    postgres: Postgres, folder: Path, seed: int, *, jobs: int = 60, rounds: int = 8
) -> tuple[Audit, Audit, Run]:
    """Kill and freeze three workers at random, and restart Postgres in the middle."""
    url = postgres.store(f"run_{seed}")
    asyncio.run(submit(url, jobs_of(jobs, folder)))
    with Run.prepared(
        url, folder, workers=3, seed=seed, delay=0.3, busy=True, take_over_after=2.0, concurrency=6
    ) as run:
        time.sleep(1.5)
        for number in range(rounds):
            time.sleep(run.chance.uniform(0.2, 1.2))
            worker = run.chance.choice(run.workers)
            if number == rounds // 2:
                postgres.restart()
            elif run.chance.choice((True, False)):
                run.kill(worker, run.chance.choice((None, *MOMENTS)))
            else:  # as long as it takes the others to think it dead, and to take over
                run.freeze(worker, run.chance.uniform(0.5, 6.0))
        run.finish()
        return *run.audits(), run


def scaling_run(
    url: str, folder: Path, *, jobs: int, workers: int
) -> tuple[Audit, float, Counter[str | None]]:
    """Take many jobs through some workers; the audit, the seconds, and what each has done."""
    with Run.prepared(
        url, folder, workers=workers, delay=0.0, speed=10**6, concurrency=AT_ONCE
    ) as run:
        for worker in run.workers:
            worker.at_work()
        started = time.monotonic()
        asyncio.run(submit(url, jobs_of(jobs, folder)))
        run.finish()
        seconds = time.monotonic() - started
        records = asyncio.run(_records(url))
        shares = Counter(record.worker for record in records)
        return audit(records, run.vendor.report()), seconds, shares


@frozen
class BudgetRun:
    """What came at the vendor's while workers polled under one budget."""

    requests: int
    window: float
    most: int
    """Requests in the fullest window of so many seconds."""
    allowed: int


def budget_run(url: str, folder: Path, *, per_minute: float, seconds: float) -> BudgetRun:
    """Let two workers wait for many rentals under one budget, and count what comes."""
    jobs = 60
    asyncio.run(submit(url, jobs_of(jobs, folder)))
    with Run.prepared(
        url, folder, workers=2, delay=0.0, speed=0.01, max_requests_per_minute=per_minute
    ) as run:
        for worker in run.workers:
            worker.at_work()
        time.sleep(seconds)
        times: list[float] = run.vendor.report()["times"]
    window = seconds / 2
    most = max(sum(begin <= t < begin + window for t in times) for begin in times)
    # A permit is used up to half a second late.
    return BudgetRun(len(times), window, most, int((window + 0.5) * per_minute / 60) + 1)
