"""What a quote shows, and what it leaves open, before the money is spent.

The words of a refusal stand in `test_hints`, too.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from smspartner_async import Cost, Quote, SMSPartnerClient, Targeting, TargetingError
from smspartner_async._values.volumes import checked_volumes, parse_volumes, with_notes
from smspartner_async.sandbox import Sandbox

NO_VOLUME = "no volume is given. All contacts there may be rented; the vendor does not document it."
FOREIGN = (
    "not among the targeted areas. The volume there may be ignored, or rented as well; the vendor "
    "does not document it."
)


def notes_of(
    volumes: dict[str, int] | None,
    *,
    zipcodes: str = "",
    departments: str = "",
    quantity: int | None = None,
    total_volume: int | None = None,
) -> tuple[str, ...]:
    targeting = Targeting(
        gender="female",
        min_age=25,
        max_age=35,
        interest=12,
        zipcodes=zipcodes,
        departments=departments,
    )
    cost = Cost(quantity=quantity, total=Decimal("1.80"))
    quote = Quote(operation="price", cost=cost, total_volume=total_volume)
    return with_notes(quote, targeting, volumes).notes


@pytest.mark.parametrize(
    ("volumes", "zipcodes", "quantity", "notes"),
    [
        (None, "60200", 266, ()),
        ({"60200": 20}, "60200", 20, ()),
        ({"60200": 20}, "60200", None, ()),
        (
            {"60200": 20},
            "60200",
            9000,
            ("The volumes ask for 20 contacts, but the quote is for 9,000.",),
        ),
        (
            {"60200": 2000},
            "60200",
            266,
            ("The volumes ask for 2,000 contacts, but the quote is for 266.",),
        ),
        ({"60200": 20}, "60200,02200", 20, (f"02200: {NO_VOLUME}",)),
        ({"60200": 20, "02200": 5}, "02200", 25, (f"60200: {FOREIGN}",)),
        (
            {"60200": 20},
            "02200",
            266,
            (
                "The volumes ask for 20 contacts, but the quote is for 266.",
                f"02200: {NO_VOLUME}",
                f"60200: {FOREIGN}",
            ),
        ),
        (
            {"60200": 20},
            "",
            9000,
            (
                "The volumes ask for 20 contacts, but the quote is for 9,000.",
                f"60200: {FOREIGN}",
            ),
        ),
        (
            {"60200": 20},
            "60200,01000,02000,03000,04000,05000,06000,07000",
            20,
            (f"01000, 02000, 03000, 04000, 05000 and 2 more: {NO_VOLUME}",),
        ),
    ],
)
def test_notes(
    volumes: dict[str, int] | None, zipcodes: str, quantity: int | None, notes: tuple[str, ...]
) -> None:
    """A quote notes another number than was asked for, and what the vendor does not document."""
    assert notes_of(volumes, zipcodes=zipcodes, quantity=quantity) == notes


def test_departments_are_areas_too() -> None:
    """A department without a volume is noted as a post code is."""
    assert notes_of({"2A": 5}, departments="2A,60") == (f"60: {NO_VOLUME}",)


def test_the_total_stands_in_for_a_quantity() -> None:
    """Where the cost has no quantity, the row of the total does."""
    assert notes_of({"60200": 20}, zipcodes="60200", total_volume=9000) == (
        "The volumes ask for 20 contacts, but the quote is for 9,000.",
    )


async def test_a_price_carries_its_notes() -> None:
    """Twenty contacts that would become 9,000 are noted by `price`, against the vendor's layout."""
    targeting = Targeting(gender="female", min_age=25, max_age=35, interest=12)
    async with (
        Sandbox() as sandbox,
        SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        quote = await client.price(targeting, {"60200": 20})
        assert quote.notes == (
            "The volumes ask for 20 contacts, but the quote is for 9,000.",
            f"60200: {FOREIGN}",
        )
        assert (await client.price(targeting)).notes == ()
        assert (await client.calculate(targeting)).notes == ()


@pytest.mark.parametrize(
    ("text", "volumes"),
    [
        ("60200=20", {"60200": 20}),
        ("60200:20 02200=5", {"60200": 20, "02200": 5}),
        (" 60200 = 20 , 2A : 5; ", {"60200": 20, "2A": 5}),
    ],
)
def test_volumes_are_read_from_text(text: str, volumes: dict[str, int]) -> None:
    """Command line and files have one spelling, with blanks, commas and semicolons as they come."""
    assert parse_volumes(text) == volumes


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", (("volumes", "'' is not of the form 60200=20"),)),
        ("60200", (("volumes", "'60200' is not of the form 60200=20"),)),
        ("60200=-2", (("volumes", "'60200=-2' is not of the form 60200=20"),)),
        ("60200=2.5", (("volumes", "'60200=2.5' is not of the form 60200=20"),)),
        (
            "60200=20 60200=30 5=",
            (
                ("volumes", "60200 is given twice"),
                ("volumes", "'5=' is not of the form 60200=20"),
            ),
        ),
    ],
)
def test_all_that_is_no_volume_is_named(text: str, problems: tuple[tuple[str, str], ...]) -> None:
    """One error names every part: nobody mends a line five times."""
    with pytest.raises(TargetingError) as raised:
        parse_volumes(text)
    assert raised.value.problems == problems


def test_volumes_are_checked_and_spelt_alike() -> None:
    """Blanks and small letters of an area are nothing; no volumes at all stay none."""
    assert checked_volumes({" 60200": 20, "2a": 5}) == {"60200": 20, "2A": 5}
    assert checked_volumes(None) is None


@pytest.mark.parametrize(
    ("volumes", "words"),
    [
        ([("60200", 20)], "must map an area to a number"),
        ({}, "is empty; leave it out to take every contact"),
        ({"6020": 20}, "'6020' is neither a post code nor a department"),
        ({60200: 20}, "60200 is neither a post code nor a department"),
        ({"60200": 0}, "60200: must be a whole number above 0, not 0"),
        ({"60200": True}, "60200: must be a whole number above 0, not True"),
        ({"2a": 5, "2A": 6}, "2A is given twice"),
    ],
)
def test_volumes_that_cannot_be_meant_are_refused(volumes: Any, words: str) -> None:
    """They are refused before anything is sent: an empty mapping would rent every contact."""
    with pytest.raises(TargetingError) as raised:
        checked_volumes(volumes)
    assert words in str(raised.value)
