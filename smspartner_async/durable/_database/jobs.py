"""The rows of jobs: taken by workers, claimed for payment, updated, and queued again.

Each function is one transaction: `await database.run(claim_job, …)`.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import sqlalchemy as sa

from smspartner_async.durable._records import JobState

from .tables import CLOCKS, JOBS, RUNS, STORE, UNCLAIMED, UNLIMITED, WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .database import JobDatabase

_QUEUED_ANEW: Final = {"state": JobState.QUEUED.value, "run": JOBS.c.run + 1, "facts": "{}"}
# Made once: building these statements each time costs more than executing them.
_RENTING: Final = sa.select(JOBS).where(JOBS.c.state == JobState.RENTING.value)
_HEARTBEATS: Final = sa.select(WORKERS.c.id, WORKERS.c.seen)
_SWAP_CLAIM: Final = sa.text(
    "UPDATE smspartner_jobs SET facts = :after WHERE id = :id AND run = :run AND facts = :before"
)
_READ_CLAIM: Final = sa.text("SELECT facts FROM smspartner_jobs WHERE id = :id AND run = :run")
# A job that has ended keeps its state and facts; a token is always stored; the first price stays.
_UPDATE: Final = """
    UPDATE smspartner_jobs SET
        state = CASE WHEN state IN ('renting', 'waiting') THEN :new_state ELSE state END,
        worker = CASE WHEN state IN ('renting', 'waiting') THEN :by ELSE worker END,
        facts = CASE WHEN state IN ('renting', 'waiting') AND :new_facts <> ''
                THEN :new_facts ELSE facts END,
        token = coalesce(:new_token, token),
        price = coalesce(price, :new_price),
        changed = {now}
    WHERE id = :job AND run = :in_run
"""
# When it was charged, and how much: the row of the job forgets that at its end.
_KEEP_PAYMENT: Final = sa.text(
    "INSERT INTO smspartner_runs (job, run, claim, token) "
    "SELECT :job, :in_run, :payment, :new_token WHERE NOT EXISTS "
    "(SELECT 1 FROM smspartner_runs WHERE job = :job AND run = :in_run)"
)
_UPDATES: Final = {name: sa.text(_UPDATE.format(now=clock)) for name, clock in CLOCKS.items()}


def take_jobs(
    database: JobDatabase,
    connection: sa.Connection,
    worker: str,
    heartbeat_at: int | None,
    concurrency: int,
    *,
    require_max_total: bool = False,
) -> list[sa.Row[Any]]:
    """Take queued jobs for one worker: its fair share of those that may be renting at once.

    With `require_max_total`, those that may be rented at any price are left in the queue.

    Return all jobs that it has taken and not yet paid for. `heartbeat_at` is its own last
    heartbeat. Where its row says otherwise, others have taken over its jobs: it takes none before
    its next heartbeat, because nobody would take those over.
    """
    all_taken = connection.execute(_RENTING).all()
    mine = [row for row in all_taken if row.worker == worker]
    workers = dict(connection.execute(_HEARTBEATS).all())
    share = -(-concurrency // len(workers)) if workers.get(worker) == heartbeat_at else 0
    room = max(0, min(share - len(mine), concurrency - len(all_taken)))
    take = _take(database.url.get_backend_name(), require_max_total)
    return [*mine, *connection.execute(take, {"taker": worker, "room": room})]


@cache
def _take(backend: str, require_max_total: bool) -> sa.Executable:  # noqa: FBT001 - private
    """Return the statement that takes the first `room` queued jobs for the worker `taker`."""
    queued = sa.select(JOBS.c.number).where(JOBS.c.state == JobState.QUEUED.value)
    if require_max_total:
        queued = queued.where(sa.not_(UNLIMITED))
    queued = queued.order_by(JOBS.c.number).limit(sa.bindparam("room"))
    taken = sa.update(JOBS).where(JOBS.c.number.in_(queued.scalar_subquery()))
    values = {"state": JobState.RENTING.value, "worker": sa.bindparam("taker")}
    return taken.values(changed=CLOCKS[backend], **values).returning(*JOBS.c)


def claim_job(
    _: JobDatabase, connection: sa.Connection, job_id: str, run: int, before: str, after: str
) -> str:
    """Compare and swap a job's facts from `before` to `after`. Return the facts after that."""
    row = {"id": job_id, "run": run}
    connection.execute(_SWAP_CLAIM, {**row, "before": before, "after": after})
    return connection.execute(_READ_CLAIM, row).scalar() or "{}"


