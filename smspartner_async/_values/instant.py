"""A point in time, and how old it is by either of a machine's clocks."""

from __future__ import annotations

import time

from attrs import field, frozen


@frozen
class Instant:
    """A point in time by the monotonic and the wall clock; only the latter runs during suspend."""

    monotonic: float = field(factory=time.monotonic)
    wall: float = field(factory=time.time)

    def is_older_than(self, seconds: float) -> bool:
        """Whether it is so long ago by either clock, or lies in the future."""
        ages = time.monotonic() - self.monotonic, time.time() - self.wall
        return not all(0 <= age <= seconds for age in ages)
