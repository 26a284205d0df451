"""What users hold: frozen values in plain English, checked when made. No vendor spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import field, frozen

from ._errors import TargetingError
from ._late import Late

MIN_AGE: Final = 18
MAX_AGE: Final = 98

_ZIPCODE: Final = r"[0-9]{5}"
# Eight digits and more, with the usual marks between them; the range is that of dashes. Without
# backtracking, which would take 150 times the memory of a text of digits.
PHONE_NUMBER: Final = r"\+?\d(?:[\s.\-\u2010-\u2015()/_]{0,3}+\d){7,}+"
_DEPARTMENT: Final = r"[0-9]{2}|2[AB]|9[78][0-9]"

_E = TypeVar("_E", bound=Enum)


class Gender(Enum):
    """Whom a targeting is for. Its values are `"mixed"`, `"male"` and `"female"`."""

    MIXED = "mixed"
    MALE = "male"
    FEMALE = "female"


class SocioProfessionalCategory(Enum):
    """The vendor's two socio-professional categories. Values: `"csp+"` and `"csp-"`."""

    CSP_PLUS = "csp+"
    CSP_MINUS = "csp-"


class RentalState(IntEnum):
    """Where a rental stands; the values are the vendor's codes (manual, "Rental status codes")."""

    REQUESTED = 0
    GENERATING = 1
    READY = 2
    FAILED = 3
    DOWNLOADED = 5
    UNKNOWN = -1
    """Something that the manual does not list (4, say). It is waited out, never taken as an end."""

    @property
    def is_terminal(self) -> bool:
        """Whether waiting any longer changes nothing: ready, failed or downloaded."""
        return self in (RentalState.READY, RentalState.FAILED, RentalState.DOWNLOADED)


def _member_or_same(enum: type[_E], value: object) -> object:
    """Turn a member's value into the member; anything else is left for the check to name."""
    try:
        return enum(value)
    except ValueError:
        return value


def _gender(value: object) -> Any:
    return _member_or_same(Gender, value)


def _category(value: object) -> Any:
    return _member_or_same(SocioProfessionalCategory, value)


def _codes(value: object) -> Any:
    """Turn one comma-separated text, or an iterable of texts, into a tuple without repetitions."""
    if value is None:
        return ()
    if isinstance(value, str):
        parts: list[object] = [part for part in value.split(",") if part.strip()]
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, Mapping)):
        parts = sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value)
    else:
        return value
    tidy = (part.strip().upper() if isinstance(part, str) else part for part in parts)
    # Not a set: the order is the user's.  By type too: 1 and True are one key of a dict.
    return tuple({(type(part), repr(part)): part for part in tidy}.values())


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@frozen(kw_only=True)
class Targeting:
    """Whom to reach: what is calculated, priced and rented (manual, "Targeting & Calculation").

    Args:
        gender: a `Gender` or its value (`"mixed"`, `"male"`, `"female"`).
        min_age: youngest age, 18 to 98 years.
        max_age: oldest age, 18 to 98 years, not below `min_age`.
        interest: id of the vendor's main category, above 0. The ids stand on the vendor's page
            "Categories". This or `sub_interest` is required.
        sub_interest: id of a subcategory, above 0.
        category: a `SocioProfessionalCategory` or its value (`"csp+"`, `"csp-"`).
        departments: department codes as text (`"02"`, `"2A"`, `"974"`): an iterable, or one
            comma-separated text. Never numbers: a leading zero must survive.
        zipcodes: five-digit post codes as text, given in the same ways.

    Raises:
        TargetingError: something cannot be right; `.problems` names every bad field at once.
    """

    gender: Gender = field(converter=_gender)
    min_age: int
    max_age: int
    interest: int | None = None
    sub_interest: int | None = None
    category: SocioProfessionalCategory | None = field(default=None, converter=_category)
    departments: tuple[str, ...] = field(default=(), converter=_codes)
    zipcodes: tuple[str, ...] = field(default=(), converter=_codes)

    def __attrs_post_init__(self) -> None:
        problems = (
            *self._wrong_choices(),
            *self._wrong_ages(),
            *self._wrong_interests(),
            *_wrong_codes("departments", self.departments, _DEPARTMENT, "'02', '2A' or '974'"),
            *_wrong_codes("zipcodes", self.zipcodes, _ZIPCODE, "'02200'"),
        )
        if problems:
            raise TargetingError(problems)

    def _wrong_choices(self) -> Iterable[tuple[str, str]]:
        gender: object = self.gender
        category: object = self.category
        if not isinstance(gender, Gender):
            yield "gender", f"must be 'mixed', 'male' or 'female', not {gender!r}"
        if category is not None and not isinstance(category, SocioProfessionalCategory):
            yield "category", f"must be 'csp+', 'csp-' or None, not {category!r}"

    def _wrong_ages(self) -> Iterable[tuple[str, str]]:
        ages = {"min_age": self.min_age, "max_age": self.max_age}
        wrong = {n: a for n, a in ages.items() if not _is_int(a) or not MIN_AGE <= a <= MAX_AGE}
        for name, age in wrong.items():
            yield name, f"must be a whole number from {MIN_AGE} to {MAX_AGE}, not {age!r}"
        if not wrong and self.min_age > self.max_age:
            yield "max_age", f"must not be below min_age ({self.min_age}), but is {self.max_age}"

    def _wrong_interests(self) -> Iterable[tuple[str, str]]:
        interests = {"interest": self.interest, "sub_interest": self.sub_interest}
        for name, number in interests.items():
            if number is not None and not (_is_int(number) and number > 0):
                yield name, f"must be a whole number above 0, not {number!r}"
        if self.interest is None and self.sub_interest is None:
            yield "interest", "an interest or a sub_interest is required"


