"""The processes of the durability proofs: a vendor that counts, and workers that are killed.

    python -m benchmarks.durable_processes vendor <options as JSON>
    python -m benchmarks.durable_processes worker <options as JSON>
    python -m benchmarks.durable_processes timed <options as JSON>
    python -m benchmarks.durable_processes bare <options as JSON>

The vendor prints its URL, and answers each line on its standard input with all that it knows, as
one line of JSON. A worker ends when no job is open; on SIGTERM it drains. Both end when their
standard input closes, as it does when their parent dies. The other two print what they took, as
JSON: seconds and seconds of CPU for so many jobs, or for so many workflows of DBOS with as many
empty steps. The first `warm` of them are not in the figures.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from attrs import define
from dbos import DBOS, SetWorkflowID

from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient, Targeting
from smspartner_async._operations import part_file
from smspartner_async.batch import RentalJob
from smspartner_async.durable import JobState, Store
from smspartner_async.durable._account import Account
from smspartner_async.durable._worker import _THREADS
from smspartner_async.sandbox import Sandbox
from smspartner_async.sandbox._replies import contact_file

if TYPE_CHECKING:
    from smspartner_async import ContactFile, Exchange

KEY: Final = "durability-proof-key"
AT_ONCE: Final = 32
_IN_THE_PAUSE: Final = 0.1  # seconds after the 429
_QUICK: Final = {"first_interval": 0.1, "max_interval": 0.5}
STEPS: Final = 5  # as a rental has: price, claim, rent, wait, download
MOMENTS: Final = ("between price and claim", "in the pause of a 429", "between last byte and name")
"""Where a worker dies on demand, since a kill from outside seldom comes just then."""


def jobs_of(count: int, folder: Path, *, first: int = 1) -> list[RentalJob]:
    """Make jobs, whose interest is their number: so the vendor knows whose rental is whose."""
    return [
        RentalJob(
            id=f"job-{number}",
            targeting=Targeting(
                gender="mixed", min_age=25, max_age=35, interest=number, zipcodes="06200"
            ),
            volumes={"06200": 20},
            path=folder / f"{number}.csv",
        )
        for number in range(first, first + count)
    ]


class Vendor(Sandbox):
    """The sandbox, with a rent that takes its time on both sides of the payment."""

    def __init__(self, *, delay: float, busy: bool, **options: Any) -> None:
        super().__init__(api_key=KEY, balance=Decimal(10**9), **options)
        self.delay = delay
        self.busy = busy
        """Whether every third job is answered 429 when it is to be rented for the first time."""
        self.refused: set[int] = set()
        self.times: list[float] = []

    def report(self) -> dict[str, Any]:
        """Return all rentals, and when requests came."""
        rentals = [
            {
                "token": rental.token,
                "job": int(rental.order.parameters["interest"]),
                "sha256": hashlib.sha256(_file(rental)).hexdigest(),
            }
            for rental in self._account._rentals.values()  # noqa: SLF001 - the books themselves
        ]
        return {"rentals": rentals, "times": self.times}

    def _application(self) -> web.Application:
        application = super()._application()
        application.middlewares.append(self._count)
        return application

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.times.append(time.monotonic())
        reply: web.StreamResponse = await handler(request)
        return reply

    async def _optin(self, request: web.Request) -> web.Response:
        if not (self.delay or self.busy) or b'"rent"' not in await request.read():
            return await super()._optin(request)
        job = int((await request.json())["parameters"]["interest"])
        if self.busy and job % 3 == 1 and job not in self.refused:
            self.refused.add(job)
            return web.Response(status=429, headers={"Retry-After": "1"}, text="busy")
        await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - no secret
        reply = await super()._optin(request)
        await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - no secret
        return reply


def _file(rental: Any) -> bytes:
    return contact_file(rental.first_number, rental.order.contacts)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _vendor(options: dict[str, Any]) -> None:
    reader = await _standard_input()
    async with Vendor(**options) as vendor:
        _say(vendor.base_url)
        while await reader.readline():
            _say(json.dumps(vendor.report()))


@define
class _Death:
    """Ends this process as a power cut does, when a moment has come for the `turn`-th time."""

    moment: str
    turn: int
    diary: Path

    def now(self) -> None:
        self.turn -= 1
        if self.turn == 0:
            with self.diary.open("a") as diary:
                diary.write(f"{self.moment}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def of_exchange(self, exchange: Exchange) -> None:
        busy = exchange.operation == "rent" and exchange.http_status == HTTPStatus.TOO_MANY_REQUESTS
        if busy and self.moment == MOMENTS[1]:
            asyncio.get_running_loop().call_later(_IN_THE_PAUSE, self.now)

    def prepare(self) -> None:
        if self.moment == MOMENTS[0]:
            self._before(Account, "balance")  # the claim asks for it before it is made
        elif self.moment == MOMENTS[2]:
            self._before(part_file, "give_name")

    def _before(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def last(*args: Any, **options: Any) -> Any:
            self.now()
            return real(*args, **options)

        setattr(owner, name, last)


async def _worker(options: dict[str, Any]) -> None:
    moment, turn = options.get("die", ("never", 0))
    death = _Death(moment, turn, Path(options.get("diary", os.devnull)))
    death.prepare()
    stopped = asyncio.Event()
    orders = await _standard_input()  # none come; it closes with the parent
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with (
        SMSPartnerClient(
            KEY,
            base_url=options["vendor"],
            polling=PollingPolicy(**options.get("polling", _QUICK)),
            retry=RetryPolicy(attempts=2, first_delay=0.05),
            on_exchange=death.of_exchange,
        ) as client,
        Store(options["store"]) as store,
        store.worker(client, journal=options["journal"], **options["worker"]),
    ):
        _say("at work")

        async def watch() -> None:
            while not await store.records():  # noqa: ASYNC110 - nothing to do yet
                await asyncio.sleep(0.1)
            async for _ in store.watch(interval=0.3):
                pass

        ends = (watch(), stopped.wait(), orders.read())
        tasks = {asyncio.create_task(end) for end in ends}
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        for task in done:
            await task  # a database that is away is an error: the worker is started again


class _TimedClient(SMSPartnerClient):
    """Looks at the clocks after each file."""

    looks: list[tuple[float, float]]

    async def download(self, *args: Any, **options: Any) -> ContactFile:
        file = await super().download(*args, **options)
        self.looks.append(_clocks())
        return file


async def _timed(options: dict[str, Any]) -> None:
    """Take jobs through a store."""
    jobs = jobs_of(options["jobs"], Path(options["folder"]), first=options["first"])
    async with (
        _TimedClient(KEY, base_url=options["vendor"]) as client,
        Store(options["store"]) as store,
        store.worker(client, concurrency=AT_ONCE),
    ):
        client.looks = [_clocks()]
        done = 0
        await store.submit(jobs)
        async for record in store.watch([job.id for job in jobs]):
            done += record.state is JobState.DONE
    assert done == len(jobs)  # noqa: S101 - otherwise the figures would mean nothing
    _say_what_passed(client.looks, options["warm"])


def _say_what_passed(looks: list[tuple[float, float]], warm: int) -> None:
    """Write the time from the end of the first `warm` jobs to that of the last."""
    _say(json.dumps([b - a for a, b in zip(looks[warm], looks[-1], strict=True)]))


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


@DBOS.step(name="empty")
async def _empty(argument: dict[str, Any]) -> dict[str, Any]:
    return argument


@DBOS.workflow(name="bare")
async def _bare_workflow(argument: dict[str, Any]) -> None:
    for _ in range(STEPS):
        await _empty(argument)


async def _bare(options: dict[str, Any]) -> None:
    logging.getLogger("dbos").addHandler(logging.NullHandler())
    # The tables and the journal mode of a store, and the settings of its workers.
    async with Store(options["store"]):
        pass
    config = {"name": "bare", "system_database_url": options["store"]}
    config |= {"application_version": "1", "executor_id": "bare"}
    DBOS(config=config | {"max_executor_threads": _THREADS})  # type: ignore[arg-type]
    DBOS.launch()
    slots = asyncio.Semaphore(AT_ONCE)
    job = {"id": "job-1", "run": 1, "content": "x" * 250, "token": None, "price": None}

    async def one(number: int) -> None:
        async with slots:
            with SetWorkflowID(f"bare:{number}"):
                handle = await DBOS.start_workflow_async(_bare_workflow, job)
            await handle.get_result()
        looks.append(_clocks())

    looks = [_clocks()]
    await asyncio.gather(*map(one, range(options["jobs"])))
    _say_what_passed(looks, options["warm"])
    await asyncio.to_thread(DBOS.destroy)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())


if __name__ == "__main__":
    _program = {"vendor": _vendor, "worker": _worker, "timed": _timed, "bare": _bare}[sys.argv[1]]
    asyncio.run(_program(json.loads(sys.argv[2])))
