"""Errors as problems: every one of them, with the status to send."""

from __future__ import annotations

import json

import pytest

from smspartner_async import (
    RateLimitError,
    SMSPartnerError,
    TargetingError,
)
from smspartner_async.web import problem
from tests.modules.test_errors import ERRORS


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_a_problem(error: SMSPartnerError) -> None:
    """Each public error has the members of RFC 9457, in JSON, and a status that is an error's."""
    described = json.loads(json.dumps(problem(error)))
    assert described["type"] == f"urn:smspartner-async:{type(error).__name__}"
    assert described["title"] == type(error).__name__
    assert described["detail"] == str(error)
    assert described["status"] == STATUSES.get(type(error).__name__, 502)


STATUSES = {
    "TargetingError": 422,
    "InvalidRequestError": 422,
    "RentOutcomeUnknownError": 409,
    "PriceExceededError": 409,
    "FileNotReadyError": 409,
    "InsufficientCreditError": 402,
    "RentalNotFoundError": 404,
    "AlreadyDownloadedError": 410,
    "RentalFailedError": 410,
    "RateLimitError": 503,
    "ConfigurationError": 503,
    "WaitTimeoutError": 504,
}


def test_a_problem_names_bad_fields_and_the_time_to_wait() -> None:
    """What a form or a program can use is not in the text alone."""
    fields = problem(TargetingError((("min_age", "is wrong"),)))["errors"]
    assert fields == [{"field": "min_age", "detail": "is wrong"}]
    limited = RateLimitError(
        code=None, message="", http_status=429, operation="rent", retry_after=2.5
    )
    assert problem(limited)["retry_after"] == 2.5
