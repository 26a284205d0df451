"""The tables of a store as every release reads and writes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from smspartner_async.durable._database.tables import TABLES

if TYPE_CHECKING:
    from benchmarks.durable_runs import Postgres
    from smspartner_async.durable._database.database import JobDatabase


from smspartner_async.durable import Store

COLUMNS = {
    "smspartner_jobs": (
        "number id content state run worker token price facts changed".split()  # noqa: SIM905
    ),
    "smspartner_runs": ["job", "run", "claim", "token"],
    "smspartner_workers": ["id", "seen"],
    "smspartner_store": ["number", "id"],
    "smspartner_budget": ["id", "free_at"],
}


def test_tables_and_columns_keep_their_names() -> None:
    """Workers of several releases share a store: what stands in databases keeps its name."""
    tables = {name: [column.name for column in table.c] for name, table in TABLES.tables.items()}
    assert tables == COLUMNS


def now_of(database: JobDatabase, connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(database.now)).scalar_one())


async def test_the_clock_of_sqlite_counts_microseconds(store: Store) -> None:
    """They are those of Unix time, as 0.1 has written them."""
    assert abs(await store._database.run(now_of) / 1e6 - time.time()) < 10


async def test_the_clock_of_postgres_counts_microseconds(postgres: Postgres) -> None:
    """They are those of Unix time, as 0.1 has written them."""
    async with Store(postgres.store("clock")) as store:
        assert abs(await store._database.run(now_of) / 1e6 - time.time()) < 10
