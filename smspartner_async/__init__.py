"""Async client for SMS Partner's contact rental.

To pytest, which may find it imported before its own start: PYTEST_DONT_REWRITE.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from ._http.exchange import Exchange
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
    from ._operations.status_poller import PollEvent
    from ._policies import Default, PollingPolicy, RetryPolicy
    from ._validation import HasToken

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
    "Default",
    "DownloadInterruptedError",
    "Exchange",
    "FileNotReadyError",
    "Gender",
    "HasToken",
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

__version__ = "0.2.0"

if not TYPE_CHECKING:  # so that to a type checker a misspelt name is an error
    _HOMES = {
        "Default": "_policies",
        "Exchange": "_http.exchange",
        "HasToken": "_validation",
        "PollEvent": "_operations.status_poller",
        "PollingPolicy": "_policies",
        "RetryPolicy": "_policies",
        "SMSPartnerClient": "_client",
    }

    def __getattr__(name: str) -> object:
        """Import what is asked for: pytest loads the plugin in this package in every run."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - as said above

        home = _HOMES.get(name) or ("_errors" if name.endswith("Error") else "_models")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
