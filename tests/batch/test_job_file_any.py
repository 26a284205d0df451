"""Any jobs survive the way through a file, and any bytes are jobs or the one error."""

import csv
import json
from io import StringIO

from hypothesis import given, settings
from hypothesis import strategies as st

from smspartner_async import (
    Gender,
    SocioProfessionalCategory,
    Targeting,
)
from smspartner_async.batch import JobFileError, RentalJob, parse_jobs
from smspartner_async.batch._job import case_folded, checked_jobs
from smspartner_async.batch._job_file import COLUMNS

from .test_job_file import GOOD, HEADER

whole = st.integers(1, 10**9 - 1)
areas = st.lists(st.from_regex(r"[0-9]{5}", fullmatch=True), unique=True, max_size=4).map(tuple)
departments = st.lists(st.sampled_from(["02", "2A", "75", "974"]), unique=True).map(tuple)
ids = st.from_regex(r"[a-zé0-9]([a-zé0-9_;,' -]{0,20}[a-zé0-9])?", fullmatch=True)
# The ids of a file are unlike each other for a file system, too.
unlike_ids = st.lists(ids, unique_by=case_folded, max_size=6)


@st.composite
def valid_jobs(draw: st.DrawFn) -> list[RentalJob]:
    """Draw any jobs that a file can list."""
    jobs = []
    for name in draw(unlike_ids):
        ages = sorted(draw(st.lists(st.integers(18, 98), min_size=2, max_size=2)))
        targeting = Targeting(
            gender=draw(st.sampled_from(Gender)),
            min_age=ages[0],
            max_age=ages[1],
            interest=draw(whole),
            sub_interest=draw(st.none() | whole),
            category=draw(st.none() | st.sampled_from(SocioProfessionalCategory)),
            departments=draw(departments),
            zipcodes=draw(areas),
        )
        volumes = draw(st.none() | st.dictionaries(st.sampled_from(["02", "06200"]), whole)) or None
        limit = draw(st.none() | st.decimals(0, 999_999, places=2))
        path = f"out/{name}.csv"
        jobs.append(
            RentalJob(id=name, targeting=targeting, volumes=volumes, max_total=limit, path=path)
        )
    return jobs


def cells(wanted: RentalJob) -> list[str]:
    """Write one job as a row."""
    targeting, volumes = wanted.targeting, wanted.volumes or {}
    category = targeting.category.value if targeting.category else ""
    values = (
        *(wanted.id, targeting.gender.value, targeting.min_age, targeting.max_age),
        *(targeting.interest, targeting.sub_interest, category),
        *(" ".join(targeting.departments), " ".join(targeting.zipcodes)),
        *(" ".join(f"{area}:{number}" for area, number in volumes.items()), wanted.max_total),
    )
    return ["" if value is None else str(value) for value in values]


@given(
    valid_jobs(),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
@settings(max_examples=30)
def test_any_jobs_survive_the_way_through_a_file(
    jobs: list[RentalJob], delimiter: str, end: str, encoding: str
) -> None:
    """Whatever jobs are written as CSV or JSON Lines are read again, in the same order."""
    sheet = StringIO(newline="")
    writer = csv.writer(sheet, delimiter=delimiter, lineterminator=end)
    writer.writerows([COLUMNS, *map(cells, jobs)])
    lines = end.join(json.dumps(dict(zip(COLUMNS, cells(one), strict=True))) for one in jobs)
    assert parse_jobs(sheet.getvalue().encode(encoding), "out") == tuple(jobs)
    assert parse_jobs(lines.encode(encoding), "out", json_lines=True) == tuple(jobs)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(COLUMNS), inner),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(COLUMNS), anything).map(json.dumps)
cell = st.text(max_size=8) | st.sampled_from(GOOD.split(","))
rows = st.lists(cell, min_size=10, max_size=12).map(",".join)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(rows).map(lambda some: "\n".join((HEADER, *some)).encode())
    | st.lists(objects | anything.map(json.dumps)).map(lambda some: "\n".join(some).encode()),
    st.booleans(),
)
def test_any_bytes_are_jobs_or_the_one_error(data: bytes, json_lines: bool) -> None:  # noqa: FBT001 - drawn
    """Bad input: whatever a file holds, it gives jobs, or one error that can be printed."""
    lines = data.count(b"\n") + data.count(b"\r") + 1
    try:
        jobs = parse_jobs(data, "out", json_lines=json_lines)
    except JobFileError as raised:
        error = raised
    else:
        assert checked_jobs(jobs) == jobs
        return
    str(error).encode()  # no lone surrogates
    assert error.problems
    assert all(1 <= line <= lines for line, *_ in error.problems)
