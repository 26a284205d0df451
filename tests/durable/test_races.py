"""Workers that get into each other's way, are frozen, or are told twice to end."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from batches import after
from dbos import DBOS

from smspartner_async import _ledger, _worker
from smspartner_async._ledger import Ledger
from smspartner_async._worker import Workplace
from smspartner_async.durable import JobState, Store, StoreError

from .batches import jobs_of
from .scripted import Vendor, rented
from .test_attention import at_work, end_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fault_server import FaultServer

    from benchmarks.durable_runs import Postgres


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs whose workflows were begun."""
    begin: Any = DBOS.start_workflow_async
    jobs: list[str] = []

    async def start(workflow: Any, job: Any) -> Any:
        jobs.append(job["id"])
        return await begin(workflow, job)

    monkeypatch.setattr(DBOS, "start_workflow_async", start)
    return jobs


async def until_rent(server: FaultServer) -> None:
    while not server.count("rent"):  # noqa: ASYNC110 - the server is no part of this
        await asyncio.sleep(0.01)


# --- one job, one claim ---------------------------------------------------------------------


async def test_one_claim_stands_in_a_row_whatever_database_the_workflows_are_in(
    store: Store, tmp_path: Path
) -> None:
    """A second worker is told of the first one's claim, and has its own when that is given back."""
    await store.submit(jobs_of(1, tmp_path))
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as other:

        async def claim(store: Store, before: str, after: str, run: int = 1) -> str:
            return await store._ledger(Ledger.claim, "job-1", run, before, after)

        assert await claim(store, "{}", "a's") == "a's"
        assert await claim(store, "{}", "a's") == "a's", "the same, where a COMMIT is in doubt"
        assert await claim(other, "{}", "b's") == "a's"
        assert await claim(other, "b's", "{}") == "a's"
        assert await claim(other, "{}", "b's", run=2) == "{}", "no such run: nothing is claimed"
        assert await claim(store, "a's", "{}") == "{}"
        assert await claim(other, "{}", "b's") == "b's"


async def test_who_comes_late_leaves_what_is_known_of_an_ended_job(
    store: Store, tmp_path: Path
) -> None:
    """An execution that was overtaken takes neither the file nor the facts out of the record."""
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        done = await end_of(store, "job-1")
    late = {"job": "job-1", "in_run": 1, "by": "frozen", "new_state": "needs_attention"}
    late |= {"new_token": None, "new_price": None, "new_facts": '{"error": "lost"}'}
    assert await store._ledger(Ledger.note, [late]) == [True]
    after_that = await store.record("job-1")
    assert (after_that.state, after_that.file) == (JobState.DONE, done.file)
    assert after_that.error is None


# --- beginning jobs -------------------------------------------------------------------------


