"""Jobs for the tests of durable rentals."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from smspartner_async import Targeting
from smspartner_async.batch import RentalJob

if TYPE_CHECKING:
    from pathlib import Path

PRICE: Final = Decimal("1.80")


def jobs_of(count: int, folder: Path, *, max_total: Decimal | None = PRICE) -> list[RentalJob]:
    """Make jobs 1 to `count`; the interest of each is its number, and each costs `PRICE`."""
    return [
        RentalJob(
            id=f"job-{number}",
            targeting=Targeting(
                gender="mixed", min_age=25, max_age=35, interest=number, zipcodes="06200"
            ),
            volumes={"06200": 20},
            max_total=max_total,
            path=folder / f"{number}.csv",
        )
        for number in range(1, count + 1)
    ]
