"""What a rent in doubt cost, reckoned from two balances and from what else was paid.

Whether it was charged is for a person to find out. This is one fact more, and no advice.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from ._records import JobRecord, record_from_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ._database.database import JobDatabase

LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
NOT_YET: Final = datetime.max.replace(tzinfo=UTC)
_CLOCKS_DIFFER: Final = timedelta(seconds=5)  # of two machines, at most
_IN_FLIGHT: Final = timedelta(minutes=10)  # for which the request of a fenced claim may be charged


@frozen
class Charge:
    """What another claim took from the balance, or may have taken, from `since` to `until`.

    `price` is `None` where it is not known, or where nobody knows whether it was charged.
    """

    since: datetime
    until: datetime
    price: Decimal | None


def spent(attention: Mapping[str, Any], others: Iterable[Charge]) -> Decimal | None:
    """Return by how much the balance fell beside what others cost; `None` if that is not known.

    That is so where a balance could not be read, where it grew, and where another charge may lie on
    either side of a reading, or has no known price.
    """
    known = [attention.get(f"balance_{name}") for name in ("before", "now", "before_at", "now_at")]
    if None in known:
        return None
    before, now, *moments = map(str, known)
    first, last = map(datetime.fromisoformat, moments)
    difference = Decimal(before) - Decimal(now)
    for charge in others:
        if first > last or charge.since > charge.until:
            return None  # a clock was set back: what came first is not known
        if charge.until < first or charge.since > last:
            continue  # in both balances, or in neither
        if charge.since < first or charge.until > last or charge.price is None:
            return None
        difference -= charge.price
    return difference if difference >= 0 else None


def other_charges(doubt: Any, jobs: Iterable[Any], runs: Iterable[Any]) -> Iterator[Charge]:
    """Return what else was or may have been charged.

    Args:
        doubt: the row of the job in doubt.
        jobs: the rows of jobs that are or may be paid.
        runs: the rows of payments, and of claims that are settled.
    """
    own = json.loads(doubt.facts)["attention"]
    writers = {own.get("worker"), doubt.worker}
    recorded = {(run.job, run.token) for run in runs}

    def charge(claim: Mapping[str, Any], until: datetime | None, price: str | None) -> Charge:
        # Times of one machine are compared as they are.
        slack = timedelta(0) if writers == {claim.get("worker")} else _CLOCKS_DIFFER
        since = _moment(claim.get("claimed_at"))
        return Charge(
            LONG_AGO if since is None else since - slack,
            NOT_YET if until is None else until + slack,
            None if price is None else Decimal(price),
        )

    for run in runs:
        claim = json.loads(run.claim)
        if claim.get("nonce") != own.get("nonce"):
            until = _moment(claim.get("paid_at")) or _given_up_at(claim)
            yield charge(claim, until, claim.get("price") if run.token else None)
    for job in jobs:
        facts = json.loads(job.facts)
        claim = facts if "nonce" in facts else facts.get("attention", {})
        if job.id == doubt.id or (job.id, job.token) in recorded:
            continue
        if job.token is not None:  # paid by a worker of release 0.1, or entered by a person
            yield charge(claim, datetime.fromtimestamp(job.changed / 1_000_000, UTC), job.price)
        elif claim:
            yield charge(claim, _given_up_at(claim), None)


async def records_of(database: JobDatabase, rows: Iterable[Any]) -> list[JobRecord]:
    """Return the records of rows of jobs; those in doubt with what they cost.

    Raises:
        StoreError: the database cannot be reached.
    """
    payments, records = None, list[JobRecord]()
    for row in rows:
        attention = json.loads(row.facts).get("attention", {})
        cost = None
        if attention.get("balance_now") is not None:
            payments = payments or await database.read_payments()
            cost = spent(attention, other_charges(row, *payments))
        records.append(record_from_row(row, spent=cost))
    return records


def _given_up_at(claim: Mapping[str, Any]) -> datetime | None:
    """Return when a claim that came into doubt could not be charged any more."""
    found_at = _moment(claim.get("balance_now_at"))
    return found_at and found_at + (timedelta(0) if claim.get("holder_done") else _IN_FLIGHT)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
