"""Async client for SMS Partner's contact rental.

To pytest, which may find it imported before its own start: PYTEST_DONT_REWRITE.
"""

from ._client import SMSPartnerClient
from ._errors import (
    AccessDeniedError,
    AlreadyDownloadedError,
    APIError,
    AuthenticationError,
    ConfigurationError,
    DownloadInterruptedError,
    FileNotReadyError,
    InsufficientCreditError,
    InvalidRequestError,
    PriceExceededError,
    RateLimitError,
    RentalFailedError,
    RentalNotFoundError,
    RentOutcomeUnknownError,
    ResponseError,
    SMSPartnerError,
    TargetingError,
    TransportError,
    WaitTimeoutError,
)
from ._exchanges import Exchange
from ._models import (
    AreaVolume,
    ContactFile,
    Cost,
    Credits,
    Gender,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    RentedTargeting,
    SocioProfessionalCategory,
    Targeting,
)
from ._polling import PollEvent, PollingPolicy
from ._retry import RetryPolicy

__all__ = [
    "APIError",
    "AccessDeniedError",
    "AlreadyDownloadedError",
    "AreaVolume",
    "AuthenticationError",
    "ConfigurationError",
    "ContactFile",
    "Cost",
    "Credits",
    "DownloadInterruptedError",
    "Exchange",
    "FileNotReadyError",
    "Gender",
    "InsufficientCreditError",
    "InvalidRequestError",
    "PollEvent",
    "PollingPolicy",
    "PriceExceededError",
    "Quote",
    "RateLimitError",
    "RentOutcomeUnknownError",
    "Rental",
    "RentalFailedError",
    "RentalNotFoundError",
    "RentalState",
    "RentalStatus",
    "RentedTargeting",
    "ResponseError",
    "RetryPolicy",
    "SMSPartnerClient",
    "SMSPartnerError",
    "SocioProfessionalCategory",
    "Targeting",
    "TargetingError",
    "TransportError",
    "WaitTimeoutError",
]
