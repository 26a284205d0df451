"""Encode models as the vendor's requests, and decode its replies as models or errors. Pure.

"Targeting & Calculation", "Rental Status" and the page of error codes are the vendor's manual.
Whatever they do not show is undocumented: it is read where it can be, and never assumed.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar
from urllib.parse import quote_plus

import cattrs
from attrs import define, evolve, field
from cattrs.gen import make_dict_structure_fn, override

from smspartner_async._errors import RateLimitError, ResponseError, SMSPartnerError
from smspartner_async._lazy import with_lazy_fields
from smspartner_async._models import (
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
    check_targeting,
)
from smspartner_async._redaction import redact, redact_texts
from smspartner_async._values.hints import CATEGORIES, GENDERS

from .envelope import foreign_reply, mapping, open_reply
from .reply import (
    UNREADABLE,
    Operation,
    Reply,
    as_decimal,
    as_integer,
    if_readable,
    parse_json,
    plain_body,
)
from .states import normalized, read_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .contact_file import Verdict
    from .rent_verdict import NoRental

_T = TypeVar("_T")

_OPS: Final = {"calculate": "calcul", "price": "price", "rent": "rent"}
_GENDERS: Final = {Gender.MIXED: "m", Gender.MALE: "h", Gender.FEMALE: "f"}
# A gender comes back as a French word ("femme" in the manual's sample) or as the letter.
_GENDERS_BACK: Final = {word: Gender(name) for word, name in GENDERS.items()}
_CATEGORIES_BACK: Final = {n: SocioProfessionalCategory(name) for n, name in CATEGORIES.items()}
_CATEGORIES: Final = {category: code for code, category in _CATEGORIES_BACK.items()}
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
_unreserved: Final = re.compile(r"[\w.~-]*", re.ASCII).fullmatch
_SHALLOW: Final = 100  # brackets; the manual's samples have a handful


@define(eq=False)  # not frozen: that would treble what making one costs, at every request
class Request:
    """One encoded request. Its target or body holds the API key: `repr` shows neither."""

    operation: Operation
    method: str
    target: str = field(repr=False)
    """Path and query, to be put behind the base URL."""
    body: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    """The rental that it asks about."""


class Wire:
    """Encodes and decodes with one API key, which stands in requests only."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key
        self._key_in_query = f"apiKey={quote_plus(api_key)}"

    def targeting_request(
        self,
        operation: Literal["calculate", "price", "rent"],
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
    ) -> Request:
        """Encode `calculate`, `price` or `rent`. Manual, "Targeting & Calculation"."""
        check_targeting(targeting)
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
        """Encode `status`. Manual, "Rental Status"."""
        return self._get("status", "/location/status", token)

    def download_request(self, token: str) -> Request:
        """Encode `download`. The vendor's older manual; it does not document the file's format."""
        return self._get("download", "/location/file/download", token)

    def credits_request(self) -> Request:
        """Encode `credits`. The vendor's credits page."""
        return self._get("credits", "/me")

    def _get(self, operation: Operation, path: str, token: str | None = None) -> Request:
        if token == self._api_key:  # it would stand in errors, logs and stores
            raise ValueError("This token is the API key. Pass the token of a rental.")
        plain = token if token is None or _unreserved(token) else quote_plus(token)
        more = "" if token is None else f"&token={plain}"
        return Request(operation, "GET", f"{path}?{self._key_in_query}{more}", None, token)

    def without_key(self, text: str) -> str:
        """Return a text that comes from outside without the API key."""
        return redact(self._api_key, text)

    def quote(self, operation: Literal["calculate", "price"], reply: Reply) -> Quote:
        """Decode the reply to `calculate` or `price`. Totals are the vendor's, never recomputed."""
        payload = self._payload(operation, reply)
        if not {"datas", "cost"} & payload.keys():
            raise self._foreign(operation, reply, "it has neither areas nor a cost")
        try:
            areas, total_volume = _areas_and_total(payload.get("datas"))
        except UNREADABLE:
            raise self._foreign(operation, reply, "its areas cannot be read") from None
        return Quote(
            operation=operation,
            areas=redact_texts(self._api_key, areas),
            total_volume=total_volume,
            cost=_cost(payload),
            raw=payload,
        )

    def rent_reply(self, reply: Reply, *, whole: bool = True) -> Rental | NoRental:
        """Decode the reply to `rent`, which the manual does not show: only a token must be in it.

        `whole` is whether HTTP says that all of the reply came.
        """
        # What rents has imported it before anything was sent; what only asks does without.
        from .rent_verdict import NoRental, Outcome, judge_rent  # noqa: PLC0415

        verdict = judge_rent(reply, whole=whole, secret=self._api_key)
        answer, outcome = verdict.answer, verdict.outcome
        if outcome is Outcome.RENTED and verdict.token is not None:
            areas, total_volume = if_readable(_areas_and_total, answer.get("datas")) or ((), None)
            return Rental(
                token=verdict.token,
                areas=redact_texts(self._api_key, areas),
                total_volume=total_volume,
                cost=_cost(answer),
                raw=answer,
            )
        try:
            self._payload("rent", reply)
            problem = "it proves neither that the contacts were rented nor that they were not"
            error: SMSPartnerError = self._foreign("rent", reply, problem)
        except SMSPartnerError as no:
            error = no.with_traceback(None)  # its frames hold the key
        if outcome is Outcome.UNKNOWN and isinstance(error, RateLimitError):
            error = self._foreign("rent", reply, "it is no plain refusal")
        return NoRental(outcome=outcome, error=error, seen_token=verdict.token)

    def status(self, token: str, reply: Reply) -> RentalStatus:
        """Decode a status. It must name a state; one that is not listed is `UNKNOWN`.

        Its token is `token`, that of the request, whatever the reply says.
        """
        payload = self._payload("status", reply, token)
        said = payload.get("status")
        if isinstance(said, bool) or not isinstance(said, (int, Decimal, str)):
            raise self._foreign("status", reply, "it holds no status")
        state, message = read_state(said, self._api_key)
        body = plain_body(reply)
        if body.count(b"[") + body.count(b"{") > _SHALLOW:
            # It may be nested too deep to be parsed later, where the stack is deeper.
            details = self._details(payload)
            return RentalStatus(token=token, state=state, message=message, **details)
        load = partial(self._read_details, body)
        return with_lazy_fields(RentalStatus, load, token=token, state=state, message=message)

    def credits(self, reply: Reply) -> Credits:
        """Decode the account's credits (the vendor's credits page)."""
        payload = self._payload("credits", reply)
        flat = mapping(payload.get("user")) | mapping(payload.get("credits")) | {"raw": payload}
        try:
            return redact_texts(self._api_key, _read(Credits, flat))
        except UNREADABLE:
            raise self._foreign("credits", reply, "it holds no balance") from None

    def judge_file(self, token: str, reply: Reply) -> Verdict:
        """Judge by the beginning of its body whether a reply to `download` is the contact file."""
        from .contact_file import judge  # noqa: PLC0415 - as for rents

        error: SMSPartnerError | None = None
        try:
            self._payload("download", reply, token)
        except ResponseError:
            pass  # not the vendor's envelope, so perhaps the file
        except SMSPartnerError as refusal:
            error = refusal
        verdict = judge(reply, error)
        if verdict.problem and verdict.error is None:
            return evolve(verdict, error=self._foreign("download", reply, verdict.problem))
        return verdict

    def _read_details(self, body: bytes) -> dict[str, Any]:
        """Decode the lazy fields of a status from its body."""
        return self._details(parse_json(body))

    def _details(self, payload: dict[str, Any]) -> dict[str, Any]:
        location, file = mapping(payload.get("location")), mapping(payload.get("file"))
        targeting = _read(RentedTargeting, location) if location else None
        return {
            "targeting": redact_texts(self._api_key, targeting),
            "cost": _cost(location),
            "phone_numbers": if_readable(as_integer, file.get("phoneNumbers")),
            "raw": payload,
        }

    def _payload(self, operation: Operation, reply: Reply, token: str = "") -> dict[str, Any]:
        return open_reply(operation, reply, secret=self._api_key, token=token)

    def _foreign(self, operation: Operation, reply: Reply, problem: str) -> ResponseError:
        return foreign_reply(operation, reply, problem, secret=self._api_key)


