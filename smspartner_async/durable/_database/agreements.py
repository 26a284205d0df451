"""Agreements: which jobs may be rented, at which limit. Each function is one transaction.

An agreement is one run of a job: its content, with its limit, until it is claimed. It is withdrawn
by the same compare-and-swap that a claim uses, so exactly one of the two succeeds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from smspartner_async.batch._job import case_folded, check_files
from smspartner_async.durable._identity import differences, is_cleaned, same_id
from smspartner_async.durable._records import JobState

from .jobs import keep_run, read_store_id
from .tables import CHUNK, JOBS, RUNS, UNCLAIMED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from smspartner_async.durable._claims import JournalClaims, JournaledClaim

    from .database import JobDatabase

NOT_IN_STORE: Final = (
    "A journal beside this store names a rent for this job that the store does not know: the "
    "store is older than the journal. Whether it was charged is not known."
)
WITHDRAWN: Final = '{"withdrawn": true}'
"""The facts of a job that was withdrawn before anybody claimed it."""

_CLAIMED_BEFORE: Final = (
    sa.select(RUNS.c.run).where(RUNS.c.job == JOBS.c.id, RUNS.c.claim != "{}").exists()
)
_NOBODY_WORKS_ON: Final = (JobState.QUEUED, JobState.FAILED, JobState.GIVEN_UP)
_FILE_TO_COME: Final = sa.and_(
    JOBS.c.state.not_in([JobState.DONE.value, JobState.GIVEN_UP.value]),
    sa.or_(JOBS.c.state != JobState.FAILED.value, JOBS.c.token.is_not(None)),
)
_NOT_CHARGED: Final = sa.and_(JOBS.c.state == JobState.FAILED.value, JOBS.c.token.is_(None))


def submit(
    database: JobDatabase, connection: sa.Connection, contents: Mapping[str, str]
) -> tuple[int, dict[str, tuple[str, ...]]]:
    """Queue the jobs that are new or withdrawn, unless others are in the store with other content.

    Return how many were queued, and the names of the fields that differ, by job.

    Raises:
        ValueError: an id fits several jobs, or a file would meet that of a job without its file.
    """
    meant = _by_meaning(connection, contents)
    known = _known(connection, meant)
    taken = {row.id: row for row in known.values() if not _is_taken_back(row)}
    different = {row.id: differences(row.content, meant[row.id]) for row in taken.values()}
    if different := {job_id: fields for job_id, fields in different.items() if fields}:
        return 0, different
    new = {job_id: content for job_id, content in meant.items() if job_id not in taken}
    if new:
        rows = connection.execute(sa.select(JOBS.c.id, JOBS.c.content).where(_FILE_TO_COME))
        there = [row.content for row in rows if row.id not in new]
        check_files(_paths(new.values()), _paths(there))
    return len(agree(database, connection, new)), {}


def withdraw(database: JobDatabase, connection: sa.Connection, job_id: str) -> bool:
    """Withdraw a job that nobody has claimed in any run. Return whether it was withdrawn."""
    mine = sa.and_(JOBS.c.id == job_id, UNCLAIMED, sa.not_(_CLAIMED_BEFORE))
    return len(withdraw_all(database, connection, mine)) == 1


def withdraw_all(
    database: JobDatabase,
    connection: sa.Connection,
    which: sa.ColumnElement[bool] = UNCLAIMED,
) -> list[str]:
    """Withdraw every job that nobody has claimed in its current run. Return their ids.

    This includes a job that a person settled as not charged: nobody has claimed it since.
    """
    values = {"state": JobState.GIVEN_UP.value, "facts": WITHDRAWN, "changed": database.now}
    taken = sa.update(JOBS).where(which).values(**values).returning(JOBS.c.id)
    return [row.id for row in connection.execute(taken)]


def agree(
    database: JobDatabase, connection: sa.Connection, contents: Mapping[str, str]
) -> list[str]:
    """Queue jobs with new content if certainly nothing was rented for them. Return their ids.

    Each becomes a new run, because DBOS keeps the input of the run before. Jobs that are claimed,
    paid or in doubt stay as they are. A job that is queued with the same content stays, too, and
    its id is returned.
    """
    contents = _by_meaning(connection, contents)
    found = _known(connection, contents)
    new = [job_id for job_id in contents if job_id not in found]
    if new:
        fresh = {"state": JobState.QUEUED.value, "run": 1, "facts": "{}"}
        rows = [{"id": job_id, "content": contents[job_id], **fresh} for job_id in new]
        connection.execute(sa.insert(JOBS).values(changed=database.now), rows)
    agreed = list(new)
    for job_id, row in found.items():
        is_same = row.state == JobState.QUEUED.value and row.content == contents[job_id]
        if is_same and row.facts == "{}" and row.token is None:
            agreed.append(job_id)
            continue
        free = sa.or_(UNCLAIMED, _NOT_CHARGED, JOBS.c.facts == WITHDRAWN)
        values: dict[str, Any] = {"state": JobState.QUEUED.value, "facts": "{}", "worker": None}
        values |= {"run": JOBS.c.run + 1, "content": contents[job_id], "changed": database.now}
        anew = sa.update(JOBS).where(JOBS.c.id == job_id, JOBS.c.token.is_(None), free)
        if connection.execute(anew.values(**values)).rowcount:
            agreed.append(job_id)
    return agreed


def adopt(
    database: JobDatabase, connection: sa.Connection, read: Callable[[str], JournalClaims]
) -> list[str]:
    """Record what journals know, and the store does not, of jobs that no worker has taken.

    Return their ids. A job whose token is known continues from it. The others need attention:
    nobody knows whether they were charged. `read` gets the store's id. It is called here because
    no claim in the store changes meanwhile.
    """
    claims = read(read_store_id(database, connection))
    rows = defaultdict[str, list[sa.Row[Any] | None]](list)
    for one in connection.execute(sa.select(JOBS)):
        rows[case_folded(one.id)].append(one)
    known = defaultdict[str, set[str]](set)
    for run in connection.execute(sa.select(RUNS.c.job, RUNS.c.claim)):
        known[run.job].add(json.loads(run.claim).get("nonce", ""))
    adopted = list[str]()
    for name in claims.job_ids():
        row, *others = rows[name] or [None]
        if others:  # a store of release 0.1 may have several spellings
            continue
        if row is None:
            claim = claims.unknown(name, 0, ())
        elif row.token is None and JobState(row.state) in _NOBODY_WORKS_ON:
            # Release 0.1 wrote no line where a rent was refused, and its run has ended.
            run = row.run + (row.facts not in {"{}", WITHDRAWN})
            claim = claims.unknown(name, run, known[row.id])
        else:
            continue  # it is paid, or its worker looks into the journals before it pays
        if claim is not None:
            adopted.append(_adopt(database, connection, row, claim))
    return sorted(adopted)


def _adopt(
    database: JobDatabase,
    connection: sa.Connection,
    row: sa.Row[Any] | None,
    claim: JournaledClaim,
) -> str:
    """Record the claim of a journal in the row of its job, if there is one. Return the job's id."""
    run = claim.run if row is None else max(claim.run, row.run)
    values: dict[str, Any] = {"token": claim.token, "price": claim.claim.get("price")}
    values["changed"] = database.now
    if claim.token is None:
        attention = {**claim.claim, "journal_lines": [claim.line]}
        values |= {"state": JobState.NEEDS_ATTENTION.value, "run": run}
        values["facts"] = json.dumps({"error": NOT_IN_STORE, "attention": attention})
    else:
        values |= {"state": JobState.QUEUED.value, "run": run + 1, "facts": "{}"}
    if row is None:
        values |= {"id": claim.job, "content": claim.content}
        connection.execute(sa.insert(JOBS).values(**values))
        return claim.job
    keep_run(connection, row)
    connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(**values))
    return str(row.id)


