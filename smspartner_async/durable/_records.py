"""The records of a store, and a job's JSON in the database. Pure: no database, no DBOS."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

from attrs import field, frozen

from smspartner_async._errors import SMSPartnerError
from smspartner_async._models import ContactFile, Targeting
from smspartner_async.batch._job import RentalJob, preview, targeting_to_dict

from ._identity import buys_the_same, is_cleaned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class JobState(Enum):
    """The state of a job. The last four are final, until somebody resumes or resolves the job."""

    QUEUED = "queued"
    RENTING = "renting"
    """Being priced and rented."""
    WAITING = "waiting"
    """Paid; its file is being made, or downloaded."""
    DONE = "done"
    """Its file is on the disk, whole."""
    FAILED = "failed"
    """`error` says why. Without a token nothing was charged; with one, `resume` continues."""
    NEEDS_ATTENTION = "needs_attention"
    """Whether it was charged is not known. `attention` has the facts; `resolve` settles it."""
    GIVEN_UP = "given_up"
    """A person gave it up with `resolve`, or it was withdrawn: nobody works on it any more."""

    @property
    def is_open(self) -> bool:
        """Whether workers still have work to do for the job."""
        return self in OPEN


OPEN: Final = (JobState.QUEUED, JobState.RENTING, JobState.WAITING)


class StoreError(SMSPartnerError):
    """The store cannot be used. Its jobs, and what was paid, stay as they are."""

    _money = "What the store's jobs have paid for, and what is in doubt, stays as it is."


class JobConflictError(SMSPartnerError, ValueError):
    """Jobs of this list are in the store with other content. Nothing of the list was submitted.

    Attributes:
        ids: the jobs, by their ids in the store.
        fields: of each of them, the names of the fields that differ.
    """

    def __init__(self, *, fields: Mapping[str, tuple[str, ...]]) -> None:
        differing = {name for names in fields.values() for name in names}
        advice = (
            "A job whose limit or path alone has changed can be submitted again once withdrawn "
            "(by `withdraw()` of a Store)."
            if buys_the_same(differing)
            else "Give a job that asks for other contacts another id."
        )
        super().__init__(
            f"In the store with other content: {preview([*fields])} (differs in "
            f"{', '.join(sorted(differing))}). Nothing of this list was submitted. {advice}"
        )
        self.ids: tuple[str, ...] = tuple(fields)
        self.fields: dict[str, tuple[str, ...]] = dict(fields)


@frozen(kw_only=True)
class JobRecord:
    """The record of a job in a store.

    Attributes:
        job: the job as it was submitted.
        state: its state.
        run: 1, and one more for each time that it was resumed, resolved, or submitted again.
        token: of the paid rental.
        price: what was paid, from the vendor's reply to the rent, or else from the quote; `None`
            without a token, and if the vendor named no price.
        file: the file, at DONE. It is on the machine of `worker`.
        error: why it FAILED, or NEEDS_ATTENTION, in words.
        attention: at NEEDS_ATTENTION, all that is known: `claimed_at`, `worker`, `journal` (its
            file there), `journal_lines` (its lines in the journals at hand), `price`,
            `balance_before` and `balance_before_at` (up to a minute before), `balance_now` and
            `balance_now_at`; `balance_spent`, by how much it fell between the two beyond what
            other jobs cost, `None` if that is not known; `holder_done`, if `worker` itself
            recorded that it sends nothing more; `seen_token`, a token in a reply that proves
            nothing. Facts that are not known are missing, or `None`.
        worker: the worker that took it, or was the last to update it.
        changed_at: the time of the last update by the database's clock.
        withdrawn: at GIVEN_UP, whether it was withdrawn before anything was sent for it.
        late_tokens: rentals that earlier runs have paid for, besides `token`. They became known
            after the job was settled otherwise. `resolve` with `give_up` removes them here.
        cleaned: whether `Store.clean` removed what the job asked for: `job` names neither targeting
            nor volumes any more.
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
    withdrawn: bool = False
    late_tokens: tuple[str, ...] = ()
    cleaned: bool = False

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id