# Reply parts -> model parts. An optional field that cannot be read is `None`: no reply is refused
# because of it.


def _optional(name: str, read: Callable[[Any], object]) -> Any:
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
    """Read a post code or department; one that came as a number gets its leading zeros back."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:05d}" if value >= _SMALLEST_ZIPCODE else f"{value:02d}"
    return _text(value).strip()


def _codes(value: object) -> tuple[str, ...]:
    codes = value.split(",") if isinstance(value, str) else value
    tidy = [_code(code) for code in (codes if isinstance(codes, list) else [codes])]
    return tuple(filter(None, tidy))


def _area_type(value: object) -> str:
    text = _text(value)
    if (known := _AREA_TYPES.get(text)) is not None:
        return known
    word = normalized(text)
    return _AREA_TYPES.get(word, word)


_SMALLEST_ZIPCODE: Final = 1000


def _required(name: str, read: Callable[[Any], object]) -> Any:
    return override(rename=name, struct_hook=lambda value, _: read(value))


def _or_empty(name: str, read: Callable[[Any], tuple[object, ...]]) -> Any:
    return override(rename=name, struct_hook=lambda value, _: if_readable(read, value) or ())


_FIELDS: Final[dict[type[Any], dict[str, Any]]] = {
    AreaVolume: {
        "type": _required("Type", _area_type),
        "location": _required("Location", _code),
        "volume": _required("Volume", as_integer),
        "desired_volume": _optional("VolumeDesired", as_integer),
    },
    Cost: {
        "quantity": _optional("quantity", as_integer),
        "total": _optional("total", as_decimal),
        "unit": _optional("cost_unity", as_decimal),
    },
    RentedTargeting: {
        "gender": _optional("sexe", lambda word: _GENDERS_BACK[word.strip().lower()]),
        "min_age": _optional("minAge", as_integer),
        "max_age": _optional("maxAge", as_integer),
        "interest": _optional("interest", as_integer),
        "sub_interest": _optional("subInterest", as_integer),
        "category": _optional("category", lambda code: _CATEGORIES_BACK[as_integer(code)]),
        "departments": _or_empty("department", _codes),
        "zipcodes": _or_empty("zipcode", _codes),
        "areas": _or_empty("details_localisation", lambda rows: _areas_and_total(rows)[0]),
    },
    Credits: {
        "balance": _required("balance", as_decimal),
        "currency": _optional("currency", _text),
        "sms": _optional("creditSms", as_integer),
        "sms_eco": _optional("creditSmsECO", as_integer),
        "hlr": _optional("creditHlr", as_integer),
        "to_send": _optional("toSend", as_integer),
        "username": _optional("username", _text),
        "first_name": _optional("firstname", _text),
        "last_name": _optional("lastname", _text),
    },
}


_READERS: Final[dict[type[Any], Callable[[Mapping[str, Any], Any], Any]]] = {}


def _read(cls: type[_T], payload: Mapping[str, Any]) -> _T:
    """Structure a vendor's object as `cls`. Its reader is made at the first use, not on import."""
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
    """Split a quote's rows into its areas and the volume of the row of type "total"."""
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
