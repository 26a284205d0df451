"""What a journal names is not rented by a store that does not know it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults import busy, vendor_error
from scripted import Vendor
from store_jobs import jobs_of
from store_work import LOST, at_work, end_of

from smspartner_async.durable import JobState, Store
from smspartner_async.durable._claims import JournalClaims
from smspartner_async.durable._records import dump_job

if TYPE_CHECKING:
    from benchmarks.durable_runs import Postgres


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of all journals, without the first of each."""
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()[1:]]


def sending(nonce: str, run: int = 1, **more: Any) -> dict[str, Any]:
    return {"at": "2026-01-01", "job": "a", "run": run, "nonce": nonce, "sending": "{}", **more}


def claims_of(*lines: dict[str, Any], beside: bool = False) -> JournalClaims:
    claims = JournalClaims("mine", beside)
    for line in lines:
        claims.add(line, "w", Path("w.jsonl"))
    return claims


TOKEN = {"job": "a", "run": 1, "nonce": "n", "token": "t"}
BACK = {"job": "a", "run": 1, "nonce": "n", "given_back": True}


@pytest.mark.parametrize(
    ("lines", "beside", "run", "known", "found"),
    [
        ([], False, 1, (), None),
        ([sending("n", store="mine")], False, 1, (), "n"),
        ([sending("n", store="mine")], False, 1, ("n",), None),
        ([sending("n", store="mine")], False, 2, (), "n"),
        ([sending("n", store="mine")], False, 2, ("n",), None),
        ([sending("n", 3, store="mine")], False, 2, (), "n"),
        ([sending("n", store="mine"), BACK], False, 1, (), None),
        ([sending("m", 2, store="mine"), sending("n", store="mine"), BACK], False, 1, (), "m"),
        ([sending("n", store="mine"), TOKEN, sending("m", 2, store="mine")], False, 1, (), "n"),
        ([sending("n", store="mine"), sending("m", 2, store="mine")], False, 1, (), "m"),
        ([sending("n", store="other")], False, 1, (), None),
        ([sending("n", store="other")], True, 1, (), "n"),
        ([sending("n", store="other")], True, 7, (), "n"),
        ([sending("n", store="other")], True, 7, ("n",), None),
        ([sending("n")], False, 1, (), None),
        ([sending("n")], True, 1, (), "n"),
        ([sending("n")], True, 2, (), None),
        ([{"worker": "w"}, {"nonce": "n"}, TOKEN], True, 1, (), None),
    ],
)
def test_which_claims_of_a_journal_a_store_does_not_know(
    lines: list[dict[str, Any]],
    run: int,
    known: tuple[str, ...],
    found: str | None,
    *,
    beside: bool,
) -> None:
    """Its own of any run; beside a SQLite file those of any, and 0.1's of this run or a later."""
    claim = claims_of(*lines, beside=beside).unknown("A", run, known)
    assert (claim and claim.claim["nonce"]) == found


async def test_a_line_names_store_job_run_and_claim(store: Store, tmp_path: Path) -> None:
    """A claim that is given back has a line, too: what was refused clearly is not in doubt."""
    await store.submit(jobs_of(2, tmp_path))
    async with at_work(store, Vendor({1: [busy(429)], 2: [vendor_error(27, "trop")]})):
        for number in (1, 2):
            await end_of(store, f"job-{number}")
    lines = lines_of(tmp_path / "rentals.db.journal")
    assert len({line["store"] for line in lines}) == 1
    kinds = {
        number: [
            next(k for k in ("sending", "token", "given_back") if k in line)
            for line in lines
            if (line["job"], line["run"]) == (f"job-{number}", 1)
        ]
        for number in (1, 2)
    }
    assert kinds == {1: ["sending", "given_back", "sending", "token"], 2: ["sending", "given_back"]}
    async with at_work(store, vendor := Vendor()):
        await store.resume("job-2")
        assert (await end_of(store, "job-2")).state is JobState.DONE
    assert vendor.wire == {2: 1}


