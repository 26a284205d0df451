"""Which job an id means, and what a job buys."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from attrs import evolve
from scripted import Vendor
from store_jobs import jobs_of
from store_work import at_work, end_of, unknown

from smspartner_async import Targeting
from smspartner_async.durable import JobConflictError, JobState, Store
from smspartner_async.durable._database import agreements
from smspartner_async.durable._database.tables import JOBS
from smspartner_async.durable._identity import (
    NO_INTEREST,
    buys_the_same,
    differences,
    same_id,
)
from smspartner_async.durable._records import dump_job

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.batch import RentalJob
    from smspartner_async.durable._database.database import JobDatabase

COMPOSED, DECOMPOSED = "\u00e9t\u00e9", "e\u0301te\u0301"


@pytest.mark.parametrize(
    ("wanted", "ids", "meant"),
    [
        ("a", ["a", "A"], "a"),
        ("A", ["a", "A"], "A"),
        ("A", ["a"], "a"),
        (DECOMPOSED, [COMPOSED], COMPOSED),
        (DECOMPOSED.upper(), [COMPOSED], COMPOSED),
        ("stra\u00dfe", ["STRASSE"], "STRASSE"),
        ("b", ["a"], None),
        ("a", [], None),
    ],
)
def test_an_id_means_itself_or_else_the_only_one_that_is_spelt_otherwise(
    wanted: str, ids: list[str], meant: str | None
) -> None:
    """As file systems take names for one: upper and lower case, and the two ways to write é."""
    assert same_id(wanted, ids) == meant


def test_an_id_that_may_mean_several_jobs_is_refused_naming_them() -> None:
    """Stores of release 0.1 may hold both spellings; each exact one still means its own."""
    with pytest.raises(ValueError, match="'JOB', 'job'"):
        same_id("Job", ["job", "JOB"])


def job(**changes: Any) -> RentalJob:
    (one,) = jobs_of(1, changes.pop("folder"))
    targeting: dict[str, Any] = {"gender": "mixed", "min_age": 25, "max_age": 35, "interest": 1}
    targeting |= {"zipcodes": ["06200", "60200"], **changes.pop("targeting", {})}
    return evolve(one, targeting=Targeting(**targeting), **changes)


@pytest.mark.parametrize(
    ("changes", "fields", "same"),
    [
        ({"targeting": {"zipcodes": ["60200", "06200"]}}, (), True),
        ({"targeting": {"zipcodes": ["60200", "06200", "06200"]}}, (), True),
        ({"targeting": {"zipcodes": ["60200"]}}, ("zipcodes",), False),
        ({"targeting": {"max_age": 36}}, ("max_age",), False),
        ({"volumes": {"06200": 21}}, ("volumes",), False),
        ({"volumes": None}, ("volumes",), False),
        ({"max_total": Decimal(7)}, ("max_total",), True),
        ({"max_total": Decimal("1.800")}, (), True),
        ({"volumes": {"06200": 21}, "max_total": None}, ("volumes", "max_total"), False),
    ],
)
def test_what_is_bought_is_whom_and_how_many(
    tmp_path: Path, changes: dict[str, Any], fields: tuple[str, ...], *, same: bool
) -> None:
    """Areas and volumes are sets; the limit, and where the file goes, are not bought."""
    one = dump_job(job(folder=tmp_path))
    other = dump_job(job(folder=tmp_path, **changes))
    assert differences(one, other) == fields
    assert buys_the_same(fields) is same


def test_what_a_cleaned_job_bought_nobody_knows(tmp_path: Path) -> None:
    """A row with its id is the job, whatever it asks for: nothing is rented for it again."""
    cleaned = dump_job(job(folder=tmp_path, targeting={"interest": NO_INTEREST}))
    assert differences(cleaned, dump_job(job(folder=tmp_path))) == ()


def test_a_path_over_a_link_is_the_same_path(tmp_path: Path) -> None:
    """Another folder is another path, which is not bought."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    real, link, up = (
        dump_job(job(folder=tmp_path, path=tmp_path / path))
        for path in ("real/1.csv", "link/1.csv", "real/../real/1.csv")
    )
    assert differences(real, link) == differences(real, up) == ()
    moved = differences(real, dump_job(job(folder=tmp_path, path=tmp_path / "1.csv")))
    assert moved == ("path",)
    assert buys_the_same(moved)


