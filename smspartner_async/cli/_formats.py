"""How results look: money, counts and tables for people, JSON for programs.

Knows the models, and nothing of a command. Everything that came from the vendor passes through
`printable`, so that no reply can send escape sequences to a terminal.
"""

from __future__ import annotations

import json
import shlex
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from rich.box import ROUNDED
from rich.table import Table
from rich.text import Text

from smspartner_async._models import Credits, Gender, Quote, Rental, RentalState, RentalStatus
from smspartner_async._values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from rich.console import Console

    from smspartner_async._models import AreaVolume, ContactFile, Cost, RentedTargeting, Targeting

    Result = Quote | Rental | RentalStatus | Credits | ContactFile

_T = TypeVar("_T")

LISTED: Final = 10  # of many
_LABEL_WIDTH: Final = 10
_AREA_TYPES: Final = {"zipcode": "post code"}
_PEOPLE: Final = {Gender.MIXED: "men and women", Gender.MALE: "men", Gender.FEMALE: "women"}


def counted(number: int, noun: str) -> str:
    """Return `1 contact`, `2 contacts`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def jobs_text(number: int) -> str:
    """Return `1 job`, `2 jobs`."""
    return counted(number, "job")


def printable(text: str) -> str:
    """Put everything on one line, and show what a terminal would obey instead of print."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def beginning(items: Sequence[_T], most: int = LISTED) -> tuple[Sequence[_T], str]:
    """Return the first of some items, and how many more there are, or `""`."""
    more = len(items) - most
    return items[:most], f"... and {more:,} more" if more > 0 else ""


def money(amount: Decimal, currency: str | None = None) -> str:
    """Write an amount, and its currency where there is one."""
    return f"{format_amount(amount)} {printable(currency)}" if currency else format_amount(amount)


def paid_text(total: Mapping[str, Any]) -> str:
    """Write what was paid, with the number of payments whose price is not known, if any."""
    known, unknown = total["paid"], total["paid_unknown"]
    if not unknown:
        return money(known)
    return f"at least {money(known)}, and not known for {unknown:,}"


def elapsed_time(seconds: float) -> str:
    """Write a time as a clock does: `0:07`, `12:30`, `1:02:03`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def state_name(state: RentalState) -> str:
    """Write a state with the vendor's code: `1 generating`."""
    return "unknown" if state is RentalState.UNKNOWN else f"{state.value} {state.name.lower()}"


def to_plain(result: Result) -> dict[str, Any]:
    """Make a result a document: states by name, the vendor's payload left out."""
    return attrs.asdict(
        result, filter=lambda attribute, _: attribute.name != "raw", value_serializer=_plain
    )


def as_json(document: Mapping[str, Any]) -> str:
    """Write a document for programs, money as text."""
    # ASCII: right in every locale, and harmless on a terminal.
    return json.dumps(document, indent=2, default=str)


def _plain(_: object, __: object, value: Any) -> Any:
    if isinstance(value, IntEnum):
        return value.name
    return value.value if isinstance(value, Enum) else value


def print_result(console: Console, result: Result) -> None:
    """Write a result for people."""
    areas: tuple[AreaVolume, ...] = ()
    total = None
    match result:
        case Quote() | Rental():
            facts, areas, total = _offer_facts(result), result.areas, result.total_volume
        case RentalStatus():
            facts = _status_facts(result)
            areas = () if result.targeting is None else result.targeting.areas
        case Credits():
            facts = _credit_facts(result)
        case _:
            facts = _file_facts(result)
    if areas:
        console.print(_area_table(areas, total))
    print_facts(console, facts)


def print_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Write facts, each on its line behind its label."""
    for label, value in facts:
        style = "bold cyan" if label == "Token" else ""
        text = Text.assemble((label.ljust(_LABEL_WIDTH), "bold"), (printable(value), style))
        # Never broken by us: a token or a path must be there to copy.
        console.print(text, soft_wrap=True)


def _offer_facts(offer: Quote | Rental) -> Iterator[tuple[str, str]]:
    if isinstance(offer, Rental):
        yield "Token", offer.token
    if offer.total_volume is not None and not offer.areas:
        yield "Contacts", f"{offer.total_volume:,}"
    yield from _price(offer.cost)
    if isinstance(offer, Quote):
        yield from (("Note", note) for note in offer.notes)
    if isinstance(offer, Rental):
        yield "Next", f"smspartner wait {shlex.quote(offer.token)}"


def _price(cost: Cost | None) -> Iterator[tuple[str, str]]:
    if cost is not None:
        total = "not given" if cost.total is None else money(cost.total)
        count = "" if cost.quantity is None else f" for {counted(cost.quantity, 'contact')}"
        unit = "" if cost.unit is None else f" ({money(cost.unit)} each)"
        yield "Price", f"{total}{count}{unit}"


def _status_facts(status: RentalStatus) -> Iterator[tuple[str, str]]:
    yield "Token", status.token
    yield "State", state_name(status.state)
    if status.message:
        yield "Message", status.message
    if status.targeting is not None and (wanted := ", ".join(people(status.targeting))):
        yield "For", wanted
    if status.phone_numbers is not None:
        yield "Numbers", f"{status.phone_numbers:,}"
    yield from _price(status.cost)
    token = shlex.quote(status.token)
    if status.state is RentalState.READY:
        yield "Next", f"smspartner download {token} contacts.csv"
    elif not status.state.is_terminal:
        yield "Next", f"smspartner wait {token}"


def people(targeting: RentedTargeting | Targeting) -> Iterator[str]:
    """Describe whom a targeting reaches, in words."""
    if targeting.gender is not None:
        yield _PEOPLE[targeting.gender]
    if targeting.min_age or targeting.max_age:
        yield f"{targeting.min_age or '?'} to {targeting.max_age or '?'} years"
    words = {
        "interest": targeting.interest,
        "sub-interest": targeting.sub_interest,
        "category": targeting.category and targeting.category.value.upper(),
        "departments": " ".join(targeting.departments),
        "post codes": " ".join(targeting.zipcodes),
    }
    yield from (f"{word} {value}" for word, value in words.items() if value)


def _credit_facts(account: Credits) -> Iterator[tuple[str, str]]:
    yield "Balance", money(account.balance, account.currency)
    counts = {
        "SMS": account.sms,
        "Eco SMS": account.sms_eco,
        "Look-ups": account.hlr,
        "To send": account.to_send,
    }
    yield from ((label, f"{count:,}") for label, count in counts.items() if count is not None)
    if account.username:
        yield "Account", account.username


def _file_facts(file: ContactFile) -> Iterator[tuple[str, str]]:
    yield "File", str(file.path)
    yield "Size", f"{file.size:,} bytes"
    yield "SHA-256", file.sha256
    yield "Whole", "yes" if file.verified else "not proven: the server gave no length"


def _area_table(areas: tuple[AreaVolume, ...], total: int | None) -> Table:
    table = Table(box=ROUNDED, show_footer=total is not None, footer_style="bold")
    table.add_column("Area", "Total", overflow="fold")
    table.add_column("Type", overflow="fold")
    table.add_column("Contacts", _count(total), justify="right")
    wanted = any(area.desired_volume is not None for area in areas)
    if wanted:
        table.add_column("Wanted", justify="right")
    for area in areas:
        kind = _AREA_TYPES.get(area.type, area.type)
        row = (printable(area.location), printable(kind), _count(area.volume))
        table.add_row(*row, *([_count(area.desired_volume)] if wanted else []))
    return table


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
