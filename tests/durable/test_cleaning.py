"""What is personal of jobs that have ended goes; what money hangs on stays."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from faults import close_before_head, vendor_error
from scripted import FILE, Vendor
from store_jobs import jobs_of
from store_work import at_work, end_of

from smspartner_async._files import JsonLines
from smspartner_async.durable import JobState, Store, _cleaning
from smspartner_async.durable._database.tables import RUNS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.durable_runs import Postgres
    from smspartner_async.batch import RentalJob


def jobs_in(folder: Path) -> list[RentalJob]:
    """Job 1 is for 06201 and so on, so that each can be looked for by its post code."""
    return [
        evolve(
            job,
            targeting=evolve(job.targeting, zipcodes=f"0620{number}"),
            volumes={f"0620{number}": 20},
        )
        for number, job in enumerate(jobs_of(6, folder), start=1)
    ]


async def ended(store: Store, folder: Path) -> Vendor:
    """Bring six jobs to six ends: done, in doubt, refused, without a file, withdrawn, queued."""
    jobs = jobs_in(folder)
    await store.submit(jobs[:5])
    await store.withdraw("job-5")
    vendor = Vendor({2: [close_before_head()], 3: [vendor_error(27, "trop")]}, states={"tok-4": 3})
    async with at_work(store, vendor, journal=folder / "rentals.db.journal"):
        for number in (1, 2, 3, 4):
            await end_of(store, f"job-{number}")
    await store.submit(jobs[5:])
    return vendor


@pytest.fixture(params=["sqlite", "postgres"])
async def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/rentals.db"
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.store("cleaned")
    async with Store(url) as store:
        yield store


async def test_the_targetings_of_ended_jobs_go_and_their_records_stay(
    any_store: Store, tmp_path: Path
) -> None:
    """Of the jobs that are done, refused or withdrawn; a dry run says the same, and leaves all."""
    await ended(any_store, tmp_path)
    journals = tmp_path / "rentals.db.journal"
    before = {one.id: one for one in await any_store.records()}
    everything = held_by(any_store, tmp_path)
    planned = await any_store.clean(journal=journals, dry_run=True)
    assert planned.jobs == ("job-1", "job-3", "job-5")
    assert planned.kept == ("job-2", "job-4", "job-6")
    assert [path.parent for path in planned.journals] == [journals]
    assert held_by(any_store, tmp_path) == everything
    assert all(f"0620{number}".encode() in everything for number in range(1, 7))

    assert await any_store.clean(journal=journals) == planned
    left = held_by(any_store, tmp_path)
    assert [n for n in range(1, 7) if f"0620{n}".encode() in left] == [2, 4, 6]
    assert (tmp_path / "1.csv").read_bytes() == FILE
    for record in await any_store.records():
        then = before[record.id]
        assert record.cleaned == (record.id in planned.jobs)
        assert (record.state, record.run, record.token) == (then.state, then.run, then.token)
        assert (record.price, record.file, record.error) == (then.price, then.file, then.error)
        assert record.withdrawn == then.withdrawn
        assert record.cleaned or record == then
    assert (await any_store.clean(journal=journals)).jobs == ()


def held_by(store: Store, folder: Path) -> bytes:
    """All that stands in the tables, DBOS's too, in the database's files and in the journals."""
    engine = sa.create_engine(store.url)
    texts = [path.read_bytes() for path in sorted(folder.glob("rentals.db.journal/*"))]
    with engine.connect() as connection:
        for schema in (None, "dbos") if store.url.get_backend_name() == "postgresql" else (None,):
            for table in sorted(sa.inspect(connection).get_table_names(schema=schema)):
                everything = sa.table(table, sa.column("*", is_literal=True), schema=schema)
                for row in connection.execute(everything.select()):
                    texts += [plain(text) for text in row if isinstance(text, str)]
    engine.dispose()
    # Of SQLite, what was deleted too.
    files = sorted(folder.glob("rentals.db*"))
    texts += [path.read_bytes() for path in files if path.suffix in {".db", ".db-wal"}]
    return b"\n".join(texts)


def plain(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def names_in(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


async def test_each_earlier_run_keeps_its_own_claim(store: Store, tmp_path: Path) -> None:
    """Of what earlier runs have claimed, the lines of journals go; what the money needs stays."""
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor({1: [close_before_head(), close_before_head()]})):
        for _ in range(2):
            await end_of(store, "job-1")
            await store.resolve("job-1", not_charged=True)
        assert (await end_of(store, "job-1")).state is JobState.DONE
    before = await claims_of(store)
    assert len({claim["nonce"] for claim in before.values()}) == len(before) == 3
    assert all(before[run].pop("journal_lines") for run in (1, 2))
    await store.clean()
    assert await claims_of(store) == before


async def claims_of(store: Store) -> dict[int, dict[str, Any]]:
    rows = await store._database._read(lambda reader: reader.execute(sa.select(RUNS)).all())
    return {row.run: json.loads(row.claim) for row in rows}


async def test_parts_of_ended_jobs_go_and_nobody_elses(store: Store, tmp_path: Path) -> None:
    """A part goes where its sidecar names the job's own rental; the file itself stays."""
    await ended(store, tmp_path)
    lines = {"1.csv.part": "tok-1", "1.csv.part.1": "tok-other", "4.csv.part": "tok-4"}
    for name, token in lines.items():
        (tmp_path / name).write_bytes(FILE)
        (tmp_path / f"{name}.json").write_text(f'{{"token": "{token}"}}\n')
    (tmp_path / "1.csv.part.2").write_bytes(FILE)
    (tmp_path / "1.csv.part.plain").write_bytes(FILE)
    cleaned = await store.clean()
    assert cleaned.parts == (tmp_path / "1.csv.part",)
    assert names_in(tmp_path, "*.csv*") == [
        *("1.csv", "1.csv.part.1", "1.csv.part.1.json", "1.csv.part.2"),
        *("4.csv.part", "4.csv.part.json"),
    ]


