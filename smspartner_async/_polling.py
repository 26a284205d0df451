"""How a wait asks, and what it tells of each check."""

from __future__ import annotations

import math
import random
from enum import Enum
from typing import TYPE_CHECKING

from attrs import field, frozen

from ._checks import is_number
from ._retry import at_least

if TYPE_CHECKING:
    from ._errors import SMSPartnerError
    from ._models import RentalStatus


class Default(Enum):
    """Stands for a value that was not given."""

    POLICY = "the polling policy's timeout"


@frozen(kw_only=True)
class PollingPolicy:
    """How `wait_until_ready` and `watch` ask.

    Args:
        first_interval: seconds between the first two checks; above 0.
        max_interval: seconds; no interval is longer, with its jitter.
        multiplier: by which the interval grows from one check to the next; from 1 on.
        jitter: fraction by which an interval may be longer or shorter at random; 0 to 1.
        timeout: seconds after which a wait gives up; 0 is exactly one check, `None` is endless.
        max_consecutive_errors: failed checks in a row after which the last error is raised.

    Raises:
        ValueError: a number out of its range, NaN or infinite.
    """

    first_interval: float = field(default=2.0, validator=at_least(0.001))
    max_interval: float = field(default=30.0, validator=at_least(0.001))
    multiplier: float = field(default=1.5, validator=at_least(1))
    jitter: float = field(default=0.2, validator=at_least(0))
    timeout: float | None = field(default=900.0)
    max_consecutive_errors: int = field(default=10, validator=at_least(1, whole=True))

    def __attrs_post_init__(self) -> None:
        checked_timeout(self.timeout)
        if self.jitter > 1:
            raise ValueError(f"jitter must be a number from 0 to 1: {self.jitter!r}")

    def interval(self, checks: int) -> float:
        """Tell the seconds between check number `checks`, from 1 on, and the next one."""
        try:
            backoff = min(self.first_interval * self.multiplier ** (checks - 1), self.max_interval)
        except OverflowError:  # after so many checks that no float holds the power
            backoff = self.max_interval
        jitter = random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311
        return min(backoff * jitter, self.max_interval)


def checked_timeout(timeout: float | None) -> float | None:
    """Let through `None` (endless) and any finite number from 0 on.

    Raises:
        ValueError: negative, NaN, infinite, or no number.
    """
    if timeout is None:
        return None
    if not is_number(timeout) or not 0 <= timeout < math.inf:
        raise ValueError(
            f"timeout must be a number of seconds from 0 on, or None for no limit: {timeout!r}"
        )
    return timeout


@frozen(kw_only=True)
class PollEvent:
    """One check of a wait, as `on_poll` is told of it.

    Attributes:
        token: the rental.
        attempt: the check's number, from 1 on.
        elapsed: seconds since the wait began.
        status: what the check found; `None` where it failed.
        error: why it failed; `None` where it did not.
        next_delay: seconds until the next check; `None` after the last one.
    """

    token: str
    attempt: int
    elapsed: float
    status: RentalStatus | None
    error: SMSPartnerError | None
    next_delay: float | None
