"""Send a request again: which errors allow it, and tenacity's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from tenacity import AsyncRetrying, retry_if_exception

from smspartner_async._errors import APIError, RateLimitError, ResponseError, TransportError
from smspartner_async._log import log, log_fields, subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

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


async def call_until(
    call: Callable[[], Awaitable[_T]],
    *,
    retry: Callable[[BaseException], bool],
    failure: Exception | None = None,
    **options: Any,
) -> _T:
    """Call until it succeeds, or as long as tenacity's `options` say, and return the result.

    The first call, of which `failure` may be known already, is made without tenacity, whose objects
    only the garbage collector frees: it is nearly always the only one. `retry` is asked about each
    error; the last one is raised as it is.
    """
    try:
        if failure is None:
            return await call()
    except Exception as error:
        if not retry(error):
            raise
        failure = error
    failures = [failure]

    async def next_call() -> _T:
        if failures:
            raise failures.pop()
        return await call()

    return await AsyncRetrying(retry=retry_if_exception(retry), reraise=True, **options)(next_call)


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
