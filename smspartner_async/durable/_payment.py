"""One payment of a job: the claim, the check before the rent is sent, the journal around it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from smspartner_async._errors import RentOutcomeUnknownError, SMSPartnerError, TransportError
from smspartner_async._operations.rent import BEFORE_SENDING
from smspartner_async._rental import StepFailedError
from smspartner_async._values.instant import Instant

from ._database.agreements import claim_ids_of
from ._database.workers import has_signed_off
from ._journal import Journal
from ._records import Claim, Job, JobState, Paid, StoreError, load_job, workflow_id

if TYPE_CHECKING:
    from smspartner_async._models import Rental
    from smspartner_async.batch._job import RentalJob

    from ._context import WorkerContext
    from ._database.database import JobDatabase
    from ._records import JobRecord

_PRICE_MAX_AGE: Final = 60.0  # seconds between the price that passed the limit and the rent
_MAX_REPRICINGS: Final = 3
_CHECK_MAX_AGE: Final = 2.0  # seconds between reading the claim and sending the rent


async def ask_price(context: WorkerContext, job: Job, wanted: RentalJob) -> str | None:
    """Return the price of a job; raise `PriceExceededError` above its limit."""
    quote = await context.client.price(wanted.targeting, wanted.volumes)
    wanted.check_price(quote)
    context.priced[workflow_id(job)] = Instant()
    return money_text(quote.total)


async def claim_or_fence(
    context: WorkerContext, job: Job, claimed: Claim, *, fresh: bool
) -> Claim | None:
    """Put a claim into the store, or fence the claim that is there. Return the claim after that.

    The owner of a claim may be paused, not dead. It reads its claim before it sends the rent, and
    sends nothing if that is fenced.
    """
    fenced_by = {"found_by": context.journal.worker_id}
    first: Any = claimed if fresh else {**claimed, **fenced_by}
    current = await context.swap_claim(job, None, first)
    if current is None or "found_by" in current or (fresh and current == claimed):
        return current
    fence: Any = {**current, **fenced_by}
    return await context.swap_claim(job, current, fence)


async def find_unrecorded_claim(context: WorkerContext, job: Job, *own: str) -> Claim | None:
    """Return a claim of this job that a journal here names, and the store does not know.

    `own` are the ids of claims that the store need not know.

    Raises:
        StoreError: a journal cannot be read, and may name one.
    """
    journal = context.journal.claims
    if job["token"] is not None or journal is None:
        return None
    if journal.unreadable:
        raise StoreError(
            f"A journal may say that this job is paid for, and cannot be read: "
            f"{journal.unreadable[0]}. Nothing was rented."
        )
    if journal.unknown(job["id"], job["run"], own) is None:
        return None  # nearly always
    known = {*own, *await context.database.run(claim_ids_of, job["id"])}
    current = await context.swap_claim(job, None, None)
    if current is not None:
        known.add(current["nonce"])
    other = journal.unknown(job["id"], job["run"], known)
    return None if other is None else other.claim


async def pay(context: WorkerContext, job: Job, total: str | None, claimed: Claim) -> Paid:
    """Send the rent of a claimed job, and return its token and price.

    Journal lines on the disk surround it: one before it is sent, one with the token.
    """
    claim_id = claimed["nonce"]
    write = partial(context.journal.write, job=job["id"], run=job["run"], nonce=claim_id)

    async def save_token(rental: Rental) -> None:
        write(token=rental.token, price=money_text(rental.total) or total)
        await context.journal.flush()

    wanted = load_job(job["id"], job["content"])
    write(sending=job["content"])
    await context.journal.flush()  # if it fails, nothing is sent
    context.executions.paying.add(claim_id)
    hook = BEFORE_SENDING.set(partial(_check_claim, context, job, claimed, wanted))
    try:
        for _ in range(1 + _MAX_REPRICINGS):
            try:
                rental = await context.client.rent(
                    wanted.targeting, wanted.volumes, on_rented=save_token
                )
            except _PriceTooOldError:
                total = await ask_price(context, job, wanted)
                continue
            charged = money_text(rental.total)
            return {"token": rental.token, "price": charged or total}
    except RentOutcomeUnknownError:
        raise
    except (SMSPartnerError, OSError):
        with suppress(OSError):
            write(given_back=True)  # nothing was charged for this claim
        raise
    finally:
        BEFORE_SENDING.reset(hook)
        context.executions.paying.discard(claim_id)
    write(given_back=True)
    raise TransportError(
        f"The price was older than {_PRICE_MAX_AGE:.0f} s each time that the rent could be sent, "
        "so it was not sent.",
        maybe_sent=False,
    )


class _PriceTooOldError(SMSPartnerError):
    """The price has to be asked for again before the rent is sent. It stays in this module."""


async def _check_claim(context: WorkerContext, job: Job, claimed: Claim, wanted: RentalJob) -> None:
    """Check, as the last step before a rent is sent, that it may still be sent.

    Raises:
        StepFailedError: the claim was withdrawn, settled or fenced.
        TransportError: that cannot be known now.
        _PriceTooOldError: the price that passed the limit is too old.
    """
    priced = context.priced.get(workflow_id(job))
    if wanted.max_total is not None and (priced is None or priced.is_older_than(_PRICE_MAX_AGE)):
        raise _PriceTooOldError("The price is too old, and is asked for again before the rent.")
    since = Instant()
    try:
        row = await context.database.read_run(job, reconnect=False)
        if context.database.failure is not None:
            raise context.database.failure  # it can be read, and would not store the token
    except StoreError as error:
        raise TransportError(
            f"The store could not be used before the rent, so it was not sent: {error}",
            maybe_sent=False,
        ) from error
    if row is None or row.token is not None or row.facts != json.dumps(claimed):
        raise_withdrawn()
    if since.is_older_than(_CHECK_MAX_AGE):
        raise TransportError(
            f"The store took longer than {_CHECK_MAX_AGE:.0f} s to be read before the rent, so it "
            "was not sent.",
            maybe_sent=False,
        )


async def check_nobody_pays(database: JobDatabase, known: JobRecord) -> None:
    """Raise `ValueError` unless the worker that was about to pay has certainly ended."""
    claim = known.attention
    if not claim.get("worker") or claim.get("holder_done"):
        return
    worker, journal = claim["worker"], Path(claim.get("journal") or "")
    if await database.run(has_signed_off, worker):
        return
    if not await asyncio.to_thread(Journal.has_ended, journal, worker):
        raise ValueError(
            f"Worker {worker} was about to pay for job {known.id!r}, and nothing shows that it "
            f"has ended: its rent may still be sent, and would be a second payment. Nothing "
            f"was done. End that worker (its journal is {journal}, on its machine), or give "
            "force=True if you know that it has ended."
        )


def raise_withdrawn() -> NoReturn:
    """Fail a job that somebody has withdrawn or settled."""
    text = "The job was withdrawn or settled before anything was sent for it. Nothing was charged."
    raise StepFailedError(JobState.FAILED, error=text)


def raise_outcome_unknown(job: Job, claimed: Claim) -> NoReturn:
    """Raise that a claim's owner is gone, and that no token of it is known."""
    wanted = load_job(job["id"], job["content"])
    cause = TransportError(
        f"Worker {claimed['worker']} ended, or lost the job, while it rented. No journal at "
        "hand has an answer.",
        maybe_sent=True,
    )
    raise RentOutcomeUnknownError(
        targeting=wanted.targeting,
        volumes=wanted.volumes,
        sent_at=datetime.fromisoformat(claimed["claimed_at"]),
        cause=cause,
    )


def money_text(money: object) -> str | None:
    """Return an amount as its text; `None` if there is none."""
    return None if money is None else str(money)