def _shown(value: object) -> str:
    """Show a wrong value, but not a phone number that stands where a code should."""
    return re.sub(PHONE_NUMBER, "[number]", repr(value))


def _wrong_codes(name: str, codes: object, pattern: str, example: str) -> Iterable[tuple[str, str]]:
    if not isinstance(codes, tuple):
        yield name, f"must be texts such as {example}, not {_shown(codes)}"
        return
    for code in codes:
        if not isinstance(code, str):
            yield name, f"must be texts such as {example}; {_shown(code)} is not text"
        elif not re.fullmatch(pattern, code):
            yield name, f"{_shown(code)} is not of the form {example}"


def checked_volumes(volumes: Mapping[str, int] | None) -> dict[str, int] | None:
    """Check the wanted volumes of `price` and `rent`: post code or department to a number above 0.

    Raises:
        TargetingError: not a mapping, empty (leave it out to take every contact), a key that is
            neither post code nor department, or a number below 1.
    """
    given: object = volumes
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise TargetingError((("volumes", f"must map an area to a number, not {_shown(given)}"),))
    if not given:
        # Sent as nothing, an empty mapping would rent every contact: surely not what was meant.
        raise TargetingError((("volumes", "is empty; leave it out to take every contact"),))
    problems: list[tuple[str, str]] = []
    checked: dict[str, int] = {}
    for area, wanted in given.items():
        code = area.strip().upper() if isinstance(area, str) else ""
        if not (re.fullmatch(_ZIPCODE, code) or re.fullmatch(_DEPARTMENT, code)):
            problems.append(("volumes", f"{_shown(area)} is neither a post code nor a department"))
        elif not (_is_int(wanted) and wanted > 0):
            problems.append(("volumes", f"{code}: must be a whole number above 0, not {wanted!r}"))
        elif code in checked:
            problems.append(("volumes", f"{code} is given twice"))
        else:
            checked[code] = wanted
    if problems:
        raise TargetingError(tuple(problems))
    return checked


@frozen(kw_only=True)
class AreaVolume:
    """How many contacts one area has.

    Attributes:
        type: `"zipcode"`, `"department"`, or the vendor's word in lower case where it is another.
        location: the post code or department.
        volume: contacts available (or, in a rental, rented) there.
        desired_volume: contacts that were wanted there, where the vendor tells.
    """

    type: str
    location: str
    volume: int
    desired_volume: int | None = None


