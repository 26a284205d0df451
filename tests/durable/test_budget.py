"""The account's requests a minute, kept by all workers together."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from smspartner_async._budget import Budget
from smspartner_async._ledger import SECOND, Ledger
from smspartner_async.durable import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


async def test_no_two_workers_get_the_same_moment(store: Store, tmp_path: Path) -> None:
    """However workers reserve at the same time, all moments together are evenly apart."""
    per_minute = 360
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as other:

        async def reserve(store: Store, wanted: int) -> list[float]:
            count, first, now = await store._ledger(Ledger.reserve, wanted, per_minute)
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
    assert (await store._ledger(Ledger.reserve, 50, 2))[0] == 1


def evenly(distance: float) -> Callable[[int], Awaitable[list[float]]]:
    """Give moments `distance` apart, without a database."""
    free = 0.0

    async def reserve(wanted: int) -> list[float]:
        nonlocal free
        free = max(free, asyncio.get_running_loop().time())
        moments = [free + number * distance for number in range(wanted)]
        free += wanted * distance
        return moments

    return reserve


@pytest.mark.looptime
async def test_urgent_requests_go_ahead_and_cancelled_ones_take_no_permit() -> None:
    """A rent does not wait behind a thousand polls."""
    budget = Budget(evenly(1.0))
    order: list[str] = []

    async def ask(name: str, *, urgent: bool = False) -> None:
        await budget.take(urgent=urgent)
        order.append(name)

    polls = [asyncio.create_task(ask(f"poll-{n}")) for n in range(4)]
    await asyncio.sleep(0.5)
    rent = asyncio.create_task(ask("rent", urgent=True))
    polls[1].cancel()
    await asyncio.wait([*polls, rent])
    assert order == ["poll-0", "rent", "poll-2", "poll-3"]


@pytest.mark.looptime
async def test_a_frozen_worker_cannot_catch_up_on_its_permits() -> None:
    """A permit whose moment has passed is worth nothing."""

    async def long_ago(wanted: int) -> list[float]:
        now = asyncio.get_running_loop().time()
        calls.append(wanted)
        return [now - 10.0] * wanted if len(calls) == 1 else [now + n for n in range(wanted)]

    calls: list[int] = []
    budget = Budget(long_ago)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(budget.take(urgent=False) for _ in range(3)))
    assert calls == [3, 3]
    assert asyncio.get_running_loop().time() - started == pytest.approx(2.0, abs=0.01)
