"""How an amount of money is written for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from decimal import Decimal

_MOST_DIGITS: Final = 24


def format_amount(amount: Decimal) -> str:
    """Write an amount with at least two decimals and all that it has: `1,234.50`, `0.905`."""
    # A sane amount only: written out, Decimal("1E+999999") would fill the screen for minutes.
    if amount.is_finite() and len(amount.as_tuple().digits) + abs(amount.adjusted()) < _MOST_DIGITS:
        whole, _, decimals = f"{amount:,f}".partition(".")
        return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
    return str(amount)


def price_text(total: Decimal | None, limit: Decimal) -> str:
    """Say that a price is above a limit, or unknown."""
    price = "The vendor gave no total price"
    if total is not None:
        price = f"The price is {format_amount(total)}"
    return f"{price}; the limit is {format_amount(limit)}."
