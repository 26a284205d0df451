"""The public models: frozen values in plain English, checked when made. No vendor spelling."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from attrs import field, frozen

from ._errors import TargetingError
from ._lazy import LazyFields
from ._redaction import repr_without_numbers
from ._values.areas import is_int, split_codes, wrong_codes
from ._values.hints import (
    TARGETING_ARGUMENTS,
    category_hint,
    explain_arguments,
    gender_hint,
    number_hint,
)

MIN_AGE: Final = 18
MAX_AGE: Final = 98

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
    """A state that the manual does not list (4, say). A wait continues, as before READY."""

    @property
    def is_terminal(self) -> bool:
        """Whether the state is final: ready, failed or downloaded.

        >>> RentalState.GENERATING.is_terminal
        False
        """
        return self in (RentalState.READY, RentalState.FAILED, RentalState.DOWNLOADED)


# A converter leaves an unknown value as it is, and `Targeting` names it as wrong: hence `cast`.


def _gender(value: Gender | Literal["mixed", "male", "female"]) -> Gender:
    return _member_or_same(Gender, value)


def _category(
    value: SocioProfessionalCategory | Literal["csp+", "csp-"] | None,
) -> SocioProfessionalCategory | None:
    return None if value is None else _member_or_same(SocioProfessionalCategory, value)


def _member_or_same(enum: type[_E], value: object) -> _E:
    try:
        return enum(value.strip().lower() if isinstance(value, str) else value)
    except ValueError:
        return cast("_E", value)


@frozen(kw_only=True)
class Targeting:
    """Whom to reach: what is calculated, priced and rented (manual, "Targeting & Calculation").

    Everything is given by keyword. A word of the vendor's manual in place of one of these
    (`"h"`, `103`, `zipcode=`) is an error that says what to write.

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
        TypeError: an argument that is no field, or is not given by keyword.

    >>> Targeting(
    ...     gender="female", min_age=25, max_age=35, interest=12, zipcodes="02200,60200"
    ... ).zipcodes
    ('02200', '60200')
    """

    gender: Gender = field(converter=_gender)
    min_age: int
    max_age: int
    interest: int | None = None
    sub_interest: int | None = None
    category: SocioProfessionalCategory | None = field(default=None, converter=_category)
    departments: tuple[str, ...] = field(default=(), converter=split_codes)
    zipcodes: tuple[str, ...] = field(default=(), converter=split_codes)

    def __attrs_post_init__(self) -> None:
        problems = (
            *self._wrong_choices(),
            *self._wrong_ages(),
            *self._wrong_interests(),
            *wrong_codes("departments", self.departments),
            *wrong_codes("zipcodes", self.zipcodes),
        )
        if problems:
            raise TargetingError(problems)

    def _wrong_choices(self) -> Iterable[tuple[str, str]]:
        gender: object = self.gender
        category: object = self.category
        if not isinstance(gender, Gender):
            yield (
                "gender",
                f"must be 'mixed', 'male' or 'female', not {gender!r}{gender_hint(gender)}",
            )
        if category is not None and not isinstance(category, SocioProfessionalCategory):
            hint = category_hint(category)
            yield "category", f"must be 'csp+', 'csp-' or None, not {category!r}{hint}"

    def _wrong_ages(self) -> Iterable[tuple[str, str]]:
        ages = {"min_age": self.min_age, "max_age": self.max_age}
        wrong = {n: a for n, a in ages.items() if not is_int(a) or not MIN_AGE <= a <= MAX_AGE}
        for name, age in wrong.items():
            wanted = f"must be a whole number from {MIN_AGE} to {MAX_AGE}"
            yield name, f"{wanted}, not {age!r}{number_hint(age)}"
        if not wrong and self.min_age > self.max_age:
            yield "max_age", f"must not be below the minimum, {self.min_age}, but is {self.max_age}"

    def _wrong_interests(self) -> Iterable[tuple[str, str]]:
        interests = {"interest": self.interest, "sub_interest": self.sub_interest}
        for name, number in interests.items():
            if number is not None and not (is_int(number) and number > 0):
                hint = number_hint(number)
                yield name, f"must be a whole number above 0, not {number!r}{hint}"
        if self.interest is None and self.sub_interest is None:
            yield "interest", "an interest or a sub-interest is required"


if not TYPE_CHECKING:  # pragma: no branch - a checker knows the arguments without it
    Targeting.__init__ = explain_arguments(
        TARGETING_ARGUMENTS, "Targeting(gender='female', min_age=25, max_age=35, interest=12)"
    )(Targeting.__init__)


def check_targeting(targeting: object) -> None:
    """Refuse anything but a `Targeting`, such as a dict, with a `TypeError`."""
    if not isinstance(targeting, Targeting):
        raise TypeError(
            f"targeting must be of type Targeting, not {type(targeting).__name__}. Make one: "
            "Targeting(gender='mixed', min_age=18, max_age=98, interest=12)."
        )


@frozen(kw_only=True)
class AreaVolume:
    """How many contacts one area has.

    Attributes:
        type: `"zipcode"`, `"department"`, or the vendor's word in lower case where it is another.
        location: the post code or department.
        volume: contacts available (or, in a rental, rented) there.
        desired_volume: contacts that were wanted there; `None` where the vendor gives no number.
    """

    type: str = field(repr=repr_without_numbers)
    location: str = field(repr=repr_without_numbers)
    volume: int
    desired_volume: int | None = None


@frozen(kw_only=True)
class Cost:
    """What a targeting costs, as the vendor gives it. It is never recomputed, and may not add up.

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
        notes: what to look at before paying, in English, where `price` was given volumes: a quote
            for another number of contacts than they ask for; a targeted area without a volume; a
            volume for an area that is not targeted. What the vendor makes of the latter two is
            undocumented. A note refuses nothing.
        raw: the vendor's payload, as it came; a number with a decimal point is a `Decimal`.
    """

    operation: str
    areas: tuple[AreaVolume, ...] = ()
    total_volume: int | None = None
    cost: Cost | None = None
    notes: tuple[str, ...] = ()
    raw: Any = field(default=None, repr=False, eq=False)

    @property
    def total(self) -> Decimal | None:
        """The price of all, which is `cost.total`; `None` where that is none, or below 0.

        >>> Quote(operation="price", cost=Cost(total=Decimal("1.80"))).total
        Decimal('1.80')
        """
        return _price_in(self.cost)


def _price_in(cost: Cost | None) -> Decimal | None:
    total = None if cost is None else cost.total
    return None if total is None or total < 0 else total


@frozen(kw_only=True)
class Rental:
    """A paid rental. The reply to `rent` is undocumented: only the token is sure to be there.

    Attributes:
        token: all that later calls need, in this process or another. Store it.
        areas: contacts by area; empty where the vendor gives none.
        total_volume: contacts in all; `None` where the vendor gives no number.
        cost: what was paid; `None` where the vendor gives none.
        raw: the vendor's payload, as it came; a number with a decimal point is a `Decimal`.
    """

    token: str
    areas: tuple[AreaVolume, ...] = ()
    total_volume: int | None = None
    cost: Cost | None = None
    raw: Any = field(default=None, repr=False, eq=False)

    @property
    def total(self) -> Decimal | None:
        """What was paid, which is `cost.total`; `None` where that is none, or below 0.

        >>> Rental(token="41ddfc6c", cost=Cost(total=Decimal("1.80"))).total
        Decimal('1.80')
        """
        return _price_in(self.cost)


@frozen(kw_only=True)
class RentedTargeting:
    """What was rented, as the vendor gives it back. Every field may be missing."""

    gender: Gender | None = None
    min_age: int | None = None
    max_age: int | None = None
    interest: int | None = None
    sub_interest: int | None = None
    category: SocioProfessionalCategory | None = None
    departments: tuple[str, ...] = field(default=(), repr=repr_without_numbers)
    zipcodes: tuple[str, ...] = field(default=(), repr=repr_without_numbers)
    areas: tuple[AreaVolume, ...] = ()


@frozen(kw_only=True)
class RentalStatus(LazyFields):
    """Where a rental stands (manual, "Rental Status").

    Attributes:
        token: the rental that was asked about.
        state: its state; `UNKNOWN` for anything that the manual does not list.
        message: the vendor's words, or the state in plain English where it sent a number.
        targeting: what was rented; `None` where the vendor does not say.
        cost: what it cost; `None` where the vendor gives none.
        phone_numbers: how many numbers the file holds; `None` where the vendor does not say.
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
    currency: str | None = field(default=None, repr=repr_without_numbers)
    sms: int | None = None
    sms_eco: int | None = None
    hlr: int | None = None
    to_send: int | None = None
    username: str | None = field(default=None, repr=repr_without_numbers)
    first_name: str | None = field(default=None, repr=repr_without_numbers)
    last_name: str | None = field(default=None, repr=repr_without_numbers)
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
