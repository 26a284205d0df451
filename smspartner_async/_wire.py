"""The vendor's language: model -> request, reply -> model or error. Pure; no I/O.

The only file that knows the vendor's spelling, but for the envelope of its replies (`_envelope`).
"Targeting & Calculation", "Rental Status" and the page of error codes are the vendor's manual.
Whatever they do not show is undocumented: it is read where it can be, and never assumed.
"""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar
from urllib.parse import quote_plus

import cattrs
from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, override

from ._envelope import find_token, foreign_reply, holds_a_page, is_success, mapping, open_reply
from ._errors import ResponseError, SMSPartnerError
from ._late import later
from ._models import (
    AreaVolume,
    Cost,
    Credits,
    Gender,
    Quote,
    Rental,
    RentalStatus,
    RentedTargeting,
    SocioProfessionalCategory,
    Targeting,
)
from ._reply import (
    UNREADABLE,
    Operation,
    Reply,
    as_decimal,
    as_integer,
    if_readable,
    parse_json,
    plain_body,
    without,
)
from ._states import letters, read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

_OPS: Final = {"calculate": "calcul", "price": "price", "rent": "rent"}
_GENDERS: Final = {Gender.MIXED: "m", Gender.MALE: "h", Gender.FEMALE: "f"}
_CATEGORIES: Final = {
    SocioProfessionalCategory.CSP_PLUS: 102,
    SocioProfessionalCategory.CSP_MINUS: 103,
}

# A gender comes back as a French word ("femme" in the manual's sample) or as the letter.
_GENDERS_BACK: Final = {letter: gender for gender, letter in _GENDERS.items()} | {
    "mixte": Gender.MIXED,
    "homme": Gender.MALE,
    "femme": Gender.FEMALE,
}
_CATEGORIES_BACK: Final = {code: category for category, code in _CATEGORIES.items()}
# "CP" and "cp" stand in the manual's samples; how a department is called is undocumented.
_AREA_TYPES: Final = {
    "CP": "zipcode",
    "cp": "zipcode",
    "dep": "department",
    "dept": "department",
    "dpt": "department",
    "departement": "department",
    "total": "total",
}
_TOTAL: Final = "total"
_SHALLOW: Final = 100  # brackets; the manual's samples have a handful


@frozen(eq=False)
class Request:
    """One request, ready to be sent. Its target or body holds the API key: `repr` shows neither."""

    operation: Operation
    method: str
    target: str = field(repr=False)
    """Path and query, to be put behind the base URL."""
    body: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """The rental that it asks about."""


