"""Many rentals in one process: every job's way, its events and its outcome, many at a time."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter
from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from batches import KEY, Diary, PaperClient, Vendor, by_number, client_of, jobs_of
from fault_server import FaultServer, Received, Reply
from faults import close_within_body, vendor_error

from smspartner_async import (
    ContactFile,
    DownloadInterruptedError,
    InsufficientCreditError,
    PriceExceededError,
    Quote,
    Rental,
    RentalFailedError,
    RentalState,
    RentalStatus,
    SMSPartnerClient,
    SMSPartnerError,
)
from smspartner_async.batch import JobEvent, JobSkippedError, JobStep, RentalJob, run_batch
from smspartner_async.testing import QUICK_POLLING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smspartner_async.sandbox import Sandbox

VOLUMES = {"06200": 20}  # which cost 1.80 in the sandbox


pytestmark = pytest.mark.smspartner_sandbox(api_key=KEY)


# --- the way of a job ------------------------------------------------------------------------


async def test_every_job_ends_with_its_file(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each job is priced once, rented once, waited for and downloaded; each costs its price."""
    jobs = jobs_of(12, tmp_path, volumes=VOLUMES, max_total=Decimal("1.80"))
    outcomes = [outcome async for outcome in run_batch(client, iter(jobs), concurrency=5)]
    for outcome in outcomes:
        assert outcome.error is None
        assert outcome.rental is not None
        assert outcome.file is not None
        assert outcome.file.path == outcome.job.path
        assert outcome.job.path.read_bytes().count(b"\n") == 20
    assert {outcome.job for outcome in outcomes} == {*jobs}
    tokens = {outcome.rental.token for outcome in outcomes if outcome.rental}
    assert tokens == {rental.token for rental in sandbox.rentals}
    assert sandbox.paid == 12 * Decimal("1.80")
    wire = sandbox.requests
    assert (wire["price"], wire["rent"], wire["download"]) == (12, 12, 12)


async def test_a_jobs_failure_is_its_own_outcome(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A failure is the error of its outcome; no money is spent before what can be known is."""
    good, dear, there, failing = jobs_of(4, tmp_path, volumes=VOLUMES)
    dear = RentalJob(
        id="2", targeting=dear.targeting, volumes=VOLUMES, max_total=Decimal(1), path=dear.path
    )
    there.path.write_text("yesterday's")
    jobs = [dear, there, good]
    found = by_number([outcome async for outcome in run_batch(client, jobs)])
    sandbox.fail_next_rental()
    (failed,) = [outcome async for outcome in run_batch(client, [failing])]
    assert found[1].file is not None
    assert isinstance(found[2].error, PriceExceededError)
    assert isinstance(found[3].error, FileExistsError)
    assert there.path.read_text() == "yesterday's"
    assert (found[2].rental, found[3].rental) == (None, None)
    assert isinstance(failed.error, RentalFailedError)
    assert failed.rental is not None
    assert failed.rental.token == failed.error.token
    assert (sandbox.requests["price"], sandbox.requests["rent"]) == (3, 2)


async def test_a_download_that_breaks_keeps_the_paid_rental(tmp_path: Path) -> None:
    """What is paid is in the outcome, and in FAILED, whatever happens to its file."""
    vendor, diary = Vendor(), Diary()

    def answer(received: Received) -> Reply:
        if received.operation == "download":
            return close_within_body(b"+33639980000\n" * 9)
        return vendor(received)

    async with FaultServer(answer) as server, SMSPartnerClient(KEY, base_url=server.base_url) as it:
        (outcome,) = [one async for one in run_batch(it, jobs_of(1, tmp_path), on_event=diary)]
    assert isinstance(outcome.error, DownloadInterruptedError)
    assert outcome.rental is not None
    assert outcome.rental.token == "tok-1"
    assert outcome.file is None
    assert diary.events[-1].step is JobStep.FAILED
    assert diary.events[-1].rental is outcome.rental
    assert diary.events[-1].error is outcome.error


async def test_a_clear_no_stops_nobody_else() -> None:
    """An insufficient credit is one job's error; the others are rented all the same."""
    no = vendor_error(11, "Crédit insuffisant")
    async with FaultServer(Vendor({2: no})) as server, client_of(server) as client:
        found = by_number([one async for one in run_batch(client, jobs_of(3), concurrency=1)])
    assert isinstance(found[2].error, InsufficientCreditError)
    assert found[1].file is not None
    assert found[3].file is not None


@pytest.mark.parametrize("second", [("1", "b.csv"), ("2", "a.csv")], ids=["id", "file"])
async def test_jobs_that_collide_are_refused_before_anything_is_sent(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path, second: tuple[str, str]
) -> None:
    """Bad input: two jobs with one id or one file are a ValueError of the call itself."""
    targeting = jobs_of(1)[0].targeting
    names = [("1", "a.csv"), second]
    jobs = (RentalJob(id=n, targeting=targeting, path=tmp_path / path) for n, path in names)
    with pytest.raises(ValueError, match="Several jobs"):
        run_batch(client, jobs)
    assert not sandbox.requests


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, None])
async def test_concurrency_is_a_whole_number(client: SMSPartnerClient, concurrency: Any) -> None:
    """Bad input: a concurrency that is none is refused by the call itself."""
    with pytest.raises(ValueError, match="concurrency"):
        run_batch(client, [], concurrency=concurrency)


