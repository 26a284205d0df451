"""The request permits of a store: one row with the time at which the next one is free."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from smspartner_async._log import log

from .tables import PERMITS, SECOND, WORKERS

if TYPE_CHECKING:
    from .database import JobDatabase

_HORIZON: Final = 5 * SECOND  # permits may lie so far ahead, however few the workers


def reserve_permits(
    database: JobDatabase, connection: sa.Connection, wanted: int, per_minute: float
) -> tuple[int, int, int]:
    """Reserve permits for requests. Return how many, the time of the first, and the time now."""
    distance = math.ceil(60 * SECOND / per_minute)
    most = max(1, int(per_minute // 60))  # one second's worth at a time
    count = min(wanted, most)
    now: int = connection.execute(sa.select(database.now)).scalar_one()
    free_at = connection.execute(sa.select(PERMITS.c.free_at)).scalar()
    if free_at is None:
        connection.execute(sa.insert(PERMITS).values(id=1, free_at=now))
    first = max(now, free_at or now)
    if first > now + _HORIZON:
        # Each worker holds one block at most. A time further ahead was written before the
        # database's clock was set back.
        block = most * distance
        workers = connection.execute(sa.select(sa.func.count()).select_from(WORKERS)).scalar()
        furthest = now + max(_HORIZON, (1 + (workers or 0)) * block)
        if first > furthest:
            log.warning(
                "the store's next free request was %.0f s away, because the database's clock "
                "was set back: continuing in %.0f s",
                (first - now) / SECOND,
                (furthest - block - now) / SECOND,
            )
            first = furthest - block
    connection.execute(sa.update(PERMITS).values(free_at=first + count * distance))
    return count, first, now
