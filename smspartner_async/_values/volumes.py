"""How many contacts are wanted where: the volumes of `price` and `rent`, and notes on them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import evolve

from smspartner_async._errors import TargetingError
from smspartner_async._redaction import repr_without_numbers

from .areas import is_int
from .hints import DEPARTMENT, ZIPCODE, area_hint, number_hint, volumes_hint
from .listing import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async._models import Quote, Targeting

_LISTED: Final = 5  # areas in one note


def parse_volumes(text: str) -> dict[str, int]:
    """Read `60200=20 06200:10`, with blanks or commas between, as command line and files have it.

    Raises:
        TargetingError: it names every part that is not of this form, or comes twice.
    """
    volumes: dict[str, int] = {}
    problems = []
    for part in re.split(r"[\s,;]+", re.sub(r"\s*[=:]\s*", "=", text.strip(" ,;"))):
        area, _, number = part.partition("=")
        if not area or not re.fullmatch(r"[0-9]{1,9}", number):
            wrong = f"{repr_without_numbers(part)} is not of the form 60200=20"
            problems.append(("volumes", wrong))
        elif area in volumes:
            problems.append(("volumes", f"{area} is given twice"))
        else:
            volumes[area] = int(number)
    if problems:
        raise TargetingError(tuple(problems))
    return volumes


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
        hint = volumes_hint(given)
        wrong = f"must map an area to a number, not {repr_without_numbers(given)}{hint}"
        raise TargetingError((("volumes", wrong),))
    if not given:
        # Sent as nothing, an empty mapping would rent every contact: surely not what was meant.
        raise TargetingError((("volumes", "is empty; leave it out to take every contact"),))
    problems: list[tuple[str, str]] = []
    checked: dict[str, int] = {}
    for area, wanted in given.items():
        code = area.strip().upper() if isinstance(area, str) else ""
        if not (re.fullmatch(ZIPCODE, code) or re.fullmatch(DEPARTMENT, code)):
            wrong = f"{repr_without_numbers(area)} is neither a post code nor a department"
            problems.append(("volumes", wrong + area_hint(area)))
        elif not (is_int(wanted) and wanted > 0):
            wrong = f"must be a whole number above 0, not {wanted!r}{number_hint(wanted)}"
            problems.append(("volumes", f"{code}: {wrong}"))
        elif code in checked:
            problems.append(("volumes", f"{code} is given twice"))
        else:
            checked[code] = wanted
    if problems:
        raise TargetingError(tuple(problems))
    return checked


def with_notes(quote: Quote, targeting: Targeting, volumes: Mapping[str, int] | None) -> Quote:
    """Return a quote with notes on what its volumes leave open, or do not seem to have reached."""
    notes = tuple(_notes(quote, targeting, volumes)) if volumes else ()
    return evolve(quote, notes=notes) if notes else quote


def _notes(quote: Quote, targeting: Targeting, volumes: Mapping[str, int]) -> Iterator[str]:
    # The vendor does not document what `volumes` means for the areas that it does not name, nor for
    # those that are not targeted: so nothing of it is an error.
    wanted = sum(volumes.values())
    counted = quote.cost.quantity if quote.cost is not None else None
    quoted = quote.total_volume if counted is None else counted
    if quoted is not None and quoted != wanted:
        yield f"The volumes ask for {wanted:,} contacts, but the quote is for {quoted:,}."
    targeted = (*targeting.departments, *targeting.zipcodes)
    if unnamed := [area for area in targeted if area not in volumes]:
        yield (
            f"{listed(unnamed, _LISTED)}: no volume is given. All contacts there may be rented; "
            "the vendor does not document it."
        )
    if foreign := [area for area in volumes if area not in targeted]:
        yield (
            f"{listed(foreign, _LISTED)}: not among the targeted areas. The volume there may be "
            "ignored, or rented as well; the vendor does not document it."
        )