def move(database: JobDatabase, connection: sa.Connection, contents: Mapping[str, str]) -> None:
    """Replace the contents of jobs, by their ids in the store, after their folder was moved.

    A paid job continues from its token in a new run, because DBOS keeps the input of the run
    before. A job that may still cost money gets the new path in its next run only.
    """
    for row in _known(connection, contents).values():
        values: dict[str, Any] = {"content": contents[row.id], "changed": database.now}
        if row.token is not None and JobState(row.state).is_open:
            values |= {"state": JobState.QUEUED.value, "facts": "{}", "run": row.run + 1}
        facts = json.loads(row.facts)
        if "file" in facts:
            facts["file"]["path"] = json.loads(contents[row.id])["path"]
            values["facts"] = json.dumps(facts)
        connection.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(**values))


def claim_ids_of(_: JobDatabase, connection: sa.Connection, job_id: str) -> set[str]:
    """Return the ids of the claims of a job's earlier runs."""
    claims = connection.execute(sa.select(RUNS.c.claim).where(RUNS.c.job == job_id)).scalars()
    return {json.loads(claim).get("nonce", "") for claim in claims}


def open_runs(_: JobDatabase, connection: sa.Connection) -> list[tuple[str, int, str]]:
    """Return job, run and claim of all earlier runs with a claim and without a token."""
    runs = sa.select(RUNS.c.job, RUNS.c.run, RUNS.c.claim)
    runs = runs.where(RUNS.c.token.is_(None), RUNS.c.claim != "{}")
    return [(row.job, row.run, row.claim) for row in connection.execute(runs)]


