"""The public class `Store`: submit, read, settle and work on jobs."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define, field

from smspartner_async._validation import (
    check_methods,
    check_positive,
    check_type,
    check_whole,
    checked_path,
    checked_token,
)
from smspartner_async.batch._job import checked_jobs

from ._balances import records_of
from ._cleaning import Cleaned, Cleaning
from ._database import agreements
from ._database.database import JobDatabase, create_tables
from ._database.jobs import requeue
from ._database.tables import JOBS, SECOND
from ._database.urls import parse_store_url, prepare_file
from ._identity import same_id
from ._payment import check_nobody_pays
from ._records import OPEN, JobConflictError, JobRecord, JobState, Worker, dump_job, why_too_late
from ._worker import WorkerRuntime

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Iterable

    import sqlalchemy as sa
    from dbos import DBOS

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async._validation import HasToken
    from smspartner_async.batch._job import RentalJob

_OVERLAP: Final = SECOND  # by which the database's clock may be set back unnoticed
_READ_ALL_EVERY: Final = 30  # reads of a watch: of the others, each reads what has changed since


@define(eq=False)
class Store:
    """A store of jobs and their records, in one database. Open it with `async with`.

    Args:
        url: `sqlite:///rentals.db` for the workers of one machine, `postgresql://user@host/name`
            for those of many. The path after `sqlite:///` is taken literally, with any `?`, `#` or
            `%`. A missing file and missing tables are created; the Postgres database must exist.

    Raises:
        ConfigurationError: the URL is neither.
        TypeError: the URL is no text.
        StoreError: when it is entered: the database cannot be reached.
    """

    url: sa.URL = field(converter=parse_store_url, alias="url")
    _database: JobDatabase = field(init=False, repr=False)

    async def __aenter__(self) -> Self:
        self._database = JobDatabase(self.url)
        try:
            if self._database.is_sqlite:
                await asyncio.to_thread(prepare_file, self.url)
            await self._database.run(create_tables)
        except BaseException:
            self._database.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._database.close()

    async def submit(self, jobs: Iterable[RentalJob]) -> int:
        """Queue jobs, all or none. Jobs already in the store with the same content stay unchanged.

        A job that was withdrawn is queued again, with its new content.

        >>> await store.submit([job])  # its content is in the store already
        0

        Returns:
            The number of jobs that were queued.

        Raises:
            JobConflictError: some are in the store with other content.
            ValueError: two jobs with one id or one file, or an id that fits several in the store;
                or the file is that of a job in the store whose file is to come.
            StoreError: the database cannot be reached.
        """
        contents = {job.id: dump_job(job) for job in checked_jobs(jobs)}
        new, different = await self._database.run(agreements.submit, contents)
        if different:
            raise JobConflictError(fields=different)
        return new

    async def records(self, *states: JobState) -> tuple[JobRecord, ...]:
        """Return the records of all jobs, or of those in some states, in the order submitted.

        >>> [record.id for record in await store.records(JobState.FAILED)]
        ['south']

        Raises:
            StoreError: the database cannot be reached.
        """
        where = (JOBS.c.state.in_([state.value for state in states]),) if states else ()
        return tuple(await records_of(self._database, await self._database.read_jobs(*where)))

    async def record(self, job_id: str) -> JobRecord:
        """Return the record of one job.

        The id may differ in case, or in the encoding of its accents, if only one job fits.

        >>> (await store.record("North")).state.name
        'QUEUED'

        Raises:
            LookupError: there is no such job.
            ValueError: several jobs fit.
            StoreError: the database cannot be reached.
        """
        rows = await self._database.read_jobs(JOBS.c.id == job_id)
        for known in await records_of(self._database, rows):
            return known
        found = same_id(job_id, (row.id for row in await self._database.read_jobs()))
        if found is not None:
            return await self.record(found)
        raise LookupError(f"There is no job {job_id!r} in this store.")

    async def watch(
        self, job_ids: Iterable[str] | None = None, *, interval: float = 1.0
    ) -> AsyncGenerator[JobRecord, None]:
        """Yield each job's record, and again after each change of its state, until no job is open.

        A job that NEEDS_ATTENTION is not open. A worker has to run, in this or another process. If
        the database goes away, `watch` waits for it.

        >>> ended = [record async for record in store.watch(["south"])]

        Args:
            job_ids: which jobs; by default all. Ids that are not in the store are ignored.
            interval: seconds between two reads; above 0.

        Raises:
            ValueError: the interval is out of range.
            StoreError: the database cannot be reached.
        """
        check_positive("interval", interval)
        only = None if job_ids is None else set(job_ids)
        seen: dict[str, tuple[int, str]] = {}
        still_open: set[str] = set()
        since = 0
        for number in itertools.count():
            # Now and then all: clocks differ between machines, and people set them.
            start = since if number % _READ_ALL_EVERY else 0
            rows = await self._database.read_jobs(JOBS.c.changed >= start, reconnect=number > 0)
            if number == 0 and only is not None:
                there = {row.id for row in rows}
                only |= {same_id(job_id, there) or job_id for job_id in only - there}
            for row in rows:
                if (only is None or row.id in only) and seen.get(row.id) != (row.run, row.state):
                    seen[row.id] = row.run, row.state
                    (known,) = await records_of(self._database, [row])
                    (still_open.add if known.state in OPEN else still_open.discard)(row.id)
                    yield known
            if not still_open:
                return
            # Writers take turns: a later change has a later time, if the clock is right.
            if rows:
                latest = max(row.changed for row in rows) + 1
                since = min(max(row.now for row in rows) - _OVERLAP, latest)
            await asyncio.sleep(interval)

    async def withdraw(self, job_id: str) -> None:
        """Withdraw a job that is QUEUED or RENTING, before anything is sent for it.

        It becomes GIVEN_UP, with `withdrawn` in its record. Submitted again, it is a new run.

        >>> await store.withdraw("north")

        Raises:
            LookupError: there is no such job.
            ValueError: it is too late: the job is being paid, is or may be paid, has ended, or a
                worker was about to pay for it in an earlier run. Nothing was done.
            StoreError: the database cannot be reached.
        """
        job_id = (await self.record(job_id)).id
        if not await self._database.run(agreements.withdraw, job_id):
            known = await self.record(job_id)
            if known.withdrawn:
                return
            why = why_too_late(known)
            raise ValueError(f"Too late to withdraw job {job_id!r}: {why}. Nothing was done.")

    async def resume(self, job_id: str) -> None:
        """Continue a FAILED job: from its token if it is paid, or else from pricing.

        >>> await store.resume("south")

        Raises:
            LookupError: there is no such job.
            ValueError: the job is in another state, or was cleaned before anything was paid for it.
            StoreError: the database cannot be reached.
        """
        known = await self.record(job_id)
        if known.cleaned and known.token is None:
            raise ValueError(f"Job {job_id!r} was cleaned, and nothing was paid: submit it again.")
        await self._requeue(known.id, JobState.FAILED, facts="{}")

    async def resolve(
        self,
        job_id: str,
        *,
        token: str | HasToken | None = None,
        not_charged: bool = False,
        give_up: bool = False,
        force: bool = False,
    ) -> None:
        """Settle a job that NEEDS_ATTENTION, after a person has found out what happened.

        >>> await store.resolve("east", token="41ddfc6cfa3cd0df")

        Args:
            job_id: the job.
            token: the job was charged, and this is its rental. The rental is waited for and
                downloaded. You can also give a job that FAILED because of a wrong token another.
            not_charged: the job was certainly not charged. It is priced and **rented again**.
                Refused while the worker that was about to pay for it may still do so. That worker
                has to have recorded that the outcome is unknown, to have ended on this machine, or
                to have signed off. Silence is no proof.
            force: with `not_charged`, if you know that this worker has ended.
            give_up: leave the job as it is for good. You can also give up a job that FAILED. Its
                `late_tokens` count as settled from then on. A job with late tokens can be given up
                in any state; if it does not need attention, nothing else changes.

        Raises:
            LookupError: there is no such job.
            ValueError: the job is in another state, not exactly one of the three was given, the
                token is another job's, or `not_charged` is refused. Nothing was done.
            StoreError: the database cannot be reached.
        """
        if (token is not None) + not_charged + give_up != 1:
            raise ValueError("Give exactly one of token, not_charged and give_up.")
        known = await self.record(job_id)
        job_id = known.id
        if give_up:
            states = (JobState.NEEDS_ATTENTION, JobState.FAILED)
            if known.late_tokens:
                await self._database.run(agreements.acknowledge, job_id, known.late_tokens)
            if known.state in states or not known.late_tokens:
                await self._requeue(job_id, *states, state=JobState.GIVEN_UP.value)
        elif token is None:
            if not force:
                await check_nobody_pays(self._database, known)
            await self._requeue(job_id, JobState.NEEDS_ATTENTION, facts="{}")
        else:
            token = checked_token(token)
            for other in await self._database.read_jobs(JOBS.c.token == token, JOBS.c.id != job_id):
                raise ValueError(f"{token} is the token of job {other.id!r}; nothing was done.")
            values = {"token": token, "facts": "{}"}
            if known.attention.get("price"):
                values["price"] = known.attention["price"]
            await self._requeue(job_id, JobState.NEEDS_ATTENTION, JobState.FAILED, **values)

    async def clean(
        self, *, journal: str | os.PathLike[str] | None = None, dry_run: bool = False
    ) -> Cleaned:
        """Remove what is personal of jobs that have ended, when no worker of the store runs.

        Of jobs that are DONE, or that ended without a token, targetings and volumes go: in the
        store, in what DBOS keeps there, and in this machine's journals; so do parts that their
        downloads left here. Records keep id, state, token, price and file; files stay.

        >>> cleaned = await store.clean(dry_run=True)

        Args:
            journal: folder of this machine's journals, as for `worker`.
            dry_run: only return what would be removed.

        Raises:
            ValueError: a worker is at work, or was within the last minute. Nothing was removed.
        """
        cleaning = Cleaning(self._database, *self._journals(journal))
        planned = await cleaning.plan()
        if not dry_run:
            await cleaning.do()
        return planned

    @asynccontextmanager
    async def worker(
        self,
        client: SMSPartnerClient,
        *,
        journal: str | os.PathLike[str] | None = None,
        worker_id: str | None = None,
        concurrency: int = 10,
        max_requests_per_minute: float | None = None,
        take_over_after: float = 30.0,
        require_max_total: bool = False,
        dbos: DBOS | None = None,
    ) -> AsyncGenerator[Worker, None]:
        """Work on the jobs for as long as the `async with` block runs.

        While the vendor refuses the account (a revoked key, no credit, a blocked account), renting
        pauses and no job fails. It continues when a free check succeeds.

        Any number of workers share the jobs, on all machines that reach the store; one process can
        run one. Files go to the disk of the worker that downloads them. At the end of the block,
        payments and downloads under way are allowed to finish, and other workers take over the
        remaining jobs.

        >>> async with store.worker(client, concurrency=10):
        ...     ended = [record async for record in store.watch(["north"])][-1]

        Args:
            client: used for all jobs. Close it after the worker; the worker does not.
            journal: folder of this machine's journals, where every token is on the disk before
                the database has it. By default the path of the SQLite file plus `.journal`, or
                `~/.smspartner/journal` with Postgres.
            worker_id: the same after every restart, and unique among all workers. By default it is
                made from the machine's name, and kept in the journal.
            concurrency: how many jobs all workers together price and rent at a time; the same
                for all of them. Jobs that wait for their file do not count.
            max_requests_per_minute: limit of all workers together; the same for all of them. The
                client's own limit holds, too.
            take_over_after: seconds of silence, above 0, after which a worker counts as dead; the
                same for all. Others continue its jobs within 1.5 times that plus some seconds.
            require_max_total: leave jobs without a `max_total` in the queue, and log them once.
            dbos: the DBOS of your application, if it has one: launched on the running loop, with
                a unique executor_id and a pinned application_version. It serves one store, and does
                not end with the worker. All workers need one application name and system database.

        Raises:
            ConfigurationError: another running worker has this id, or DBOS runs and was not passed.
            AuthenticationError: the key is wrong; every job would fail.
            AccessDeniedError: the key is refused; every job would fail.
            StoreError: the database cannot be reached. With SQLite, also if its disk becomes full
                or read-only: the block is cancelled, and ends with this error.
            ValueError: a number is out of range.
            TypeError: an argument has another type.
        """
        check_methods("client", client, "SMSPartnerClient", "price", "rent", "wait_until_ready")
        check_whole("concurrency", concurrency)
        check_positive("take_over_after", take_over_after)
        if max_requests_per_minute is not None:
            check_positive("max_requests_per_minute", max_requests_per_minute)
        if worker_id is not None:
            check_type("worker_id", worker_id, str)
        folder, own = self._journals(journal)
        async with WorkerRuntime(
            client=client,
            database=JobDatabase(self.url, reconnect=True),
            folder=folder,
            beside_store=own,
            worker_id=worker_id,
            concurrency=concurrency,
            max_requests_per_minute=max_requests_per_minute,
            take_over_after=take_over_after,
            require_max_total=require_max_total,
            dbos=dbos,
        ) as worker:
            yield worker

    def _journals(self, given: str | os.PathLike[str] | None) -> tuple[Path, bool]:
        """Return the folder of journals, and whether it is that beside one SQLite file."""
        beside = Path(f"{self.url.database}.journal") if self._database.is_sqlite else None
        if given is not None:
            folder = checked_path("journal", given)
            return folder, beside is not None and folder.resolve() == beside.resolve()
        return beside or Path.home() / ".smspartner" / "journal", beside is not None

    async def _requeue(self, job_id: str, *states: JobState, **values: Any) -> None:
        """Queue a job again if it is in one of some states, else raise `ValueError`."""
        if not await self._database.run(requeue, job_id, states, values):
            state = (await self.record(job_id)).state
            wanted = " or ".join(state.name for state in states)
            raise ValueError(f"Job {job_id!r} is {state.name}, not {wanted}; nothing was done.")
