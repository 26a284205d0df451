"""Models become requests: each field under the vendor's name, the key only where it belongs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
from replies import KEY, TOKEN, WIRE, sample

from smspartner_async import Gender, SocioProfessionalCategory, Targeting
from smspartner_async._wire.codec import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspartner_async._wire.codec import Request

FULL = Targeting(
    gender="female",
    min_age=25,
    max_age=35,
    interest=12,
    sub_interest=29,
    category="csp-",
    departments=["02", "2A"],
    zipcodes="02200,06200",
)
LEAST = Targeting(gender="mixed", min_age=18, max_age=98, interest=12)
GETS: dict[str, Callable[[str], Request]] = {
    "status": WIRE.status_request,
    "download": WIRE.download_request,
    "credits": lambda _: WIRE.credits_request(),
}


def body_of(request: Request) -> Any:
    assert request.body is not None
    return json.loads(request.body)


def parameters_of(targeting: Targeting) -> Any:
    return body_of(WIRE.targeting_request("price", targeting))["parameters"]


def as_texts(value: Any) -> Any:
    """Make numbers texts: the manual's samples write `12` and `"12"` for the same."""
    if isinstance(value, dict):
        return {name: as_texts(inner) for name, inner in value.items()}
    return str(value)


@pytest.mark.parametrize(
    ("name", "operation", "targeting", "volumes"),
    [
        (
            "curl",
            "price",
            {
                "gender": "female",
                "zipcodes": ["06200"],
                "interest": 12,
                "sub_interest": 29,
                "category": "csp-",
            },
            None,
        ),
        (
            "python",
            "price",
            {
                "gender": "female",
                "zipcodes": ["06200"],
                "interest": 12,
                "sub_interest": 29,
                "category": "csp-",
            },
            {"60200": 20},
        ),
        (
            "php",
            "calculate",
            {"gender": "mixed", "zipcodes": "60200", "interest": 14, "sub_interest": 35},
            None,
        ),
    ],
)
def test_the_samples_of_requests(
    name: str,
    operation: Literal["calculate", "price"],
    targeting: dict[str, Any],
    volumes: dict[str, int] | None,
) -> None:
    """The manual's requests can be made, and say what the manual's say.

    Its PHP sample gives volumes to `calcul`, which its own table of parameters does not allow.
    """
    written = json.loads(sample(f"optin_request_{name}.json"))
    if operation == "calculate":
        del written["volumes"]
    wanted = Targeting(min_age=25, max_age=35, **targeting)
    request = Wire("YOUR API KEY").targeting_request(operation, wanted, volumes)
    assert as_texts(body_of(request)) == as_texts(written)


def test_every_field_has_its_name() -> None:
    """Every field of a targeting stands under the vendor's name, in the vendor's spelling."""
    assert parameters_of(FULL) == {
        "sexe": "f",
        "minAge": 25,
        "maxAge": 35,
        "interest": 12,
        "subInterest": 29,
        "category": 103,
        "department": "02,2A",
        "zipcode": "02200,06200",
    }


def test_absent_fields_are_absent() -> None:
    """What was not given is not sent: not as null, not as nothing."""
    assert parameters_of(LEAST) == {"sexe": "m", "minAge": 18, "maxAge": 98, "interest": 12}


@pytest.mark.parametrize(
    ("gender", "letter"), [(Gender.MIXED, "m"), (Gender.MALE, "h"), (Gender.FEMALE, "f")]
)
def test_genders(gender: Gender, letter: str) -> None:
    """The vendor's letters are French for men, and English for women."""
    targeting = Targeting(gender=gender, min_age=18, max_age=98, sub_interest=1)
    assert parameters_of(targeting)["sexe"] == letter