async def test_nothing_is_removed_while_a_worker_is_at_work(store: Store, tmp_path: Path) -> None:
    """It may be about to write what would be removed."""
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        await end_of(store, "job-1")
        with pytest.raises(ValueError, match=r"is at work.*Nothing was removed"):
            await store.clean()
    assert not (await store.record("job-1")).cleaned


async def test_a_cleaned_job_that_was_not_paid_can_be_submitted_again(
    store: Store, tmp_path: Path
) -> None:
    """As a new run with the content of now; it is not resumed, for nobody knows what it wanted."""
    await ended(store, tmp_path)
    await store.clean()
    with pytest.raises(ValueError, match="was cleaned, and nothing was paid"):
        await store.resume("job-3")
    jobs = jobs_in(tmp_path)
    assert await store.submit([jobs[0], jobs[2], jobs[4]]) == 2, "what is done stays"
    vendor = Vendor()
    async with at_work(store, vendor):
        assert (await end_of(store, "job-3")).state is JobState.DONE
        assert (await end_of(store, "job-5")).state is JobState.DONE
    assert (vendor.wire[1], vendor.wire[3], vendor.wire[5]) == (0, 1, 1)
    record = await store.record("job-3")
    assert (record.cleaned, record.run, record.job) == (False, 2, jobs[2])


async def test_a_release_that_continues_a_cleaned_job_rents_nothing(
    store: Store, tmp_path: Path
) -> None:
    """Release 0.1 would resume one: its limit is 0."""
    await ended(store, tmp_path)
    await store.clean()
    await store._requeue("job-3", JobState.FAILED, facts="{}")
    vendor = Vendor()
    async with at_work(store, vendor):
        record = await end_of(store, "job-3")
    assert (record.state, record.job.max_total) == (JobState.FAILED, Decimal(0))
    assert vendor.wire[3] == 0


async def test_a_store_that_was_lost_after_a_cleaning_pays_nothing_again(
    store: Store, tmp_path: Path
) -> None:
    """The journals still name what was paid for, by its token."""
    await ended(store, tmp_path)
    await store.clean()
    for name in names_in(tmp_path, "rentals.db*"):
        if not name.endswith(".journal"):
            (tmp_path / name).rename(tmp_path / f"{name}.lost")
    vendor = Vendor(states={"tok-1": 5})
    (tmp_path / "1.csv").unlink()
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as again:
        async with at_work(again, vendor):
            await end_of(again, "job-1")
        known: dict[str, Any] = {one.id: one.token for one in await again.records()}
    assert known["job-1"] == "tok-1"
    assert vendor.wire == {}


def test_windows_replaces_no_journal_that_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open file cannot be replaced there: a journal is closed before it is written anew."""
    journal = JsonLines.open(tmp_path / "journal.jsonl")
    journal.append({"n": 1})
    replace = Path.replace

    def replace_as_windows_does(source: Path, target: Path) -> Path:
        if journal._fd >= 0:
            raise PermissionError("The process cannot access the file: it is being used.")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", replace_as_windows_does)
    monkeypatch.setattr(_cleaning, "sys", SimpleNamespace(platform="win32"))
    _cleaning._replace(journal, [{"n": 2}])
    assert (tmp_path / "journal.jsonl").read_text() == '{"n": 2}\n'
