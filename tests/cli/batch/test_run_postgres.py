"""Workers on Postgres, started from the command line as on several machines; one is killed.

The vendor is a separate process that keeps books, and delays both sides of a payment.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import threading
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from shell import NUMBER, posix_only, running

from .test_run import QUICKLY, write_jobs
from .test_run_stops import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("dbos")

from benchmarks import durable_runs as runs
from smspartner_async.durable import JobRecord, Store
from smspartner_async.durable._records import OPEN

JOBS = [*range(1, 13)]
pytestmark = [posix_only, pytest.mark.usefixtures("quick_processes")]
WORKER = ("worker", "--no-limit", *QUICKLY, "--concurrency", "4", "--take-over-after", "2")


@define
class Machine:
    """A computer with its own home; all have one account, one store and one folder."""

    home: Path
    vendor: Any
    url: str
    out: Path
    written: list[str] = field(factory=list)

    @contextmanager
    def running(self, *words: str) -> Iterator[Any]:
        self.home.mkdir(exist_ok=True)
        environment = {
            "HOME": str(self.home),
            "SMSPARTNER_API_KEY": self.vendor.key,
            "SMSPARTNER_BASE_URL": self.vendor.url,
        }
        with running(*words, "--store", self.url, env=environment, cwd=self.out) as process:
            yield process

    def does(self, *words: str) -> str:
        """Run a command to its end, which is a good one; what it wrote as its result."""
        with self.running(*words) as process:
            out, err = process.communicate(timeout=120)
        self.written += [out, err]
        assert process.returncode == 0, err
        return str(out)

    @contextmanager
    def works(self, name: str, *options: str) -> Iterator[Any]:
        """Start a worker, and return when it is at work; what it writes is kept throughout."""
        at_work = threading.Event()

        def listen() -> None:
            for line in process.stderr:
                self.written.append(line)
                if "is at work" in line:
                    at_work.set()

        with self.running(*WORKER, "--id", name, *options) as process:
            listener = threading.Thread(target=listen)
            listener.start()
            try:
                assert at_work.wait(120), self.written
                yield process
            finally:
                process.kill()
                listener.join()

    def stand(self) -> dict[str, Any]:
        stand: dict[str, Any] = json.loads(self.does("batch", "status", "--json"))
        return stand

    def charged(self) -> dict[int, str]:
        """The token of each job that the vendor's books know, each of them charged once."""
        rentals = self.vendor.report()["rentals"]
        times = Counter(rental["job"] for rental in rentals)
        assert set(times.values()) <= {1}, times
        return {rental["job"]: rental["token"] for rental in rentals}


@pytest.fixture
def machines(
    postgres: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Machine, Machine]]:
    url = postgres.store(f"cli_{abs(hash(request.node.name))}")
    with runs.VendorProcess.running(tmp_path / "vendor.log", delay=1.5, speed=20.0) as vendor:
        made = [Machine(tmp_path / name, vendor, url, tmp_path) for name in ("one", "two")]
        write_jobs(tmp_path, *JOBS)
        yield made[0], made[1]
        written = "".join(line for machine in made for line in machine.written)
        assert "is at work" in written
        assert vendor.key not in written
        assert NUMBER not in written


def submit(machine: Machine) -> None:
    result = machine.does("batch", "submit", "jobs.csv", "--out", ".", "--yes", "--no-limit")
    assert "12 submitted" in result


def settled(machine: Machine) -> bool:
    """Whether no job is open any more."""

    async def still_open() -> tuple[JobRecord, ...]:
        async with Store(machine.url) as store:
            return await store.records(*OPEN)

    return not asyncio.run(still_open())


def killed_while_paying(machine: Machine, worker: Any) -> bool:
    """Freeze a worker. Kill it if it has sent what is not answered yet; else let it continue."""
    worker.send_signal(signal.SIGSTOP)
    answered: dict[str, bool] = {}
    for journal in (machine.home / ".smspartner" / "journal").glob("*.jsonl"):
        for line in map(json.loads, journal.read_text().splitlines()):
            if "nonce" in line:
                answered[line["nonce"]] = "token" in line
    paying = not all(answered.values())
    worker.send_signal(signal.SIGKILL if paying else signal.SIGCONT)
    return paying


def check_files(machine: Machine) -> None:
    for number in JOBS:
        assert (machine.out / f"job{number}.csv").read_text().count(NUMBER) == 20


def test_two_workers_share_a_store_on_postgres(machines: tuple[Machine, Machine]) -> None:
    """Both rent, each job is paid once, all files are whole, and both end with 0 on SIGTERM."""
    one, two = machines
    with one.works("one") as first, two.works("two") as second:
        submit(one)
        until(lambda: settled(one))
        for process in (first, second):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(120) for process in (first, second)] == [0, 0]
    books = one.charged()
    assert sorted(books) == JOBS
    rented = [
        re.findall(r"INFO rented: token (\S+)", "".join(machine.written)) for machine in (one, two)
    ]
    assert all(rented), "one of them did nothing"
    assert sorted(rented[0] + rented[1]) == sorted(books.values())
    check_files(one)
    stand = one.stand()
    assert (stand["jobs"], [*stand["states"]]) == (12, ["done"])
    assert Decimal(stand["paid"]) == Decimal("21.60")
    assert (one.home / ".smspartner" / "journal").is_dir()


def test_a_killed_worker_is_taken_over_and_nothing_is_paid_twice(
    machines: tuple[Machine, Machine],
) -> None:
    """Its jobs continue elsewhere; what was being rented is listed, and settled by these lines."""
    one, two = machines
    with one.works("one") as first, two.works("two") as second:
        submit(one)
        until(lambda: bool(one.charged()))
        pairs = ((one, first), (two, second))
        until(lambda: any(killed_while_paying(*pair) for pair in pairs))
        until(lambda: settled(one))
        books = one.charged()
        stand = one.stand()
        doubts = {job["id"] for job in stand["needs_attention"]}
        assert doubts, "no rent was under way when it was killed"
        assert stand["states"].keys() == {"done", "needs_attention"}
        assert {f"job{number}" for number in JOBS if number not in books} <= doubts
        text = one.does("batch", "status")
        lines = re.findall(r"^  smspartner (batch resolve (job(\d+)) .*)$", text, re.MULTILINE)
        assert {job for _, job, _ in lines} == doubts
        for line, _, number in lines:
            token = books.get(int(number))
            if ("--token" in line) if token else ("--not-charged" in line):
                *words, option, url = shlex.split(line.replace("TOKEN", token or ""))
                assert (option, url) == ("--store", one.url)
                one.does(*words)
        until(lambda: settled(one))
    assert sorted(one.charged()) == JOBS
    stand = one.stand()
    assert (stand["jobs"], [*stand["states"]]) == (12, ["done"])
    assert Decimal(stand["paid"]) == Decimal("21.60")
    check_files(one)


def test_an_id_is_one_workers_wherever_its_journal_is(machines: tuple[Machine, Machine]) -> None:
    """A second machine with the id of a living worker is refused, and with a dead one's is not."""
    one, two = machines
    # The living one sends a heartbeat every second, and the second machine listens for a minute.
    with one.works("same", "--take-over-after", "4") as first:
        with two.running(*WORKER, "--id", "same", "--take-over-after", "120") as second:
            _, err = second.communicate(timeout=120)
        assert second.returncode == 1
        assert "same' is running already" in err
        first.kill()
        with two.works("same"):
            pass
