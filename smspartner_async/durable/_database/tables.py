"""The tables of a store, and the SQL expressions that several of its transactions share.

Times are microseconds of the database's own clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from smspartner_async.durable._records import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND: Final = 1_000_000
CHUNK: Final = 500  # ids in one IN (…)
TABLES: Final = sa.MetaData()

JOBS: Final = sa.Table(
    "smspartner_jobs",
    TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),
    sa.Column("token", sa.Text),
    sa.Column("price", sa.Text),
    sa.Column("facts", sa.Text, nullable=False),  # JSON: the claim or {}; at the end, the outcome
    sa.Column("changed", sa.BigInteger, nullable=False, index=True),
    sa.Index("smspartner_jobs_by_state", "state", "number"),
)
# The claims of runs that are paid or over, and their tokens. Release 0.1 does not know this table.
RUNS: Final = sa.Table(
    "smspartner_runs",
    TABLES,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("claim", sa.Text, nullable=False),  # JSON: the claim, or {}
    sa.Column("token", sa.Text),  # another than the job's came after it was settled otherwise
)
WORKERS: Final = sa.Table(
    "smspartner_workers",
    TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("seen", sa.BigInteger, nullable=False),  # last heartbeat; 0: signed off
)
STORE: Final = sa.Table(
    "smspartner_store",
    TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),  # stands in the lines of journals
)
PERMITS: Final = sa.Table(
    "smspartner_budget",
    TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("free_at", sa.BigInteger, nullable=False),
)

LATE_TOKENS: Final = (
    sa.select(sa.func.aggregate_strings(RUNS.c.token, " "))
    .where(RUNS.c.job == JOBS.c.id, RUNS.c.token != sa.func.coalesce(JOBS.c.token, ""))
    .where(RUNS.c.claim.not_like('%"acknowledged"%'))
    .scalar_subquery()
)
UNCLAIMED: Final = sa.and_(
    JOBS.c.state.in_([JobState.QUEUED.value, JobState.RENTING.value]),
    JOBS.c.facts == "{}",
    JOBS.c.token.is_(None),
)
# As `dump_job` writes it; in a text, the quotes would be escaped.
UNLIMITED: Final = sa.and_(JOBS.c.content.like('%"max_total": null%'), JOBS.c.token.is_(None))
CLOCKS: Final[Mapping[str, sa.ColumnElement[int]]] = {
    "sqlite": sa.literal_column("CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"),
    "postgresql": sa.literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1e6 AS BIGINT)"),
}