async def test_a_job_is_begun_once_however_often_it_is_looked_at(
    store: Store, tmp_path: Path, begun: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for jobs costs nothing in the database of the workflows."""
    monkeypatch.setattr(_worker, "_IDLE", 0.02)
    await store.submit(jobs_of(2, tmp_path))
    vendor = Vendor({1: [after(0.4, rented(1))], 2: [after(0.4, rented(2))]})
    async with at_work(store, vendor):
        for n in (1, 2):
            assert (await end_of(store, f"job-{n}")).state is JobState.DONE
    assert sorted(begun) == ["job-1", "job-2"]


async def test_one_job_that_cannot_be_begun_holds_up_no_other(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is begun at a later look."""
    begin: Any = DBOS.start_workflow_async
    failures = {"job-2": 2}

    async def start(workflow: Any, job: Any) -> Any:
        if failures.get(job["id"], 0):
            failures[job["id"]] -= 1
            raise OSError("away")
        return await begin(workflow, job)

    monkeypatch.setattr(DBOS, "start_workflow_async", start)
    await store.submit(jobs_of(3, tmp_path))
    vendor = Vendor()
    async with at_work(store, vendor), asyncio.timeout(30):  # so as not to hang where it is broken
        for n in (1, 3, 2):
            assert (await end_of(store, f"job-{n}")).state is JobState.DONE
    assert failures == {"job-2": 0}
    assert vendor.wire == {1: 1, 2: 1, 3: 1}


# --- workers that were thought dead ---------------------------------------------------------


@pytest.fixture
async def other(store: Store) -> AsyncIterator[Ledger]:
    """The ledger of another worker of the same store."""
    ledger = Ledger(store.url)
    yield ledger
    ledger.close()


async def beat(ledger: Ledger, worker: str, beat_at: int | None = None) -> tuple[int, bool]:
    """The time of this beat, and whether somebody has changed the one before."""
    now, seen = await ledger(Ledger.beat, worker)
    return now, seen.get(worker) != beat_at


async def taken_over(other: Ledger, worker: str, beat_at: int) -> int:
    """Take over from a worker that seems to be silent."""
    taken_at = await other(Ledger.inherit, "other", worker, beat_at)
    assert taken_at is not None
    return taken_at


async def test_who_was_taken_over_from_takes_no_job_before_it_has_beaten_again(
    store: Store, other: Ledger, tmp_path: Path
) -> None:
    """Nobody would take over what it took before; from that beat on it works like all others."""
    await store.submit(jobs_of(4, tmp_path))
    me = store._ledger
    beat_at, _ = await beat(me, "me")
    assert len(await me(Ledger.feed, "me", beat_at, 1)) == 1
    taken_at = await taken_over(other, "me", beat_at)
    assert await me(Ledger.feed, "me", beat_at, 10) == []
    await other(Ledger.bury, "me", taken_at)
    assert await me(Ledger.feed, "me", beat_at, 10) == []
    beat_at, lost = await beat(me, "me", beat_at)
    assert lost
    assert len(await me(Ledger.feed, "me", beat_at, 10)) == 3
    assert not (await beat(me, "me", beat_at))[1]


async def test_who_shows_itself_meanwhile_is_not_buried_but_told(
    store: Store, other: Ledger
) -> None:
    """A worker that wakes up while it is being taken over from lets go when all is taken, too."""
    me = store._ledger
    beat_at, _ = await beat(me, "me")
    taken_at = await taken_over(other, "me", beat_at)
    beat_at, lost = await beat(me, "me", beat_at)
    assert lost
    await other(Ledger.bury, "me", taken_at)
    assert "me" in (await other(Ledger.beat, "other"))[1]
    beat_at, lost = await beat(me, "me", beat_at)
    assert lost
    assert not (await beat(me, "me", beat_at))[1]


async def test_who_beats_twice_because_a_commit_was_in_doubt_still_lets_go(
    store: Store, other: Ledger
) -> None:
    """The transaction that is done again tells again that others have taken over."""
    me = store._ledger
    beat_at, _ = await beat(me, "me")
    await taken_over(other, "me", beat_at)
    await beat(me, "me", beat_at)  # its answer is lost
    assert (await beat(me, "me", beat_at))[1]


async def test_who_ends_while_it_is_taken_over_from_is_taken_over_from_again(
    store: Store, other: Ledger
) -> None:
    """What it has begun in between is not left to nobody."""
    me = store._ledger
    beat_at, _ = await beat(me, "me")
    taken_at = await taken_over(other, "me", beat_at)
    await me(Ledger.leave, "me")
    await other(Ledger.bury, "me", taken_at)
    assert (await other(Ledger.beat, "other"))[1]["me"] == 0


async def test_who_was_buried_and_ends_leaves_its_jobs_to_others(store: Store) -> None:
    """It says that it has ended, also where it was forgotten."""
    ledger = store._ledger
    await ledger(Ledger.leave, "buried")
    assert (await ledger(Ledger.beat, "me"))[1] == {"buried": 0}


async def test_a_worker_that_was_taken_over_from_lets_go(
    store: Store, other: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next beat finds that others have taken what it had."""
    let_go = asyncio.Event()

    async def hear(self: Workplace) -> None:
        del self
        let_go.set()

    monkeypatch.setattr(Workplace, "_let_go", hear)
    async with at_work(store, Vendor()), asyncio.timeout(30):  # so as not to hang if it is broken
        ((worker, beat_at),) = (await other(Ledger.beat, "other"))[1].items()
        await taken_over(other, worker, beat_at)
        await let_go.wait()


async def test_what_is_begun_during_the_look_is_not_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that was thought dead ends what is others' now, and nothing that is younger."""
    tasks = {name: asyncio.create_task(asyncio.sleep(60)) for name in ("kept", "lost", "new")}
    desk = SimpleNamespace(
        cancellable={tasks["kept"], tasks["lost"]},
        executions={tasks["kept"]: "kept", tasks["lost"]: "lost"},
    )

    async def pending(worker: str) -> set[str]:
        del worker
        desk.cancellable.add(tasks["new"])
        desk.executions[tasks["new"]] = "new"
        return {"kept"}

    monkeypatch.setattr(_worker, "_pending", pending)
    await Workplace._let_go(SimpleNamespace(id="me", _desk=desk))  # type: ignore[arg-type]
    assert [name for name, task in tasks.items() if task.cancelling()] == ["lost"]
    for task in tasks.values():
        task.cancel()


async def test_who_is_frozen_with_the_lock_in_its_hand_loses_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Postgres nobody waits for long for a worker that stands still; it does its work again."""
    url = sa.make_url(postgres.store("frozen")).set(drivername="postgresql+psycopg")
    alone = _ledger._ALONE["postgresql"]
    monkeypatch.setitem(_ledger._ALONE, "postgresql", alone.replace("10s", "200ms"))
    frozen, other = Ledger(url, patient=True), Ledger(url)
    tries = 0

    def work(self: Ledger, connection: sa.Connection) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            time.sleep(1)
        return int(connection.execute(sa.select(self.now)).scalar_one())

    held = asyncio.create_task(frozen(work))
    while not tries:  # noqa: ASYNC110 - another thread
        await asyncio.sleep(0.01)
    await other(Ledger.create)
    assert tries == 1, "the lock was had while the first was asleep"
    assert await held > 0
    assert tries == 2
    frozen.close()
    other.close()


async def test_a_standby_that_is_not_promoted_yet_is_waited_for(postgres: Postgres) -> None:
    """A worker outlives a failover: what cannot be written now is written when it can."""
    url = Store(postgres.store("standby")).url
    patient, impatient, other = Ledger(url, patient=True), Ledger(url), Ledger(url)
    await other(Ledger.create)

    def read_only(self: Ledger, connection: sa.Connection, value: str) -> None:
        del self
        setting = f"ALTER DATABASE standby SET default_transaction_read_only = {value}"
        connection.exec_driver_sql(setting)
        connection.exec_driver_sql(  # it is heard by new connections
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'standby' AND pid <> pg_backend_pid()"
        )

    await other(read_only, "on")
    async with asyncio.timeout(30):  # so as not to hang where it is broken
        written = asyncio.create_task(beat(patient, "me"))
        await asyncio.sleep(0.5)
        assert not written.done()
        with pytest.raises(StoreError, match="read-only"):
            await beat(impatient, "other")
        await other(read_only, "off")
        assert (await written)[0]
    for ledger in (patient, impatient, other):
        ledger.close()


async def test_a_server_that_takes_no_more_is_left_for_one_that_does(postgres: Postgres) -> None:
    """A connection that was good when it was opened may lead to a standby now."""
    url = Store(postgres.store("demoted")).url
    patient, impatient = Ledger(url, patient=True), Ledger(url)
    await impatient(Ledger.create)

    def demoted(self: Ledger, connection: sa.Connection) -> None:
        del self
        connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    await patient(demoted)
    await impatient(demoted)
    async with asyncio.timeout(30):  # so as not to hang where it is broken
        assert (await beat(patient, "me"))[0]
    with pytest.raises(StoreError, match="read-only"):
        await beat(impatient, "other")
    for ledger in (patient, impatient):
        ledger.close()


# --- ending ---------------------------------------------------------------------------------


async def test_a_payment_is_seen_through_however_often_its_worker_is_told_to_end(
    store: Store, tmp_path: Path
) -> None:
    """A second cancellation does not cut a paid request off from its journal."""
    await store.submit(jobs_of(1, tmp_path))
    vendor = Vendor({1: [after(0.6, rented(1))]}, states={"tok-1": 1})
    sent = asyncio.Event()

    async def work() -> None:
        async with at_work(store, vendor) as server:
            await until_rent(server)
            sent.set()
            await asyncio.sleep(60)

    worker = asyncio.create_task(work())
    await sent.wait()
    for _ in range(3):
        worker.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await worker
    record = await store.record("job-1")
    assert (record.state, record.token) == (JobState.WAITING, "tok-1")
