"""What a store tells of its jobs, and how a job is written down. Pure: no database, no DBOS."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from ._errors import SMSPartnerError
from ._models import ContactFile, Targeting
from ._rental_job import RentalJob, plain, some

if TYPE_CHECKING:
    from collections.abc import Mapping


class JobState(Enum):
    """Where a job stands. The last four are final, until somebody resumes or resolves the job."""

    QUEUED = "queued"
    RENTING = "renting"
    """Being priced and rented."""
    WAITING = "waiting"
    """Paid; its file is being made, or downloaded."""
    DONE = "done"
    """Its file is on the disk, whole."""
    FAILED = "failed"
    """`error` says why. Without a token nothing was charged; with one, `resume` goes on."""
    NEEDS_ATTENTION = "needs_attention"
    """Whether it was charged is not known: `attention` tells what is; `resolve` settles it."""
    GIVEN_UP = "given_up"
    """A person gave it up with `resolve`: nobody works on it any more."""

    @property
    def is_open(self) -> bool:
        """Whether workers still have something to do for it."""
        return self in OPEN


OPEN: Final = (JobState.QUEUED, JobState.RENTING, JobState.WAITING)


class StoreError(SMSPartnerError):
    """The store cannot be used. What it holds, and what was paid, is not touched."""


class JobConflictError(SMSPartnerError, ValueError):
    """Jobs of this list are in the store with other content. Nothing of the list was submitted.

    Attributes:
        ids: the jobs.
    """

    def __init__(self, *, ids: tuple[str, ...]) -> None:
        super().__init__(
            f"In the store with other content: {some(ids)}. Nothing of this list was submitted. "
            "Give changed jobs ids of their own, or submit them to another store."
        )
        self.ids = ids


@frozen(kw_only=True)
class JobRecord:
    """What a store knows of a job.

    Attributes:
        job: the job as it was submitted.
        state: where it stands.
        run: 1, and one more for each time that it was resumed or resolved.
        token: the paid rental.
        price: what was paid, as the vendor told it with the rental, or else with the quote;
            `None` without a token, and where the vendor gave none.
        file: the file, at DONE. It is on the machine of `worker`.
        error: why it FAILED, or NEEDS_ATTENTION, in words.
        attention: at NEEDS_ATTENTION, all that is known: `claimed_at`, `worker`, `journal` (its
            file there), `journal_lines` (what the journals at hand say), `price`,
            `balance_before` and `balance_before_at` (up to a minute before), `balance_now` and
            `balance_now_at`. What is not known is missing, or `None`.
        worker: the one that took it, or was the last to write down how far it is.
        changed_at: when, by the database's clock.
    """

    job: RentalJob
    state: JobState
    run: int = 1
    token: str | None = None
    price: Decimal | None = None
    file: ContactFile | None = None
    error: str | None = None
    attention: Mapping[str, Any] = field(factory=lambda: MappingProxyType({}))
    worker: str | None = None
    changed_at: datetime

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id


@frozen(kw_only=True)
class Worker:
    """A worker of this process, at work.

    Attributes:
        id: the same after every restart, and no other living worker's.
        journal: its journal, where every token is on the disk before the database has it.
    """

    id: str
    journal: Path


def written(job: RentalJob) -> str:
    """Write down what a job asks for: the same text for the same content."""
    limit = None if job.max_total is None else f"{job.max_total.normalize():f}"
    content = {"targeting": plain(job.targeting), "volumes": job.volumes, "max_total": limit}
    return json.dumps({**content, "path": str(job.path)}, sort_keys=True)


@lru_cache(maxsize=256)  # several steps of a job need it, one soon after the other
def read(id: str, content: str) -> RentalJob:  # noqa: A002 - the name of the field
    """Read what `written` wrote."""
    fields = json.loads(content)
    limit = fields["max_total"]
    fields["max_total"] = None if limit is None else Decimal(limit)
    fields["targeting"] = Targeting(**fields["targeting"])
    return RentalJob(id=id, **fields)


def record(row: Any) -> JobRecord:
    """Make a record of a row of the table of jobs."""
    facts = json.loads(row.facts)
    file = facts.get("file")
    return JobRecord(
        job=read(row.id, row.content),
        state=JobState(row.state),
        run=row.run,
        token=row.token,
        price=None if row.price is None else Decimal(row.price),
        file=file and ContactFile(**{**file, "path": Path(file["path"])}),
        error=facts.get("error"),
        attention=MappingProxyType(facts.get("attention", {})),
        worker=row.worker,
        changed_at=datetime.fromtimestamp(row.changed / 1_000_000, UTC),
    )
