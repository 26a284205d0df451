"""Files that list jobs: what is read, and what is told wrong before anything is sent."""

import csv
import json
import pickle
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smspartner_async import (
    Gender,
    SMSPartnerError,
    SocioProfessionalCategory,
    Targeting,
)
from smspartner_async._jobs import COLUMNS
from smspartner_async._rental_job import checked_jobs, folded
from smspartner_async.batch import JobFileError, RentalJob, parse_jobs, read_jobs

HEADER = ",".join(COLUMNS)
GOOD = "nice,female,25,35,12,,csp+,06 2A,06200 60200,06200:20 60200:10,12.50"


def problems(data: str | bytes, **how: Any) -> list[tuple[int, str, str]]:
    """Everything that is told wrong with a list of jobs."""
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(JobFileError) as refused:
        parse_jobs(raw, "out", **how)
    return list(refused.value.problems)


def places(data: str | bytes, **how: Any) -> list[tuple[int, str]]:
    """Line and field of everything that is told wrong."""
    return [(line, name) for line, name, _ in problems(data, **how)]


# --- CSV -------------------------------------------------------------------------------------

NICE = RentalJob(
    id="nice",
    targeting=Targeting(
        gender=Gender.FEMALE,
        min_age=25,
        max_age=35,
        interest=12,
        category=SocioProfessionalCategory.CSP_PLUS,
        departments=("06", "2A"),
        zipcodes=("06200", "60200"),
    ),
    volumes={"06200": 20, "60200": 10},
    max_total=Decimal("12.50"),
    path="out/nice.csv",
)


@pytest.mark.parametrize(
    "data",
    [
        f"{HEADER}\n{GOOD}\n",
        f"{HEADER}\n{GOOD}",
        f"\ufeff{HEADER}\r\n\r\n{GOOD}\r\n\r\n",
        f"\n{HEADER}\r{GOOD}\r",
        f"{HEADER.upper()},,\n{GOOD},,\n,,,,,,,,,,,,\n",
        f"{HEADER}\n{GOOD}".replace(",", ";"),
        f"{HEADER}\n{GOOD}".replace(",", "\t"),
        f"{HEADER}\n{GOOD}".replace(",", " , "),
        "\n".join(", ".join(f'"{cell}"' for cell in row.split(",")) for row in (HEADER, GOOD)),
        "\n".join(",".join(reversed(row.split(","))) for row in (HEADER, GOOD)),
        f"{HEADER}\n{GOOD}".replace("female", "Female").replace("csp+", "CSP+").replace("2A", "2a"),
        f"{HEADER}\n{GOOD}00",
    ],
    ids=range(12),
)
def test_a_csv_is_read_as_spreadsheets_write_it(data: str) -> None:
    """BOM, line ends, blank lines, quotes, semicolons, order and case change nothing."""
    assert parse_jobs(data.encode(), "out") == (NICE,)


def test_columns_that_are_not_needed_may_be_left_out() -> None:
    """Four columns and an interest make a job without limit or volumes."""
    (read,) = parse_jobs(b"id,gender,min_age,max_age,sub_interest\na,mixed,18,98,35\n", "out")
    targeting = Targeting(gender="mixed", min_age=18, max_age=98, sub_interest=35)
    assert read == RentalJob(id="a", targeting=targeting, path="out/a.csv")
    assert parse_jobs(HEADER.encode(), "out") == ()


def test_every_bad_field_of_every_row_is_named_at_once() -> None:
    """Bad input: line, field and what is wrong, for all of a file, before anything is sent."""
    data = f"""{HEADER}
a/b,girl,17,x,,,csp,6,6200,06200:0 60200:10,-1

"a\nb",female,25,35,12,,,,,06200,1
c,female,35,25,12,,,,,06200:1 06200:2,
d,female,25,35,12,,,,,,
D,female,25,35,0,,,,,,
,female,25,35,12,,,,,6:1,
"""
    assert places(data) == [
        *((2, "id"), (2, "gender"), (2, "category"), (2, "min_age"), (2, "max_age")),
        *((2, "interest"), (2, "departments"), (2, "zipcodes"), (2, "volumes"), (2, "max_total")),
        *((4, "id"), (4, "volumes")),
        *((6, "max_age"), (6, "volumes")),
        *((8, "id"), (8, "interest")),
        *((9, "id"), (9, "volumes")),
    ]
    assert (8, "id", "'D' is also the id in line 7") in problems(data)


