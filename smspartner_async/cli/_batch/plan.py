"""What a run of a batch has left to do, and what that costs.

The list of jobs says what may be rented, the store's records say what has happened. Knows the
client for its prices, and asks nobody anything.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from smspartner_async._errors import InvalidRequestError, PriceExceededError, SMSPartnerError
from smspartner_async.batch._job import case_folded, checked_jobs
from smspartner_async.durable import JobConflictError, JobState
from smspartner_async.durable._identity import buys_the_same, differences, same_id
from smspartner_async.durable._records import dump_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async._models import Quote
    from smspartner_async.batch._job import RentalJob
    from smspartner_async.durable import JobRecord


@frozen
class Plan:
    """What earlier runs have left to do.

    Attributes:
        to_rent: jobs of the list that were certainly not paid for.
        under_way: what is paid and has no file, or was claimed by a worker, in the list or not:
            it continues, and is not paid for again.
        in_doubt: what may be paid for, in the list or not. Left alone until a person settles it.
    """

    to_rent: tuple[RentalJob, ...] = ()
    under_way: tuple[JobRecord, ...] = ()
    in_doubt: tuple[JobRecord, ...] = ()

    def is_idle(self) -> bool:
        """Return whether there is nothing to do, and nothing to report."""
        return not (self.to_rent or self.under_way or self.in_doubt)


def make_plan(jobs: Iterable[RentalJob], records: Mapping[str, JobRecord]) -> Plan:
    """Return what is left to do, once it is sure that it can be done.

    Raises:
        JobConflictError: a job of the list asks for other contacts than under its id before.
        ValueError: two jobs with one id or one file.
        OSError: the file of a job that is to be rented exists, or cannot be written.
    """
    taken = checked_jobs(jobs)
    changed = {
        job.id: tuple(name for name in fields if not buys_the_same([name]))
        for job in taken
        if job.id in records
        and not buys_the_same(fields := differences(dump_job(records[job.id].job), dump_job(job)))
    }
    if changed:
        raise JobConflictError(fields=changed)
    to_rent = tuple(job for job in taken if is_unpaid(records.get(job.id)))
    for job in to_rent:
        job.check_destination()
    return Plan(
        to_rent,
        tuple(filter(is_under_way, records.values())),
        tuple(one for one in records.values() if one.state is JobState.NEEDS_ATTENTION),
    )


def is_unpaid(record: JobRecord | None) -> bool:
    """Return whether nothing was paid for a job, for certain, and a run may rent it.

    One that is queued was agreed to by an earlier run, and is taken back when a run begins.
    """
    return record is None or (
        record.token is None
        and (record.withdrawn or record.state in {JobState.QUEUED, JobState.FAILED})
    )


def is_under_way(record: JobRecord) -> bool:
    """Return whether a job continues without being paid for again."""
    return record.state is JobState.RENTING or is_paid_without_file(record)


def is_paid_without_file(record: JobRecord) -> bool:
    """Return whether a job is paid for and has no file yet."""
    return record.token is not None and record.state not in {JobState.DONE, JobState.GIVEN_UP}


def with_known_ids(
    jobs: Iterable[RentalJob], records: Iterable[JobRecord]
) -> tuple[RentalJob, ...]:
    """Return the jobs under the ids that the store has for them, however the list spells these.

    Raises:
        ValueError: an id may mean several jobs of the store.
    """
    alike = defaultdict[str, list[str]](list)
    for record in records:
        alike[case_folded(record.id)].append(record.id)
    ids = ((job, same_id(job.id, alike[case_folded(job.id)])) for job in jobs)
    return tuple(job if id in {None, job.id} else evolve(job, id=id) for job, id in ids)  # noqa: A001


@frozen
class PricedBatch:
    """What the jobs cost that are to be rented.

    Attributes:
        jobs: these, each with its price as the limit that it will not exceed.
        refused: what the vendor will not rent, or not at the price that is allowed.
        total: of all jobs; `None` where the price of one is not known.
        contacts: of all jobs whose number is known.
        notes: what the quotes say to look at before paying, each with the id of its job.
    """

    jobs: tuple[RentalJob, ...] = ()
    refused: tuple[tuple[RentalJob, SMSPartnerError], ...] = ()
    total: Decimal | None = Decimal(0)
    contacts: int = 0
    notes: tuple[str, ...] = ()

    def dearest(self) -> list[tuple[Decimal, str]]:
        """Return the prices and ids of the jobs whose price is known, the highest first."""
        prices = [(job.max_total, job.id) for job in self.jobs if job.max_total is not None]
        return sorted(prices, reverse=True)


async def price_jobs(
    client: SMSPartnerClient,
    jobs: Iterable[RentalJob],
    concurrency: int,
    on_priced: Callable[[], object],
) -> PricedBatch:
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

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(taken))):
                group.create_task(price_some())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return _sum_up([(job, quotes[job.id]) for job in taken])


def _sum_up(quotes: Iterable[tuple[RentalJob, Quote | SMSPartnerError]]) -> PricedBatch:
    jobs, refused, notes, contacts = [], [], [], 0
    total: Decimal | None = Decimal(0)
    for job, quote in quotes:
        if isinstance(quote, SMSPartnerError):
            refused.append((job, quote))
            continue
        price = quote.total
        jobs.append(job if price is None else evolve(job, max_total=price))
        total = None if total is None or price is None else total + price
        counted = quote.cost.quantity if quote.cost is not None else None
        contacts += counted or quote.total_volume or 0
        notes += [f"{job.id}: {note}" for note in quote.notes]
    return PricedBatch(tuple(jobs), tuple(refused), total, contacts, tuple(notes))
