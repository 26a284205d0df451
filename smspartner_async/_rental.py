"""A rental as a DBOS workflow: price, claim, rent, wait, download.

The names, order and results of these steps stand in databases, and are read by other versions of
this package while jobs are under way. They never change: another way through is another workflow
with another name, beside this one, and `VERSION` stays what it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
from datetime import datetime
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypedDict, TypeVar

from attrs import asdict
from dbos import DBOS
from sqlalchemy.exc import DBAPIError

from ._desk import Claim, Desk, Job, at_desk, pauses, the_desk, workflow_id
from ._errors import (
    AlreadyDownloadedError,
    RentOutcomeUnknownError,
    SMSPartnerError,
    TransportError,
)
from ._journal import now
from ._models import ContactFile, RentalState
from ._records import JobState, read
from ._retry import is_passing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from ._models import Rental

_T = TypeVar("_T")
_P = ParamSpec("_P")
_log = logging.getLogger(__package__)

VERSION: Final = "smspartner-1"
WORKFLOW: Final = "smspartner.rental"


class Paid(TypedDict):
    """A rental, paid."""

    token: str
    price: str | None


class StepFailedError(SMSPartnerError):
    """Why a step failed. DBOS pickles it by its module and name: neither may ever change."""

    def __init__(self, state: JobState, *, again: bool = False, **facts: Any) -> None:
        super().__init__(facts["error"])
        self.state = state.value
        self.again = again  # nothing was rented, and it may go well a little later
        self.facts = facts


def accounted_for(
    business: Callable[[Job], Awaitable[dict[str, Any]]],
) -> Callable[[Job], Coroutine[Any, Any, None]]:
    """Write down how a job ended; begin anew where nothing was rented and it may go well now."""

    @wraps(business)
    async def run(job: Job) -> None:
        desk = await at_desk()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - told to the type checker
        if desk.draining:
            raise asyncio.CancelledError  # another worker goes on
        desk.executions[task] = workflow_id(job)
        try:
            state, facts = await _end_of(desk, job, business)
            if state is JobState.NEEDS_ATTENTION:
                _log.error("job %r needs attention: %s", job["id"], facts["error"])
            await desk.note(job, state=state, facts=facts)
        except Exception as error:
            _log.exception("job %r cannot be ended now; it is taken up again", job["id"])
            # Ended here, the workflow would be over, and its job nobody's. Cancelled, it still
            # runs for DBOS, and the sweep of a worker takes it up again.
            raise asyncio.CancelledError from error
        finally:
            del desk.executions[task]

    return run


async def _end_of(
    desk: Desk, job: Job, business: Callable[[Job], Awaitable[dict[str, Any]]]
) -> tuple[JobState, dict[str, Any]]:
    ahead = pauses()
    while True:
        try:
            return JobState.DONE, {"file": await business(job)}
        except StepFailedError as failure:
            if failure.state == JobState.NEEDS_ATTENTION.value:
                return JobState.NEEDS_ATTENTION, failure.facts
            if not failure.again:
                return await _failed(desk, job, failure.facts)
        except Exception as error:
            # Of DBOS's own database, it is not the job's, and passes; but DBOS may have recorded it
            # as the outcome of a step, and then it comes again each time.
            if isinstance(error, DBAPIError) and workflow_id(job) not in desk.passed_over:
                desk.passed_over.add(workflow_id(job))
                raise
            return await _failed(desk, job, {"error": _unexpected(job, error)})
        with desk.interruptible():
            await DBOS.sleep_async(next(ahead))


async def _failed(desk: Desk, job: Job, facts: dict[str, Any]) -> tuple[JobState, dict[str, Any]]:
    """Fail a job, unless it may be paid for: from here on nobody can claim it in this run."""
    claimed = await desk.claim(job, None, facts)
    if claimed is None:
        return JobState.FAILED, facts  # nothing was sent
    token = job["token"] or await desk.token_of(job, claimed["nonce"])
    if token is None:
        return JobState.NEEDS_ATTENTION, {**facts, "attention": claimed}
    await desk.note(job, state=JobState.WAITING, token=token)
    return JobState.FAILED, facts


def _unexpected(job: Job, error: Exception) -> str:
    _log.error("job %r was stopped by what nobody foresaw", job["id"], exc_info=error)
    return f"Something unexpected happened ({type(error).__name__}); see the worker's log."


def _step(
    name: str,
) -> Callable[
    [Callable[Concatenate[Desk, _P], Awaitable[_T]]], Callable[_P, Coroutine[Any, Any, _T]]
]:
    """Make a step of DBOS that works at the desk of this process; how it fails is pickled."""

    def decorate(
        work: Callable[Concatenate[Desk, _P], Awaitable[_T]],
    ) -> Callable[_P, Coroutine[Any, Any, _T]]:
        @DBOS.step(name=f"smspartner.{name}")
        @wraps(work)
        async def step(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return await work(the_desk(), *args, **kwargs)
            except StepFailedError:
                raise
            except (SMSPartnerError, OSError) as error:
                again = is_passing(error)
                raise StepFailedError(JobState.FAILED, error=str(error), again=again) from error

        return step

    return decorate


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
@accounted_for
async def rental(job: Job) -> dict[str, Any]:
    """Rent what a job asks for, and bring its file."""
    total = await price(job)
    claimed = await claim(job, nonce := secrets.token_hex(8))  # of this execution, and no other
    paid = await rent(job, total, claimed, fresh=claimed["nonce"] == nonce)
    await wait(paid)
    return await download(job, paid)


@_step("price")
async def price(desk: Desk, job: Job) -> str | None:
    """See that the file can be written, and what it costs, before any money is spent."""
    if job["token"] is not None:
        return job["price"]
    wanted = read(job["id"], job["content"])
    wanted.check_destination()
    with desk.interruptible():
        quote = await desk.client.price(wanted.targeting, wanted.volumes)
    wanted.check_price(quote)
    return _text(quote.cost and quote.cost.total)


@_step("claim")
async def claim(desk: Desk, job: Job, nonce: str) -> Claim:
    """Record who is going to rent: an execution that gets back another's nonce may not pay."""
    with desk.interruptible():
        balance, balance_at = await desk.balance() if job["token"] is None else (None, None)
    return {
        "nonce": nonce,
        "worker": desk.journal.worker_id,
        "journal": str(desk.journal.path),
        "claimed_at": now(),
        "balance_before": balance,
        "balance_before_at": balance_at,
    }


