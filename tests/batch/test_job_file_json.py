"""Files that list jobs in JSON Lines: what is read, and what is named as wrong."""

import json
from decimal import Decimal
from typing import Any

import pytest

from smspartner_async.batch import JobFileError, parse_jobs
from smspartner_async.batch._job_file import COLUMNS

from .test_job_file import GOOD, HEADER, NICE


def problems(data: str | bytes, **how: Any) -> list[tuple[int, str, str]]:
    """Return every problem of a list of jobs."""
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(JobFileError) as refused:
        parse_jobs(raw, "out", **how)
    return list(refused.value.problems)


def places(data: str | bytes, **how: Any) -> list[tuple[int, str]]:
    """Return line and field of every problem."""
    return [(line, name) for line, name, _ in problems(data, **how)]


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
        ("[1]", "is not a JSON object: each line holds one job"),
        ('{"id": "a", "id": "b"}', "'id' is given twice"),
        ('{"volumes": {"06200": 1, "06200": 2}}', "'06200' is given twice"),
        ("[" * 100_000, "is JSON that is nested too deep"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, what: str) -> None:
    """Bad input: broken JSON, other JSON, and repeated names are named by their line."""
    ((number, name, problem),) = problems(f"\n{line}\n", json_lines=True)
    assert (number, name) == (2, "")
    assert what in problem


def test_a_name_that_cannot_be_printed_can_be_shown() -> None:
    """Bad input: a problem is one printable line, whatever the file calls its fields."""
    ((_, name, _),) = problems(f'{HEADER},"new\nline"\n')
    assert name == "new line"
    assert (1, " ") in places('{"\\ud800": 1}', json_lines=True)


def test_no_nesting_is_too_deep() -> None:
    """Bad input: JSON of any depth is refused like any other, and brings nothing down."""
    for depth in range(1, 2000, 9):
        data = f'{{"id": "a", "gender": {"[" * depth}{"]" * depth}}}'
        assert places(data, json_lines=True)
