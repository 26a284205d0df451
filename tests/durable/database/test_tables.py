"""The tables of a store as every release reads and writes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from store_jobs import jobs_of

from smspartner_async.durable._database.tables import JOBS, RUNS, TABLES

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.durable_runs import Postgres
    from smspartner_async.durable._database.database import JobDatabase


from smspartner_async.durable import Store

TABLES_NOW = """
CREATE TABLE smspartner_jobs ( number SERIAL NOT NULL, id TEXT NOT NULL, content TEXT NOT NULL,
    state TEXT NOT NULL, run INTEGER NOT NULL, worker TEXT, token TEXT, price TEXT,
    facts TEXT NOT NULL, changed BIGINT NOT NULL, PRIMARY KEY (number), UNIQUE (id) )
CREATE TABLE smspartner_runs ( job TEXT NOT NULL, run INTEGER NOT NULL, claim TEXT NOT NULL,
    token TEXT, PRIMARY KEY (job, run) )
CREATE TABLE smspartner_workers ( id TEXT NOT NULL, seen BIGINT NOT NULL, PRIMARY KEY (id) )
CREATE TABLE smspartner_store ( number SERIAL NOT NULL, id TEXT NOT NULL, PRIMARY KEY (number) )
CREATE TABLE smspartner_budget ( id SERIAL NOT NULL, free_at BIGINT NOT NULL, PRIMARY KEY (id) )
"""


def test_tables_stay_as_they_are() -> None:
    """Workers of several releases share a store: each finds and leaves the columns that it knows.

    One row an id, and no NULL where a release reads none.
    """
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made = [str(CreateTable(table).compile(dialect=dialect)) for table in TABLES.tables.values()]
    assert " ".join(made).split() == TABLES_NOW.split()


def now_of(database: JobDatabase, connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(database.now)).scalar_one())


async def test_the_clock_of_sqlite_counts_microseconds(store: Store) -> None:
    """They are those of Unix time, as 0.1 has written them."""
    assert abs(await store._database.run(now_of) / 1e6 - time.time()) < 10


async def test_the_clock_of_postgres_counts_microseconds(postgres: Postgres) -> None:
    """They are those of Unix time, as 0.1 has written them."""
    async with Store(postgres.store("clock")) as store:
        assert abs(await store._database.run(now_of) / 1e6 - time.time()) < 10


async def test_late_tokens_are_those_of_the_job_alone(store: Store, tmp_path: Path) -> None:
    """Other ones than the job's own, until a person has acknowledged them."""
    await store.submit(jobs_of(3, tmp_path))
    rows = [
        {"job": "job-1", "run": 1, "claim": "{}", "token": "tok-late"},
        {"job": "job-1", "run": 2, "claim": '{"acknowledged": true}', "token": "tok-settled"},
        {"job": "job-1", "run": 3, "claim": "{}", "token": None},
        {"job": "job-2", "run": 1, "claim": "{}", "token": "tok-2"},
    ]

    def write(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.insert(RUNS), rows)
        connection.execute(sa.update(JOBS).where(JOBS.c.id == "job-2").values(token="tok-2"))

    await store._database.run(write)
    late = {record.id: record.late_tokens for record in await store.records()}
    assert late == {"job-1": ("tok-late",), "job-2": (), "job-3": ()}
