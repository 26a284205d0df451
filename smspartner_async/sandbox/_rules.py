"""What the vendor accepts, which code it refuses the rest with, and what contacts cost.

Pure: values in, an `Order` or a `RefusedError` out. It knows neither the clock, nor the
balance, nor HTTP.
"""

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import attrs

UNIT_PRICE: Final = Decimal("0.09")
"""Price of one contact in euros, whatever the targeting."""

WHOLE_COUNTRY: Final = 9000
"""Number of contacts of a targeting that names no area."""

OPERATIONS: Final = MappingProxyType({"calcul": "calculate", "price": "price", "rent": "rent"})
"""The vendor's `op`, and the name under which a sandbox counts it."""

ACCESS_REFUSALS: Final = frozenset({20, 30, 40, 96})
"""Codes that depend on the account and not on the request."""

MESSAGES: Final = MappingProxyType(
    {
        1: "API key is required",
        3: "parameters is required",
        4: "op is required",
        5: "urlNotification is not a valid URL",
        6: "Operation not allowed",
        7: "sexe is required",
        8: "sexe must be m, h or f",
        9: "minAge is required",
        10: "Clé API incorrecte",
        11: "Insufficient credit",
        12: "minAge must be greater than 17",
        13: "maxAge is required",
        14: "maxAge must be less than 99",
        15: "interest must be greater than 0",
        16: "interest is empty",
        17: "subInterest is empty",
        18: "subInterest must be greater than 0",
        19: "interest or subInterest is required",
        20: "Account disabled",
        22: "category is empty",
        23: "category must be greater than 0",
        26: "Volume is required",
        27: "The desired volume exceeds the available volume",
        28: "The desired volume exceeds the total volume",
        30: "Account blocked",
        31: "Rental token is required",
        32: "Rental not found",
        33: "Rental file not found",
        34: "Rental file already used",
        35: "Rental file is being downloaded",
        36: "The rental of the file failed",
        40: "Access to the API denied",
        61: "The request seems invalid and gave no result",
        90: "Malformed JSON",
        96: "IP address not allowed",
    }
)

_ZIPCODE: Final = re.compile(r"[0-9]{5}")
_DEPARTMENT: Final = re.compile(r"[0-9]{2,3}|2[AB]")
_CATEGORIES: Final = frozenset({102, 103, None})
_YOUNGEST: Final = 18
_OLDEST: Final = 98


class RefusedError(Exception):
    """The vendor refuses a request; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(MESSAGES[code])
        self.code = code


@attrs.frozen(kw_only=True)
class Area:
    """A targeted post code (`CP`) or department (`DEP`), and how much of it is taken."""

    kind: str
    code: str
    available: int
    taken: int


@attrs.frozen(kw_only=True)
class Order:
    """A request that the vendor accepts."""

    op: str
    parameters: Mapping[str, Any]
    sexe: str
    min_age: int
    max_age: int
    interest: int | None
    sub_interest: int | None
    category: int | None
    areas: tuple[Area, ...]

    @property
    def contacts(self) -> int:
        """Number of contacts that the order is about."""
        return sum(area.taken for area in self.areas) if self.areas else WHOLE_COUNTRY

    @property
    def price(self) -> Decimal:
        """What renting them costs."""
        return self.contacts * UNIT_PRICE

    def codes(self, kind: str) -> str:
        """Write the areas of one kind the way a request does."""
        return ",".join(area.code for area in self.areas if area.kind == kind)


def available(code: str) -> int:
    """Return the number of contacts of an area.

    A post code has `50 + code % 368`, a department `10 * (50 + code % 368)`, where `2A` and
    `2B` count as 20: 266 for 60200 (as in the manual), 362 for 06200, 520 for 02, 700 for 2A.
    """
    volume = 50 + int(code.replace("A", "0").replace("B", "0")) % 368
    return volume if _ZIPCODE.fullmatch(code) else 10 * volume


def read_body(body: bytes | str) -> dict[str, Any]:
    """Read the body of a POST as a JSON object, whatever its media type claims to be."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(90) from None
    if not isinstance(decoded, dict):
        raise RefusedError(90)
    return decoded


def operation(body: Mapping[str, Any]) -> str:
    """Name the operation of a request, valid or not."""
    op = body.get("op")
    return OPERATIONS.get(op, "unknown") if isinstance(op, str) else "unknown"