@pytest.mark.parametrize(
    "money",
    [
        '"12,50"',
        "12.5555",
        "1 250",
        "€12",
        "1e3",
        "NaN",
        "Infinity",
        "-1",
        "+1",
        ".5",
        "5.",
        "9" * 10,
    ],
)
def test_money_is_not_guessed_at(money: str) -> None:
    """Bad input: a comma, a sign, too many decimals or too many digits are told, not understood."""
    row = GOOD.replace("12.50", money)
    ((line, name, what),) = problems(f"{HEADER}\n{row}\n")
    assert (line, name) == (2, "max_total")
    assert "12.50" in what


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("id,gender,min_age,max_age,interest,max_totl", [(1, "max_totl")]),
        ("id,gender,min_age,max_age,interest,id", [(1, "id")]),
        ("id,gender,min_age,interest,,zipcodes", [(1, ""), (1, "max_age")]),
        ("min_age,max_age,category", [(1, "gender"), (1, "id"), (1, "interest")]),
    ],
)
def test_a_header_is_held_against_the_columns(header: str, expected: list[tuple[int, str]]) -> None:
    """Bad input: unknown, repeated and missing columns are told once, and not in every row."""
    rows = [",".join({"max_age": "30", "min_age": "20"}.get(n, "") for n in header.split(","))] * 2
    found = places("\n".join((header, *rows)))
    assert [place for place in found if place[0] == 1] == expected
    assert not {name for line, name in found if line > 1} & {"max_age", "interest", "category"} - (
        set(header.split(","))
    )


def test_nothing_at_all_lacks_a_header() -> None:
    """Bad input: an empty CSV is told by the columns that it lacks."""
    needed = [(1, "gender"), (1, "id"), (1, "interest"), (1, "max_age"), (1, "min_age")]
    assert places("") == places("\n \n,,\n") == needed


@pytest.mark.parametrize("row", [GOOD.rsplit(",", 1)[0], f"{GOOD},5"])
def test_a_row_has_as_many_fields_as_the_header(row: str) -> None:
    """Bad input: a row that was cut short could have lost its limit, so it is not taken."""
    assert places(f"{HEADER}\n{GOOD}\n{row}\n") == [(3, "")]


def test_a_quote_that_is_never_closed_swallows_no_jobs() -> None:
    """Bad input: where a CSV cannot be read on, it says from which line."""
    ((line, name, what),) = problems(f'{HEADER}\n{GOOD}\n"b{GOOD}\nc{GOOD}\n')
    assert (line, name) == (3, "")
    assert "not CSV from here on" in what


def test_another_encoding_is_told_by_the_line_that_shows_it() -> None:
    """Bad input: what is not UTF-8 is told with its line, and not half read."""
    data = f"{HEADER}\n{GOOD}\n{GOOD.replace('nice', 'méru')}\n".encode("cp1252")
    assert places(data) == [(3, "")]
    assert places(f"{HEADER}\n{GOOD}".encode("utf-16")) == [(1, "")]


def test_a_file_of_contacts_shows_no_number() -> None:
    """A secret: whoever takes the contacts for the jobs finds no number in the error."""
    data = "+33639980000\n06 39 98 00 01\n06.39.98.00.02\n"
    for json_lines in (False, True):
        with pytest.raises(JobFileError) as refused:
            parse_jobs(data.encode(), "out", json_lines=json_lines)
        assert "3998" not in f"{refused.value}{refused.value.problems}".replace(" ", "")
    assert "3998" not in str(problems(f"{HEADER}\n{GOOD.replace('nice', 'a/+33639980000')}"))


def test_the_one_error_is_short_whole_and_picklable() -> None:
    """An error of a thousand problems shows ten of them, keeps all, and survives pickling."""
    with pytest.raises(JobFileError, match=r"^The list of jobs cannot.*990 more") as refused:
        parse_jobs("\n".join((HEADER, *["," * 9 + "x"] * 1000)).encode(), "out")
    error: JobFileError = pickle.loads(pickle.dumps(refused.value))  # noqa: S301 - our own
    assert issubclass(JobFileError, SMSPartnerError)
    assert len(error.problems) == 1000
    assert str(error) == str(refused.value)
    assert len(str(error)) < 3000
    assert all(len(what) < 210 for *_, what in problems(f"{HEADER}\n{'x' * 9999}{GOOD}\n"))


# --- JSON Lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        dict(zip(COLUMNS, GOOD.split(","), strict=True)),
        {
            "id": " nice",
            "gender": "female",
            "min_age": 25,
            "max_age": 35,
            "interest": 12,
            "sub_interest": None,
            "category": "csp+",
            "departments": ["06", "2A"],
            "zipcodes": ["06200", "60200"],
            "volumes": {"06200": 20, "60200": "10"},
            "max_total": 12.50,
        },
    ],
)
def test_json_lines_say_the_same(values: dict[str, Any]) -> None:
    """A line of JSON may hold text as in CSV, or numbers, lists and an object."""
    data = f"\ufeff\r\n{json.dumps(values)}\r\n\r\n".encode()
    assert parse_jobs(data, "out", json_lines=True) == (NICE,)
    assert parse_jobs(b"", "out", json_lines=True) == ()


