"""Replies become models: the manual's samples exactly, and every type in which a field may come."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from replies import KEY, OPERATIONS, TOKEN, WIRE, decode, refusal, reply, sample

from smspartner_async import (
    AreaVolume,
    AuthenticationError,
    Cost,
    Credits,
    Gender,
    Quote,
    RentalState,
    RentalStatus,
    RentedTargeting,
    ResponseError,
    SocioProfessionalCategory,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspartner_async._wire.reply import Operation

STATUS_ANSWER = RentalStatus(
    token=TOKEN,
    state=RentalState.DOWNLOADED,
    message="File downloaded by user from api",
    targeting=RentedTargeting(
        gender=Gender.FEMALE,
        min_age=31,
        max_age=49,
        interest=12,
        category=SocioProfessionalCategory.CSP_MINUS,
        zipcodes=("60200",),
        areas=(AreaVolume(type="zipcode", location="60200", volume=266, desired_volume=10),),
    ),
    cost=Cost(quantity=10, total=Decimal("0.900"), unit=Decimal("0.090")),
    phone_numbers=10,
)


def unread(values: Iterable[object]) -> list[tuple[object, Any]]:
    """Rows of a table: each of these is read as nothing."""
    return [(value, None) for value in values]


def assert_exactly(model: object, expected: object) -> None:
    """Compare whole models, with the zeros at the end of money, which equality ignores."""
    assert model == expected
    assert repr(model) == repr(expected)


def status_of(**fields: Any) -> RentalStatus:
    return WIRE.status(TOKEN, reply({"success": True, "status": 1, **fields}))


def location_of(**fields: Any) -> RentedTargeting:
    """Decode a status in which these fields stand beside one that is always there."""
    targeting = status_of(location={"maxAge": 49} | fields).targeting
    assert targeting is not None
    assert targeting.max_age == 49
    return targeting


def quote_of(body: object) -> Quote:
    return WIRE.quote("price", reply(body))


@pytest.mark.parametrize(
    "fields", [{}, *({"status": said} for said in (None, True, [3], {"a": 1}))]
)
def test_a_reply_without_a_status_is_none(fields: dict[str, Any]) -> None:
    """Bad input: it is an error, and not a status that nobody lists."""
    with pytest.raises(ResponseError, match="it holds no status"):
        WIRE.status(TOKEN, reply({"success": True, **fields}))


# --- the manual's samples ---------------------------------------------------------------------


def test_the_sample_of_a_quote() -> None:
    """The manual's quote is read as given, though its total is not its quantity times its unit."""
    assert_exactly(
        quote_of(sample("optin_reply.json")),
        Quote(
            operation="price",
            areas=(AreaVolume(type="zipcode", location="06200", volume=20),),
            total_volume=20,
            cost=Cost(quantity=20, total=Decimal("2.52"), unit=Decimal("0.09")),
        ),
    )


def test_the_sample_of_a_status() -> None:
    """The manual's status is state 5, although it says so in a sentence; its text is numbers."""
    assert_exactly(WIRE.status(TOKEN, reply(sample("status_reply.json"))), STATUS_ANSWER)


def test_the_sample_of_credits() -> None:
    """The vendor's credits are a Decimal balance with whole numbers beside it."""
    assert_exactly(
        WIRE.credits(reply(sample("credits_reply.json"))),
        Credits(
            balance=Decimal("10225.119"),
            currency="EUR",
            sms=227224,
            sms_eco=255627,
            hlr=1022511,
            to_send=0,
            username="jdupont",
            first_name="Jeanne",
            last_name="Dupont",
        ),
    )


def test_the_payload_is_kept() -> None:
    """`raw` is the vendor's payload untouched: every field, in the vendor's own spelling."""
    payload = json.loads(sample("status_reply.json"))
    assert WIRE.status(TOKEN, reply(sample("status_reply.json"))).raw == payload
    exact = WIRE.status(TOKEN, reply(b'{"success": true, "status": 2, "fee": 0.10}')).raw["fee"]
    assert str(exact) == "0.10"


@pytest.mark.parametrize("name", ["optin_error", "status_error"])
@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_samples_of_errors(name: str, form: str, operation: Operation) -> None:
    """The manual's error is a wrong key, in JSON and in XML that nobody asked for."""
    error = refusal(operation, reply(sample(f"{name}.{form}")))
    assert isinstance(error, AuthenticationError)
    assert (error.code, error.message) == (10, "Clé API incorrecte")


