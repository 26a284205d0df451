"""What a worker takes over: from one that has ended, and what nobody executes."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from smspartner_async import ConfigurationError
from smspartner_async.durable import Store, _worker
from smspartner_async.durable._database.workers import send_heartbeat, sign_off
from smspartner_async.durable._executions import Executions
from smspartner_async.durable._worker import WorkerRuntime

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was put back into DBOS's queue, each time."""
    found: list[list[str]] = []

    async def resume(workflows: Iterable[str]) -> None:
        found.append(sorted(workflows))

    monkeypatch.setattr(_worker, "_resume", resume)
    return found


def pending(monkeypatch: pytest.MonkeyPatch, **workers: str | None) -> None:
    """Let DBOS count workflows as pending with their workers."""

    async def found(*only: str) -> dict[str, str | None]:
        return {job: at for job, at in workers.items() if not only or at in only}

    monkeypatch.setattr(_worker, "_pending", found)


def runtime(**fields: Any) -> Any:
    """Return what a method of a worker needs of it."""
    context = SimpleNamespace(executions=Executions())
    return SimpleNamespace(id="me", _context=context, _orphaned=set(), **fields)


async def test_the_row_of_a_dead_worker_is_gone_when_its_workflows_are_queued_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, resumed: list[list[str]]
) -> None:
    """It has no share of the places any more. Where another one was faster, nothing is done."""
    pending(monkeypatch, first="dead", second="other", third="dead")
    run = store._database.run
    for name in ("dead", "me"):
        await run(send_heartbeat, name)
    _, workers = await run(send_heartbeat, "me")
    worker = runtime(database=store._database)
    await WorkerRuntime._take_over(worker, "dead", workers["dead"] - 1)
    assert resumed == [], "it has sent a heartbeat since"
    await WorkerRuntime._take_over(worker, "dead", workers["dead"])
    assert resumed == [["first", "third"]]
    _, workers = await run(send_heartbeat, "me")
    assert [*workers] == ["me"]


async def test_a_worker_that_has_signed_off_is_taken_over_from_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next heartbeat does it: such a worker is not silent, it has ended."""
    looks, taken = 0, asyncio.Event()

    def look(*found: Any) -> Any:
        nonlocal looks
        looks += 1
        return send_heartbeat(*found)

    async def take(dead: str, seen: int) -> None:
        assert (dead, seen, looks) == ("ended", 0, 1)
        taken.set()

    async def nothing(*_: Any) -> None:
        pass

    await store._database.run(send_heartbeat, "ended")
    await store._database.run(sign_off, "ended")
    monkeypatch.setattr(_worker, "send_heartbeat", look)
    worker = runtime(
        database=store._database,
        take_over_after=0.04,
        _heartbeat_at=None,
        _silent_since={},
        _take_over=take,
        _release_lost_jobs=nothing,
        _requeue_orphans=nothing,
        _reconcile=nothing,
    )
    beating = asyncio.create_task(WorkerRuntime._send_heartbeats(worker))
    async with asyncio.timeout(60):  # so as not to hang where it is broken
        await taken.wait()
    beating.cancel()


@pytest.mark.parametrize(
    ("before", "meanwhile", "is_refused", "beats"),
    [
        (0, {}, False, 1),  # nobody has the id, or its worker has signed off
        (1_000, {}, False, 1),  # silent for long
        (990_000, {}, False, 10),  # it was killed just now: only this worker's own heartbeats
        (970_000, {}, False, 7),
        (990_000, {3: -1}, False, 10),  # another worker found it dead meanwhile
        (990_000, {3: +500}, True, 3),
        (990_000, {10: +500}, True, 10),  # its heartbeat is late
        (2_000_000, {}, False, 11),  # the clock was set back: it waits no longer for that
    ],
)
async def test_an_id_is_refused_while_a_worker_that_has_it_lives(
    before: int, meanwhile: dict[int, int], *, is_refused: bool, beats: int
) -> None:
    """A worker that lives sends a heartbeat while the new one waits for it.

    `meanwhile` is by how much something else has changed the time of a heartbeat before the next.
    """
    heartbeats = [before]

    async def run(*_: Any) -> tuple[int, dict[str, int]]:
        seen = heartbeats[-1] + meanwhile.get(len(heartbeats), 0)
        heartbeats.append(1_000_000 + 1000 * len(heartbeats))
        return heartbeats[-1], {"me": seen}

    worker = runtime(
        database=SimpleNamespace(run=run, is_sqlite=False), take_over_after=0.15, _heartbeat_at=None
    )
    refusal = pytest.raises(ConfigurationError, match="running already")
    with refusal if is_refused else nullcontext():
        await WorkerRuntime._register(worker)
    assert len(heartbeats) == 1 + beats


async def test_what_nobody_executes_is_queued_again_at_the_second_look(
    monkeypatch: pytest.MonkeyPatch, resumed: list[list[str]]
) -> None:
    """What a living worker or this process executes is left alone; so is what is looked at first.

    DBOS counts a workflow as pending before its worker has begun it.
    """
    pending(monkeypatch, mine="me", others="alive", lost="gone", nobodys=None, younger="gone")
    worker = runtime()
    task: Any = asyncio.current_task()
    worker._context.executions.workflows[task] = "mine"
    with monkeypatch.context() as patch:
        pending(patch, mine="me", others="alive", lost="gone", nobodys=None)
        await WorkerRuntime._requeue_orphans(worker, {"alive"})
    assert resumed == [[]]
    await WorkerRuntime._requeue_orphans(worker, {"alive"})
    assert resumed == [[], ["lost", "nobodys"]]
    await WorkerRuntime._requeue_orphans(worker, {"alive"})
    assert resumed == [[], ["lost", "nobodys"], ["younger"]], "once, if a worker takes it then"


async def test_what_this_process_has_not_begun_is_no_orphan_while_others_begin(
    monkeypatch: pytest.MonkeyPatch, resumed: list[list[str]]
) -> None:
    """DBOS begins thousands one after another. Queued again, they would be executed twice.

    What was cancelled here is begun by nobody, and what does not begin at all is queued again.
    """
    monkeypatch.setattr(_worker, "unfinished", {"cancelled"})
    pending(monkeypatch, cancelled="me", next="me")
    worker = runtime()
    for _ in range(3):
        with worker._context.executions.execution_of("another"):
            await WorkerRuntime._requeue_orphans(worker, {"alive"})
    assert resumed == [[], ["cancelled"], []]
    await WorkerRuntime._requeue_orphans(worker, {"alive"})
    assert resumed[3:] == [["cancelled", "next"]]


async def test_a_workflow_that_moved_to_another_worker_is_no_orphan_yet(
    monkeypatch: pytest.MonkeyPatch, resumed: list[list[str]]
) -> None:
    """It was handed out meanwhile, to a process whose worker may be about to begin it."""
    worker = runtime()
    for at in ("gone", "new"):
        pending(monkeypatch, lost=at)
        await WorkerRuntime._requeue_orphans(worker, set())
    assert resumed == [[], []]
