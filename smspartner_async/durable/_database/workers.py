"""The workers of a store: heartbeats, and taking over from a worker that sends none.

Each function is one transaction: `await database.run(send_heartbeat, worker_id)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from smspartner_async.durable._records import JobState

from .tables import JOBS, WORKERS

if TYPE_CHECKING:
    from .database import JobDatabase


def send_heartbeat(
    database: JobDatabase, connection: sa.Connection, worker: str
) -> tuple[int, dict[str, int]]:
    """Record that a worker is alive. Return the time of this heartbeat, and all earlier ones."""
    seen = dict(connection.execute(sa.select(WORKERS.c.id, WORKERS.c.seen)).all())
    return _set_seen(connection, worker, database.now), seen


def sign_off(_: JobDatabase, connection: sa.Connection, worker: str) -> None:
    """Record that a worker has ended, so that others take over at once."""
    _set_seen(connection, worker, sa.literal(0))


def has_signed_off(_: JobDatabase, connection: sa.Connection, worker: str) -> bool:
    """Whether a worker has signed off, and has not started again."""
    seen = connection.execute(sa.select(WORKERS.c.seen).where(WORKERS.c.id == worker))
    return bool(seen.scalar() == 0)


def take_over(
    database: JobDatabase, connection: sa.Connection, worker: str, dead: str, seen: int
) -> int | None:
    """Move the unpaid jobs of a dead worker to another, unless a third worker has done so.

    Return the time that `remove_dead_worker` takes; `None` if nothing was taken over.
    """
    over = sa.update(WORKERS).where(WORKERS.c.id == dead, WORKERS.c.seen == seen)
    over = over.values(seen=database.now).returning(WORKERS.c.seen)
    taken_at: int | None = connection.execute(over).scalar()
    if taken_at is not None:
        theirs = sa.and_(JOBS.c.state == JobState.RENTING.value, JOBS.c.worker == dead)
        connection.execute(sa.update(JOBS).where(theirs).values(worker=worker))
    return taken_at


def remove_dead_worker(_: JobDatabase, connection: sa.Connection, dead: str, taken_at: int) -> None:
    """Delete a dead worker's row, once its jobs are taken over.

    If it has sent a heartbeat since, decrement its timestamp instead: its next heartbeat sees a
    foreign value and releases its jobs.
    """
    row = WORKERS.c.id == dead
    unseen = sa.delete(WORKERS).where(row, WORKERS.c.seen == taken_at)
    if connection.execute(unseen).rowcount == 0:
        alive = sa.update(WORKERS).where(row, WORKERS.c.seen > 0)
        connection.execute(alive.values(seen=WORKERS.c.seen - 1))


def _set_seen(connection: sa.Connection, worker: str, seen: sa.ColumnElement[int]) -> int:
    connection.execute(sa.delete(WORKERS).where(WORKERS.c.id == worker))
    heartbeat = sa.insert(WORKERS).values(id=worker, seen=seen).returning(WORKERS.c.seen)
    return int(connection.execute(heartbeat).scalar_one())