@frozen(kw_only=True)
class Worker:
    """A running worker of this process.

    Attributes:
        id: the same after every restart, and no other running worker's.
        journal: the file where every token is on the disk before the database has it.
    """

    id: str
    journal: Path
    _why_paused: Callable[[], str | None] = field(repr=False, alias="why_paused")

    @property
    def paused(self) -> str | None:
        """Why no job is rented now: the vendor refuses the account. `None` while jobs are rented.

        Jobs stay queued meanwhile, and continue when a free check of the account succeeds.
        """
        return self._why_paused()


def why_too_late(known: JobRecord) -> str:
    """Return why a job can be withdrawn no more."""
    if known.token is not None:
        return f"it is paid, and its token is {known.token}"
    if known.state is JobState.RENTING:
        return f"worker {known.worker} is paying for it now"
    if known.state is JobState.QUEUED:
        return "a worker was about to pay for it in an earlier run"
    return f"it is {known.state.name}"


class Job(TypedDict):
    """A job as its workflow gets it."""

    id: str
    run: int
    content: str
    token: str | None
    price: str | None


def workflow_id(job: Job) -> str:
    """Return the id of the workflow of one run of a job."""
    return f"smspartner:{job['id']}:{job['run']}"


class Paid(TypedDict):
    """A paid rental."""

    token: str
    price: str | None


class Claim(TypedDict):
    """Who is about to rent, recorded before the request is sent. `nonce` is the claim's id."""

    nonce: str
    worker: str
    journal: str
    claimed_at: str
    balance_before: str | None
    balance_before_at: str | None
    price: NotRequired[str | None]
    """What was paid, where the claim was found in a journal."""
    found_by: NotRequired[str]
    """The worker that fenced this claim of another: from then on its owner may not pay."""
    holder_done: NotRequired[bool]
    """Whether the claim's own worker recorded that it sends nothing more for it."""


def dump_job(job: RentalJob) -> str:
    """Return the content of a job as JSON: the same text for the same content."""
    limit = None if job.max_total is None else f"{job.max_total.normalize():f}"
    content = {
        "targeting": targeting_to_dict(job.targeting),
        "volumes": job.volumes,
        "max_total": limit,
    }
    return json.dumps({**content, "path": str(job.path)}, sort_keys=True)


@lru_cache(maxsize=256)  # several steps of a job need it, one soon after the other
def load_job(id: str, content: str) -> RentalJob:  # noqa: A002 - the name of the field
    """Read what `dump_job` wrote."""
    fields = json.loads(content)
    limit = fields["max_total"]
    fields["max_total"] = None if limit is None else Decimal(limit)
    fields["targeting"] = Targeting(**fields["targeting"])
    return RentalJob(id=id, **fields)


def record_from_row(row: Any, *, spent: Decimal | None = None) -> JobRecord:
    """Return the record of a row of the table of jobs; of one in doubt, with what it cost."""
    facts = json.loads(row.facts)
    file, attention = facts.get("file"), facts.get("attention", {})
    if attention:
        attention["balance_spent"] = None if spent is None else str(spent)
    return JobRecord(
        job=load_job(row.id, row.content),
        state=JobState(row.state),
        run=row.run,
        token=row.token,
        price=None if row.price is None else Decimal(row.price),
        file=file and ContactFile(**{**file, "path": Path(file["path"])}),
        error=facts.get("error"),
        attention=MappingProxyType(attention),
        worker=row.worker,
        changed_at=datetime.fromtimestamp(row.changed / 1_000_000, UTC),
        withdrawn=facts.get("withdrawn", False),
        late_tokens=tuple((row.late_tokens or "").split()),
        cleaned=is_cleaned(row.content),
    )
