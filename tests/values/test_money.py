"""Amounts as a person reads them: every decimal that is there, two at least."""

from __future__ import annotations

from decimal import Decimal

import pytest

from smspartner_async._values.money import format_amount, price_text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("5", "5.00"),
        ("2.5", "2.50"),
        ("0.905", "0.905"),
        ("0.9000", "0.90"),
        ("1234.5", "1,234.50"),
        ("1E+3", "1,000.00"),
        ("1000000", "1,000,000.00"),
        ("-3.1", "-3.10"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
    ],
)
def test_an_amount(amount: str, text: str) -> None:
    """No cent is rounded away, and thousands are separated."""
    assert format_amount(Decimal(amount)) == text


@pytest.mark.parametrize("amount", ["1E+999999", "1E-999999", "1" * 30])
def test_an_amount_out_of_this_world_stays_short(amount: str) -> None:
    """Bad input: written out, it would fill the screen; it stays as the vendor wrote it."""
    assert format_amount(Decimal(amount)) == amount


def test_a_price_above_a_limit_and_an_unknown_one() -> None:
    """Both stand beside the limit, as a sentence each."""
    limit = Decimal("1.5")
    assert price_text(Decimal("1.8"), limit) == "The price is 1.80; the limit is 1.50."
    assert price_text(None, limit) == "The vendor gave no total price; the limit is 1.50."
