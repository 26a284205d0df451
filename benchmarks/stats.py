"""Medians and spreads. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TIMES: Final = "\u00d7"
TO: Final = "\u2013"


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of them lie, interpolated; NaN of none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def weighted_percentile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """Return the value below which values with `share` (0 to 1) of all weight lie; NaN of none."""
    left = share * sum(weights)
    ordered = sorted(zip(values, weights, strict=True))
    for value, weight in ordered:
        left -= weight
        if left <= 0:
            return value
    return ordered[-1][0] if ordered else math.nan


@frozen
class Spread:
    """A median, and the range in which eight of ten values lie (p10 to p90)."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Measure some values."""
        known = sorted(values)
        return cls(*(percentile(known, share) for share in (0.1, 0.5, 0.9)))

    def text(self, form: str = ".2f", scale: float = 1.0) -> str:
        """Write it as `median (p10-p90)`."""
        low, median, high = (
            format(value * scale, form) for value in (self.low, self.median, self.high)
        )
        return f"{median} ({low}{TO}{high})"


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread:
    """Compare two series round by round, so that what disturbed a round disturbs both sides."""
    return Spread.of(value / other for value, other in zip(values, base, strict=True))
