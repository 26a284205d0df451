"""Bad input: who writes the words of the vendor's manual, or of another SDK, reads what to write.

All expected words are written by hand.
"""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from smspartner_async import SMSPartnerClient, Targeting, TargetingError
from smspartner_async._validation import checked_token
from smspartner_async._values.volumes import checked_volumes

GOOD: dict[str, Any] = {"gender": "female", "min_age": 25, "max_age": 35, "interest": 12}
GENDER = "must be 'mixed', 'male' or 'female', not "
CATEGORY = "must be 'csp+', 'csp-' or None, not "
AGE = "must be a whole number from 18 to 98, not "
ZIPCODE = "must be texts such as '02200'"
DEPARTMENT = "must be texts such as '02', '2A' or '974'"


@pytest.mark.parametrize(
    ("field", "given", "problem"),
    [
        ("gender", "f", GENDER + "'f'; 'f' is the vendor's word for 'female'"),
        ("gender", "F", GENDER + "'F'; 'F' is the vendor's word for 'female'"),
        ("gender", "h", GENDER + "'h'; 'h' is the vendor's word for 'male'"),
        (
            "gender",
            "m",
            GENDER + "'m'; 'm' is the vendor's word for 'mixed', and 'h' is its word for 'male'",
        ),
        ("gender", "femme", GENDER + "'femme'; 'femme' is the vendor's word for 'female'"),
        ("gender", "homme", GENDER + "'homme'; 'homme' is the vendor's word for 'male'"),
        (
            "gender",
            "mixte",
            GENDER
            + "'mixte'; 'mixte' is the vendor's word for 'mixed', and 'h' is its word for 'male'",
        ),
        ("category", 103, CATEGORY + "103; 103 is the vendor's code for 'csp-'"),
        ("category", "103", CATEGORY + "'103'; '103' is the vendor's code for 'csp-'"),
        ("category", 102, CATEGORY + "102; 102 is the vendor's code for 'csp+'"),
        ("category", "102", CATEGORY + "'102'; '102' is the vendor's code for 'csp+'"),
        ("min_age", "25", AGE + "'25'; write 25, without quotes"),
        ("max_age", "40", AGE + "'40'; write 40, without quotes"),
        ("interest", "12", "must be a whole number above 0, not '12'; write 12, without quotes"),
        (
            "sub_interest",
            "35",
            "must be a whole number above 0, not '35'; write 35, without quotes",
        ),
        (
            "zipcodes",
            "2200",
            "'2200' is not of the form '02200'; a leading zero was lost? Write '02200'",
        ),
        ("zipcodes", 60200, ZIPCODE + ", not 60200; write '60200', a code is text"),
        ("zipcodes", [60200], ZIPCODE + "; 60200 is not text; write '60200', a code is text"),
        ("zipcodes", [2200], ZIPCODE + "; 2200 is not text; write '02200', a code is text"),
        ("zipcodes", "60", "'60' is not of the form '02200'; write departments='60'"),
        (
            "zipcodes",
            "02200;60200",
            (
                "'02200;60200' is not of the form '02200'; separate codes by commas, as in "
                "'02200,60200'"
            ),
        ),
        (
            "zipcodes",
            {"60200": 20},
            ZIPCODE + ", not {'60200': 20}; how many are wanted where goes into the volumes",
        ),
        (
            "departments",
            "2",
            "'2' is not of the form '02', '2A' or '974'; a leading zero was lost? Write '02'",
        ),
        ("departments", [2], DEPARTMENT + "; 2 is not text; write '02', a code is text"),
        ("departments", 60, DEPARTMENT + ", not 60; write '60', a code is text"),
        (
            "departments",
            "60200",
            "'60200' is not of the form '02', '2A' or '974'; write zipcodes='60200'",
        ),
        (
            "departments",
            "02;60",
            (
                "'02;60' is not of the form '02', '2A' or '974'; separate codes by commas, as in "
                "'02,60'"
            ),
        ),
        (
            "departments",
            "02 2a",
            (
                "'02 2A' is not of the form '02', '2A' or '974'; separate codes by commas, as in "
                "'02,60'"
            ),
        ),
    ],
)
def test_the_manuals_values(field: str, given: Any, problem: str) -> None:
    """A value as the vendor's manual writes it is an error that says what to write here."""
    with pytest.raises(TargetingError) as caught:
        Targeting(**(GOOD | {field: given}))
    assert caught.value.problems == ((field, problem),)