async def older(store: Store, folder: Path, vendor: Vendor) -> None:
    """Bring two jobs to their ends, and put the database back to before."""
    await store.submit(jobs_of(2, folder))
    database = folder / "rentals.db"
    with_them = folder / "backup.db"
    backup(database, with_them)
    async with at_work(store, vendor):
        for number in (1, 2):
            await end_of(store, f"job-{number}")
    store._database.close()
    remove(folder, "rentals.db*")
    shutil.move(with_them, database)


def remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        if path.is_file():
            path.unlink()


def backup(one: Path, other: Path) -> None:
    with sqlite3.connect(one) as source, sqlite3.connect(other) as target:
        source.backup(target)
    source.close()
    target.close()


async def test_a_database_older_than_its_journal_rents_nothing_again(tmp_path: Path) -> None:
    """A paid job continues from the token in the journal; one in doubt is left to a person."""
    store = await Store(f"sqlite:///{tmp_path}/rentals.db").__aenter__()
    await older(store, tmp_path, Vendor({2: [LOST]}))
    vendor = Vendor(states={"tok-1": 5})
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store, at_work(store, vendor):
        assert (await end_of(store, "job-1")).token == "tok-1"
        doubt = await end_of(store, "job-2")
        assert doubt.state is JobState.NEEDS_ATTENTION
        assert [line["job"] for line in doubt.attention["journal_lines"]] == ["job-2"]
        assert vendor.wire == {}
        await store.resolve("job-2", not_charged=True, force=True)
        assert (await end_of(store, "job-2")).state is JobState.DONE
    assert vendor.wire == {2: 1}, "one command has settled it"


async def test_a_journal_that_cannot_be_read_lets_nothing_be_rented(tmp_path: Path) -> None:
    """It may name what is paid for, and the database may be older: no job is rented beside it."""
    store = await Store(f"sqlite:///{tmp_path}/rentals.db").__aenter__()
    await older(store, tmp_path, Vendor())
    journals = tmp_path / "rentals.db.journal"
    (journals / "worker-1.jsonl").rename(tmp_path / "kept")
    (journals / "other.jsonl").mkdir()
    vendor = Vendor()
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store, at_work(store, vendor):
        for name in ("job-1", "job-2"):
            ended = await end_of(store, name)
            assert ended.state is JobState.FAILED
            assert re.search(r"other\.jsonl: .* Nothing was rented\.", ended.error or "")
    assert vendor.wire == {}


async def test_a_run_that_an_older_database_begins_anew_is_not_rented_again(tmp_path: Path) -> None:
    """Withdrawn and submitted again, a job is in a later run than its rent in the journal."""
    store = await Store(f"sqlite:///{tmp_path}/rentals.db").__aenter__()
    await older(store, tmp_path, Vendor({2: [LOST]}))
    remove(tmp_path, "*.csv")
    vendor = Vendor()
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store:
        for number in (1, 2):
            await store.withdraw(f"job-{number}")
        await store.submit(jobs_of(2, tmp_path))
        async with at_work(store, vendor):
            paid = await end_of(store, "job-1")
            assert (paid.state, paid.token, paid.price) == (JobState.DONE, "tok-1", Decimal("1.80"))
            assert (await end_of(store, "job-2")).state is JobState.NEEDS_ATTENTION
    assert vendor.wire == {}


async def test_a_job_that_an_older_database_has_with_a_worker_costs_what_its_journal_says(
    tmp_path: Path,
) -> None:
    """It is looked at when its worker comes to it, and has its token and its price from there."""
    store = await Store(f"sqlite:///{tmp_path}/rentals.db").__aenter__()
    await older(store, tmp_path, Vendor())
    remove(tmp_path, "*.csv")
    (journal,) = (tmp_path / "rentals.db.journal").glob("*.jsonl")
    worker = json.loads(journal.read_text().splitlines()[0])["worker"]
    with sqlite3.connect(tmp_path / "rentals.db") as database:
        database.execute("UPDATE smspartner_jobs SET state = 'renting', worker = ?", [worker])
    database.close()
    vendor = Vendor()
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store, at_work(store, vendor):
        paid = await end_of(store, "job-1")
    assert (paid.state, paid.token, paid.price) == (JobState.DONE, "tok-1", Decimal("1.80"))
    assert vendor.wire == {}