def update_jobs(
    database: JobDatabase, connection: sa.Connection, updates: Iterable[Mapping[str, Any]]
) -> list[bool]:
    """Record the progress of jobs. Return for each whether the store has it in this run.

    A token is stored whatever the state is, even if the run has ended.
    """
    statement, found = _UPDATES[database.url.get_backend_name()], list[bool]()
    for update in updates:
        found.append(connection.execute(statement, update).rowcount == 1)
        if not found[-1] and update["new_token"] is not None:
            _keep_late_token(database, connection, update)
        elif update.get("payment") is not None:
            connection.execute(_KEEP_PAYMENT, update)
    return found


def _keep_late_token(
    database: JobDatabase, connection: sa.Connection, update: Mapping[str, Any]
) -> None:
    """Store a token of a run that has ended, and let the job continue from it where it can."""
    job_id, token = update["job"], update["new_token"]
    this = sa.and_(RUNS.c.job == job_id, RUNS.c.run == update["in_run"])
    if connection.execute(sa.update(RUNS).where(this).values(token=token)).rowcount == 0:
        late = sa.insert(RUNS).values(job=job_id, run=update["in_run"], claim="{}", token=token)
        connection.execute(late)
    unpaid = sa.update(JOBS).where(JOBS.c.id == job_id, JOBS.c.token.is_(None))
    known = {"token": token, "changed": database.now}
    # A new run that nobody has claimed is fenced: it is paid, and rents nothing.
    if not connection.execute(unpaid.where(UNCLAIMED).values(**known, **_QUEUED_ANEW)).rowcount:
        ended = JOBS.c.state.in_([JobState.FAILED.value, JobState.GIVEN_UP.value])
        connection.execute(unpaid.where(ended).values(**known))


def requeue(
    database: JobDatabase,
    connection: sa.Connection,
    job_id: str,
    states: Sequence[JobState],
    values: Mapping[str, Any],
) -> bool:
    """Queue a job again, or set the state in `values`. Return whether it was in one of `states`."""
    this = sa.and_(JOBS.c.id == job_id, JOBS.c.state.in_([state.value for state in states]))
    for row in connection.execute(sa.select(JOBS).where(this)):
        keep_run(connection, row)
    all_values = {"state": JobState.QUEUED.value, "run": JOBS.c.run + 1, **values}
    update = sa.update(JOBS).where(this)
    return connection.execute(update.values(changed=database.now, **all_values)).rowcount == 1


def start_over(database: JobDatabase, connection: sa.Connection, job_id: str, run: int) -> bool:
    """Queue a job again in a new run, from its token if it has one. Return whether it was queued.

    A job that somebody has claimed may be paid for: without its token, it is left as it is.
    """
    under_way = JOBS.c.state.in_([JobState.RENTING.value, JobState.WAITING.value])
    certain = sa.or_(JOBS.c.facts == "{}", JOBS.c.token.is_not(None))
    update = sa.update(JOBS).where(JOBS.c.id == job_id, JOBS.c.run == run, under_way, certain)
    return connection.execute(update.values(changed=database.now, **_QUEUED_ANEW)).rowcount == 1


def keep_run(connection: sa.Connection, row: Any) -> None:
    """Copy the claim of a job's run, if there is one, before the row moves on to the next run."""
    facts = json.loads(row.facts)
    if claim := facts if "nonce" in facts else facts.get("attention"):
        this = sa.and_(RUNS.c.job == row.id, RUNS.c.run == row.run)
        connection.execute(sa.delete(RUNS).where(this))
        connection.execute(sa.insert(RUNS).values(job=row.id, run=row.run, claim=json.dumps(claim)))


def read_store_id(_: JobDatabase, connection: sa.Connection) -> str:
    """Return the permanent id of this store; the first call makes it."""
    found: str | None = connection.execute(sa.select(STORE.c.id)).scalar()
    if found is None:
        found = uuid4().hex
        connection.execute(sa.insert(STORE).values(number=1, id=found))
    return found