def acknowledge(
    _: JobDatabase, connection: sa.Connection, job_id: str, tokens: Iterable[str]
) -> None:
    """Mark late tokens of a job as seen by a person; they are not reported any more."""
    where = sa.and_(RUNS.c.job == job_id, RUNS.c.token.in_(list(tokens)))
    for row in connection.execute(sa.select(RUNS).where(where)).all():
        claim = json.dumps({**json.loads(row.claim), "acknowledged": True})
        this = sa.and_(RUNS.c.job == job_id, RUNS.c.run == row.run)
        connection.execute(sa.update(RUNS).where(this).values(claim=claim))


def _by_meaning(connection: sa.Connection, contents: Mapping[str, str]) -> dict[str, str]:
    """Return contents by the ids that the store has for these jobs.

    Raises:
        ValueError: an id may mean several jobs, or several ids mean one job.
    """
    known, meant, alike = _known(connection, contents), dict[str, str](), list[str]()
    others = {case_folded(job_id) for job_id in contents if job_id not in known}
    if len(others) < len(contents) - len(known):
        raise ValueError("Several new jobs have ids that differ in case or accents alone.")
    if others:
        found = connection.execute(sa.select(JOBS.c.id))
        alike = [row.id for row in found if case_folded(row.id) in others]
    for job_id, content in contents.items():
        the_id = job_id if job_id in known else same_id(job_id, alike) or job_id
        if the_id in meant:
            raise ValueError(f"Several jobs of this list are job {the_id!r} of the store.")
        meant[the_id] = content
    return meant


def _paths(contents: Iterable[str]) -> Iterator[str]:
    return (json.loads(content)["path"] for content in contents)


def _is_taken_back(row: sa.Row[Any]) -> bool:
    """Whether nothing was rented for a job, and nothing says any more what was wanted."""
    is_unpaid = row.token is None and row.state == JobState.FAILED.value
    return row.facts == WITHDRAWN or (is_unpaid and is_cleaned(row.content))


def _known(connection: sa.Connection, ids: Iterable[str]) -> dict[str, sa.Row[Any]]:
    """Return the rows of those jobs that the store has, by id."""
    wanted, found = list(ids), dict[str, sa.Row[Any]]()
    for start in range(0, len(wanted), CHUNK):
        chunk = JOBS.c.id.in_(wanted[start : start + CHUNK])
        found.update((row.id, row) for row in connection.execute(sa.select(JOBS).where(chunk)))
    return found
