"""Request permits: no two workers get the same one, and no wrong clock stops them."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import sqlalchemy as sa

from smspartner_async.durable import Store
from smspartner_async.durable._database.permits import reserve_permits
from smspartner_async.durable._database.tables import SECOND
from smspartner_async.durable._database.workers import send_heartbeat

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from smspartner_async.durable._database.database import JobDatabase


async def test_no_two_workers_get_the_same_moment(store: Store, tmp_path: Path) -> None:
    """However workers reserve at the same time, all moments together are evenly apart."""
    per_minute = 360
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as other:

        async def reserve(store: Store, wanted: int) -> list[float]:
            count, first, now = await store._database.run(reserve_permits, wanted, per_minute)
            assert first >= now
            assert 1 <= count <= 6, "no more than what a second holds"
            return [first + number * 60 * SECOND / per_minute for number in range(count)]

        reserved = await asyncio.gather(
            *(reserve(each, wanted) for wanted in (1, 3, 20, 2) for each in (store, other))
        )
    moments = sorted(moment for block in reserved for moment in block)
    assert len(moments) == 2 * (1 + 3 + 6 + 2)
    for earlier, later in pairwise(moments):
        assert later - earlier >= 60 * SECOND / per_minute - 1


async def test_a_slow_budget_gives_one_permit_at_a_time(store: Store) -> None:
    """Nobody reserves minutes ahead for requests that may not come."""
    assert (await store._database.run(reserve_permits, 50, 2))[0] == 1


async def test_a_moment_that_a_wrong_clock_left_stops_nobody(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """No stored moment in the future can stop the workers: it is brought near, with a warning."""
    _, first, now = await store._database.run(reserve_permits, 1, 60)
    assert first == now
    await store._database.run(shift_the_budget, 3600 * SECOND)
    _, first, now = await store._database.run(reserve_permits, 1, 60)
    assert first - now == 4 * SECOND
    assert "clock was set back" in caplog.text
    caplog.clear()
    _, second, now = await store._database.run(reserve_permits, 1, 60)
    assert second == first + SECOND
    assert second - now <= 5 * SECOND
    assert caplog.text == ""


async def test_what_many_slow_workers_reserve_is_not_brought_near(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of ten workers may have its own permit ahead, a minute apart."""
    for number in range(10):
        await store._database.run(send_heartbeat, f"worker-{number}")
    moments = [(await store._database.run(reserve_permits, 1, 1))[1] for _ in range(10)]
    assert [later - sooner for sooner, later in pairwise(moments)] == [60 * SECOND] * 9
    assert "clock" not in caplog.text


def shift_the_budget(_: JobDatabase, connection: sa.Connection, by: int) -> None:
    connection.execute(sa.text("UPDATE smspartner_budget SET free_at = free_at + :by"), {"by": by})
