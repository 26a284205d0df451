"""One connection to the database of a store: transactions, reads, group commit, reconnecting.

What has to be true at once is one transaction: a function of `agreements`, `jobs`, `permits` or
`workers`, passed to `JobDatabase.run`. None of them knows the vendor or DBOS.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.exc import DBAPIError
from tenacity import RetryCallState, wait_exponential

from smspartner_async._http.retrying import call_until
from smspartner_async._log import log
from smspartner_async.durable._records import StoreError

from .tables import CLOCKS, JOBS, LATE_TOKENS, RUNS, TABLES
from .urls import connect_args, describe_failure, is_sqlite, is_transient, needs_a_person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from smspartner_async.durable._records import Job

    Work = tuple[Callable[..., Any], tuple[Any, ...]]
    """A transaction function, and its arguments after the connection."""

_T = TypeVar("_T")
_P = ParamSpec("_P")

# Writers take turns. The number is arbitrary: it is this package's advisory lock.
_LOCK: Final = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": (
        # A worker that loses power, or is frozen, while it holds the lock loses the lock.
        "SELECT set_config('idle_in_transaction_session_timeout', '10s', true), "
        "pg_advisory_xact_lock(7662378)"
    ),
}
_RECONNECT_WAIT: Final = wait_exponential(multiplier=0.1, max=1)  # seconds
# Made once: building a statement costs more than executing it.
_RUN_OF_JOB: Final = sa.select(JOBS).where(
    JOBS.c.id == sa.bindparam("job"), JOBS.c.run == sa.bindparam("in_run")
)


@define(eq=False)
class JobDatabase:
    """The database of a store, used from one dedicated thread.

    Attributes:
        reconnect: whether calls wait for a database that is away: a worker outlives its restart.
        failure: set once only a person can help, a full disk for example.
        on_failure: called when `failure` is set.
    """

    url: sa.URL
    reconnect: bool = False
    failure: StoreError | None = field(default=None, init=False)
    on_failure: Callable[[], object] = field(default=lambda: None, init=False)
    _engine: sa.Engine = field(init=False)
    _thread: ThreadPoolExecutor = field(init=False)
    _pending: list[tuple[Work, asyncio.Future[Any]]] = field(factory=list, init=False)
    _flushing: asyncio.Task[None] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # `run` begins SQLite's transactions itself, not where Python would begin them.
        sqlite_options = {"timeout": 30, "isolation_level": None}
        self._engine = sa.create_engine(
            self.url,
            pool_size=1,
            pool_pre_ping=not self.is_sqlite,
            hide_parameters=True,
            connect_args=sqlite_options if self.is_sqlite else connect_args(self.url),
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smspartner-store")

    @property
    def is_sqlite(self) -> bool:
        """Whether the store is a SQLite file."""
        return is_sqlite(self.url)

    @property
    def now(self) -> sa.ColumnElement[int]:
        """The time by the database's clock, as an SQL expression."""
        return CLOCKS[self.url.get_backend_name()]

    async def run(
        self,
        work: Callable[Concatenate[JobDatabase, sa.Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run a function in one transaction, alone among all writers.

        Raises:
            StoreError: the database cannot be reached, or refuses it.
        """

        def transaction() -> _T:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(_LOCK[self.url.get_backend_name()])
                return work(self, connection, *args, **kwargs)

        return await self._execute(transaction, reconnect=self.reconnect)

    async def enqueue(self, work: Callable[..., _T], *args: Any) -> _T:
        """Run a function in the next transaction, together with all others that wait for it.

        While one transaction runs, the next one collects: a group commit.

        Raises:
            StoreError: the database cannot be reached, or refuses one of the group.
        """
        result: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._pending.append(((work, args), result))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return await asyncio.shield(result)

    async def _flush(self) -> None:
        while self._pending:
            group, self._pending = self._pending, []
            try:
                results = await self.run(JobDatabase.batch, [work for work, _ in group])
            except Exception as error:  # noqa: BLE001 - raised where each result is awaited
                for _, future in group:
                    future.set_exception(error)
            else:
                for (_, future), result in zip(group, results, strict=True):
                    future.set_result(result)

    def batch(self, connection: sa.Connection, works: Iterable[Work]) -> list[Any]:
        """Run several functions in one transaction; if one fails, all are undone."""
        return [work(self, connection, *args) for work, args in works]

    async def read_jobs(
        self, *where: sa.ColumnElement[bool], reconnect: bool | None = None
    ) -> Sequence[sa.Row[Any]]:
        """Return the rows of jobs in the order of their submission, without blocking writers.

        Raises:
            StoreError: the database cannot be reached. With `reconnect` (by default that of this
                database), the call waits for it instead.
        """
        query = sa.select(JOBS, self.now.label("now"), LATE_TOKENS.label("late_tokens"))
        query = query.where(*where).order_by(JOBS.c.number)
        return await self._read(lambda reader: reader.execute(query).all(), reconnect=reconnect)

    async def read_run(self, job: Job, *, reconnect: bool | None = None) -> sa.Row[Any] | None:
        """Return the row of a job; `None` if it is in another run, or gone.

        Raises:
            StoreError: as `read_jobs`.
        """
        key = {"job": job["id"], "in_run": job["run"]}
        return await self._read(
            lambda reader: reader.execute(_RUN_OF_JOB, key).first(), reconnect=reconnect
        )

    async def read_payments(self) -> tuple[Sequence[sa.Row[Any]], Sequence[sa.Row[Any]]]:
        """Return the rows of all jobs that are or may be paid, and those of their earlier runs.

        Raises:
            StoreError: the database cannot be reached.
        """
        jobs = sa.select(JOBS).where(JOBS.c.token.is_not(None) | (JOBS.c.facts != "{}"))
        return await self._read(
            lambda reader: (reader.execute(jobs).all(), reader.execute(sa.select(RUNS)).all())
        )

    async def compact(self) -> None:
        """Take what was deleted out of a SQLite file: until then it is in there."""

        def vacuum(connection: sa.Connection) -> None:
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

        await self._read(vacuum)

    async def _read(
        self, work: Callable[[sa.Connection], _T], *, reconnect: bool | None = None
    ) -> _T:
        """Read from one connection, outside of the writers' lock."""

        def read() -> _T:
            with self._engine.connect() as connection:
                return work(connection)

        wait = self.reconnect if reconnect is None else reconnect
        return await self._execute(read, reconnect=wait)

    async def _execute(self, work: Callable[[], _T], *, reconnect: bool) -> _T:
        """Run a function in this database's thread, again after each transient error."""

        async def in_thread() -> _T:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

        try:
            return await call_until(
                in_thread,
                retry=lambda error: reconnect and is_transient(error),
                wait=_RECONNECT_WAIT,
                sleep=asyncio.sleep,
                before_sleep=self._disconnect,
            )
        except DBAPIError as error:
            raise self.fail(error) from error

    def _disconnect(self, state: RetryCallState) -> None:
        """Close all connections: by now, another server may be the primary one."""
        if state.attempt_number == 1 and state.outcome is not None:
            error = state.outcome.exception()
            log.warning("the store is away, and is asked again: %s", getattr(error, "orig", error))
        self._engine.dispose()

    def fail(self, error: DBAPIError) -> StoreError:
        """Return the `StoreError` for an error; keep it where only a person can help."""
        failure = StoreError(describe_failure(self.url, error))
        if needs_a_person(error):
            self.failure = failure
            self.on_failure()
        return failure

    def close(self) -> None:
        """Close the database, when the running transaction has ended."""
        self._thread.shutdown()
        self._engine.dispose()


def create_tables(_: JobDatabase, connection: sa.Connection) -> None:
    """Create the tables that are missing."""
    TABLES.create_all(connection)
