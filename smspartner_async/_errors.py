"""The one exception tree, and which of the vendor's error codes is which class.

Every error says what happened, what it means for the user's money or file, and what to do next.
None holds the API key or a phone number: text that comes from the vendor is cleaned before it gets
here. All of them survive pickling, whatever their constructor takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from attrs import evolve

from ._codes import CODE_MEANINGS
from ._money import written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from ._models import Quote, RentalStatus, Targeting


def _rebuild(cls: type[SMSPartnerError], args: tuple[Any, ...]) -> SMSPartnerError:
    """Make an unpickled error without calling its own constructor."""
    return cls.__new__(cls, *args)


class SMSPartnerError(Exception):
    """The root: `except SMSPartnerError` catches everything that this package raises on its own.

    Attributes:
        advice: what to do next, where that is the same for all errors of a class.
    """

    advice: ClassVar[str] = ""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls `cls(*args)`, which fails for keyword-only constructors. The
        # vendor's payload of a model stays behind: it may hold anything, and errors travel far.
        state = {
            name: evolve(value, raw=None) if hasattr(value, "raw") else value
            for name, value in self.__dict__.items()
        }
        return _rebuild, (type(self), self.args), state


class ConfigurationError(SMSPartnerError, ValueError):
    """The client cannot be used as it is: a blank key, an unsafe base URL, closed. Nothing sent."""

    advice = "Correct what the message names."


class TargetingError(SMSPartnerError, ValueError):
    """A targeting or its volumes cannot be right. Nothing was sent.

    Attributes:
        problems: every bad field at once, as pairs of field name and what is wrong with it.
    """

    advice = "Correct the fields that the message names."

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        listed = "; ".join(f"{field}: {problem}" for field, problem in problems)
        super().__init__(f"This targeting cannot be sent. {listed}.")
        self.problems = problems


class APIError(SMSPartnerError):
    """The vendor understood the request and said no.

    Raised as this class itself when the vendor's code is not one that its manual documents.

    Attributes:
        code: the vendor's error code; `None` where the reply gave none.
        message: the vendor's own words (often French), with secrets and phone numbers removed.
        http_status: the HTTP status that the error came with (undocumented by the vendor).
        operation: what was asked: calculate, price, rent, status, download or credits.
        retry_after: seconds that the vendor asked to wait, where it did.
    """

    advice = "Look the code up in the vendor's manual, or ask its support."

    def __init__(
        self,
        *,
        code: int | None,
        message: str,
        http_status: int,
        operation: str,
        retry_after: float | None = None,
    ) -> None:
        meaning = CODE_MEANINGS.get(code, "no reason that its manual documents") if code else ""
        reason = f"code {code}, {meaning}" if code else "no error code"
        words = f" The vendor's words: {message!r}." if message else ""
        super().__init__(
            f"SMS Partner refused to {_VERBS.get(operation, operation)} "
            f"({reason}; HTTP {http_status}).{words} {self.advice}"
        )
        self.code = code
        self.message = message
        self.http_status = http_status
        self.operation = operation
        self.retry_after = retry_after


class AuthenticationError(APIError):
    """The API key is missing or wrong (codes 1, 10)."""

    advice = "Check the API key (SMSPARTNER_API_KEY); nothing was charged."


class AccessDeniedError(APIError):
    """The account or this machine may not do this (codes 6, 20, 30, 40, 96)."""

    advice = (
        "Ask the vendor's support to open the account, the API or this machine's address; "
        "nothing was charged."
    )


class InvalidRequestError(APIError):
    """The vendor did not accept the request's fields (codes 3-5, 7-9, 12-28, 31, 61, 90)."""

    advice = "Correct the targeting or its volumes; nothing was charged."


class InsufficientCreditError(APIError):
    """The account's balance does not cover the rental (code 11)."""

    advice = "Add credit to the account, or rent less; nothing was charged."


class RentalNotFoundError(APIError):
    """The vendor does not know this rental, or has no file for it (codes 32, 33)."""

    advice = "Check the token, and that it belongs to the account of this API key."