async def test_the_same_job_in_another_spelling_is_no_new_job(store: Store, tmp_path: Path) -> None:
    """Neither by its id nor by the order of its areas; every method finds it."""
    one = job(folder=tmp_path, id=COMPOSED)
    assert await store.submit([one]) == 1
    areas = {"zipcodes": ["60200", "06200"]}
    assert await store.submit([job(folder=tmp_path, id=DECOMPOSED, targeting=areas)]) == 0
    assert (await store.record(DECOMPOSED.upper())).id == COMPOSED
    await store.withdraw(DECOMPOSED)
    assert (await store.record(COMPOSED)).withdrawn
    seen = [record.id async for record in store.watch([DECOMPOSED])]
    assert seen == [COMPOSED]


async def test_every_way_to_settle_finds_a_job_by_another_spelling(
    store: Store, tmp_path: Path
) -> None:
    """A person types what is on the screen."""
    await unknown(store, tmp_path)
    await store.resolve("JOB-1", not_charged=True)
    assert (await store.record("Job-1")).state is JobState.QUEUED


async def test_several_spellings_of_a_store_are_kept_apart_or_refused(
    store: Store, tmp_path: Path
) -> None:
    """As release 0.1 has left them: it took each for a separate job."""
    both = [job(folder=tmp_path, id=name, path=tmp_path / f"{ord(name)}.csv") for name in "aA"]

    def as_release_0_1(database: JobDatabase, connection: sa.Connection) -> None:
        for one in both:
            row = {"id": one.id, "content": dump_job(one), "state": "queued", "run": 1}
            connection.execute(sa.insert(JOBS).values(**row, facts="{}", changed=database.now))

    await store._database.run(as_release_0_1)
    assert await store.submit(both) == 0
    assert [(await store.record(one.id)).job for one in both] == both
    await store.withdraw("A")
    assert not (await store.record("a")).withdrawn


async def test_new_jobs_whose_ids_are_one_are_refused(store: Store, tmp_path: Path) -> None:
    """One of them would be taken for the other, at the second run at the latest."""
    names = ("b", "B")
    pair = [job(folder=tmp_path, id=n, path=tmp_path / f"{i}.csv") for i, n in enumerate(names)]
    with pytest.raises(ValueError, match="case or accents alone"):
        await store.submit(pair)
    await store.submit(pair[:1])
    with pytest.raises(ValueError, match="are job 'b'"):
        await store.submit(pair)
    assert len(await store.records()) == 1


@pytest.mark.parametrize(
    ("changes", "words", "other"),
    [
        ({"volumes": {"06200": 7}}, r"differs in volumes.*another id", "withdrawn"),
        ({"max_total": 7}, r"differs in max_total.*once withdrawn", "another id"),
    ],
)
async def test_a_conflict_says_what_differs_and_what_to_do(
    store: Store, tmp_path: Path, changes: dict[str, Any], words: str, other: str
) -> None:
    """Another id is advised only where something else is bought: it would be paid again."""
    await store.submit([job(folder=tmp_path)])
    with pytest.raises(JobConflictError, match=words) as caught:
        await store.submit([job(folder=tmp_path, **changes)])
    assert other not in str(caught.value)
    assert caught.value.ids == ("job-1",)
    assert caught.value.fields == {"job-1": tuple(changes)}


async def test_a_folder_that_was_moved_takes_its_jobs_along(store: Store, tmp_path: Path) -> None:
    """A paid job continues to the new path in a new run; a finished one says where its file is."""
    first, second = jobs_of(2, tmp_path)
    await store.submit([first, second])
    vendor_states = {"tok-2": 1}
    vendor = Vendor(states=vendor_states)
    async with at_work(store, vendor):
        await end_of(store, "job-1")
        while (await store.record("job-2")).token is None:
            pass
    (tmp_path / "new").mkdir()
    first.path.rename(tmp_path / "new" / "1.csv")
    moved = {
        j.id: dump_job(evolve(j, path=tmp_path / "new" / j.path.name)) for j in (first, second)
    }
    await store._database.run(agreements.move, moved)
    vendor_states.clear()
    async with at_work(store, vendor):
        record = await end_of(store, "job-2")
    assert (record.state, record.run, record.job.path) == (JobState.DONE, 2, tmp_path / "new/2.csv")
    done = await store.record("job-1")
    assert done.file is not None
    assert done.file.path == done.job.path == tmp_path / "new" / "1.csv"
    assert (done.run, vendor.wire) == (1, {1: 1, 2: 1})
