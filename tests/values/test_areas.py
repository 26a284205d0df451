"""Post codes and departments, as users write them."""

from __future__ import annotations

from typing import Any

import pytest

from smspartner_async._values.areas import is_int, split_codes, wrong_codes


@pytest.mark.parametrize(
    ("given", "codes"),
    [
        ("06200", ("06200",)),
        (" 06200 , 60200,", ("06200", "60200")),
        ("2a,2A, 02", ("2A", "02")),
        ("", ()),
        (None, ()),
        (["60200", "06200", "60200"], ("60200", "06200")),
        (iter(["02", "2b"]), ("02", "2B")),
        ({"60200", "06200"}, ("06200", "60200")),
        ([6200, "6200"], (6200, "6200")),
        ([1, True], (1, True)),
    ],
)
def test_codes_become_a_tuple_without_repetitions(given: Any, codes: tuple[Any, ...]) -> None:
    """The user's order stays; what is no text stays what it is, for the check to name."""
    split = split_codes(given)
    assert split == codes
    assert list(map(type, split)) == list(map(type, codes))


@pytest.mark.parametrize("given", [6200, b"06200", {"06200": 20}, 1.5])
def test_what_is_no_list_of_codes_is_left_for_the_check(given: Any) -> None:
    """Bad input: a number, bytes or a mapping is not taken apart."""
    assert split_codes(given) is given


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("zipcodes", ()),
        ("zipcodes", ("06200", "98000")),
        ("departments", ("01", "2A", "2B", "974")),
    ],
)
def test_good_codes(name: str, codes: tuple[str, ...]) -> None:
    """What has the vendor's form is not objected to."""
    assert list(wrong_codes(name, codes)) == []


@pytest.mark.parametrize(
    ("name", "codes", "start"),
    [
        ("zipcodes", ("6200",), "'6200' is not of the form '02200'"),
        ("zipcodes", ("06200", "o6200"), "'o6200' is not of the form '02200'"),
        ("zipcodes", (6200,), "must be texts such as '02200'; 6200 is not text"),
        ("zipcodes", 6200, "must be texts such as '02200', not 6200"),
        ("departments", ("Oise",), "'Oise' is not of the form '02', '2A' or '974'"),
        ("departments", ("2C",), "'2C' is not of the form '02', '2A' or '974'"),
    ],
)
def test_a_wrong_code_is_named_with_its_field(name: str, codes: object, start: str) -> None:
    """One problem for the one code that is wrong, which says what the vendor's form is."""
    ((field, problem),) = wrong_codes(name, codes)
    assert field == name
    assert problem.startswith(start)


def test_volumes_in_the_place_of_areas() -> None:
    """A mapping is how many are wanted where: the message says where that goes."""
    ((_, problem),) = wrong_codes("zipcodes", {"06200": 20})
    assert problem.endswith("goes into the volumes")


@pytest.mark.parametrize(("value", "answer"), [(0, True), (-1, True), (True, False), ("1", False)])
def test_a_whole_number(value: object, answer: bool) -> None:  # noqa: FBT001 - a table
    """A bool counts as no number, though Python calls it one."""
    assert is_int(value) is answer
