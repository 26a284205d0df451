"""The vendor's language: model -> request, reply -> model or error. Pure; no I/O.

The only file that knows the vendor's spelling, but for the envelope of its replies (`_envelope`).
"Targeting & Calculation", "Rental Status" and the page of error codes are the vendor's manual.
Whatever they do not show is undocumented: it is read where it can be, and never assumed.
"""

from __future__ import annotations

import json
import unicodedata
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn
from urllib.parse import urlencode

import cattrs
from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, override

from ._envelope import find_token, foreign_reply, holds_a_page, is_success, mapping, open_reply
from ._errors import ResponseError, SMSPartnerError
from ._models import (
    AreaVolume,
    Cost,
    Credits,
    Gender,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    RentedTargeting,
    SocioProfessionalCategory,
    Targeting,
)
from ._reply import UNREADABLE, Operation, Reply, as_decimal, as_integer, clean, if_readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
    "cp": "zipcode",
    "dep": "department",
    "dept": "department",
    "dpt": "department",
    "departement": "department",
}
_TOTAL: Final = "total"

_UNKNOWN: Final = RentalState.UNKNOWN
_STATE_WORDS: Final = {
    RentalState.REQUESTED: "The rental was requested",
    RentalState.GENERATING: "The file is being generated",
    RentalState.READY: "The file is ready",
    RentalState.FAILED: "The rental failed",
    RentalState.DOWNLOADED: "The file was downloaded",
    RentalState.UNKNOWN: "The state is not one that the manual lists",
}


def _letters(text: str) -> str:
    """Keep what tells sentences apart: no case, accents, spacing or punctuation."""
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum())


# A status's `status` is sometimes the code and sometimes a sentence; these stand in the manual.
# Compared by their beginnings, since the manual itself cuts one short.
_SENTENCES: Final = {
    _letters(sentence): state
    for state, sentences in {
        RentalState.REQUESTED: (
            "The rental request has been made",
            "The rental application was made",
        ),
        RentalState.GENERATING: ("File is being generated", "The file is being created"),
        RentalState.READY: ("File is ready", "The creation of the file is completed"),
        RentalState.FAILED: ("The rental request failed",),
        RentalState.DOWNLOADED: (
            "File has already been downloaded",
            "The file has been downloaded",
            "File downloaded by user from api",
        ),
    }.items()
    for sentence in sentences
}


@frozen
class Request:
    """One request, ready to be sent. Its target or body holds the API key: `repr` shows neither."""

    operation: Operation
    method: str
    target: str = field(repr=False)
    """Path and query, to be put behind the base URL."""
    body: bytes | None = field(default=None, repr=False)


@frozen
class Wire:
    """Speaks the vendor's language with one API key, which it lets out in requests only."""

    _api_key: str = field(repr=False)

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
        return self._get("status", "/location/status", token=token)

    def download_request(self, token: str) -> Request:
        """The vendor's older manual; the file's format, name and type are undocumented."""
        return self._get("download", "/location/file/download", token=token)

    def credits_request(self) -> Request:
        """The vendor's credits page."""
        return self._get("credits", "/me")

    def _get(self, operation: Operation, path: str, **query: str) -> Request:
        return Request(operation, "GET", f"{path}?{urlencode({'apiKey': self._api_key, **query})}")

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
        state = _state(said)
        sentence = isinstance(said, str) and not said.strip().isdecimal()
        location = mapping(payload.get("location"))
        file = mapping(payload.get("file"))
        return RentalStatus(
            token=token,
            state=state,
            message=clean(str(said), self._api_key) if sentence else _STATE_WORDS[state],
            targeting=_CONVERTER.structure(location, RentedTargeting) if location else None,
            cost=_cost(location),
            phone_numbers=if_readable(as_integer, file.get("phoneNumbers")),
            raw=payload,
        )

    def credits(self, reply: Reply) -> Credits:
        """Read the account's credits (the vendor's credits page)."""
        payload = self._payload("credits", reply)
        flat = mapping(payload.get("user")) | mapping(payload.get("credits")) | {"raw": payload}
        try:
            return _CONVERTER.structure(flat, Credits)
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


