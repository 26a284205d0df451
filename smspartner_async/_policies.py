"""The policies: how a request is retried, and how a wait polls.

The delays are tenacity's wait strategies. The numbers of a policy are shorthand for one of them.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import random
import reprlib
import sys
import traceback
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from attrs import field, fields_dict, frozen
from tenacity import AsyncRetrying, Future, RetryCallState
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_exponential

from ._errors import APIError, ConfigurationError, ResponseError, SMSPartnerError
from ._validation import check_whole, is_async, is_number, mismatch_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import Attribute
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from ._models import RentalStatus

_SHORTEST_INTERVAL: Final = 0.001  # seconds


def at_least(minimum: float) -> Callable[[Any, Attribute[Any], Any], None]:
    """Make an attrs validator: a finite number, not below `minimum`."""

    def check(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if not is_number(value) or not minimum <= value < math.inf:
            raise ValueError(f"{attribute.name} must be a number from {minimum:g} on: {value!r}")

    return check


def _whole(_: object, attribute: Attribute[int], value: int) -> None:
    check_whole(attribute.name, value)


def _strategy_of(kind: type[wait_base | stop_base]) -> Callable[[Any, Attribute[Any], Any], None]:
    """Make an attrs validator: `None`, a strategy of this kind, or any callable like one."""
    other = stop_base if kind is wait_base else wait_base

    def check(_: Any, attribute: Attribute[Any], value: Any) -> None:
        if value is None:
            return
        name, usual = attribute.name, kind.__name__.removesuffix("_base")
        if (
            not callable(value)
            or isinstance(value, other | type)
            or is_async(value)
            or mismatch_of(value, "a RetryCallState")
        ):
            raise TypeError(
                f"{name} must be a {usual} strategy of tenacity's, such as "
                f"{_EXAMPLES[name]}, or a plain function of a RetryCallState: {value!r}"
            )

    return check


_EXAMPLES: Final = {"wait": "wait_fixed(5)", "stop": "stop_after_attempt(10)"}


class _Scaled(wait_base):
    """Scales what another strategy returns by a random factor, and caps the product."""

    def __init__(self, wait: WaitBaseT, low: float, high: float, maximum: float) -> None:
        self.wait, self.low, self.high, self.maximum = wait, low, high, maximum

    def __call__(self, retry_state: RetryCallState) -> float:
        factor = random.uniform(self.low, self.high)  # noqa: S311 - jitter
        return min(self.wait(retry_state) * factor, self.maximum)


def _refuse_both(policy: Any, *numbers: str) -> None:
    """Raise a `ValueError` for a strategy beside a number that it takes the place of.

    A number at its default counts as not given, so that `attrs.evolve` works.
    """
    if policy.wait is None:
        return
    defaults = fields_dict(type(policy))
    if both := [name for name in numbers if getattr(policy, name) != defaults[name].default]:
        raise ValueError(f"Pass either wait or {' and '.join(both)}: wait takes their place.")


def _broken(strategy: object, purpose: str, error: BaseException) -> ConfigurationError:
    """Make the error for a strategy that raised, perhaps what it was shown."""
    raised = traceback.format_exception_only(error)[0].strip()
    if isinstance(error, SMSPartnerError):
        raised = f"{type(error).__name__}: {error.problem}"
    return ConfigurationError(
        f"The {purpose} strategy {_name(strategy)} raised {raised.removesuffix('.')}. {_MEANING}"
    )


# A strategy is a plain function: no cancellation of the task arrives in it.
_RAISED: Final = (Exception, asyncio.CancelledError)


def _plain(returned: Any) -> Any:
    """Let what a strategy returned through, unless it would have to be awaited."""
    if not inspect.isawaitable(returned):
        return returned
    if inspect.iscoroutine(returned):
        returned.close()  # or Python warns that it was never awaited
    raise TypeError("it returned an awaitable, and has to be a plain function")


def _delay(strategy: WaitBaseT, state: RetryCallState, minimum: float) -> float:
    try:
        delay = _plain(strategy(state))
    except _RAISED as error:
        raise _broken(strategy, "wait", error) from error
    if not is_number(delay) or not abs(delay) <= sys.float_info.max:
        raise ConfigurationError(
            f"The wait strategy {_name(strategy)} returned {reprlib.repr(delay)}, which is not a "
            f"finite number of seconds. {_MEANING}"
        )
    return max(delay, minimum)


_MEANING: Final = "Nothing more was sent. Correct the strategy in the policy."


def _name(strategy: Any) -> str:
    return getattr(strategy, "__qualname__", None) or type(strategy).__qualname__


@frozen(kw_only=True)
class RetryPolicy:
    """How one request is retried where that is safe. `rent` and `download` are stricter.

    The delay doubles with each attempt, and is shortened by up to a half at random, so that many
    clients do not come back together. Or it is what a strategy of tenacity's returns:

        >>> from tenacity import wait_fixed
        >>> policy = RetryPolicy(attempts=3, wait=wait_fixed(2))

    Args:
        attempts: how often a request is sent at most, the first time included; from 1 on.
        first_delay: seconds before the second attempt; from 0 on.
        max_delay: seconds; no delay is longer, unless the vendor asks for more; from 0 on.
        wait: a wait strategy of tenacity's, a sum or chain of them, or a function that takes a
            `RetryCallState` and returns seconds. It takes the place of `first_delay` and
            `max_delay`; a `Retry-After` is still the least delay.

    Raises:
        ValueError: a number out of its range, NaN or infinite; or `wait` beside a number that it
            takes the place of.
        TypeError: `wait` is no strategy.
    """

    attempts: int = field(default=4, validator=_whole)
    first_delay: float = field(default=0.5, validator=at_least(0))
    max_delay: float = field(default=8.0, validator=at_least(0))
    wait: WaitBaseT | None = field(default=None, validator=_strategy_of(wait_base))

    def __attrs_post_init__(self) -> None:
        _refuse_both(self, "first_delay", "max_delay")

    @cached_property
    def _strategy(self) -> WaitBaseT:
        if self.wait is not None:
            return self.wait
        backoff = wait_exponential(multiplier=self.first_delay, max=self.max_delay)
        return _Scaled(backoff, 0.5, 1.0, self.max_delay)

    def delay(self, state: RetryCallState) -> float:
        """Return the seconds to wait after the attempt that `state` describes.

        A `Retry-After` that came with its error is the least of it.

        Raises:
            ConfigurationError: the strategy raised, or returned no finite number.
        """
        error = state.outcome.exception() if state.outcome is not None else None
        return _delay(self._strategy, state, minimum=wait_asked_by(error) or 0.0)


LONGEST_PAUSE: Final = 3600.0
"""Seconds. One absurd `Retry-After` must not put a client to sleep for the rest of its life."""


def wait_asked_by(error: object) -> float | None:
    """Return the seconds of `Retry-After` that an error came with."""
    return error.retry_after if isinstance(error, APIError | ResponseError) else None


class Default(Enum):
    """Stands for a value that was not given."""

    POLICY = "the polling policy's timeout"


@frozen(kw_only=True)
class PollingPolicy:
    """How `wait_until_ready` and `watch` poll.

    By default the interval grows by `multiplier` from one check to the next, with jitter. `wait`
    and `stop` take any strategy of tenacity's in place of that:

        >>> from tenacity import (
        ...     stop_after_attempt, wait_chain, wait_exponential_jitter, wait_fixed, wait_random)

        Exponential, with up to 3 s of jitter:

        >>> exponential = PollingPolicy(wait=wait_exponential_jitter(max=60, jitter=3))

        A chain: twice after 5 s, and from then on every minute:

        >>> chain = PollingPolicy(wait=wait_chain(wait_fixed(5), wait_fixed(5), wait_fixed(60)))

        A fixed interval, with a random part added:

        >>> fixed_plus_random = PollingPolicy(wait=wait_fixed(10) + wait_random(0, 2))

        By the age of the wait: every 5 s for ten minutes, then every minute:

        >>> def by_age(state):
        ...     return 5 if state.seconds_since_start < 600 else 60
        >>> patient = PollingPolicy(wait=by_age, timeout=None)

        At most 20 checks:

        >>> limited = PollingPolicy(stop=stop_after_attempt(20))

    A strategy sees a `tenacity.RetryCallState`: `attempt_number`, `outcome` (its `result()` is the
    status, its `exception()` the error), `start_time`, `outcome_timestamp` and
    `seconds_since_start` by the event loop's clock, `idle_for`, and, for `stop`, `upcoming_sleep`.
    There is one for each wait, in which these are set anew after each check.

    Args:
        first_interval: seconds between the first two checks; from 0.001 on.
        max_interval: seconds; no interval is longer, with its jitter; from 0.001 on.
        multiplier: by which the interval grows from one check to the next; from 1 on.
        jitter: fraction by which an interval may be longer or shorter at random; 0 to 1.
        timeout: seconds after which a wait gives up; 0 is exactly one check, `None` is endless. It
            bounds a wait whatever the strategies say: a last check is made shortly before it.
        max_consecutive_errors: failed checks in a row after which the last error is raised; from 1
            on.
        wait: a wait strategy of tenacity's, a sum or chain of them, or a function that takes a
            `RetryCallState` and returns seconds. It takes the place of the first four numbers. Two
            checks are never less than 1 ms apart, and a `Retry-After`, of which no more than an
            hour is waited for, is the least interval.
        stop: a stop strategy of tenacity's, or a function that takes a `RetryCallState` and returns
            whether to give up. It is asked after each check that finds no end; the wait then
            raises a `WaitTimeoutError`.

    Raises:
        ValueError: a number out of its range, NaN or infinite; or `wait` beside a number that it
            takes the place of.
        TypeError: `wait` or `stop` is no strategy.
    """

    first_interval: float = field(default=2.0, validator=at_least(_SHORTEST_INTERVAL))
    max_interval: float = field(default=30.0, validator=at_least(_SHORTEST_INTERVAL))
    multiplier: float = field(default=1.4, validator=at_least(1))
    jitter: float = field(default=0.2, validator=at_least(0))
    timeout: float | None = field(default=900.0)
    max_consecutive_errors: int = field(default=10, validator=_whole)
    wait: WaitBaseT | None = field(default=None, validator=_strategy_of(wait_base))
    stop: StopBaseT | None = field(default=None, validator=_strategy_of(stop_base))

    def __attrs_post_init__(self) -> None:
        checked_timeout(self.timeout)
        if self.jitter > 1:
            raise ValueError(f"jitter must be a number from 0 to 1: {self.jitter!r}")
        _refuse_both(self, "first_interval", "max_interval", "multiplier", "jitter")

    @cached_property
    def _strategy(self) -> WaitBaseT:
        if self.wait is not None:
            return self.wait
        backoff = wait_exponential(
            multiplier=self.first_interval,
            max=self.max_interval,
            exp_base=float(self.multiplier),  # a power of an int may have a million digits
        )
        return _Scaled(backoff, 1 - self.jitter, 1 + self.jitter, self.max_interval)

    def interval(self, checks: int) -> float:
        """Return the seconds between check number `checks`, from 1 on, and the next one.

        The strategy sees the number of the check alone: no outcome, and no time since the start.

        >>> [round(PollingPolicy(jitter=0).interval(checks), 2) for checks in (1, 2, 3)]
        [2.0, 2.8, 3.92]

        Raises:
            ConfigurationError: the strategy raised, or returned no finite number.
        """
        return self.delay(PollState(checks))

    def delay(self, state: RetryCallState) -> float:
        """Return the seconds to wait after the check that `state` describes; at least 0.001.

        Raises:
            ConfigurationError: the strategy raised, or returned no finite number.
        """
        return _delay(self._strategy, state, minimum=_SHORTEST_INTERVAL)

    def stops(self, state: RetryCallState) -> bool:
        """Return whether `stop` gives up after the check that `state` describes.

        Raises:
            ConfigurationError: the strategy raised.
        """
        if self.stop is None:
            return False
        try:
            return bool(_plain(self.stop(state)))
        except _RAISED as error:
            raise _broken(self.stop, "stop", error) from error


_RETRYING: Final = AsyncRetrying()  # not run: a RetryCallState has to name one
_NO_KWARGS: Final[dict[str, Any]] = {}


class PollState(RetryCallState):
    """What a strategy sees of a wait; one is kept for the whole of it.

    Its times are the event loop's. `outcome` costs a future, so it is made when it is looked at.
    """

    found: RentalStatus | SMSPartnerError | None
    """What the last check came to."""

    def __init__(self, attempt_number: int = 0, start_time: float = 0.0) -> None:
        self.found = None
        self._outcome: Future | None = None
        super().__init__(_RETRYING, None, (), _NO_KWARGS)
        self.attempt_number = attempt_number
        self.start_time = start_time

    def record(self, found: RentalStatus | SMSPartnerError, now: float) -> None:
        """Take in what a check has found at loop time `now`."""
        self.found, self.outcome_timestamp, self._outcome = found, now, None

    @property
    def outcome(self) -> Future | None:
        """The last check, as tenacity's strategies expect it: its status, or its error."""
        if self._outcome is None and self.found is not None:
            failed = isinstance(self.found, Exception)
            self._outcome = Future.construct(self.attempt_number, self.found, failed)
        return self._outcome

    @outcome.setter  # tenacity's own is an attribute
    def outcome(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, outcome: Future | None
    ) -> None:
        self._outcome = outcome


def checked_timeout(timeout: float | None) -> float | None:
    """Return a timeout that is `None` (endless) or a finite number from 0 on.

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
