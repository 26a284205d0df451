"""A store of jobs: submitting, reading, watching, resuming and resolving."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from store_jobs import jobs_of

from smspartner_async import ConfigurationError, SMSPartnerClient
from smspartner_async.durable import JobConflictError, JobState, Store, StoreError
from smspartner_async.durable import _store as durable_store
from smspartner_async.durable._database.database import JobDatabase
from smspartner_async.durable._database.jobs import claim_job
from smspartner_async.durable._database.tables import JOBS

if TYPE_CHECKING:
    from benchmarks.durable_runs import Postgres
    from smspartner_async.sandbox import Sandbox


async def test_jobs_are_priced_rented_and_downloaded(
    store: Store, client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A worker takes every job to its file; the record has its token, price and file."""
    jobs = jobs_of(5, tmp_path)
    assert await store.submit(jobs) == 5
    async with store.worker(client):
        states = {record.id: record async for record in store.watch(interval=0.05)}
    assert sorted(states) == [job.id for job in jobs]
    for job in jobs:
        record = await store.record(job.id)
        assert record.state is JobState.DONE
        assert record.job == job
        assert record.price == Decimal("1.80")
        assert record.file is not None
        assert record.file.verified
        assert record.file.sha256 == hashlib.sha256(job.path.read_bytes()).hexdigest()
    assert {record.token for record in states.values()} == {r.token for r in sandbox.rentals}
    assert sandbox.paid == Decimal("9.00")


async def test_the_same_job_again_is_no_new_job(store: Store, tmp_path: Path) -> None:
    """Submitting a known id with the same content changes nothing."""
    assert await store.submit(jobs_of(3, tmp_path)) == 3
    assert await store.submit(jobs_of(4, tmp_path)) == 1
    assert len(await store.records()) == 4


async def test_a_known_id_with_other_content_is_an_error(store: Store, tmp_path: Path) -> None:
    """The error names the jobs, and nothing of the list is submitted."""
    one, two = jobs_of(2, tmp_path)
    await store.submit([one])
    with pytest.raises(JobConflictError, match="job-1") as caught:
        await store.submit([evolve(one, volumes={"06200": 21}), two])
    assert caught.value.ids == ("job-1",)
    assert [record.job for record in await store.records()] == [one]


async def test_a_store_is_read_from_elsewhere_without_a_key(store: Store, tmp_path: Path) -> None:
    """Another process reads the states with the URL alone."""
    await store.submit(jobs_of(2, tmp_path))
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as other:
        records = await other.records(JobState.QUEUED)
    assert [record.id for record in records] == ["job-1", "job-2"]