def _state(said: int | Decimal | str) -> RentalState:
    """Read a state from a code, a code as text, or one of the manual's sentences."""
    try:
        return RentalState(as_integer(said))
    except ValueError:
        words = _letters(str(said))
    return next((state for known, state in _SENTENCES.items() if words.startswith(known)), _UNKNOWN)


# Reply parts -> model parts. What cannot be read of a bonus field is left out: no reply is refused
# for the sake of one.


def _bonus(name: str, read: Callable[[Any], object]) -> Any:
    return override(rename=name, struct_hook=lambda value, _: if_readable(read, value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _code(value: object) -> str:
    """Read a post code or department, with the zeros in front that a number has lost."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:05d}" if value >= _SMALLEST_ZIPCODE else f"{value:02d}"
    return _text(value).strip()


def _code_list(value: object) -> tuple[str, ...]:
    codes = value.split(",") if isinstance(value, str) else value
    tidy = map(_code, codes if isinstance(codes, list) else [codes])
    return tuple(code for code in tidy if code)


def _area_type(value: object) -> str:
    word = _letters(_text(value))
    return _AREA_TYPES.get(word, word)


_SMALLEST_ZIPCODE: Final = 1000
_CONVERTER: Final = cattrs.Converter(detailed_validation=False)


def _teach(cls: type[Any], **fields: Any) -> None:
    _CONVERTER.register_structure_hook(
        cls, make_dict_structure_fn(cls, _CONVERTER, _cattrs_detailed_validation=False, **fields)
    )


def _needed(name: str, read: Callable[[Any], object]) -> Any:
    return override(rename=name, struct_hook=lambda value, _: read(value))


_teach(
    AreaVolume,
    type=_needed("Type", _area_type),
    location=_needed("Location", _code),
    volume=_needed("Volume", as_integer),
    desired_volume=_bonus("VolumeDesired", as_integer),
)
_teach(
    Cost,
    quantity=_bonus("quantity", as_integer),
    total=_bonus("total", as_decimal),
    unit=_bonus("cost_unity", as_decimal),
)
_teach(
    RentedTargeting,
    gender=_bonus("sexe", lambda word: _GENDERS_BACK[word.strip().lower()]),
    min_age=_bonus("minAge", as_integer),
    max_age=_bonus("maxAge", as_integer),
    interest=_bonus("interest", as_integer),
    sub_interest=_bonus("subInterest", as_integer),
    category=_bonus("category", lambda code: _CATEGORIES_BACK[as_integer(code)]),
    departments=override(rename="department", struct_hook=lambda value, _: _codes_or_none(value)),
    zipcodes=override(rename="zipcode", struct_hook=lambda value, _: _codes_or_none(value)),
    areas=override(
        rename="details_localisation",
        struct_hook=lambda rows, _: (if_readable(_areas_and_total, rows) or ((), None))[0],
    ),
)
_teach(
    Credits,
    balance=_needed("balance", as_decimal),
    currency=_bonus("currency", _text),
    sms=_bonus("creditSms", as_integer),
    sms_eco=_bonus("creditSmsECO", as_integer),
    hlr=_bonus("creditHlr", as_integer),
    to_send=_bonus("toSend", as_integer),
    username=_bonus("username", _text),
    first_name=_bonus("firstname", _text),
    last_name=_bonus("lastname", _text),
)


def _codes_or_none(value: object) -> tuple[str, ...]:
    return if_readable(_code_list, value) or ()


def _cost(payload: dict[str, Any]) -> Cost | None:
    cost = mapping(payload.get("cost"))
    return _CONVERTER.structure(cost, Cost) if cost else None


def _areas_and_total(rows: Any) -> tuple[tuple[AreaVolume, ...], int | None]:
    """Part the areas from the row of type "total" that a quote mixes in among them."""
    areas, total = [], None
    for row in rows or ():
        # The place of an area is `Localite` in a quote and `Location` in a status.
        named = {**row, "Location": row["Localite"]} if "Localite" in row else row
        area = _CONVERTER.structure(named, AreaVolume)
        if area.type == _TOTAL:
            total = area.volume
        else:
            areas.append(area)
    return tuple(areas), total
