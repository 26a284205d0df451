"""Rentals that survive anything: a store of jobs in SQLite or Postgres, and workers on DBOS.

    async with Store("sqlite:///rentals.db") as store, SMSPartnerClient() as client:
        await store.submit(jobs)
        async with store.worker(client):
            async for record in store.watch():
                print(record.id, record.state.name, record.error or record.file or "")

A store needs no API key and no worker to be filled, read and put right. It comes with the extra
`durable`.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define, field

try:
    import dbos  # noqa: F401 - whoever has SQLAlchemy alone is told, too
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "A store needs the extra: pip install 'smspartner_async[durable]'", name=_missing.name
    ) from _missing

from ._checks import check_positive, checked_token
from ._errors import ConfigurationError
from ._ledger import JOBS, SECOND, Ledger
from ._records import (
    OPEN,
    JobConflictError,
    JobRecord,
    JobState,
    StoreError,
    Worker,
    record,
    written,
)
from ._rental_job import checked_jobs
from ._worker import Workplace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from dbos import DBOS

    from ._checks import HasToken
    from ._client import SMSPartnerClient
    from ._rental_job import RentalJob

__all__ = [
    "JobConflictError",
    "JobRecord",
    "JobState",
    "Store",
    "StoreError",
    "Worker",
]

_OVERLAP: Final = SECOND  # by which the database's clock may be set back


def _url(given: str) -> sa.URL:
    try:
        url = sa.make_url(given)
    except ArgumentError:
        url = None
    backend = url and url.get_backend_name()
    if url is not None and backend == "postgresql" and url.database:
        # A standby that is not promoted yet is as good as away.
        query = {"target_session_attrs": "read-write", **url.query}
        return url.set(drivername="postgresql+psycopg", query=query)
    if url is not None and backend == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite", database=str(Path(url.database).absolute()))
    raise ConfigurationError(
        "A store is named by sqlite:///path/to/file.db (four slashes for a path from the root), or "
        "postgresql://user:password@host/database."
    )


@define(eq=False)
class Store:
    """Jobs and all that is known of them, in one database. Open it with `async with`.

    Args:
        url: `sqlite:///rentals.db` for the workers of one machine, `postgresql://user@host/name`
            for those of many. The file, or the tables, are made where they are missing; the
            Postgres database must be there.

    Raises:
        ConfigurationError: a URL that is neither.
        StoreError: when it is entered: the database cannot be reached.
    """

    url: sa.URL = field(converter=_url, alias="url")
    _ledger: Ledger = field(init=False, repr=False)

    async def __aenter__(self) -> Self:
        self._ledger = Ledger(self.url)
        try:
            if self._ledger.is_file:
                await asyncio.to_thread(_prepare_file, Path(self.url.database or ""))
            await self._ledger(Ledger.create)
        except BaseException:
            self._ledger.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ledger.close()

    async def submit(self, jobs: Iterable[RentalJob]) -> int:
        """Add jobs to the queue, all or none; those that are there with the same content stay.

        Returns:
            How many were new.

        Raises:
            JobConflictError: some are there with other content. Nothing was submitted.
            ValueError: two jobs with one id or one file. Nothing was submitted.
            StoreError: the database cannot be reached.
        """
        contents = {job.id: written(job) for job in checked_jobs(jobs)}
        new, different = await self._ledger(Ledger.submit, contents)
        if different:
            raise JobConflictError(ids=tuple(different))
        return new

    async def records(self, *states: JobState) -> tuple[JobRecord, ...]:
        """Read what is known of all jobs, or of those in some states, in the order submitted.

        Raises:
            StoreError: the database cannot be reached.
        """
        where = (JOBS.c.state.in_([state.value for state in states]),) if states else ()
        return tuple(map(record, await self._ledger.rows(*where)))

    async def record(self, job_id: str) -> JobRecord:
        """Read what is known of one job.

        Raises:
            LookupError: there is no such job.
            StoreError: the database cannot be reached.
        """
        for row in await self._ledger.rows(JOBS.c.id == job_id):
            return record(row)
        raise LookupError(f"There is no job {job_id!r} in this store.")

    async def watch(
        self, job_ids: Iterable[str] | None = None, *, interval: float = 1.0
    ) -> AsyncGenerator[JobRecord, None]:
        """Yield each job as it is, and again whenever its state has changed, until none is open.

        A job that NEEDS_ATTENTION is not open. Somebody has to work on the others, here or in
        another process. A database that goes away meanwhile is waited for.

        Args:
            job_ids: which ones; by default all. Those that are not in the store are passed over.
            interval: seconds between two looks; above 0.

        Raises:
            ValueError: an interval out of its range.
            StoreError: the database cannot be reached.
        """
        check_positive("interval", interval)
        only = None if job_ids is None else frozenset(job_ids)
        seen: dict[str, tuple[int, str]] = {}
        still_open: set[str] = set()
        since = 0
        while True:
            rows = await self._ledger.rows(JOBS.c.changed >= since, patient=since > 0)
            for row in rows:
                if (only is None or row.id in only) and seen.get(row.id) != (row.run, row.state):
                    seen[row.id] = row.run, row.state
                    known = record(row)
                    (still_open.add if known.state in OPEN else still_open.discard)(row.id)
                    yield known
            if not still_open:
                return
            # Writers take turns: what comes later has a later time, if the clock is right.
            if rows:
                latest = max(row.changed for row in rows) + 1
                since = min(max(row.now for row in rows) - _OVERLAP, latest)
            await asyncio.sleep(interval)

    async def resume(self, job_id: str) -> None:
        """Let a FAILED job go on: from its token if it is paid for, or else from pricing.

        Raises:
            LookupError: there is no such job.
            ValueError: it is in another state.
            StoreError: the database cannot be reached.
        """
        await self._again(job_id, JobState.FAILED, facts="{}")

    async def resolve(
        self,
        job_id: str,
        *,
        token: str | HasToken | None = None,
        not_charged: bool = False,
        give_up: bool = False,
    ) -> None:
        """Settle a job that NEEDS_ATTENTION, after a person has found out what happened.

        Args:
            job_id: the job.
            token: it was charged, and this is its rental: it is waited for and downloaded. A job
                that FAILED because of a wrong token can be given another, too.
            not_charged: it was certainly not charged: it is priced and **rented anew**.
            give_up: leave it as it is for good. A job that FAILED can be given up, too.

        Raises:
            LookupError: there is no such job.
            ValueError: it is in another state, not exactly one of the three was given, or the
                token is another job's. Nothing was done.
            StoreError: the database cannot be reached.
        """
        if (token is not None) + not_charged + give_up != 1:
            raise ValueError("Give exactly one of token, not_charged and give_up.")
        if give_up:
            states = (JobState.NEEDS_ATTENTION, JobState.FAILED)
            await self._again(job_id, *states, state=JobState.GIVEN_UP.value)
        elif token is None:
            await self._again(job_id, JobState.NEEDS_ATTENTION, facts="{}")
        else:
            token = checked_token(token)
            for other in await self._ledger.rows(JOBS.c.token == token, JOBS.c.id != job_id):
                raise ValueError(f"{token} is the token of job {other.id!r}; nothing was done.")
            values = {"token": token, "facts": "{}"}
            if (known := await self.record(job_id)).attention.get("price"):
                values["price"] = known.attention["price"]
            await self._again(job_id, JobState.NEEDS_ATTENTION, JobState.FAILED, **values)

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
        dbos: DBOS | None = None,
    ) -> AsyncGenerator[Worker, None]:
        """Work on the jobs for as long as the `async with` block runs.

        Any number of workers, on any machine that reaches the store, share the jobs; in one
        process there can be one. Files go to the disk of the worker that downloads them. Leaving
        the block drains: what is being paid or downloaded is seen through, everything else is
        handed over to the other workers.

        Args:
            client: used by all jobs; not closed, and not to be closed before the worker.
            journal: folder of this machine's journals, where every token is on the disk before
                the database has it. By default the name of the SQLite file with `.journal`
                behind it; beside Postgres it is `~/.smspartner/journal`.
            worker_id: the same after every restart, and no other's. By default it is made from
                the machine's name, and kept in the journal.
            concurrency: how many jobs all workers together price and rent at a time; the same
                for all of them. Waiting is not counted.
            max_requests_per_minute: of all workers together; the same for all of them. What the
                client allows by itself holds, too.
            take_over_after: seconds of silence after which a worker counts as dead. Its jobs go
                on elsewhere within 1.5 times that, and a few seconds; above 0, and the same for
                all workers.
            dbos: the application's own DBOS, where it has one: launched, on the running event
                loop, with an executor_id of its own and a pinned application_version. It is not
                ended with the worker. All workers of a store must have one application name and
                one system database: one takes over from another only what it finds there. An
                application's DBOS serves one store.

        Raises:
            ConfigurationError: another living worker has this id, or DBOS runs in this process
                already and was not passed.
            AuthenticationError: the key is wrong, and would fail every job.
            AccessDeniedError: the key is not allowed in, and would fail every job.
            StoreError: the database cannot be reached.
            ValueError: a number out of its range.
        """
        if type(concurrency) is not int or concurrency < 1:
            raise ValueError(f"concurrency must be a whole number from 1 on: {concurrency!r}")
        check_positive("take_over_after", take_over_after)
        if max_requests_per_minute is not None:
            check_positive("max_requests_per_minute", max_requests_per_minute)
        if journal is None and self._ledger.is_file:
            journal = f"{self.url.database}.journal"
        workplace = Workplace(
            client=client,
            ledger=Ledger(self.url, patient=True),
            folder=Path(journal or Path.home() / ".smspartner" / "journal"),
            worker_id=worker_id,
            concurrency=concurrency,
            max_requests_per_minute=max_requests_per_minute,
            take_over_after=take_over_after,
            dbos=dbos,
        )
        async with workplace as own_journal:
            yield Worker(id=own_journal.worker_id, journal=own_journal.path)

    async def _again(self, job_id: str, *states: JobState, **values: Any) -> None:
        if not await self._ledger(Ledger.again, job_id, states, values):
            state = (await self.record(job_id)).state
            wanted = " or ".join(state.name for state in states)
            raise ValueError(f"Job {job_id!r} is {state.name}, not {wanted}; nothing was done.")


def _prepare_file(path: Path) -> None:
    """Make the database file where it is missing, its owner's alone, and set it to WAL."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # kept: readers disturb nobody
        engine.dispose()
    except OSError as error:
        raise StoreError(f"{path} cannot be used: {error.strerror}.") from error
