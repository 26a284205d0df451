"""One run of a batch in this process: what is left to do, what it costs, and the doing of it.

Everything that must not be forgotten is written to the batch's `results.jsonl` before the next
step is taken. Knows the client and a batch; asks nobody anything.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import aclosing, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from ._client import SMSPartnerClient
from ._errors import (
    AlreadyDownloadedError,
    InvalidRequestError,
    PriceExceededError,
    RentOutcomeUnknownError,
    SMSPartnerError,
)
from ._rental_job import JobStep, checked_jobs, some
from ._results import Line, order_of, wanted_by
from .batch import run_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._display import Display
    from ._display_batch import Tally
    from ._models import Quote
    from ._rental_job import JobEvent, RentalJob
    from ._results import Results

LISTED: Final = 10


class JobChangedError(SMSPartnerError):
    """A job asks for something else than what was paid for under its id. Nothing was sent."""


class CountingClient(SMSPartnerClient):
    """A client that counts its requests, repeated ones included."""

    @property
    def requests(self) -> int:
        """Requests that left so far."""
        return self._dispatcher.gate.passed


@frozen
class Plan:
    """What earlier runs have left to do.

    Attributes:
        jobs: all of the batch.
        to_rent: what was never rented, for certain.
        under_way: what goes on without being paid again.
        in_doubt: what may be paid for. Left alone until a person has settled it.
    """

    jobs: tuple[RentalJob, ...]
    to_rent: tuple[RentalJob, ...]
    under_way: tuple[RentalJob, ...]
    in_doubt: tuple[RentalJob, ...]


def planned(jobs: Iterable[RentalJob], results: Results) -> Plan:
    """See what is left to do, and that it can be done, before anything is sent.

    Raises:
        JobChangedError: a job has changed since it was paid for, or perhaps was.
        ValueError: two jobs with one id or one file.
        OSError: the file of a job that is to be rented exists, or cannot be written.
    """
    taken = checked_jobs(jobs)
    changed, to_rent, under_way, in_doubt = [], [], [], []
    for job in taken:
        known = results.of(job.id)
        if known.order not in {"", order_of(job)}:
            changed.append(job.id)
        elif known.is_unknown:
            in_doubt.append(job)
        elif known.is_paid and os.path.lexists(job.path):
            # There was nothing at its path when it was rented, and a file has its name when whole.
            results.add(Line.DONE, job.id, file=job.path, found=True)
        elif known.is_paid:
            under_way.append(job)
        elif not known.is_settled:
            job.check_destination()
            to_rent.append(job)
    check_unchanged(changed)
    return Plan(taken, tuple(to_rent), tuple(under_way), tuple(in_doubt))


def check_unchanged(changed: list[str]) -> None:
    """Raise `JobChangedError` if there is any job in the list."""
    if changed:
        raise JobChangedError(
            f"Changed since they were rented: {some(changed)}. Nothing was sent. Give a changed "
            "job an id of its own."
        )


@frozen
class Offer:
    """What the jobs cost that are to be rented.

    Attributes:
        jobs: these, each with its price as the limit that it will not exceed.
        refused: what the vendor will not rent, or not at the price that is allowed.
        total: of all jobs; `None` where the price of one is not known.
        contacts: of all jobs whose number is known.
    """

    jobs: tuple[RentalJob, ...]
    refused: tuple[tuple[RentalJob, SMSPartnerError], ...]
    total: Decimal | None
    contacts: int


async def priced(
    client: SMSPartnerClient,
    jobs: Iterable[RentalJob],
    concurrency: int,
    on_priced: Callable[[], object],
) -> Offer:
    """Price every job, many at a time. Costs nothing.

    Raises:
        SMSPartnerError: what is not the fault of one job.
    """
    quotes: dict[str, Quote | SMSPartnerError] = {}
    rest = iter(taken := tuple(jobs))

    async def price_some() -> None:
        for job in rest:
            try:
                quote = await client.price(job.targeting, job.volumes)
                job.check_price(quote)
                quotes[job.id] = quote
            except (InvalidRequestError, PriceExceededError) as error:
                quotes[job.id] = error
            on_priced()

    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(taken))):
                group.create_task(price_some())
    except* SMSPartnerError as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure
    return _offer([(job, quotes[job.id]) for job in taken])


def _offer(quotes: Iterable[tuple[RentalJob, Quote | SMSPartnerError]]) -> Offer:
    jobs, refused, contacts = [], [], 0
    total: Decimal | None = Decimal(0)
    for job, quote in quotes:
        if isinstance(quote, SMSPartnerError):
            refused.append((job, quote))
            continue
        price = quote.cost.total if quote.cost is not None else None
        jobs.append(job if price is None else evolve(job, max_total=price))
        total = None if total is None or price is None else total + price
        counted = quote.cost.quantity if quote.cost is not None else None
        contacts += counted or quote.total_volume or 0
    return Offer(tuple(jobs), tuple(refused), total, contacts)


@define(eq=False)
class BatchRun:
    """The renting, waiting and downloading, told to `results` and to `tally` as it goes."""

    client: SMSPartnerClient
    results: Results
    tally: Tally
    display: Display
    _task: asyncio.Task[Any] | None = field(factory=asyncio.current_task, init=False)
    _renting: set[str] = field(factory=set, init=False)
    _disk_failure: OSError | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)

    async def work(self, plan: Plan, offer: Offer, concurrency: int) -> None:
        """Do all there is to do. A job's failure is written down, and not raised.

        Raises:
            OSError: `results.jsonl` cannot be written. Nothing more was rented then.
            CancelledError: after the rents in flight were seen through and written down.
        """
        paid = {job.id: self.results.of(job.id).token or "" for job in plan.under_way}
        jobs = (*plan.under_way, *offer.jobs)
        everything = run_batch(
            self.client, jobs, concurrency=concurrency, on_event=self._heard, paid=paid
        )
        try:
            async with aclosing(everything) as outcomes:
                async for _ in outcomes:
                    pass
        except asyncio.CancelledError:
            if self._disk_failure is not None:
                raise self._disk_failure from None
            raise
        finally:
            # Nothing runs any more: what was not told of since was not sent.
            for job in self._renting:
                with suppress(OSError):
                    self.results.add(Line.NOT_RENTED, job, reason="stopped before it was sent")

    async def _heard(self, event: JobEvent) -> None:
        job = event.job
        match event.step:
            case JobStep.PRICED:
                await self._about_to_rent(event)
            case JobStep.RENTED if event.rental is not None:
                self._renting.discard(job.id)
                cost = event.rental.cost
                price = None if cost is None else cost.total
                self._write(Line.PAID, job.id, token=event.rental.token, price=price)
                if self._is_stopping():
                    self.display.note(f"{job.id}: rented. Token: {event.rental.token}")
            case JobStep.DOWNLOADED if event.file is not None:
                file = event.file
                whole = {"size": file.size, "sha256": file.sha256, "verified": file.verified}
                self._write(Line.DONE, job.id, file=file.path, **whole)
            case JobStep.FAILED | JobStep.SKIPPED if event.error is not None:
                self._failed(event, event.error)
            case _:
                pass
        self.tally.heard(event, self.results.of(job.id).price)

    async def _about_to_rent(self, event: JobEvent) -> None:
        job, quote = event.job, event.quote
        if quote is None:
            return
        with suppress(PriceExceededError):
            job.check_price(quote)
            price = None if quote.cost is None else quote.cost.total
            self._renting.add(job.id)
            self._write(Line.RENTING, job.id, order=order_of(job), price=price, **wanted_by(job))
            if self._disk_failure is not None:
                await asyncio.Event().wait()  # not rented: the batch is being stopped

    def _failed(self, event: JobEvent, error: Exception) -> None:
        self._renting.discard(event.job.id)
        unknown = isinstance(error, RentOutcomeUnknownError)
        line = Line.UNKNOWN if unknown else Line.FAILED if event.rental else Line.NOT_RENTED
        what = {"error": type(error).__name__, "message": str(error)}
        self._write(line, event.job.id, **what)
        if event.step is JobStep.FAILED:
            part = Path(f"{event.job.path}.part")
            if isinstance(error, AlreadyDownloadedError) and part.exists():
                error.add_note(f"What arrived before is in {part} ({part.stat().st_size:,} bytes).")
            self._failures += 1
            if unknown or self._failures <= LISTED:
                self.display.job_failed(event.job.id, error)
            elif self._failures == LISTED + 1:
                self.display.note(f"What else fails is told in {self.results.path} alone.")

    def _write(self, line: Line, job: str, **facts: Any) -> None:
        try:
            self.results.add(line, job, **facts)
        except OSError as error:
            if line is Line.PAID:
                self.display.note(f"{job}: rented. Token, to be kept: {facts['token']}")
            if self._disk_failure is None and self._task is not None:
                self._disk_failure = error
                self._task.cancel()

    def _is_stopping(self) -> bool:
        return self._task is not None and self._task.cancelling() > 0


def summary(plan: Plan, results: Results) -> Mapping[str, Any]:
    """Tell how a batch stands, as its results tell."""
    known = [results.of(job.id) for job in plan.jobs]
    stand = Counter(
        "done"
        if one.is_settled
        else "in_doubt"
        if one.is_unknown
        else "without_file"
        if one.is_paid
        else "not_rented"
        for one in known
    )
    paid = sum((one.price or Decimal(0) for one in known if one.token), Decimal(0))
    names = ("done", "without_file", "in_doubt", "not_rented")
    return {"jobs": len(known), **{name: stand[name] for name in names}, "paid": paid}