async def test_no_jobs_have_no_outcomes(client: SMSPartnerClient, sandbox: Sandbox) -> None:
    """A batch of nothing ends at once and sends nothing."""
    assert [outcome async for outcome in run_batch(client, [])] == []
    assert not sandbox.requests


@pytest.mark.smspartner_sandbox(speed=10_000)
async def test_two_hundred_jobs(client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Two hundred jobs at twenty a time all end with their own file, and are paid once."""
    jobs = jobs_of(200, tmp_path, volumes=VOLUMES)
    outcomes = [outcome async for outcome in run_batch(client, jobs, concurrency=20)]
    assert all(outcome.file and outcome.file.verified for outcome in outcomes)
    assert len({job.path.read_bytes() for job in jobs}) == 200
    assert sandbox.requests["rent"] == len(outcomes) == 200


# --- events ----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
async def test_every_step_is_reported(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path, *, is_async: bool
) -> None:
    """`on_event`, plain or async, is called with the price, token, each state and the file."""
    diary = Diary()

    async def later(event: JobEvent) -> None:
        await asyncio.sleep(0)
        diary(event)

    on_event = later if is_async else diary
    (outcome,) = [one async for one in run_batch(client, jobs_of(1, tmp_path), on_event=on_event)]
    priced, rented, *states, downloaded = diary.events
    assert (priced.step, priced.rental) == (JobStep.PRICED, None)
    assert priced.quote is not None
    assert priced.quote.total_volume == 362
    assert (rented.step, rented.rental) == (JobStep.RENTED, outcome.rental)
    assert [event.step for event in states] == [JobStep.STATE] * sandbox.requests["status"]
    assert [event.status.state for event in states if event.status][-1] is RentalState.READY
    assert (downloaded.step, downloaded.file) == (JobStep.DOWNLOADED, outcome.file)
    assert {event.rental for event in (rented, *states, downloaded)} == {outcome.rental}


async def test_only_checks_with_an_answer_are_reported() -> None:
    """A check that failed reports no state; the job still gets its file."""
    diary, vendor = Diary(), Vendor()
    trouble = [vendor_error(0, "", 503)]

    def answer(received: Received) -> Reply:
        if received.operation == "status" and trouble:
            return trouble.pop()
        return vendor(received)

    async with FaultServer(answer) as server, client_of(server, polling=QUICK_POLLING) as client:
        (outcome,) = [one async for one in run_batch(client, jobs_of(1), on_event=diary)]
        assert server.count("status") == 2
    assert outcome.file is not None
    assert diary.steps(1) == [JobStep.PRICED, JobStep.RENTED, JobStep.STATE, JobStep.DOWNLOADED]


@pytest.mark.parametrize("error", [RuntimeError("full"), asyncio.CancelledError()])
async def test_an_event_that_cannot_be_taken_costs_no_file(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """What `on_event` raises, its own cancellation too, is logged; the job continues."""

    async def on_event(_: JobEvent) -> None:
        raise error

    async with FaultServer(Vendor()) as server, client_of(server) as client:
        (outcome,) = [one async for one in run_batch(client, jobs_of(1), on_event=on_event)]
    assert outcome.file is not None
    assert outcome.rental is not None
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.split()[3] for text in said] == ["PRICED", "RENTED", "STATE", "DOWNLOADED"]


# --- many at a time --------------------------------------------------------------------------


class SlowClient(PaperClient):
    """A client whose vendor is nothing but time: each step takes its seconds."""

    seconds: Mapping[str, float] = {"price": 1, "rent": 1, "wait": 100, "download": 1}

    def __init__(self) -> None:
        super().__init__(KEY, base_url="http://127.0.0.1:1")
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.log: list[str] = []

    async def _step(self, name: str) -> None:
        self.log.append(name)
        self.now[name] += 1
        self.most[name] = max(self.most[name], self.now[name])
        active = self.now.total() - self.now["wait"]
        self.most["active"] = max(self.most["active"], active)
        await asyncio.sleep(self.seconds[name])
        self.now[name] -= 1

    async def price(self, *_: Any, **__: Any) -> Quote:
        await self._step("price")
        return Quote(operation="price")

    async def rent(self, targeting: Any, *_: Any, on_rented: Any = None, **__: Any) -> Rental:
        await self._step("rent")
        rental = Rental(token=f"tok-{targeting.interest}")
        await on_rented(rental)
        return rental

    async def wait_until_ready(self, token: Any, **_: Any) -> RentalStatus:
        await self._step("wait")
        return RentalStatus(token=token.token, state=RentalState.READY)

    async def download(self, token: Any, path: Any, **_: Any) -> ContactFile:
        await self._step("download")
        return await super().download(token, path)


@pytest.mark.looptime
@pytest.mark.parametrize(("options", "most"), [({"concurrency": 3}, 3), ({}, 10)])
async def test_concurrency_bounds_what_is_active_and_not_what_waits(
    options: dict[str, Any], most: int
) -> None:
    """So many jobs at a time are priced, rented or downloaded, while all sixty wait."""

    class AllAtOnce(SlowClient):
        async def wait_until_ready(self, token: Any, **_: Any) -> RentalStatus:
            self.now["wait"] += 1
            self.most["wait"] = max(self.most["wait"], self.now["wait"])
            await asyncio.sleep(200 - loop.time())
            self.now["wait"] -= 1
            return RentalStatus(token=token.token, state=RentalState.READY)

    loop = asyncio.get_running_loop()
    async with AllAtOnce() as client:
        outcomes = [one async for one in run_batch(client, jobs_of(60), **options)]
    assert all(outcome.file for outcome in outcomes)
    active = dict.fromkeys(("active", "price", "rent", "download"), most)
    assert dict(client.most) == {**active, "wait": 60}
    assert loop.time() == pytest.approx(200 + 60 / most, abs=0.1)


@pytest.mark.looptime
async def test_what_is_ready_does_not_wait_for_all_that_is_still_to_be_rented() -> None:
    """A download gets its turn among the rents, so files come while most are not yet rented."""

    class Prompt(SlowClient):
        seconds = dict.fromkeys(SlowClient.seconds, 1.0)

    async with Prompt() as client:
        async for _ in run_batch(client, jobs_of(100), concurrency=2):
            client.log.append("outcome")
    assert client.log.index("outcome") < 20


@pytest.mark.looptime
async def test_outcomes_come_as_jobs_end_and_jobs_continue_meanwhile() -> None:
    """The first to end is yielded first, and nobody waits for the body of the loop."""

    class Uneven(SlowClient):
        async def wait_until_ready(self, token: Any, **_: Any) -> RentalStatus:
            await asyncio.sleep(100 / int(token.token.removeprefix("tok-")))
            return RentalStatus(token=token.token, state=RentalState.READY)

    loop = asyncio.get_running_loop()
    begun, order = loop.time(), []
    async with Uneven() as client:
        async for outcome in run_batch(client, jobs_of(3)):
            order.append(outcome.job.id)
            await asyncio.sleep(50)
    assert order == ["3", "2", "1"]
    assert loop.time() - begun == pytest.approx(36 + 3 * 50, abs=1)


async def test_what_is_no_exception_ends_the_batch() -> None:
    """An exit (as by Ctrl-C) that comes up in one job ends them all, and is raised."""

    class Exit(BaseException):
        pass

    class Exiting(SlowClient):
        seconds = dict.fromkeys(SlowClient.seconds, 0.0)

        async def wait_until_ready(self, *_: Any, **__: Any) -> RentalStatus:
            raise Exit

    async with Exiting() as client, aclosing(run_batch(client, jobs_of(3))) as outcomes:
        with pytest.raises(Exit) as exited:
            await anext(outcomes)
    assert "tok-1" in str(exited.value.__notes__)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_skipped_job_says_what_to_do() -> None:
    """JobSkippedError is of the one tree, survives pickling, and says what to do."""
    error = JobSkippedError(job_id="b", unknown_id="a")
    again: JobSkippedError = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert isinstance(error, SMSPartnerError)
    assert str(again) == str(error)
    assert (again.job_id, again.unknown_id) == ("b", "a")
    assert "Settle that one first" in str(error)