def read_order(body: Mapping[str, Any]) -> Order:
    """Check everything in a request but its key, in the order of the manual's parameters."""
    if _is_blank(body.get("op")):
        raise RefusedError(4)
    if operation(body) == "unknown":
        raise RefusedError(6)
    op: str = body["op"]
    parameters = _from_text(body.get("parameters"))
    if not isinstance(parameters, dict) or not parameters:
        raise RefusedError(3)
    # Where the URL stands is not documented: it is checked in both places that make sense.
    for place in (body, parameters):
        if "urlNotification" in place and not _is_url(place["urlNotification"]):
            raise RefusedError(5)
    sexe = _sexe(parameters)
    min_age = _in_range(parameters.get("minAge"), blank=9, refused=12, least=_YOUNGEST)
    max_age = _in_range(parameters.get("maxAge"), blank=13, refused=14, most=_OLDEST)
    if "interest" not in parameters and "subInterest" not in parameters:
        raise RefusedError(19)
    interest = _positive(parameters, "interest", blank=16, refused=15)
    sub_interest = _positive(parameters, "subInterest", blank=17, refused=18)
    category = _positive(parameters, "category", blank=22, refused=23)
    # No code is documented for a targeting that can match nobody.
    if min_age > max_age or category not in _CATEGORIES:
        raise RefusedError(61)
    # The manual's PHP sample sends `volumes` along with `calcul`, which has no use for it.
    wanted = {} if op == "calcul" else _wanted(body.get("volumes"))
    return Order(
        op=op,
        parameters=MappingProxyType(parameters),
        sexe=sexe,
        min_age=min_age,
        max_age=max_age,
        interest=interest,
        sub_interest=sub_interest,
        category=category,
        areas=_areas(parameters, wanted),
    )


def _areas(parameters: Mapping[str, Any], wanted: Mapping[str, int]) -> tuple[Area, ...]:
    areas = []
    for kind, name, pattern in (("DEP", "department", _DEPARTMENT), ("CP", "zipcode", _ZIPCODE)):
        for code in _codes(parameters.get(name)):
            if not pattern.fullmatch(code):
                raise RefusedError(61)
            volume = available(code)
            taken = wanted.get(code, volume)
            if taken > volume:
                raise RefusedError(27)
            areas.append(Area(kind=kind, code=code, available=volume, taken=taken))
    # A wish for an area that is not targeted is no error (the manual's sample has one) and
    # changes nothing, as long as all wishes together stay within what the targeting holds.
    total = sum(area.available for area in areas) if areas else WHOLE_COUNTRY
    if sum(wanted.values()) > total:
        raise RefusedError(28)
    return tuple(areas)


def _codes(areas: object) -> list[str]:
    if areas is None:
        return []
    if not isinstance(areas, str | int):
        raise RefusedError(61)
    # An area sent as a number has lost its leading zero, and is taken as it stands.
    parts = str(areas).upper().split(",")
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _wanted(volumes: object) -> dict[str, int]:
    volumes = _from_text(volumes)
    if not volumes:  # PHP writes an empty map as []
        return {}
    if not isinstance(volumes, dict):
        raise RefusedError(26)
    return {
        code.strip().upper(): _in_range(volume, blank=26, refused=26, least=1)
        for code, volume in volumes.items()
    }


def _sexe(parameters: Mapping[str, Any]) -> str:
    sexe = parameters.get("sexe")
    if _is_blank(sexe):
        raise RefusedError(7)
    if not isinstance(sexe, str) or sexe not in {"m", "h", "f"}:
        raise RefusedError(8)
    return sexe


def _positive(parameters: Mapping[str, Any], name: str, *, blank: int, refused: int) -> int | None:
    """Read an optional number above 0."""
    if name not in parameters:
        return None
    return _in_range(parameters[name], blank=blank, refused=refused, least=1)


def _in_range(
    value: object, *, blank: int, refused: int, least: int = 0, most: float = math.inf
) -> int:
    """Read a whole number sent as a number or, like the manual's PHP sample does, as text."""
    if _is_blank(value):
        raise RefusedError(blank)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RefusedError(refused)
    return value


def _from_text(value: object) -> object:
    """Unpack an object sent as text, as the manual's Visual Basic sample quotes it."""
    if not isinstance(value, str) or not value:
        return value
    return read_body(value)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_url(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s/]\S*", value) is not None