@pytest.mark.parametrize(
    ("category", "code"),
    [
        (SocioProfessionalCategory.CSP_PLUS, 102),
        (SocioProfessionalCategory.CSP_MINUS, 103),
    ],
)
def test_categories(category: SocioProfessionalCategory, code: int) -> None:
    """A category is sent as the vendor's number for it."""
    targeting = Targeting(
        gender=Gender.MALE, min_age=18, max_age=98, sub_interest=1, category=category
    )
    assert parameters_of(targeting)["category"] == code


@pytest.mark.parametrize(
    ("operation", "op"), [("calculate", "calcul"), ("price", "price"), ("rent", "rent")]
)
def test_operations(operation: Literal["calculate", "price", "rent"], op: str) -> None:
    """One URL serves three operations, which differ in `op`."""
    request = WIRE.targeting_request(operation, LEAST)
    assert (request.operation, request.method, request.target) == (
        operation,
        "POST",
        "/location/optin",
    )
    assert body_of(request)["op"] == op


def test_volumes_are_sent_as_given() -> None:
    """Volumes stand beside the parameters, their codes as text with the zeros in front."""
    body = body_of(WIRE.targeting_request("rent", LEAST, {"02200": 20, "2A": 5}))
    assert body["volumes"] == {"02200": 20, "2A": 5}
    assert set(body) == {"apiKey", "op", "parameters", "volumes"}


def test_no_volumes_are_not_sent() -> None:
    """Without volumes the field is absent."""
    body = body_of(WIRE.targeting_request("rent", LEAST))
    assert set(body) == {"apiKey", "op", "parameters"}


def test_the_key_of_a_post() -> None:
    """A secret: a POST carries the key in its body, and nowhere in its URL."""
    request = WIRE.targeting_request("price", LEAST)
    assert body_of(request)["apiKey"] == KEY
    assert request.target == "/location/optin"


@pytest.mark.parametrize(
    ("operation", "path", "query"),
    [
        ("status", "/location/status", {"apiKey": KEY, "token": TOKEN}),
        ("download", "/location/file/download", {"apiKey": KEY, "token": TOKEN}),
        ("credits", "/me", {"apiKey": KEY}),
    ],
)
def test_gets(operation: str, path: str, query: dict[str, str]) -> None:
    """A GET carries the key, percent-encoded, and the token in its query, and has no body."""
    request = GETS[operation](TOKEN)
    url = urlsplit(request.target)
    assert (request.operation, request.method, url.path) == (operation, "GET", path)
    assert dict(parse_qsl(url.query, strict_parsing=True)) == query
    assert request.body is None


@pytest.mark.parametrize(
    "odd",
    ["a&token=b", "a=b", "a#b", "a%20b", "a+b", "a/b?c", "é€😀", "identifiant de la location"],
)
def test_odd_characters_in_a_query(odd: str) -> None:
    """Whatever characters a key or a token has, they arrive as they are and start no new field."""
    target = Wire(odd).status_request(f"{odd}2").target
    assert parse_qsl(urlsplit(target).query) == [("apiKey", odd), ("token", f"{odd}2")]
    assert target.isascii()
    assert not set(" #<>\"'") & set(target)


@pytest.mark.parametrize("operation", ["status", "download"])
def test_the_key_is_no_token(operation: str) -> None:
    """A secret: the key, given as a token, would stand in errors; it is refused, and not shown."""
    with pytest.raises(
        ValueError, match=r"^This token is the API key\. Pass the token of a rental"
    ):
        getattr(Wire("sesame"), f"{operation}_request")("sesame")


def test_repr_shows_no_key() -> None:
    """A secret: the key is in no repr, neither of a request nor of what makes it."""
    wire = Wire("sesame")
    requests = (
        wire.targeting_request("rent", FULL),
        wire.status_request(TOKEN),
        wire.download_request(TOKEN),
        wire.credits_request(),
    )
    for shown in (repr(wire), f"{wire}", *map(repr, requests), *map(str, requests)):
        assert "sesame" not in shown
        assert TOKEN not in shown
    assert repr(requests[0]) == "Request(operation='rent', method='POST')"