@frozen(kw_only=True)
class Cost:
    """What a targeting costs, as the vendor gives it: never recomputed, and it need not add up.

    Attributes:
        quantity: number of contacts.
        total: the price of all, in the account's currency.
        unit: the price of one.
    """

    quantity: int | None = None
    total: Decimal | None = None
    unit: Decimal | None = None


@frozen(kw_only=True)
class Quote:
    """The answer to `calculate` and `price`.

    Attributes:
        operation: `"calculate"` or `"price"`.
        areas: contacts by area, without the row of the total.
        total_volume: contacts in all; `None` where the vendor gives no total.
        cost: the price; `None` where the vendor gives none.
        raw: the vendor's payload, as it came; a number with a decimal point is a `Decimal`.
    """

    operation: str
    areas: tuple[AreaVolume, ...] = ()
    total_volume: int | None = None
    cost: Cost | None = None
    raw: Any = field(default=None, repr=False, eq=False)


@frozen(kw_only=True)
class Rental:
    """A paid rental. The reply to `rent` is undocumented: only the token is sure to be there.

    Attributes:
        token: all that is needed to go on, in this process or another. Store it.
        areas: contacts by area, where the vendor tells.
        total_volume: contacts in all, where the vendor tells.
        cost: what was paid, where the vendor tells.
        raw: the vendor's payload, as it came; a number with a decimal point is a `Decimal`.
    """

    token: str
    areas: tuple[AreaVolume, ...] = ()
    total_volume: int | None = None
    cost: Cost | None = None
    raw: Any = field(default=None, repr=False, eq=False)


@frozen(kw_only=True)
class RentedTargeting:
    """What was rented, as the vendor gives it back. Every field may be missing."""

    gender: Gender | None = None
    min_age: int | None = None
    max_age: int | None = None
    interest: int | None = None
    sub_interest: int | None = None
    category: SocioProfessionalCategory | None = None
    departments: tuple[str, ...] = ()
    zipcodes: tuple[str, ...] = ()
    areas: tuple[AreaVolume, ...] = ()


@frozen(kw_only=True)
class RentalStatus(Late):
    """Where a rental stands (manual, "Rental Status").

    Attributes:
        token: the rental that was asked about.
        state: its state; `UNKNOWN` for anything that the manual does not list.
        message: the vendor's words, or the state in plain English where it sent a number.
        targeting: what was rented, where the vendor tells.
        cost: what it cost, where the vendor tells.
        phone_numbers: how many numbers the file holds, where the vendor tells.
        raw: the vendor's payload, as it came; a number with a decimal point is a `Decimal`.
    """

    token: str
    state: RentalState
    message: str = ""
    targeting: RentedTargeting | None = None
    cost: Cost | None = None
    phone_numbers: int | None = None
    raw: Any = field(default=None, repr=False, eq=False)


@frozen(kw_only=True)
class Credits:
    """What the account has (the vendor's credits page).

    Attributes:
        balance: money left.
        currency: its currency, such as `"EUR"`.
        sms: standard messages that the balance pays for.
        sms_eco: low-cost messages that it pays for.
        hlr: number look-ups that it pays for.
        to_send: messages waiting to be sent.
        username: the account's user name.
        first_name: its owner's first name.
        last_name: its owner's last name.
        raw: the vendor's payload, as it came; a number with a decimal point is a `Decimal`.
    """

    balance: Decimal
    currency: str | None = None
    sms: int | None = None
    sms_eco: int | None = None
    hlr: int | None = None
    to_send: int | None = None
    username: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    raw: Any = field(default=None, repr=False, eq=False)


@frozen(kw_only=True)
class ContactFile:
    """A downloaded file.

    Attributes:
        path: where it is; readable by its owner only.
        size: bytes.
        sha256: of its content, in hexadecimal.
        verified: whether the transfer's framing proves that the file is whole.
    """

    path: Path
    size: int
    sha256: str
    verified: bool
