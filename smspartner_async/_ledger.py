"""The tables of a store: a row for each job, one for each worker, one for the request budget.

All that must be true at once is one transaction here. Times are microseconds of the database's own
clock. Knows SQL, and neither the vendor nor DBOS.
"""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import sqlalchemy as sa
from attrs import define, field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from ._records import JobState, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Work = tuple[Callable[..., Any], tuple[Any, ...]]
    """A piece of work, and what it gets behind the connection."""

_T = TypeVar("_T")
_P = ParamSpec("_P")

_log = logging.getLogger(__package__)

SECOND: Final = 1_000_000
_CHUNK: Final = 500
_TABLES: Final = sa.MetaData()

JOBS: Final = sa.Table(
    "smspartner_jobs",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("token", sa.Text),
    sa.Column("price", sa.Text),
    sa.Column("facts", sa.Text, nullable=False),  # JSON: the claim, or {}; at last, how it ended
    sa.Column("changed", sa.BigInteger, nullable=False, index=True),
    sa.Index("smspartner_jobs_by_state", "state", "number"),
)
_WORKERS: Final = sa.Table(
    "smspartner_workers",
    _TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seen", sa.BigInteger, nullable=False),
)
_BUDGET: Final = sa.Table(
    "smspartner_budget",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("free_at", sa.BigInteger, nullable=False),
)
# Written out, for building them anew each time costs more than doing them.
_CLAIM: Final = sa.text(
    "UPDATE smspartner_jobs SET facts = :after WHERE id = :id AND run = :run AND facts = :before"
)
_STANDING: Final = sa.text("SELECT facts FROM smspartner_jobs WHERE id = :id AND run = :run")
# An ended job keeps its state and facts; a token is kept always, and of prices the first.
_NOTE: Final = """
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
# Writers take turns. The number is arbitrary: it is this package's advisory lock.
_ALONE: Final = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": (
        # A worker that loses power, or is frozen, while it holds the lock loses the lock.
        "SELECT set_config('idle_in_transaction_session_timeout', '10s', true), "
        "pg_advisory_xact_lock(7662378)"
    ),
}
_CLOCKS: Final[Mapping[str, sa.ColumnElement[int]]] = {
    "sqlite": sa.literal_column("CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"),
    "postgresql": sa.literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1e6 AS BIGINT)"),
}

_NOTES: Final = {name: sa.text(_NOTE.format(now=clock)) for name, clock in _CLOCKS.items()}


@define(eq=False)
class Ledger:
    """One database, used only from a thread of this ledger's own."""

    url: sa.URL
    patient: bool = False  # a worker outlives a restart of its database
    _engine: sa.Engine = field(init=False)
    _thread: ThreadPoolExecutor = field(init=False)

    def __attrs_post_init__(self) -> None:
        # SQLite's transactions begin below, and not where Python would begin one.
        options = {"timeout": 30, "isolation_level": None} if self.is_file else {}
        self._engine = sa.create_engine(
            self.url,
            pool_size=1,
            pool_pre_ping=not self.is_file,
            hide_parameters=True,
            connect_args=options,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="smspartner-store")

    @property
    def is_file(self) -> bool:
        """Whether it is SQLite."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def now(self) -> sa.ColumnElement[int]:
        """The time, by the database's clock."""
        return _CLOCKS[self.url.get_backend_name()]

    async def __call__(
        self,
        work: Callable[Concatenate[Ledger, sa.Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Do one piece of work in one transaction, alone among all writers.

        Raises:
            StoreError: the database cannot be reached, or does not do it.
        """

        def transaction() -> _T:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(_ALONE[self.url.get_backend_name()])
                return work(self, connection, *args, **kwargs)

        return await self._done(transaction, self.patient)

    async def rows(
        self, *where: sa.ColumnElement[bool], patient: bool = False
    ) -> Sequence[sa.Row[Any]]:
        """Read jobs, in the order of their submission, without disturbing anybody.

        Raises:
            StoreError: the database cannot be reached; `patient` waits for it instead.
        """

        def read() -> Sequence[sa.Row[Any]]:
            with self._engine.connect() as connection:
                query = sa.select(JOBS, self.now.label("now")).where(*where)
                return connection.execute(query.order_by(JOBS.c.number)).all()

        return await self._done(read, patient or self.patient)

    async def _done(self, work: Callable[[], _T], patient: bool) -> _T:  # noqa: FBT001 - private
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
            except DBAPIError as error:
                away = isinstance(error, OperationalError | InterfaceError)
                away |= getattr(error.orig, "sqlstate", None) == "25006"  # Postgres: read only
                if not patient or not (away or error.connection_invalidated):
                    raise StoreError(f"{self.url!r} cannot be used: {error.orig}") from error
                _log.warning("the store is away, and is asked again: %s", error.orig)
                self._engine.dispose()  # another server may be the one to write to by now
            await asyncio.sleep(1)

    def close(self) -> None:
        """Let go of the database, when what is under way has ended."""
        self._thread.shutdown()
        self._engine.dispose()

    # What follows is work: pass it to a call, as in `await ledger(Ledger.submit, jobs)`.

    def together(self, connection: sa.Connection, works: Iterable[Work]) -> list[Any]:
        """Do several pieces of work at once; one that fails undoes all."""
        return [work(self, connection, *args) for work, args in works]

    def create(self, connection: sa.Connection) -> None:
        """Make the tables where they are missing."""
        _TABLES.create_all(connection)

    def submit(
        self, connection: sa.Connection, contents: Mapping[str, str]
    ) -> tuple[int, list[str]]:
        """Add the jobs that are not there. Tell how many, and those there with other content.

        With any of the latter, nothing is added.
        """
        ids, known = list(contents), dict[str, str]()
        for start in range(0, len(ids), _CHUNK):
            chunk = JOBS.c.id.in_(ids[start : start + _CHUNK])
            found = connection.execute(sa.select(JOBS.c.id, JOBS.c.content).where(chunk))
            known.update((row.id, row.content) for row in found)
        different = [id for id in ids if known.get(id, contents[id]) != contents[id]]  # noqa: A001
        row = {"state": JobState.QUEUED.value, "run": 1, "facts": "{}"}
        new = [{"id": id, "content": contents[id], **row} for id in ids if id not in known]  # noqa: A001
        if different or not new:
            return 0, different
        connection.execute(sa.insert(JOBS).values(changed=self.now), new)
        return len(new), []

    def feed(
        self, connection: sa.Connection, me: str, beat_at: int | None, concurrency: int
    ) -> list[sa.Row[Any]]:
        """Take queued jobs for one worker: its fair share of those that may be renting at once.

        Gives all that it has taken and not yet paid for. `beat_at` is its own last beat: where its
        row says otherwise, others have taken over from it, and it takes nothing before its next
        beat, because nobody would take over what it took now.
        """
        renting = sa.select(JOBS).where(JOBS.c.state == JobState.RENTING.value)
        all_taken = connection.execute(renting).all()
        mine = [row for row in all_taken if row.worker == me]
        workers = dict(connection.execute(sa.select(_WORKERS.c.id, _WORKERS.c.seen)).all())
        share = -(-concurrency // len(workers)) if workers.get(me) == beat_at else 0
        room = max(0, min(share - len(mine), concurrency - len(all_taken)))
        queued = sa.select(JOBS.c.number).where(JOBS.c.state == JobState.QUEUED.value)
        queued = queued.order_by(JOBS.c.number).limit(room)
        taken = sa.update(JOBS).where(JOBS.c.number.in_(queued.scalar_subquery()))
        taken = taken.values(state=JobState.RENTING.value, worker=me, changed=self.now)
        return [*mine, *connection.execute(taken.returning(*JOBS.c))]

    def claim(
        self, connection: sa.Connection, job_id: str, run: int, before: str, after: str
    ) -> str:
        """Compare and swap: put `after` in the place of `before`, if that is what stands there.

        Gives what stands there then.
        """
        row = {"id": job_id, "run": run}
        connection.execute(_CLAIM, {**row, "before": before, "after": after})
        return connection.execute(_STANDING, row).scalar() or "{}"

    def note(self, connection: sa.Connection, notes: Iterable[Mapping[str, Any]]) -> list[bool]:
        """Write down how far jobs are; tell of each whether it was there, in this run.

        A token is kept whatever the state is: also one that came too late.
        """
        update = _NOTES[self.url.get_backend_name()]
        return [connection.execute(update, note).rowcount == 1 for note in notes]

    def again(
        self,
        connection: sa.Connection,
        job_id: str,
        states: Sequence[JobState],
        values: Mapping[str, Any],
    ) -> bool:
        """Queue a job again, or give it up, if it is in one of some states; whether it was."""
        all_values = {"state": JobState.QUEUED.value, "run": JOBS.c.run + 1, **values}
        update = sa.update(JOBS).where(
            JOBS.c.id == job_id, JOBS.c.state.in_([state.value for state in states])
        )
        return connection.execute(update.values(changed=self.now, **all_values)).rowcount == 1

    def beat(self, connection: sa.Connection, me: str) -> tuple[int, dict[str, int]]:
        """Show that a worker lives. Gives the time of this beat, and all last beats before it."""
        seen = dict(connection.execute(sa.select(_WORKERS.c.id, _WORKERS.c.seen)).all())
        return self._set_seen(connection, me, self.now), seen

    def leave(self, connection: sa.Connection, me: str) -> None:
        """Say that a worker has ended, so that others take over at once."""
        self._set_seen(connection, me, sa.literal(0))

    def _set_seen(self, connection: sa.Connection, me: str, seen: sa.ColumnElement[int]) -> int:
        connection.execute(sa.delete(_WORKERS).where(_WORKERS.c.id == me))
        beat = sa.insert(_WORKERS).values(id=me, seen=seen).returning(_WORKERS.c.seen)
        return int(connection.execute(beat).scalar_one())

    def inherit(self, connection: sa.Connection, me: str, dead: str, seen: int) -> int | None:
        """Take the jobs that a dead worker had taken and not yet paid, unless another one has.

        Gives what `bury` has to be told.
        """
        over = sa.update(_WORKERS).where(_WORKERS.c.id == dead, _WORKERS.c.seen == seen)
        over = over.values(seen=self.now).returning(_WORKERS.c.seen)
        taken_at: int | None = connection.execute(over).scalar()
        if taken_at is not None:
            theirs = sa.and_(JOBS.c.state == JobState.RENTING.value, JOBS.c.worker == dead)
            connection.execute(sa.update(JOBS).where(theirs).values(worker=me))
        return taken_at

    def bury(self, connection: sa.Connection, dead: str, taken_at: int) -> None:
        """Forget a dead worker, whose jobs are all taken over; one that lives after all is told."""
        known = _WORKERS.c.id == dead
        unseen = sa.delete(_WORKERS).where(known, _WORKERS.c.seen == taken_at)
        # If it has beaten since, it lives: its next beat finds a time that it did not write.
        if connection.execute(unseen).rowcount == 0:
            told = sa.update(_WORKERS).where(known, _WORKERS.c.seen > 0)
            connection.execute(told.values(seen=_WORKERS.c.seen - 1))

    def reserve(
        self, connection: sa.Connection, wanted: int, per_minute: float
    ) -> tuple[int, int, int]:
        """Reserve permits for requests. Tell how many, the moment of the first, and the time."""
        distance = math.ceil(60 * SECOND / per_minute)
        count = max(1, min(wanted, int(per_minute // 60)))  # at most one second's worth at a time
        now: int = connection.execute(sa.select(self.now)).scalar_one()
        free_at = connection.execute(sa.select(_BUDGET.c.free_at)).scalar()
        if free_at is None:
            connection.execute(sa.insert(_BUDGET).values(id=1, free_at=now))
        first = max(now, free_at or now)
        connection.execute(sa.update(_BUDGET).values(free_at=first + count * distance))
        return count, first, now
