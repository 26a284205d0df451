"""Errors as problems of RFC 9457 ("problem+json"), with the HTTP status to send."""

from __future__ import annotations

from typing import Any, Final

from smspartner_async._errors import (
    AlreadyDownloadedError,
    ConfigurationError,
    FileNotReadyError,
    InsufficientCreditError,
    InvalidRequestError,
    PriceExceededError,
    RateLimitError,
    RentalFailedError,
    RentalNotFoundError,
    RentOutcomeUnknownError,
    SMSPartnerError,
    TargetingError,
    WaitTimeoutError,
)

# All others are 502: the vendor, or the network in between, failed. A wrong API key is no 401,
# since it is not the caller's.
_STATUSES: Final[dict[type[SMSPartnerError], int]] = {
    TargetingError: 422,
    InvalidRequestError: 422,
    # Proxies and clients send a request again after a 5xx, and this one must not be.
    RentOutcomeUnknownError: 409,
    PriceExceededError: 409,
    FileNotReadyError: 409,
    InsufficientCreditError: 402,
    RentalNotFoundError: 404,
    AlreadyDownloadedError: 410,
    RentalFailedError: 410,
    RateLimitError: 503,
    ConfigurationError: 503,
    WaitTimeoutError: 504,
}


def problem(error: SMSPartnerError) -> dict[str, Any]:
    """Return an error as a problem of RFC 9457 ("problem+json"), without key or phone number.

    Its `status` is the HTTP status to send it with: 409 for an unknown outcome, so that no proxy
    sends the rent again; 503 with `retry_after` (seconds, where known) for a 429; 502 for a failure
    of the vendor or of the service, such as a wrong API key. A `TargetingError` lists its bad
    fields as `errors`. `type` and `title` name the error's class.

    >>> problem(TargetingError((("max_age", "is below min_age"),)))["status"]
    422
    """
    name = type(error).__name__
    described: dict[str, Any] = {
        "type": f"urn:smspartner-async:{name}",
        "title": name,
        "status": next((code for cls, code in _STATUSES.items() if isinstance(error, cls)), 502),
        "detail": str(error),
    }
    if isinstance(error, TargetingError):
        described["errors"] = [{"field": field, "detail": text} for field, text in error.problems]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        described["retry_after"] = retry_after
    return described