async def test_a_database_that_is_gone_from_beside_its_journal_is_filled_from_it(
    tmp_path: Path,
) -> None:
    """Its jobs come back with what is known of them, submitted again or not."""
    url = f"sqlite:///{tmp_path}/rentals.db"
    store = await Store(url).__aenter__()
    await older(store, tmp_path, Vendor({2: [LOST]}))
    (tmp_path / "rentals.db").unlink()
    vendor = Vendor(states={"tok-1": 5})
    async with Store(url) as store, at_work(store, vendor):
        assert (await end_of(store, "job-1")).token == "tok-1"
        record = await end_of(store, "job-2")
        assert record.state is JobState.NEEDS_ATTENTION
        assert "does not know" in (record.error or "")
        assert record.job == jobs_of(2, tmp_path)[1]
        assert await store.submit(jobs_of(3, tmp_path)) == 1
        assert (await end_of(store, "job-3")).state is JobState.DONE
    assert vendor.wire == {3: 1}


async def test_jobs_that_were_submitted_to_the_new_database_first_are_not_rented_either(
    tmp_path: Path,
) -> None:
    """The journals are looked at before each payment, not only when a worker begins."""
    url = f"sqlite:///{tmp_path}/rentals.db"
    store = await Store(url).__aenter__()
    await older(store, tmp_path, Vendor({2: [LOST]}))
    remove(tmp_path, "*.csv")
    (tmp_path / "rentals.db").unlink()
    vendor = Vendor()
    async with Store(url) as store:
        await store.submit(jobs_of(2, tmp_path))
        async with at_work(store, vendor):
            record = await end_of(store, "job-1")
            assert (record.state, record.token) == (JobState.DONE, "tok-1")
            assert (await end_of(store, "job-2")).state is JobState.NEEDS_ATTENTION
    assert vendor.wire == {}


async def test_lines_of_release_0_1_count_beside_their_database_alone(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They name no store: in a folder of several stores they may be of any."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    jobs = jobs_of(1, tmp_path)
    line = {"at": "2026-01-01T00:00:00+00:00", "job": "job-1", "run": 1, "nonce": "old"}
    lines = [
        {"worker": "w-0"},
        {**line, "sending": dump_job(jobs[0])},
        {**line, "token": "tok-old"},
    ]
    text = "".join(json.dumps(one) + "\n" for one in lines)
    for folder in (tmp_path / "rentals.db.journal", tmp_path / "home" / ".smspartner" / "journal"):
        folder.mkdir(parents=True)
        (folder / "worker-1.jsonl").write_text(text)
    vendor = Vendor()
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as store, at_work(store, vendor):
        assert (await end_of(store, "job-1")).token == "tok-old"
    assert vendor.wire == {}
    (tmp_path / "1.csv").unlink()
    async with Store(postgres.store("several")) as store, at_work(store, vendor):
        await store.submit(jobs)
        assert (await end_of(store, "job-1")).token == "tok-1"
    assert vendor.wire == {1: 1}


async def test_a_folder_of_several_stores_keeps_them_apart(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same job in two stores is two jobs."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    vendor = Vendor()
    for name in ("one", "two"):
        async with Store(postgres.store(f"apart_{name}")) as store, at_work(store, vendor):
            (tmp_path / name).mkdir()
            await store.submit(jobs_of(1, tmp_path / name))
            assert (await end_of(store, "job-1")).state is JobState.DONE
    assert vendor.wire == {1: 2}
