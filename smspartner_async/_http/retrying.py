"""Send a request again: which errors allow it, and tenacity's loop."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import stop_after_attempt

from smspartner_async._errors import APIError, RateLimitError, ResponseError, TransportError
from smspartner_async._log import log, log_fields, subject
from smspartner_async._policies import call_again

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

    from smspartner_async._policies import RetryPolicy
    from smspartner_async._wire.codec import Request

_T = TypeVar("_T")

_REQUEST_TIMEOUT: Final = 408
_SERVER_ERRORS: Final = range(500, 600)


def is_passing(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later: the network, 408, 429, 5xx.

    A documented error code is final, whatever the HTTP status.
    """
    if isinstance(error, RateLimitError | TransportError):
        return True
    if isinstance(error, ResponseError) or type(error) is APIError:
        return error.http_status == _REQUEST_TIMEOUT or error.http_status in _SERVER_ERRORS
    return False


async def try_again(
    failure: Exception,
    attempt: Callable[[int], Awaitable[_T]],
    policy: RetryPolicy,
    *,
    may_repeat: Callable[[BaseException], bool],
    sleep: Callable[[float], Awaitable[None]],
    before_sleep: Callable[[RetryCallState], None],
) -> _T:
    """Repeat an exchange whose first attempt raised `failure`, and return its result.

    Attempts, which are given their number, are made until one succeeds, fails for good, or was the
    last that `policy` allows. Its error is raised as it is; `before_sleep` is called after others.
    """
    numbers = itertools.count(2)
    return await call_again(
        failure,
        lambda: attempt(next(numbers)),
        retry=may_repeat,
        stop=stop_after_attempt(policy.attempts),
        wait=policy.delay,
        sleep=sleep,
        before_sleep=before_sleep,
    )


def log_retry(request: Request, state: RetryCallState) -> None:
    """Log that a request failed and will be sent once more."""
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning(
        "%s: attempt %d failed, the next one is in %.1f s: %s",
        subject(request.operation, request.token),
        state.attempt_number,
        state.upcoming_sleep,
        error,
        extra=log_fields(
            request.operation,
            request.token,
            attempt=state.attempt_number,
            delay=state.upcoming_sleep,
            http_status=getattr(error, "http_status", None),
        ),
    )