def test_numbers_of_json_are_taken_where_text_would_be() -> None:
    """An id, a limit and areas may be written as numbers, as long as nothing is lost by that."""
    line = {"id": 7, "gender": "male", "min_age": 25, "max_age": 35, "interest": 12}
    line |= {"max_total": 12, "zipcodes": [60200]}
    (read,) = parse_jobs(json.dumps(line).encode(), "out", json_lines=True)
    assert (read.id, read.max_total, read.targeting.zipcodes) == ("7", Decimal(12), ("60200",))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *(({"id": True}, "id"), ({"id": None}, "id"), ({"gender": ["female"]}, "gender")),
        *(({"min_age": 25.5}, "min_age"), ({"max_age": {}}, "max_age"), ({"limit": 5}, "limit")),
        *(({"zipcodes": [2200]}, "zipcodes"), ({"zipcodes": [[[]]]}, "zipcodes")),
        *(({"volumes": {}}, "volumes"), ({"volumes": {"06200": {}}}, "volumes")),
        *(({"volumes": [20]}, "volumes"), ({"max_total": True}, "max_total")),
        *(({"max_total": 1e300}, "max_total"), ({"max_total": float("nan")}, "max_total")),
        *(({"max_total": [5]}, "max_total"), ({"departments": {"06": 1}}, "departments")),
    ],
)
def test_a_json_value_of_a_wrong_kind_is_named(change: dict[str, Any], name: str) -> None:
    """Bad input: nothing is taken for what it is not, whatever JSON can hold."""
    good = {"id": "a", "gender": "male", "min_age": 25, "max_age": 35, "interest": 12}
    data = f"{json.dumps(good)}\n{json.dumps(good | {'id': 'b'} | change)}\n"
    assert places(data, json_lines=True) == [(2, name)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"id": "a",}', "not JSON at column"),
        ("[1]", "not a JSON object"),
        ('{"id": "a", "id": "b"}', "'id' is given twice"),
        ('{"volumes": {"06200": 1, "06200": 2}}', "'06200' is given twice"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, what: str) -> None:
    """Bad input: broken JSON, other JSON, and names that are given twice are told by their line."""
    ((number, name, told),) = problems(f"\n{line}\n", json_lines=True)
    assert (number, name) == (2, "")
    assert what in told


def test_a_name_that_cannot_be_printed_can_be_told() -> None:
    """Bad input: a problem is one printable line, whatever the file calls its fields."""
    ((_, name, _),) = problems(f'{HEADER},"new\nline"\n')
    assert name == "new line"
    assert (1, " ") in places('{"\\ud800": 1}', json_lines=True)


def test_no_nesting_is_too_deep() -> None:
    """Bad input: JSON of any depth is refused like any other, and brings nothing down."""
    for depth in range(1, 2000, 9):
        data = f'{{"id": "a", "gender": {"[" * depth}{"]" * depth}}}'
        assert places(data, json_lines=True)


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.txt", "jobs.jsonl", "jobs.NDJSON"])
def test_a_file_is_read_by_its_name(tmp_path: Path, name: str) -> None:
    """JSON Lines is what is named so; everything else is CSV. The error names the file."""
    row = json.dumps(dict(zip(COLUMNS, GOOD.split(","), strict=True)))
    is_csv = name.endswith(("csv", "txt"))
    (tmp_path / name).write_text(f"{HEADER}\n{GOOD}\n" if is_csv else row)
    (read,) = read_jobs(tmp_path / name, tmp_path / "out", suffix="tar.gz")
    assert read.path == tmp_path / "out" / "nice.tar.gz"
    (tmp_path / name).write_text("?")
    with pytest.raises(JobFileError, match=f"^{name} cannot be used; nothing was sent"):
        read_jobs(tmp_path / name, tmp_path)


@pytest.mark.parametrize("suffix", ["", ".csv", "../x", "a/b", "c s"])
def test_a_suffix_leaves_no_folder(suffix: str) -> None:
    """Bad input: the suffix of the files cannot lead elsewhere."""
    with pytest.raises(ValueError, match="suffix"):
        parse_jobs(b"", "out", suffix=suffix)


# --- any jobs, any bytes ---------------------------------------------------------------------

whole = st.integers(1, 10**9 - 1)
areas = st.lists(st.from_regex(r"[0-9]{5}", fullmatch=True), unique=True, max_size=4).map(tuple)
departments = st.lists(st.sampled_from(["02", "2A", "75", "974"]), unique=True).map(tuple)
ids = st.from_regex(r"[a-zé0-9]([a-zé0-9_;,' -]{0,20}[a-zé0-9])?", fullmatch=True)
# The ids of a file are unlike each other for a file system, too.
unlike_ids = st.lists(ids, unique_by=folded, max_size=6)


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
@settings(deadline=None, max_examples=30)
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
@settings(deadline=None, max_examples=80)
def test_any_bytes_are_jobs_or_the_one_error(data: bytes, json_lines: bool) -> None:  # noqa: FBT001 - drawn
    """Bad input: whatever a file holds, it gives jobs, or one error that can be printed."""
    lines = data.count(b"\n") + data.count(b"\r") + 1
    try:
        jobs = parse_jobs(data, "out", json_lines=json_lines)
    except JobFileError as told:
        error = told
    else:
        assert checked_jobs(jobs) == jobs
        return
    str(error).encode()  # no lone surrogates
    assert error.problems
    assert all(1 <= line <= lines for line, *_ in error.problems)
