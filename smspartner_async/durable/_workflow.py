"""A rental as a DBOS workflow: price, claim, rent, wait, download.

Databases hold the names, order and results of these steps, and other versions of this package read
them while jobs are under way. They never change: other steps make another workflow with another
name, beside this one, and `VERSION` stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from attrs import asdict
from dbos import DBOS
from sqlalchemy.exc import DBAPIError

from smspartner_async._errors import (
    AlreadyDownloadedError,
    RentOutcomeUnknownError,
    SMSPartnerError,
)
from smspartner_async._http.retrying import call_until, is_passing
from smspartner_async._log import log
from smspartner_async._models import ContactFile, RentalState
from smspartner_async._operations.disk_errors import OVERWRITE_ADVICE, NameTakenError
from smspartner_async._operations.part_name import digest_of
from smspartner_async._rental import StepFailedError

from ._account import RETRY_WAIT, is_temporary, refuses_account, retry_delays
from ._context import WorkerContext, current_worker, unfinished, wait_for_worker
from ._database.jobs import start_over
from ._journal import utc_timestamp
from ._payment import (
    ask_price,
    claim_or_fence,
    find_unrecorded_claim,
    pay,
    raise_outcome_unknown,
    raise_withdrawn,
)
from ._records import Claim, Job, JobState, Paid, load_job, workflow_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from tenacity import RetryCallState


_T = TypeVar("_T")
_P = ParamSpec("_P")
VERSION: Final = "smspartner-1"
WORKFLOW: Final = "smspartner.rental"


async def _run_to_outcome(
    context: WorkerContext, job: Job
) -> tuple[JobState, dict[str, Any]] | None:
    """Run the steps of a job, again after errors that are temporary, and return its outcome.

    It has none if it continues in a new run.
    """
    delays = retry_delays()
    while True:
        try:
            return JobState.DONE, {"file": await _rent_and_download(job)}
        except StepFailedError as failure:
            if failure.state == JobState.NEEDS_ATTENTION.value:
                return JobState.NEEDS_ATTENTION, failure.facts
            if not failure.again:
                return await _record_failure(context, job, failure.facts)
        except Exception as error:
            # An error of DBOS's own database is temporary, and no failure of the job. But DBOS may
            # have recorded it as the outcome of a step, and then it is raised each time.
            if isinstance(error, DBAPIError):
                if workflow_id(job) not in context.retried:
                    context.retried.add(workflow_id(job))
                    raise
                if await context.database.run(start_over, job["id"], job["run"]):
                    log.warning("job %r continues in a new run: %s", job["id"], error.orig)
                    context.freed.set()
                    return None
            return await _record_failure(context, job, {"error": _log_unexpected(job, error)})
        with context.executions.interruptible():
            await DBOS.sleep_async(next(delays))
            await context.account.wait_until_accepted()


async def _record_failure(
    context: WorkerContext, job: Job, facts: dict[str, Any]
) -> tuple[JobState, dict[str, Any]]:
    """Return how a job fails, after making sure that nobody can claim it in this run any more.

    A job that somebody has claimed may be paid for: without its token, it needs attention.
    """
    claimed = await context.swap_claim(job, None, facts)
    if claimed is None:
        return JobState.FAILED, facts  # nothing was sent
    token = job["token"] or await context.find_token(job, claimed["nonce"])
    if token is None:
        return JobState.NEEDS_ATTENTION, {**facts, "attention": claimed}
    paid_with = claimed if job["token"] is None else None
    await context.update_job(job, state=JobState.WAITING, token=token, claim=paid_with)
    return JobState.FAILED, facts


def _log_unexpected(job: Job, error: Exception) -> str:
    """Log an error that no code foresees. Return what the job's record says of it."""
    log.error("job %r was stopped by an unexpected error", job["id"], exc_info=error)
    return f"Something unexpected happened ({type(error).__name__}); see the worker's log."