async def test_the_files_are_their_owners_alone(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """Database, its write-ahead log and the journal can be read by nobody else."""
    await store.submit(jobs_of(1, tmp_path))
    async with store.worker(client):
        async for _ in store.watch(interval=0.05):
            assert _readable_by_others(tmp_path) == []


def _readable_by_others(folder: Path) -> list[Path]:
    paths = [*folder.glob("rentals.db*"), *folder.glob("*.journal/*")]
    assert len(paths) > 3
    return [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.parametrize(
    "url", ["", "rentals.db", "sqlite://", "sqlite:///:memory:", "mysql://x/y", "postgresql://x"]
)
def test_a_url_that_is_no_store_is_refused(url: str) -> None:
    """What is neither a SQLite file nor a Postgres database is refused at once."""
    with pytest.raises(ConfigurationError, match="sqlite:///"):
        Store(url)


async def test_a_database_that_cannot_be_had_is_an_error_of_this_package(tmp_path: Path) -> None:
    """A missing folder, or a server that is not there, is a StoreError without the password."""
    with pytest.raises(StoreError, match="missing"):
        async with Store(f"sqlite:///{tmp_path}/missing/rentals.db"):
            pass
    with pytest.raises(StoreError) as caught:
        async with Store(f"postgresql://somebody:secret@/none?host={tmp_path}"):
            pass
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)


async def test_a_transaction_that_the_database_breaks_off_is_done_again(postgres: Postgres) -> None:
    """A worker's database outlives a crash of Postgres in the middle of what it writes."""
    url = sa.make_url(postgres.store("broken")).set(drivername="postgresql+psycopg")
    database = JobDatabase(url, reconnect=True)
    tries = 0

    def work(self: JobDatabase, connection: sa.Connection) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            postgres.restart()
        return int(connection.execute(sa.select(self.now)).scalar_one())

    assert await database.run(work) > 0
    assert tries == 2
    database.close()


@pytest.mark.parametrize("module", ["dbos", "sqlalchemy"])
def test_without_the_extra_it_says_what_to_install(module: str) -> None:
    """Whoever has no DBOS, or SQLAlchemy alone, reads the name of the extra."""
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "try:\n    import smspartner_async.durable\n"
        "except ImportError as error:\n    print(error.name, error)"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(f"{module} ")
    assert "pip install 'smspartner_async[durable]'" in ran.stdout


@pytest.mark.parametrize("all_every", [1, 30])
async def test_a_watch_sees_what_was_written_late(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, all_every: int
) -> None:
    """A change whose time is long past when it is at last in the database is yielded, and once."""
    monkeypatch.setattr(durable_store, "_OVERLAP", 0)
    monkeypatch.setattr(durable_store, "_READ_ALL_EVERY", all_every)
    await store.submit(jobs_of(1, tmp_path))

    def end(self: JobDatabase, connection: sa.Connection) -> None:
        del self
        change = sa.update(JOBS).values(state="given_up", changed=JOBS.c.changed + 1)
        connection.execute(change)

    async def end_later() -> None:
        await asyncio.sleep(0.2)
        await store._database.run(end)

    seen: list[JobState] = []
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:  # so as not to hang
        async for record in store.watch(interval=0.02):
            if not seen:
                tasks.create_task(end_later())
            seen.append(record.state)
    assert seen == [JobState.QUEUED, JobState.GIVEN_UP]


async def test_a_watch_reads_what_has_changed_since_it_last_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all jobs of a large store, each second; once it is there, the store may be away."""
    monkeypatch.setattr(durable_store, "_OVERLAP", 0)
    read, looks, enough = JobDatabase.read_jobs, list[tuple[int, bool]](), asyncio.Event()

    async def counted(*args: Any, reconnect: bool, **options: Any) -> Any:
        rows = await read(*args, reconnect=reconnect, **options)
        looks.append((len(rows), reconnect))
        if len(looks) == 3:
            enough.set()
        return rows

    async def watch() -> None:
        async for _ in store.watch(interval=0.01):
            pass

    await store.submit(jobs_of(3, tmp_path))
    monkeypatch.setattr(JobDatabase, "read_jobs", counted)
    watching = asyncio.create_task(watch())
    async with asyncio.timeout(120):  # so as not to hang where it is broken
        await enough.wait()
    watching.cancel()
    assert looks[:3] == [(3, False), (0, True), (0, True)]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("client must be", {"client": "key"}),
        ("concurrency must be", {"concurrency": 0}),
        ("take_over_after must be", {"take_over_after": 0}),
        ("max_requests_per_minute must be", {"max_requests_per_minute": -1}),
        ("worker_id must be", {"worker_id": 5}),
    ],
)
async def test_a_worker_does_not_begin_with_what_would_fail_later(
    store: Store, client: SMSPartnerClient, tmp_path: Path, words: str, options: dict[str, Any]
) -> None:
    """Before money: wrong arguments are refused before there is a journal or a worker."""
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        async with store.worker(**{"client": client, **options}):
            pass
    assert not any("journal" in name for name in os.listdir(tmp_path))  # noqa: PTH208 - short


async def test_where_the_journals_are(postgres: Postgres, tmp_path: Path) -> None:
    """Beside a SQLite file; of Postgres in the user's folder, and there they are no store's own."""
    beside, other = tmp_path / "a.db.journal", tmp_path / "j"
    async with Store(f"sqlite:///{tmp_path}/a.db") as store:
        assert store._journals(None) == store._journals(beside) == (beside, True)
        assert store._journals(other) == (other, False)
    async with Store(postgres.store("journals")) as store:
        assert store._journals(None) == (Path.home() / ".smspartner" / "journal", False)
        assert store._journals(other) == (other, False)


async def test_a_job_is_found_by_its_id_in_another_spelling(store: Store, tmp_path: Path) -> None:
    """A batch: where one job alone is meant."""
    await store.submit(jobs_of(2, tmp_path))
    assert (await store.record("JOB-1")).id == "job-1"
    with pytest.raises(LookupError, match="'job-3'"):
        await store.record("job-3")


async def test_a_withdrawal_that_comes_too_late_is_refused(store: Store, tmp_path: Path) -> None:
    """A batch: it says so, and nothing was done."""
    await store.submit(jobs_of(1, tmp_path))
    await store._database.run(claim_job, "job-1", 1, "{}", '{"nonce": "n", "worker": "w"}')
    with pytest.raises(ValueError, match=r"Too late to withdraw job 'job-1': .*Nothing was done"):
        await store.withdraw("JOB-1")
    record = await store.record("job-1")
    assert (record.state, record.withdrawn) == (JobState.QUEUED, False)


async def test_what_would_be_removed_stays_until_it_is_asked_for(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """`clean(dry_run=True)` returns what `clean()` removes."""
    await store.submit(jobs_of(1, tmp_path))
    async with store.worker(client):
        async for _ in store.watch(interval=0.05):
            pass
    assert (await store.clean(dry_run=True)).jobs == ("job-1",)
    assert not (await store.record("job-1")).cleaned
    assert (await store.clean()).jobs == ("job-1",)
    assert (await store.record("job-1")).cleaned
    assert (await store.clean()).jobs == ()