@_step("rent")
async def rent(desk: Desk, job: Job, total: str | None, claimed: Claim, *, fresh: bool) -> Paid:
    """Pay, if the claim is this execution's own; else find the token that its maker has left."""
    mine, paid = False, None
    try:
        # DBOS alone is not enough: another worker may keep its workflows in another database, or
        # somebody may have settled the job meanwhile. So the claim must stand in the store, too.
        # Whoever finds another's claim marks it: its maker may only be frozen, and must not pay.
        bar: Claim = claimed if fresh else {**claimed, "found_by": desk.journal.worker_id}
        standing = await desk.claim(job, None, bar)
        mine = fresh and standing == claimed
        claimed = standing or claimed
        token = job["token"] or (None if mine else await desk.token_of(job, claimed["nonce"]))
        if token is not None:
            paid = Paid(token=token, price=total)
        else:
            paid = await _pay(desk, job, total, claimed["nonce"]) if mine else _lost(job, claimed)
        await desk.note(job, state=JobState.WAITING, **paid)
    except Exception as error:
        unknown = isinstance(error, RentOutcomeUnknownError)
        if mine and paid is None and isinstance(error, SMSPartnerError | OSError) and not unknown:
            await desk.claim(job, claimed, None)
            raise  # nothing was charged
        balance, balance_at = await desk.balance(at_most=0)
        attention = {
            **claimed,
            "price": total,
            "balance_now": balance,
            "balance_now_at": balance_at,
            "journal_lines": desk.journal.lines(claimed["nonce"]),
        }
        what = str(error) if unknown else _unexpected(job, error)
        raise StepFailedError(JobState.NEEDS_ATTENTION, error=what, attention=attention) from error
    return paid


async def _pay(desk: Desk, job: Job, total: str | None, nonce: str) -> Paid:
    write = partial(desk.journal.write, job=job["id"], run=job["run"], nonce=nonce)

    async def keep(rental: Rental) -> None:
        write(token=rental.token)
        await desk.journal.safe()

    wanted = read(job["id"], job["content"])
    write(sending=job["content"])
    await desk.journal.safe()  # if it fails, nothing is sent
    rental = await desk.client.rent(wanted.targeting, wanted.volumes, on_rented=keep)
    told = _text(rental.cost and rental.cost.total)
    return {"token": rental.token, "price": told or total}


def _lost(job: Job, claimed: Claim) -> Paid:
    wanted = read(job["id"], job["content"])
    cause = TransportError(
        f"Worker {claimed['worker']} ended, or lost the job, while it rented. The journals at "
        "hand tell of no answer.",
        maybe_sent=True,
    )
    raise RentOutcomeUnknownError(
        targeting=wanted.targeting,
        volumes=wanted.volumes,
        sent_at=datetime.fromisoformat(claimed["claimed_at"]),
        cause=cause,
    )


@_step("wait")
async def wait(desk: Desk, paid: Paid) -> None:
    """Wait for the file, for as long as it takes."""

    async def ready() -> None:
        with desk.interruptible():
            try:
                await desk.client.wait_until_ready(paid["token"], timeout=None)
            except AlreadyDownloadedError:
                _log.info("rental %s was served before; its file may be here", paid["token"])

    await desk.patiently(ready)


@_step("download")
async def download(desk: Desk, job: Job, paid: Paid) -> dict[str, Any]:
    """Bring the file. Done again, it takes what is on the disk: nothing was there at the price."""
    path = read(job["id"], job["content"]).path

    async def fetch() -> ContactFile:
        try:
            return await desk.client.download(paid["token"], path)
        except FileExistsError as error:
            if not await asyncio.to_thread(os.path.lexists, path):
                raise BlockingIOError(str(error)) from error  # being written at this moment
            status = await desk.client.status(paid["token"])
            if status.state is not RentalState.DOWNLOADED:
                raise  # it is not ours
            return await asyncio.to_thread(_measured, path)

    file = await desk.patiently(fetch)
    return {**asdict(file), "path": str(file.path)}


def _measured(path: Path) -> ContactFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ContactFile(path=path, size=file.tell(), sha256=digest, verified=False)


def _text(money: object) -> str | None:
    return None if money is None else str(money)
