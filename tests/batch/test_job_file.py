"""Files that list jobs: what is read, and what is named as wrong before anything is sent."""

import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from smspartner_async import (
    Gender,
    SMSPartnerError,
    SocioProfessionalCategory,
    Targeting,
)
from smspartner_async.batch import JobFileError, RentalJob, parse_jobs, read_jobs
from smspartner_async.batch._job_file import COLUMNS

HEADER = ",".join(COLUMNS)
GOOD = "nice,female,25,35,12,,csp+,06 2A,06200 60200,06200:20 60200:10,12.50"


def problems(data: str | bytes, **how: Any) -> list[tuple[int, str, str]]:
    """Return every problem of a list of jobs."""
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(JobFileError) as refused:
        parse_jobs(raw, "out", **how)
    return list(refused.value.problems)


def places(data: str | bytes, **how: Any) -> list[tuple[int, str]]:
    """Return line and field of every problem."""
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
    """Bad input: a comma, a sign, too many decimals or digits are refused, not understood."""
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
    """Bad input: unknown, repeated and missing columns are named once, and not in every row."""
    rows = [",".join({"max_age": "30", "min_age": "20"}.get(n, "") for n in header.split(","))] * 2
    found = places("\n".join((header, *rows)))
    assert [place for place in found if place[0] == 1] == expected
    assert not {name for line, name in found if line > 1} & {"max_age", "interest", "category"} - (
        set(header.split(","))
    )


NO_HEADER = (
    "must name the columns, such as id, gender, min_age, max_age, interest, before the first job"
)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("", 1),
        ("\n \n,,\n", 1),
        (f"{GOOD}\n", 1),
        (f"\n{GOOD}\n{GOOD}\n", 2),
        ("Beauvais;femme;25;35;12\n", 1),
        ("sep=;\nBeauvais;femme;25;35;12\n", 2),
    ],
)
def test_without_a_header_one_sentence_says_so(data: str, line: int) -> None:
    """Bad input: a file that does not name its columns is one problem, and no row is judged."""
    assert problems(data) == [(line, "", NO_HEADER)]


# What a French Excel writes: semicolons between the columns, a comma before the cents.
EXCEL = "id;gender;min_age;max_age;interest;zipcodes;volumes;max_total"


@pytest.mark.parametrize(
    ("row", "zipcodes", "volumes", "max_total"),
    [
        ("a;female;25;35;12;60200;60200:20;5,00", ("60200",), {"60200": 20}, "5.00"),
        ("a;female;25;35;12;60200;60200=20;5", ("60200",), {"60200": 20}, "5"),
        ("a;female;25;35;12;60200;60200 = 20;5,5", ("60200",), {"60200": 20}, "5.5"),
        ("a;female;25;35;12;60200;;5.00", ("60200",), None, "5.00"),
        (
            'a;female;25;35;12;"60200,02200";"60200:20,02200:10";1250,00',
            ("60200", "02200"),
            {"60200": 20, "02200": 10},
            "1250.00",
        ),
        (
            "a;female;25;35;12;60200, 02200;60200=20, 02200=10;12,50",
            ("60200", "02200"),
            {"60200": 20, "02200": 10},
            "12.50",
        ),
    ],
)
@pytest.mark.parametrize("first", ["", "sep=;\r\n", '"sep=;"\r\n', "\ufeffSEP=;\r\n"])
def test_a_french_excels_file(
    first: str, row: str, zipcodes: tuple[str, ...], volumes: dict[str, int] | None, max_total: str
) -> None:
    """Semicolons, a comma before the cents, `sep=;`, commas between areas, and `60200=20`."""
    (job,) = parse_jobs(f"{first}{EXCEL}\r\n{row}\r\n".encode(), "out")
    assert job.targeting.zipcodes == zipcodes
    assert job.volumes == volumes
    assert str(job.max_total) == max_total


def test_commas_between_areas_in_a_file_with_commas() -> None:
    """In quotes, commas part areas also where they part the columns."""
    row = 'a,female,25,35,12,"60200,02200","60200=20,02200=10",5.00'
    (job,) = parse_jobs(f"{EXCEL.replace(';', ',')}\n{row}\n".encode(), "out")
    assert job.targeting.zipcodes == ("60200", "02200")
    assert job.volumes == {"60200": 20, "02200": 10}


@pytest.mark.parametrize("money", ["1,250", "1.250,00", "1 250,00", "5,00 €", ",50", "5,"])
def test_french_money_is_not_guessed_at(money: str) -> None:
    """Bad input: what could be thousands, or has more than a comma and cents, is refused."""
    row = f"a;female;25;35;12;60200;;{money}"
    ((line, name, what),) = problems(f"{EXCEL}\n{row}\n")
    assert (line, name) == (2, "max_total")
    assert "must be an amount such as 12.50" in what


def test_an_empty_field_that_is_needed_is_called_empty() -> None:
    """Bad input: who fills in a spreadsheet reads what is wrong in its words, not in Python's."""
    data = f"{HEADER}\n,,,,12,,,,06200,,\n"
    needed = ("id", "gender", "min_age", "max_age")
    assert sorted(problems(data)) == sorted((2, name, "is missing or empty") for name in needed)


@pytest.mark.parametrize(
    ("volumes", "problem"),
    [
        ("60200", ["'60200' is not of the form 60200=20"]),
        ("60200:20 02200", ["'02200' is not of the form 60200=20"]),
        (
            "60200:many, :5",
            ["'60200=many' is not of the form 60200=20", "'=5' is not of the form 60200=20"],
        ),
        ("60200:20 60200:30", ["60200 is given twice"]),
        (
            "60:20 200:20",
            ["'200' is neither a post code nor a department"],
        ),
    ],
)
def test_wrong_volumes_are_named_by_their_parts(volumes: str, problem: list[str]) -> None:
    """Bad input: each part of the volumes that cannot be right is named."""
    row = f"a;female;25;35;12;60200;{volumes};5,00"
    assert problems(f"{EXCEL}\n{row}\n") == [(2, "volumes", what) for what in problem]


@pytest.mark.parametrize("row", [GOOD.rsplit(",", 1)[0], f"{GOOD},5"])
def test_a_row_has_as_many_fields_as_the_header(row: str) -> None:
    """Bad input: a row that was cut short could have lost its limit, so it is not taken."""
    assert places(f"{HEADER}\n{GOOD}\n{row}\n") == [(3, "")]


def test_a_quote_that_is_never_closed_swallows_no_jobs() -> None:
    """Bad input: where a CSV cannot be read on, it says from which line."""
    ((line, name, what),) = problems(f'{HEADER}\n{GOOD}\n"b{GOOD}\nc{GOOD}\n')
    assert (line, name) == (3, "")
    assert "not CSV from here on" in what


def test_another_encoding_is_named_with_the_line_that_shows_it() -> None:
    """Bad input: what is not UTF-8 is named with its line, and not half read."""
    data = f"{HEADER}\n{GOOD}\n{GOOD.replace('nice', 'méru')}\n".encode("cp1252")
    assert places(data) == [(3, "")]
    assert places(f"{HEADER}\n{GOOD}".encode("utf-16")) == [(1, "")]
    assert places(b"\n\xff") == [(2, "")]


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
