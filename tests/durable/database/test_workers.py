"""Heartbeats, and workers that are thought dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_jobs import jobs_of

from smspartner_async.durable._database.database import JobDatabase
from smspartner_async.durable._database.jobs import take_jobs
from smspartner_async.durable._database.workers import (
    has_signed_off,
    remove_dead_worker,
    send_heartbeat,
    sign_off,
    take_over,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from smspartner_async.durable import Store


@pytest.fixture
async def other(store: Store) -> AsyncIterator[JobDatabase]:
    """The database of another worker of the same store."""
    database = JobDatabase(store.url)
    yield database
    database.close()


async def heartbeat(
    database: JobDatabase, worker: str, heartbeat_at: int | None = None
) -> tuple[int, bool]:
    """The time of this heartbeat, and whether somebody has changed the one before."""
    now, seen = await database.run(send_heartbeat, worker)
    return now, seen.get(worker) != heartbeat_at


async def take_over_from(other: JobDatabase, worker: str, heartbeat_at: int) -> int:
    """Take over from a worker that seems to be silent."""
    taken_at = await other.run(take_over, "other", worker, heartbeat_at)
    assert taken_at is not None
    return taken_at


async def test_a_worker_that_lost_its_jobs_takes_none_before_its_next_heartbeat(
    store: Store, other: JobDatabase, tmp_path: Path
) -> None:
    """Nobody would take over what it took before; after that heartbeat it works like all others."""
    await store.submit(jobs_of(4, tmp_path))
    me = store._database
    heartbeat_at, _ = await heartbeat(me, "me")
    assert len(await me.run(take_jobs, "me", heartbeat_at, 1)) == 1
    taken_at = await take_over_from(other, "me", heartbeat_at)
    assert await me.run(take_jobs, "me", heartbeat_at, 10) == []
    await other.run(remove_dead_worker, "me", taken_at)
    assert await me.run(take_jobs, "me", heartbeat_at, 10) == []
    heartbeat_at, lost = await heartbeat(me, "me", heartbeat_at)
    assert lost
    assert len(await me.run(take_jobs, "me", heartbeat_at, 10)) == 3
    assert not (await heartbeat(me, "me", heartbeat_at))[1]


async def test_a_worker_that_sends_a_heartbeat_meanwhile_is_not_removed(
    store: Store, other: JobDatabase
) -> None:
    """A worker that wakes up during a takeover releases its jobs after the takeover, too."""
    me = store._database
    heartbeat_at, _ = await heartbeat(me, "me")
    taken_at = await take_over_from(other, "me", heartbeat_at)
    heartbeat_at, lost = await heartbeat(me, "me", heartbeat_at)
    assert lost
    await other.run(remove_dead_worker, "me", taken_at)
    assert "me" in (await other.run(send_heartbeat, "other"))[1]
    heartbeat_at, lost = await heartbeat(me, "me", heartbeat_at)
    assert lost
    assert not (await heartbeat(me, "me", heartbeat_at))[1]


async def test_a_heartbeat_repeated_after_a_lost_commit_still_shows_the_takeover(
    store: Store, other: JobDatabase
) -> None:
    """The repeated transaction shows again that others have taken over."""
    me = store._database
    heartbeat_at, _ = await heartbeat(me, "me")
    await take_over_from(other, "me", heartbeat_at)
    await heartbeat(me, "me", heartbeat_at)  # its answer is lost
    assert (await heartbeat(me, "me", heartbeat_at))[1]


async def test_a_worker_that_signs_off_during_a_takeover_is_taken_over_again(
    store: Store, other: JobDatabase
) -> None:
    """What it has begun in between is not left to nobody."""
    me = store._database
    heartbeat_at, _ = await heartbeat(me, "me")
    taken_at = await take_over_from(other, "me", heartbeat_at)
    await me.run(sign_off, "me")
    await other.run(remove_dead_worker, "me", taken_at)
    assert (await other.run(send_heartbeat, "other"))[1]["me"] == 0


async def test_a_removed_worker_can_still_sign_off(store: Store) -> None:
    """It says that it has ended, also where it was forgotten."""
    database = store._database
    await database.run(sign_off, "removed")
    assert (await database.run(send_heartbeat, "me"))[1] == {"removed": 0}


async def test_a_worker_has_signed_off_until_it_starts_again(store: Store) -> None:
    """A batch: what its claims came to is known then; of one that is silent, nothing is."""
    run = store._database.run
    assert not await run(has_signed_off, "me"), "nobody has heard of it"
    await run(send_heartbeat, "me")
    assert not await run(has_signed_off, "me")
    await run(sign_off, "me")
    assert await run(has_signed_off, "me")
    assert not await run(has_signed_off, "other")
    await run(send_heartbeat, "me")
    assert not await run(has_signed_off, "me")