class FileNotReadyError(APIError):
    """The file is in use: being downloaded by somebody else right now (code 35)."""

    advice = "Wait and try again; wait_until_ready() tells when the file can be had."


class RateLimitError(APIError):
    """Too many requests (HTTP 429). The vendor did nothing with this one; nothing was charged.

    Attributes:
        retry_after: seconds to wait before the next request; `None` where the vendor gave none.
    """

    advice = "Wait before asking again, or set max_requests_per_minute on the client."


class TransportError(SMSPartnerError):
    """No whole reply came: the network, TLS or a timeout was in the way.

    For a rent it is certain that nothing was charged: all else is a `RentOutcomeUnknownError`.

    Attributes:
        maybe_sent: `False` only where it is certain that no byte of the request left.
        reply_began: `False` only where it is certain that no byte of a reply came.
    """

    advice = "Check the network, base_url and any proxy, then try again."

    def __init__(self, message: str, *, maybe_sent: bool, reply_began: bool = True) -> None:
        fate = (
            "The vendor may have received the request."
            if maybe_sent
            else "Nothing was sent, so it is safe to try again."
        )
        super().__init__(f"{message} {fate}")
        self.maybe_sent = maybe_sent
        self.reply_began: bool = maybe_sent and reply_began


class ResponseError(SMSPartnerError):
    """A reply came that is not the vendor's: HTML, cut or foreign JSON, or far too large.

    Attributes:
        operation: what was asked.
        http_status: the reply's HTTP status.
        excerpt: the beginning of the reply, shortened, with secrets and phone numbers removed.
        retry_after: seconds that the reply asked to wait, where it did.
    """

    advice = "Check base_url and any proxy in between, then try again."

    def __init__(
        self,
        problem: str,
        *,
        operation: str,
        http_status: int,
        excerpt: str = "",
        retry_after: float | None = None,
    ) -> None:
        shown = f" It begins: {excerpt!r}." if excerpt else ""
        super().__init__(
            f"The reply to {operation} (HTTP {http_status}) is not one of SMS Partner's: "
            f"{problem}.{shown} {self.advice}"
        )
        self.operation = operation
        self.http_status = http_status
        self.excerpt = excerpt
        self.retry_after = retry_after


class RentOutcomeUnknownError(SMSPartnerError):
    """A rent was sent and its outcome is not known: it may have been charged.

    It is never sent again on its own.

    Attributes:
        targeting: what was asked for.
        volumes: the volumes asked for, or `None`.
        sent_at: when the request was made (aware, UTC).
        cause: what went wrong; also the error's `__cause__`.
    """

    advice = (
        "Before you rent again, compare credits() with the balance from before, or look for the "
        "rental in the vendor's web interface."
    )

    def __init__(
        self,
        *,
        targeting: Targeting,
        volumes: Mapping[str, int] | None,
        sent_at: datetime,
        cause: SMSPartnerError,
    ) -> None:
        super().__init__(
            f"A rental requested at {sent_at:%Y-%m-%d %H:%M:%S} UTC may have been charged: {cause} "
            f"It is not sent again. {self.advice}"
        )
        self.targeting = targeting
        self.volumes = volumes
        self.sent_at = sent_at
        self.cause = cause
        self.__cause__: BaseException | None = cause


class PriceExceededError(SMSPartnerError):
    """The price is above `max_total`, or could not be learnt. Nothing was rented or charged.

    Attributes:
        quote: the vendor's quote; `None` where it could not be read.
        max_total: the limit that was given.
    """

    advice = "Raise max_total or ask for fewer contacts (volumes)."

    def __init__(self, *, quote: Quote | None, max_total: Decimal) -> None:
        total = quote.cost.total if quote is not None and quote.cost is not None else None
        price = "The vendor gave no total price"
        if total is not None:
            price = f"The price is {written(total)}"
        limit = written(max_total)
        super().__init__(
            f"{price}; the limit is {limit}. Nothing was rented or charged. {self.advice}"
        )
        self.quote = quote
        self.max_total = max_total


