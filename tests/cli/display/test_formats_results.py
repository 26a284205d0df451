"""How each kind of result is written: for people in labelled lines, for programs in JSON."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from smspartner_async import (
    AreaVolume,
    ContactFile,
    Cost,
    Credits,
    Gender,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    RentedTargeting,
    SocioProfessionalCategory,
)
from smspartner_async.cli import _formats

COST = Cost(quantity=20, total=Decimal("1.80"), unit=Decimal("0.09"))
QUOTE = Quote(
    operation="price",
    areas=(
        AreaVolume(type="zipcode", location="60200", volume=1200, desired_volume=20),
        AreaVolume(type="department", location="02", volume=7),
    ),
    total_volume=1207,
    cost=COST,
)


def written(result: _formats.Result) -> list[str]:
    """The lines that a person reads, without a terminal, and without the borders of a table."""
    screen = io.StringIO()
    _formats.print_result(Console(file=screen, width=100, highlight=False), result)
    lines = (line.translate(dict.fromkeys(map(ord, "╭─┬╮│├┼┤╰┴╯"), " ")) for line in
             screen.getvalue().splitlines())  # fmt: skip
    return [" ".join(line.split()) for line in lines if line.strip()]


@pytest.mark.parametrize(
    ("result", "lines"),
    [
        (
            QUOTE,
            [
                "Area Type Contacts Wanted",
                "60200 post code 1,200 20",
                "02 department 7",
                "Total 1,207",
                "Price 1.80 for 20 contacts (0.09 each)",
            ],
        ),
        (
            Quote(operation="price", cost=Cost(quantity=1, total=Decimal("0.09"), unit=None)),
            ["Price 0.09 for 1 contact"],
        ),
        (
            Quote(operation="calculate", total_volume=1207),
            ["Contacts 1,207"],
        ),
        (
            Rental(token="tok 1", cost=Cost(quantity=None, total=None, unit=None)),
            ["Token tok 1", "Price not given", "Next smspartner wait 'tok 1'"],
        ),
        (
            RentalStatus(
                token="tok",
                state=RentalState.READY,
                message="Prêt",
                phone_numbers=1200,
                targeting=RentedTargeting(
                    gender=Gender.FEMALE,
                    min_age=25,
                    interest=12,
                    category=SocioProfessionalCategory.CSP_PLUS,
                    departments=("02", "2A"),
                ),
            ),
            [
                "Token tok",
                "State 2 ready",
                "Message Prêt",
                "For women, 25 to ? years, interest 12, category CSP+, departments 02 2A",
                "Numbers 1,200",
                "Next smspartner download tok contacts.csv",
            ],
        ),
        (
            RentalStatus(token="tok", state=RentalState.GENERATING),
            ["Token tok", "State 1 generating", "Next smspartner wait tok"],
        ),
        (
            RentalStatus(token="tok", state=RentalState.FAILED),
            ["Token tok", "State 3 failed"],
        ),
        (
            RentalStatus(token="tok", state=RentalState.UNKNOWN),
            ["Token tok", "State unknown", "Next smspartner wait tok"],
        ),
        (
            Credits(balance=Decimal("1200.5"), currency="EUR", sms=3, username="acme"),
            ["Balance 1,200.50 EUR", "SMS 3", "Account acme"],
        ),
        (
            ContactFile(path=Path("a.csv"), size=5200, sha256="ab12", verified=False),
            [
                "File a.csv",
                "Size 5,200 bytes",
                "SHA-256 ab12",
                "Whole not proven: the server gave no length",
            ],
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_a_result_for_people(result: _formats.Result, lines: list[str]) -> None:
    """Each fact that is known stands behind its label, and what to type next is the last."""
    assert written(result) == lines


def test_a_result_for_programs() -> None:
    """Money is text, states and categories are names, and the vendor's payload is left out."""
    account = Credits(balance=Decimal("1200.50"), raw={"user": 1})
    assert json.loads(_formats.as_json(_formats.to_plain(account))) == {
        "balance": "1200.50",
        "currency": None,
        "sms": None,
        "sms_eco": None,
        "hlr": None,
        "to_send": None,
        "username": None,
        "first_name": None,
        "last_name": None,
    }
    status = RentalStatus(
        token="tok", state=RentalState.READY, targeting=RentedTargeting(gender=Gender.FEMALE)
    )
    document = _formats.to_plain(status)
    assert (document["state"], document["targeting"]["gender"]) == ("READY", "female")
    assert _formats.as_json({"of": "été", "at": Path("a.csv")}) == (
        '{\n  "of": "\\u00e9t\\u00e9",\n  "at": "a.csv"\n}'
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.9, "0:07"), (750, "12:30"), (3723, "1:02:03"), (0, "0:00")]
)
def test_a_time_as_a_clock_shows_it(seconds: float, text: str) -> None:
    """Hours appear when there are any."""
    assert _formats.elapsed_time(seconds) == text