class Wire:
    """Speaks the vendor's language with one API key, which it lets out in requests only."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key
        self._key_in_query = f"apiKey={quote_plus(api_key)}"

    def targeting_request(
        self,
        operation: Literal["calculate", "price", "rent"],
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
    ) -> Request:
        """Manual, "Targeting & Calculation": one URL, three operations."""
        parameters = {
            "sexe": _GENDERS[targeting.gender],
            "minAge": targeting.min_age,
            "maxAge": targeting.max_age,
            "interest": targeting.interest,
            "subInterest": targeting.sub_interest,
            "category": _CATEGORIES[targeting.category] if targeting.category else None,
            "department": ",".join(targeting.departments),
            "zipcode": ",".join(targeting.zipcodes),
        }
        document: dict[str, object] = {
            "apiKey": self._api_key,
            "op": _OPS[operation],
            "parameters": {name: value for name, value in parameters.items() if value},
        }
        if volumes is not None:
            document["volumes"] = dict(volumes)
        return Request(operation, "POST", "/location/optin", json.dumps(document).encode())

    def status_request(self, token: str) -> Request:
        """Manual, "Rental Status"."""
        return self._get("status", "/location/status", token)

    def download_request(self, token: str) -> Request:
        """The vendor's older manual; the file's format, name and type are undocumented."""
        return self._get("download", "/location/file/download", token)

    def credits_request(self) -> Request:
        """The vendor's credits page."""
        return self._get("credits", "/me")

    def _get(self, operation: Operation, path: str, token: str | None = None) -> Request:
        more = "" if token is None else f"&token={_quoted(token)}"
        return Request(operation, "GET", f"{path}?{self._key_in_query}{more}", None, token)

    def without_key(self, text: str) -> str:
        """Take the API key out of a text that comes from outside."""
        return without(self._api_key, text)

    def quote(self, operation: Literal["calculate", "price"], reply: Reply) -> Quote:
        """Read the answer to calculate or price. Totals are reported as given."""
        payload = self._payload(operation, reply)
        if not {"datas", "cost"} & payload.keys():
            self._refuse(operation, reply, "it has neither areas nor a cost")
        try:
            areas, total_volume = _areas_and_total(payload.get("datas"))
        except UNREADABLE:
            self._refuse(operation, reply, "its areas cannot be read")
        return Quote(
            operation=operation,
            areas=areas,
            total_volume=total_volume,
            cost=_cost(payload),
            raw=payload,
        )

    def rental(self, reply: Reply) -> Rental:
        """Read the answer to rent, which the manual does not show: only a token must be in it."""
        payload = self._payload("rent", reply)
        token = find_token(payload)
        if token is None:
            self._refuse("rent", reply, "it holds no rental token")
        areas, total_volume = if_readable(_areas_and_total, payload.get("datas")) or ((), None)
        return Rental(
            token=token,
            areas=areas,
            total_volume=total_volume,
            cost=_cost(payload),
            raw=payload,
        )

    def status(self, token: str, reply: Reply) -> RentalStatus:
        """Read a status. Only its state must be there; one that is not listed is `UNKNOWN`.

        The token is the one that was asked about, which is known to work.
        """
        payload = self._payload("status", reply, token)
        said = payload.get("status")
        if isinstance(said, bool) or not isinstance(said, int | Decimal | str):
            self._refuse("status", reply, "it holds no status")
        state, message = read_state(said, self._api_key)
        body = plain_body(reply)
        if body.count(b"[") + body.count(b"{") > _SHALLOW:
            # Nested so deep, perhaps, that it can be read here and not in the depths of a program.
            details = _details(payload)
            return RentalStatus(token=token, state=state, message=message, **details)
        read_rest = partial(_read_details, body)
        return later(RentalStatus, read_rest, token=token, state=state, message=message)

    def credits(self, reply: Reply) -> Credits:
        """Read the account's credits (the vendor's credits page)."""
        payload = self._payload("credits", reply)
        flat = mapping(payload.get("user")) | mapping(payload.get("credits")) | {"raw": payload}
        try:
            return _read(Credits, flat)
        except UNREADABLE:
            self._refuse("credits", reply, "it holds no balance")

    def file_refusal(self, token: str, reply: Reply) -> SMSPartnerError | None:
        """Tell whether what came in place of a contact file is an error; for a file, `None`.

        The body may be only the beginning of a long one: no error of the vendor's is long.
        """
        try:
            self._payload("download", reply, token)
        except ResponseError as error:
            foreign = not is_success(reply) or holds_a_page(reply)
            return error if foreign else None
        except SMSPartnerError as error:
            return error
        return None  # JSON that tells of no error: the file's format is undocumented

    def _payload(self, operation: Operation, reply: Reply, token: str = "") -> dict[str, Any]:
        return open_reply(operation, reply, secret=self._api_key, token=token)

    def _refuse(self, operation: Operation, reply: Reply, problem: str) -> NoReturn:
        raise foreign_reply(operation, reply, problem, secret=self._api_key)


_quoted: Final = lru_cache(maxsize=1024)(quote_plus)


def _read_details(body: bytes) -> dict[str, Any]:
    """Read what few look at, in a status that was read before."""
    return _details(parse_json(body))


def _details(payload: dict[str, Any]) -> dict[str, Any]:
    location, file = mapping(payload.get("location")), mapping(payload.get("file"))
    return {
        "targeting": _read(RentedTargeting, location) if location else None,
        "cost": _cost(location),
        "phone_numbers": if_readable(as_integer, file.get("phoneNumbers")),
        "raw": payload,
    }


# Reply parts -> model parts. What cannot be read of a bonus field is left out: no reply is refused
# for the sake of one.