def log_outcome(job: Job, state: JobState, facts: dict[str, Any]) -> None:
    """Log the outcome of a job, which `smspartner worker` shows."""
    if state is JobState.DONE:
        log.info("job %r is done: %s", job["id"], facts["file"]["path"])
    elif state is JobState.FAILED:
        log.warning("job %r failed: %s", job["id"], facts["error"])
    else:
        log.error("job %r needs attention: %s", job["id"], facts["error"])


async def retry_until_success(context: WorkerContext, attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Repeat what costs nothing until it succeeds, or fails with an error that is not temporary."""

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is not None and refuses_account(error):
            context.account.pause(error)
        log.info("%s It is tried again in %.0f s.", error, state.upcoming_sleep)

    async def sleep(seconds: float) -> None:
        with context.executions.interruptible():
            await asyncio.sleep(seconds)
            await context.account.wait_until_accepted()

    return await call_until(
        attempt, retry=is_temporary, wait=RETRY_WAIT, sleep=sleep, before_sleep=before_sleep
    )


def _step(
    work: Callable[Concatenate[WorkerContext, _P], Awaitable[_T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Make a DBOS step that gets this process's worker context, and fails with what pickles.

    Its name in databases is that of the function.
    """

    @DBOS.step(name=f"smspartner.{work.__name__}")
    @wraps(work)
    async def step(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return await work(current_worker(), *args, **kwargs)
        except StepFailedError:
            raise
        except (SMSPartnerError, OSError) as error:
            if refuses_account(error):
                current_worker().account.pause(error)
            again = is_passing(error) or refuses_account(error)
            raise StepFailedError(JobState.FAILED, error=str(error), again=again) from error

    return step


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
async def rental_workflow(job: Job) -> None:
    """Rent what a job asks for, download its file, and record the outcome."""
    unfinished.discard(workflow_id(job))
    try:
        await _record_outcome(job)
    except asyncio.CancelledError:
        unfinished.add(workflow_id(job))
        raise


async def _record_outcome(job: Job) -> None:
    context = await wait_for_worker()
    with context.executions.execution_of(workflow_id(job)):
        try:
            outcome = await _run_to_outcome(context, job)
            if outcome is not None:
                state, facts = outcome
                log_outcome(job, state, facts)
                await context.update_job(job, state=state, facts=facts)
        except Exception as error:
            log.exception("the outcome of job %r cannot be stored; it is tried again", job["id"])
            if isinstance(error, DBAPIError):  # of DBOS's tables
                context.database.fail(error)
            # If the workflow ended here, no worker would continue the job. Cancelled, it is
            # still pending for DBOS, and a worker requeues it as an orphan.
            raise asyncio.CancelledError from error
        finally:
            context.priced.pop(workflow_id(job), None)


async def _rent_and_download(job: Job) -> dict[str, Any]:
    total = await price(job)
    claimed = await claim(job, claim_id := secrets.token_hex(8))  # of this execution alone
    paid = await rent(job, total, claimed, fresh=claimed["nonce"] == claim_id)
    await wait(paid)
    return await download(job, paid)


@_step
async def price(context: WorkerContext, job: Job) -> str | None:
    """Check that the file can be written, and return the price, before any money is spent."""
    if job["token"] is not None or await find_unrecorded_claim(context, job) is not None:
        return job["price"]  # it is paid, or may be: nothing is sent for it
    wanted = load_job(job["id"], job["content"])
    wanted.check_destination()
    with context.executions.interruptible():
        return await ask_price(context, job, wanted)


@_step
async def claim(context: WorkerContext, job: Job, claim_id: str) -> Claim:
    """Return who is about to rent. DBOS records it: an execution with another's id may not pay."""
    with context.executions.interruptible():
        balance, balance_at = (
            await context.account.balance() if job["token"] is None else (None, None)
        )
    return {
        "nonce": claim_id,
        "worker": context.journal.worker_id,
        "journal": str(context.journal.path),
        "claimed_at": utc_timestamp(),
        "balance_before": balance,
        "balance_before_at": balance_at,
    }


@_step
async def rent(
    context: WorkerContext, job: Job, total: str | None, claimed: Claim, *, fresh: bool
) -> Paid:
    """Pay, if the claim is this execution's own; else find the token that its owner has left."""
    mine, paid = False, None
    try:
        # DBOS alone is not enough: another worker may keep its workflows in another database, or
        # somebody may have settled the job meanwhile. So the claim has to be in the store, too.
        current = await claim_or_fence(context, job, claimed, fresh=fresh)
        mine = fresh and current == claimed
        other = await find_unrecorded_claim(context, job, claimed["nonce"]) if mine else None
        if other is not None:
            mine, current = False, other
        if fresh and current is None:
            raise_withdrawn()
        claimed = current or claimed
        token = job["token"] or (None if mine else await context.find_token(job, claimed["nonce"]))
        if token is not None:
            paid = Paid(token=token, price=total or claimed.get("price"))
        else:
            paid = (
                await pay(context, job, total, claimed)
                if mine
                else raise_outcome_unknown(job, claimed)
            )
        paid_with = claimed if job["token"] is None else None
        await context.update_job(job, state=JobState.WAITING, **paid, claim=paid_with)
    except StepFailedError:
        raise
    except Exception as error:
        unknown = isinstance(error, RentOutcomeUnknownError)
        if mine and paid is None and isinstance(error, SMSPartnerError | OSError) and not unknown:
            await context.swap_claim(job, claimed, None)
            if refuses_account(error):
                context.account.pause(error, total)
            raise  # nothing was charged
        balance, balance_at = await context.account.balance(at_most=0)
        attention = {
            **claimed,
            "price": total,
            "balance_now": balance,
            "balance_now_at": balance_at,
            "journal_lines": context.journal.lines(claimed["nonce"]),
        }
        if mine:
            attention["holder_done"] = True
        if isinstance(error, RentOutcomeUnknownError) and error.seen_token is not None:
            attention["seen_token"] = error.seen_token
        text = str(error) if unknown else _log_unexpected(job, error)
        raise StepFailedError(JobState.NEEDS_ATTENTION, error=text, attention=attention) from error
    return paid


@_step
async def wait(context: WorkerContext, paid: Paid) -> None:
    """Wait until the file is ready, without a timeout."""

    async def ready() -> None:
        with context.executions.interruptible():
            try:
                await context.client.wait_until_ready(paid["token"], timeout=None)
            except AlreadyDownloadedError:
                log.info("rental %s was served before; its file may be here", paid["token"])

    await retry_until_success(context, ready)


@_step
async def download(context: WorkerContext, job: Job, paid: Paid) -> dict[str, Any]:
    """Download the file. A repeated step takes the file on the disk: `price` saw none there."""
    path = load_job(job["id"], job["content"]).path
    if await context.database.read_run(job) is None:
        # Its folder was moved, for example, and the new run writes the file.
        raise StepFailedError(JobState.FAILED, error="The job continues in another run.")

    async def fetch() -> ContactFile:
        try:
            return await context.client.download(paid["token"], path)
        except NameTakenError as error:  # it says where the file of this rental is
            raise NameTakenError(str(error).replace(f", or {OVERWRITE_ADVICE}", ".")) from None
        except FileExistsError as error:
            if not await asyncio.to_thread(os.path.lexists, path):
                raise BlockingIOError(str(error)) from error  # it is being written
            status = await context.client.status(paid["token"])
            if status.state is not RentalState.DOWNLOADED:
                raise FileExistsError(
                    f"{path} exists, and the vendor says that the file of this rental was not "
                    "downloaded yet. Move this file away; then the job can continue."
                ) from None
            return await asyncio.to_thread(_describe_file, path)

    file = await retry_until_success(context, fetch)
    return {**asdict(file), "path": str(file.path)}


def _describe_file(path: Path) -> ContactFile:
    """Return size and digest of a file that is on the disk; nothing proves it whole."""
    return ContactFile(path=path, **asdict(digest_of(path)), verified=False)