@pytest.mark.parametrize(
    ("field", "given", "meant"),
    [
        ("gender", "FEMALE", "female"),
        ("gender", " Mixed ", "mixed"),
        ("category", "CSP-", "csp-"),
        ("category", "Csp+", "csp+"),
    ],
)
def test_the_case_of_a_word_does_not_matter(field: str, given: str, meant: str) -> None:
    """What can mean only one thing is taken, as `"2a"` is for a department."""
    assert Targeting(**(GOOD | {field: given})) == Targeting(**(GOOD | {field: meant}))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"sexe": "f"}, "no argument 'sexe' (write gender='mixed', 'male' or 'female')."),
        ({"minAge": 25}, "no argument 'minAge' (write min_age)."),
        ({"maxAge": 25}, "no argument 'maxAge' (write max_age)."),
        ({"subInterest": 35}, "no argument 'subInterest' (write sub_interest)."),
        ({"zipcode": "60200"}, "no argument 'zipcode' (write zipcodes)."),
        ({"department": "60"}, "no argument 'department' (write departments)."),
        (
            {"volumes": {"60200": 20}},
            (
                "no argument 'volumes' (pass them to price() and rent(), as in "
                "client.price(targeting, {'60200': 20}))."
            ),
        ),
        (
            {"minAge": 25, "zipcode": "60200"},
            "no argument 'minAge' (write min_age), no 'zipcode' (write zipcodes).",
        ),
    ],
)
def test_the_manuals_names(arguments: dict[str, Any], problem: str) -> None:
    """A field under its name in the vendor's manual is an error that names it here."""
    with pytest.raises(TypeError) as caught:
        Targeting(**GOOD, **arguments)
    assert str(caught.value) == f"Targeting() takes {problem}"


def test_fields_by_position() -> None:
    """A targeting is written by keyword, and the error shows one."""
    make: Any = Targeting
    with pytest.raises(TypeError) as caught:
        make("female", 25, 40, 12)
    assert str(caught.value) == (
        "Targeting() takes no positional arguments: write "
        "Targeting(gender='female', min_age=25, max_age=35, interest=12)."
    )


def test_a_name_that_nobody_knows() -> None:
    """A name that is in no table is Python's own error."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'hobby'"):
        Targeting(**(GOOD | {"hobby": 1}))


@pytest.mark.parametrize(
    ("volumes", "problem"),
    [
        (
            {60200: 20},
            "60200 is neither a post code nor a department; write '60200', a code is text",
        ),
        ({2200: 20}, "2200 is neither a post code nor a department; write '02200', a code is text"),
        ({2: 20}, "2 is neither a post code nor a department; write '02', a code is text"),
        (
            {"2200": 20},
            (
                "'2200' is neither a post code nor a department; a leading zero was lost? "
                "Write '02200'"
            ),
        ),
        (
            {"60200": "20"},
            "60200: must be a whole number above 0, not '20'; write 20, without quotes",
        ),
        (
            "60200=20, 2A:15",
            "must map an area to a number, not '60200=20, 2A:15'; write {'60200': 20, '2A': 15}",
        ),
        (
            [("60200", 20)],
            "must map an area to a number, not [('60200', 20)]; write {'60200': 20}",
        ),
        (20, "must map an area to a number, not 20; write {'60200': 20}"),
    ],
)
def test_volumes(volumes: Any, problem: str) -> None:
    """Volumes that are written in another way are an error that shows a mapping."""
    with pytest.raises(TargetingError) as caught:
        checked_volumes(volumes)
    assert caught.value.problems == (("volumes", problem),)


@pytest.mark.parametrize("token", ["41ddfc6c\n", "\r\n41ddfc6c", "41ddfc6c\t"])
def test_a_token_as_a_file_holds_it(token: str) -> None:
    """A token with a line break around it is an error that says what to pass."""
    with pytest.raises(ValueError, match=r"a line break stands around it: pass token\.strip\(\)"):
        checked_token(token)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            {"timeout": 10},
            (
                "'timeout' (write request_timeout for one request, or "
                "polling=PollingPolicy(timeout=...) for a wait)"
            ),
        ),
        (
            {"max_retries": 3},
            "'max_retries' (write retry=RetryPolicy(attempts=...), which counts the first try too)",
        ),
        ({"key": "secret"}, "'key' (write api_key)"),
        ({"proxies": {}}, "'proxies' (write proxy='http://proxy:3128')"),
        ({"verify": False}, "'verify' (write ssl=ssl.create_default_context(cafile=...))"),
        ({"http_client": None}, "'http_client' (write session=aiohttp.ClientSession())"),
    ],
)
def test_the_options_of_other_sdks(arguments: dict[str, Any], problem: str) -> None:
    """An option by another SDK's name is an error that names ours, and does not show the key."""
    with pytest.raises(TypeError) as caught:
        SMSPartnerClient("secret-key", **arguments)
    assert str(caught.value) == f"SMSPartnerClient() takes no argument {problem}."
    of_ours = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    for frame in of_ours.stack:
        if "smspartner_async/_" in frame.filename:
            assert "secret" not in str(frame.locals)


async def test_the_options_of_a_copy() -> None:
    """`with_options` answers the same names."""
    async with SMSPartnerClient("key") as client:
        with_options: Any = client.with_options
        with pytest.raises(TypeError, match=r"takes no argument 'timeout' \(write request_timeout"):
            with_options(timeout=10)


@pytest.mark.parametrize("field", ["zipcodes", "departments", "volumes"])
@pytest.mark.parametrize("number", ["06 39 98 00 01", "0639980001", "+33639980001", 639980001])
def test_no_suggestion_shows_a_phone_number(field: str, number: Any) -> None:
    """A secret: where a phone number stands in place of a code, no part of it is shown."""
    make: Any = Targeting if field != "volumes" else lambda **given: checked_volumes(given[field])
    given = {number: 20} if field == "volumes" else [number]
    with pytest.raises(TargetingError) as caught:
        make(**(GOOD | {field: given}))
    assert "98" not in str(caught.value).replace("'974'", "")