def _bonus(name: str, read: Callable[[Any], object]) -> Any:
    def hook(value: Any, _: object) -> object:
        # if_readable() in place: these are most of what reading a status costs.
        try:
            return read(value) if value not in (None, "") else None
        except UNREADABLE:
            return None

    return override(rename=name, struct_hook=hook)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _code(value: object) -> str:
    """Read a post code or department, with the zeros in front that a number has lost."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:05d}" if value >= _SMALLEST_ZIPCODE else f"{value:02d}"
    return _text(value).strip()


def _codes_or_none(value: object, _: object) -> tuple[str, ...]:
    codes = value.split(",") if isinstance(value, str) else value
    try:
        tidy = [_code(code) for code in (codes if isinstance(codes, list) else [codes])]
    except UNREADABLE:
        return ()
    return tuple(filter(None, tidy))


def _areas_or_none(rows: object, _: object) -> tuple[AreaVolume, ...]:
    try:
        return _areas_and_total(rows)[0]
    except UNREADABLE:
        return ()


def _area_type(value: object) -> str:
    text = _text(value)
    if (known := _AREA_TYPES.get(text)) is not None:
        return known
    word = letters(text)
    return _AREA_TYPES.get(word, word)


_SMALLEST_ZIPCODE: Final = 1000


def _needed(name: str, read: Callable[[Any], object]) -> Any:
    return override(rename=name, struct_hook=lambda value, _: read(value))


_FIELDS: Final[dict[type[Any], dict[str, Any]]] = {
    AreaVolume: {
        "type": _needed("Type", _area_type),
        "location": _needed("Location", _code),
        "volume": _needed("Volume", as_integer),
        "desired_volume": _bonus("VolumeDesired", as_integer),
    },
    Cost: {
        "quantity": _bonus("quantity", as_integer),
        "total": _bonus("total", as_decimal),
        "unit": _bonus("cost_unity", as_decimal),
    },
    RentedTargeting: {
        "gender": _bonus("sexe", lambda word: _GENDERS_BACK[word.strip().lower()]),
        "min_age": _bonus("minAge", as_integer),
        "max_age": _bonus("maxAge", as_integer),
        "interest": _bonus("interest", as_integer),
        "sub_interest": _bonus("subInterest", as_integer),
        "category": _bonus("category", lambda code: _CATEGORIES_BACK[as_integer(code)]),
        "departments": override(rename="department", struct_hook=_codes_or_none),
        "zipcodes": override(rename="zipcode", struct_hook=_codes_or_none),
        "areas": override(rename="details_localisation", struct_hook=_areas_or_none),
    },
    Credits: {
        "balance": _needed("balance", as_decimal),
        "currency": _bonus("currency", _text),
        "sms": _bonus("creditSms", as_integer),
        "sms_eco": _bonus("creditSmsECO", as_integer),
        "hlr": _bonus("creditHlr", as_integer),
        "to_send": _bonus("toSend", as_integer),
        "username": _bonus("username", _text),
        "first_name": _bonus("firstname", _text),
        "last_name": _bonus("lastname", _text),
    },
}


_READERS: Final[dict[type[Any], Callable[[Mapping[str, Any], Any], Any]]] = {}


def _read(cls: type[_T], payload: Mapping[str, Any]) -> _T:
    """Make a value of what the vendor sent. Its reader is made at the first use, not on import."""
    reader = _READERS.get(cls)
    if reader is None:
        converter = cattrs.Converter(detailed_validation=False)
        reader = _READERS[cls] = make_dict_structure_fn(
            cls, converter, _cattrs_detailed_validation=False, **_FIELDS[cls]
        )
    value: _T = reader(payload, cls)
    return value


def _cost(payload: dict[str, Any]) -> Cost | None:
    cost = mapping(payload.get("cost"))
    return _read(Cost, cost) if cost else None


def _areas_and_total(rows: Any) -> tuple[tuple[AreaVolume, ...], int | None]:
    """Part the areas from the row of type "total" that a quote mixes in among them."""
    areas, total = [], None
    for row in rows or ():
        # The place of an area is `Localite` in a quote and `Location` in a status.
        named = {**row, "Location": row["Localite"]} if "Localite" in row else row
        area = _read(AreaVolume, named)
        if area.type == _TOTAL:
            total = area.volume
        else:
            areas.append(area)
    return tuple(areas), total