class RentalFailedError(SMSPartnerError):
    """The vendor could not make the file of this rental (state 3, or code 36).

    Whether a failed rental is paid back is undocumented by the vendor.

    Attributes:
        token: the rental.
        status: its status, where a status told of the failure.
        code: the vendor's error code, where an error told of it.
    """

    advice = "Compare credits() and ask the vendor's support, naming the token."

    def __init__(
        self, *, token: str, status: RentalStatus | None = None, code: int | None = None
    ) -> None:
        super().__init__(
            f"Rental {token} failed: the vendor made no file. Whether it is paid back is not "
            f"documented: {self.advice[:1].lower()}{self.advice[1:]}"
        )
        self.token = token
        self.status = status
        self.code = code


class AlreadyDownloadedError(SMSPartnerError):
    """The file was downloaded before, and the vendor may serve it only once (state 5, code 34).

    Attributes:
        token: the rental.
        status: its status, where a status told of it.
        code: the vendor's error code, where an error told of it.
    """

    advice = (
        "Look for it (and for a .part file) where the earlier download put it; the vendor's "
        "support may serve it again."
    )

    def __init__(
        self, *, token: str, status: RentalStatus | None = None, code: int | None = None
    ) -> None:
        super().__init__(f"The file of rental {token} was downloaded before. {self.advice}")
        self.token = token
        self.status = status
        self.code = code


class WaitTimeoutError(SMSPartnerError, TimeoutError):
    """The rental was not ready in time. It goes on at the vendor's, and nothing is lost.

    Attributes:
        token: the rental, for another `wait_until_ready(token)`.
        last_status: the last status seen, or `None`.
        elapsed: seconds waited.
        attempts: how often the vendor was asked.
    """

    advice = "Go on with wait_until_ready() and the same token."

    def __init__(
        self,
        *,
        token: str,
        last_status: RentalStatus | None,
        elapsed: float,
        attempts: int,
        reason: str = "",
    ) -> None:
        state = None if last_status is None else last_status.state.name
        seen = f"last seen: {state}" if state else "no status was seen"
        super().__init__(
            f"Rental {token} was not ready after {elapsed:.1f} s and {attempts} checks ({seen}). "
            f"{reason}It goes on at the vendor's: call wait_until_ready({token!r}) again."
        )
        self.token = token
        self.last_status = last_status
        self.elapsed = elapsed
        self.attempts = attempts


class DownloadInterruptedError(SMSPartnerError):
    """A download broke off. What arrived was kept.

    Attributes:
        path: the file that holds what arrived.
        received: bytes that arrived.
        expected: bytes that the server announced, or `None` where it did not.
    """

    advice = (
        "Try download() again; if the vendor says that the file was downloaded before, ask its "
        "support."
    )

    def __init__(
        self, problem: str, *, path: Path, received: int, expected: int | None = None
    ) -> None:
        of = "" if expected is None else f" of {expected}"
        kept = f"What arrived is kept in {path}. " if received else ""
        super().__init__(
            f"The download broke off after {received}{of} bytes: {problem} {kept}{self.advice}"
        )
        self.path = path
        self.received = received
        self.expected = expected


_VERBS: Final = {
    "credits": "tell the credits",
    "download": "give the file",
    "status": "tell the status",
}

_CLASSES: Final[dict[type[APIError], tuple[int, ...]]] = {
    AuthenticationError: (1, 10),
    AccessDeniedError: (6, 20, 30, 40, 96),
    InsufficientCreditError: (11,),
    RentalNotFoundError: (32, 33),
    FileNotReadyError: (35,),
    InvalidRequestError: (3, 4, 5, 7, 8, 9, *range(12, 20), *range(21, 29), 31, 61, 90),
}

CODE_CLASSES: Final[dict[int, type[APIError]]] = {
    code: cls for cls, codes in _CLASSES.items() for code in codes
}

# A refusal after which it is certain that nothing was rented.
REFUSALS: Final = (
    AuthenticationError,
    AccessDeniedError,
    InvalidRequestError,
    InsufficientCreditError,
    RateLimitError,
)