@pytest.mark.parametrize("name", ["optin_reply.xml", "status_reply.xml"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_samples_of_answers_in_xml(name: str, operation: Operation) -> None:
    """An answer in XML, whose values have no names, is not one that can be read."""
    assert type(refusal(operation, reply(sample(name)))) is ResponseError


# --- what was rented --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "gender"),
    [
        *((word, Gender.FEMALE) for word in ("femme", "Femme", " FEMME ", "f", "F")),
        *((word, Gender.MALE) for word in ("homme", "HOMME", "h")),
        *((word, Gender.MIXED) for word in ("mixte", "Mixte", "m", "M ")),
        *unread(("x", "", " ", "femmes", 1, True, None, [], ["f"], {})),
    ],
)
def test_a_gender(said: object, gender: Gender | None) -> None:
    """A gender is a French word or its letter; any other costs that field alone."""
    assert location_of(sexe=said).gender is gender


@pytest.mark.parametrize(
    ("said", "category"),
    [
        *((code, SocioProfessionalCategory.CSP_PLUS) for code in (102, "102", " 102", 102.0)),
        *((code, SocioProfessionalCategory.CSP_MINUS) for code in (103, "103")),
        *unread((0, 104, "CSP+", "", None, True, [], {}, [103], 1e300)),
    ],
)
def test_a_category(said: object, category: SocioProfessionalCategory | None) -> None:
    """A category is its code as a number or as text; any other costs that field alone."""
    assert location_of(category=said).category is category


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("minAge", "min_age"),
        ("interest", "interest"),
        ("subInterest", "sub_interest"),
    ],
)
@pytest.mark.parametrize(
    ("said", "number"),
    [
        *((31, 31), ("31", 31), (31.0, 31), (" 31 ", 31)),
        *unread(("", " ", None, "x", "31,5", 31.5, True, [], [31], {}, "1,000")),
    ],
)
def test_a_number_of_a_targeting(field: str, name: str, said: object, number: int | None) -> None:
    """A number comes as a number or as text; an unreadable one costs that field alone."""
    assert getattr(location_of(**{field: said}), name) == number


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ("60200", ("60200",)),
        ("02200,60200", ("02200", "60200")),
        (" 02200 , 60200,", ("02200", "60200")),
        (["02200", 60200], ("02200", "60200")),
        (60200, ("60200",)),
        (2200, ("02200",)),
        (2, ("02",)),
        ("2A,971", ("2A", "971")),
        (974, ("974",)),
        *((odd, ()) for odd, _ in unread(("", " ", ",", None, [], {}, True, 1.5, ["02", None]))),
    ],
)
@pytest.mark.parametrize("field", ["zipcode", "department"])
def test_codes(field: str, said: object, codes: tuple[str, ...]) -> None:
    """Codes keep the zeros in front, also where the vendor's numbers have lost them."""
    targeting = location_of(**{field: said})
    assert (targeting.zipcodes if field == "zipcode" else targeting.departments) == codes


@pytest.mark.parametrize("said", [None, "", "x", 5, True, {}, [1], [{}], [{"Type": "cp"}]])
def test_unreadable_areas_of_a_status(said: object) -> None:
    """Areas that cannot be read cost themselves alone."""
    assert location_of(details_localisation=said).areas == ()


@pytest.mark.parametrize("said", [None, "", "x", 5, True, [], {}, [1], [{"sexe": "f"}]])
def test_a_status_without_a_targeting(said: object) -> None:
    """A location that is none, such as PHP's empty list, leaves targeting and cost out."""
    status = status_of(location=said)
    assert (status.state, status.targeting, status.cost) == (RentalState.GENERATING, None, None)


@pytest.mark.parametrize(
    ("said", "count"),
    [
        *(({"phoneNumbers": "10"}, 10), ({"phoneNumbers": 10}, 10), ({"phoneNumbers": 0}, 0)),
        *unread((None, [], "x", 5, {}, {"phoneNumbers": ["06"]})),
    ],
)
def test_the_count_of_numbers(said: object, count: int | None) -> None:
    """How many numbers a file holds is read from either type, and left out where unreadable."""
    assert status_of(file=said).phone_numbers == count


def test_a_status_of_many_brackets_is_read_at_once() -> None:
    """What is nested deep is read where it arrives, with all else that the status holds."""
    status = status_of(file={"phoneNumbers": "10"}, odd=[[]] * 200)
    assert (status.state, status.phone_numbers) == (RentalState.GENERATING, 10)


ECHO = f"of {KEY}, 06 12 34 56 78"
# A word that is not known is shown without its punctuation.
ECHOED_AREAS = [{"Type": "06 12 34 56 78", "Location": ECHO, "Volume": 3}]
ECHOING: dict[Operation, dict[str, Any]] = {
    "calculate": {"success": True, "datas": ECHOED_AREAS},
    "price": {"success": True, "datas": ECHOED_AREAS},
    "rent": {"success": True, "token": "tok-1", "datas": ECHOED_AREAS},
    "status": {
        "success": True,
        "status": 2,
        "location": {"department": [ECHO], "zipcode": ECHO, "details_localisation": ECHOED_AREAS},
    },
    "credits": {
        "success": True,
        "credits": {"balance": "1.80", "currency": ECHO},
        "user": {"username": ECHO, "firstname": ECHO, "lastname": ECHO},
    },
}


@pytest.mark.parametrize("operation", ECHOING)
def test_no_model_shows_a_secret_that_the_vendor_wrote_into_it(operation: Operation) -> None:
    """A secret: the key is taken out of a model's texts, and its `repr` shows no number."""
    model: Any = decode(operation, reply(ECHOING[operation]))
    for shown in (repr(model), repr(pickle.loads(pickle.dumps(model)))):  # noqa: S301 - made here
        assert "of [API key]" in shown
        assert "0d5d" not in shown.lower()
        assert "06" not in shown
    assert model.raw == ECHOING[operation]  # as it came
