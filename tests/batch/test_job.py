"""One job of a batch: what makes one, and what is looked at before money is spent on it."""

import errno
import os
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from smspartner_async import Cost, PriceExceededError, Quote, Targeting, TargetingError
from smspartner_async.batch import RentalJob
from smspartner_async.batch._job import checked_jobs

TARGETING = Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200")


def job(id: str = "nice", path: str | Path = "nice.csv", **more: Any) -> RentalJob:  # noqa: A002 - as in RentalJob
    return RentalJob(id=id, targeting=TARGETING, path=path, **more)


def test_a_job_is_checked_when_it_is_made() -> None:
    """Bad input: volumes, a limit or a targeting that cannot be right make no job."""
    none: Any = {}
    with pytest.raises(TargetingError, match="volumes"):
        job(volumes={"06200": 0})
    with pytest.raises(ValueError, match="max_total"):
        job(max_total=Decimal(-1))
    with pytest.raises(TypeError, match="max_total"):
        job(max_total=12.5)
    with pytest.raises(TypeError, match="targeting"):
        RentalJob(id="a", targeting=none, path="a.csv")


@pytest.mark.parametrize(
    "id",
    [
        *(
            "",
            " ",
            " a",
            "a ",
            "a/b",
            "a\\b",
            "..",
            ".",
            "a.",
            "a:b",
            "a\nb",
            "a\0b",
            "a?",
            "\ud800",
        ),
        *("CON", "nul.csv", "com1", "x" * 201, "é" * 101, 12, None),
    ],
)
def test_an_id_names_a_file_on_every_system(id: Any) -> None:  # noqa: A002 - as in RentalJob
    """Bad input: an id that could leave its folder, or that some system refuses, makes no job."""
    with pytest.raises(ValueError, match=r"^id: "):
        job(id)


def test_a_job_keeps_its_place_and_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's path is fixed when it is made; equal jobs are equal, hash alike and pickle."""
    monkeypatch.chdir(tmp_path)
    one = job(volumes={"06200": 20, "2a": 5}, max_total=Decimal("1.80"))
    other = job(volumes={"2A": 5, "06200": 20}, max_total=Decimal("1.8"))
    monkeypatch.chdir("/")
    assert one.path == tmp_path / "nice.csv"
    assert one == other == pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("limit", "total", "fits"),
    [
        *(("1.80", "1.80", True), ("1.80", "1.801", False), ("1.80", None, False)),
        *((None, "9999", True), (None, None, True), ("0", "0", True)),
        *(("0", "0.01", False), ("0", None, False), ("5", "-0.01", False), ("0", "-1", False)),
    ],
)
def test_a_price_is_held_against_the_jobs_limit(
    limit: str | None, total: str | None, *, fits: bool
) -> None:
    """A paid request: a price above `max_total`, or none at all, is a PriceExceededError."""
    capped = job(max_total=None if limit is None else Decimal(limit))
    cost = None if total is None else Cost(total=Decimal(total))
    quote = Quote(operation="price", cost=cost)
    if fits:
        capped.check_price(quote)
    else:
        with pytest.raises(PriceExceededError):
            capped.check_price(quote)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_destination_is_looked_at_before_money_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that exists, a folder that is missing, and a closed one are refused beforehand."""
    job(path=tmp_path / "new.csv").check_destination()
    (tmp_path / "old.csv").touch()
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere")
    for name in ("old.csv", "dangling.csv"):
        with pytest.raises(FileExistsError, match="nothing was rented"):
            job(path=tmp_path / name).check_destination()
    with pytest.raises(FileNotFoundError, match="nothing was rented"):
        job(path=tmp_path / "no" / "new.csv").check_destination()
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_space, raising=False)
        with pytest.raises(OSError, match="no room for the file"):
            job(path=tmp_path / "new.csv").check_destination()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling.csv", "old.csv"]
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(PermissionError, match="nothing was rented"):
        job(path=tmp_path / "new.csv").check_destination()


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (("a", "a.csv"), ("a", "b.csv"), "id: 'a'"),
        (("a", "x.csv"), ("b", "sub/../x.csv"), "file"),
        (("a", "x.csv"), ("b", "X.csv"), "file"),
        (("a", "é.csv"), ("b", "e\N{COMBINING ACUTE ACCENT}.csv"), "file"),
    ],
)
def test_two_jobs_have_two_ids_and_two_files(
    one: tuple[str, str], other: tuple[str, str], what: str
) -> None:
    """Bad input: an id or a file of two jobs is refused, also where only some systems mind."""
    with pytest.raises(ValueError, match=what):
        checked_jobs(job(*names) for names in (one, other))
    many = [job(f"{n}", f"{n}.csv") for n in range(20) for _ in range(2)]
    with pytest.raises(ValueError, match="and 10 more"):
        checked_jobs(many)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x", "x.part"),
        ("x", "x.part.1"),
        ("x", "x.part.7.json"),
        ("x", "X.PART"),
        ("sub/../x.csv", "x.csv.part"),
        ("é.csv", "e\N{COMBINING ACUTE ACCENT}.csv.part"),
        ("x.part", "x.part.part"),
        ("a.part.b", "a.part.b.part.c"),
    ],
)
def test_no_job_has_the_name_of_anothers_part(one: str, other: str) -> None:
    """A file: a path that another job's download uses on its way is refused, in any order."""
    pair = [job("one", one), job("other", other)]
    for jobs in (pair, pair[::-1]):
        with pytest.raises(ValueError, match="parts of other jobs' files"):
            checked_jobs(jobs)


@pytest.mark.parametrize("other", ["x.party", "x.partial.csv", "xpart", "y.part", "d/x.part"])
def test_names_that_only_look_like_parts(other: str) -> None:
    """A file: a path that no part can have is let through, beside any other."""
    assert len(checked_jobs([job("one", "x"), job("other", other)])) == 2


def test_a_name_that_the_file_system_cannot_hold(tmp_path: Path) -> None:
    """Bad input: a file that could never be written is refused before any money is spent."""
    job = RentalJob(id="a", targeting=TARGETING, path=tmp_path / ("x" * 300))
    with pytest.raises(
        OSError, match=r"cannot hold a file named 'xxx.*nothing was rented"
    ) as too_long:
        job.check_destination()
    assert too_long.value.errno == errno.ENAMETOOLONG
    RentalJob(id="a", targeting=TARGETING, path=tmp_path / ("x" * 200)).check_destination()
