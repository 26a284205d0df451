"""The one exception tree.

Every error says what happened, what it means for the user's money or file, and what to do next.
None holds the API key or a phone number: text that comes from the vendor is cleaned before it gets
here. All of them survive pickling, whatever their constructor takes.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from attrs import evolve

from ._error_codes import CODE_ADVICE, FATES, NO_PRICE_ADVICE, refusal_text, seen_token_text
from ._values.money import price_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from ._models import Quote, RentalStatus, Targeting


def _rebuild(cls: type[SMSPartnerError], args: tuple[Any, ...]) -> SMSPartnerError:
    """Make an unpickled error without calling its own constructor."""
    error = cls.__new__(cls, *args)
    error.args = args  # an OSError, as WaitTimeoutError is one, drops them
    return error


class SMSPartnerError(Exception):
    """The root of all errors of this package: `except SMSPartnerError` catches every one.

    Copies and pickles keep its text, attributes, notes and cause (as text, where need be).

    Attributes:
        advice: what to do next. Most classes have one for all of their errors.
    """

    advice: str = ""

    @property
    def problem(self) -> str:
        """What happened, without the advice: for an error that quotes this one as its cause."""
        return str(self).removesuffix(self.advice).rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls `cls(*args)`, which fails for keyword-only constructors. The
        # vendor's payload of a model stays behind: it may hold anything, and errors travel far.
        state = {
            name: evolve(value, raw=None) if hasattr(value, "raw") else value
            for name, value in self.__dict__.items()
        }
        if self.__cause__ is not None:
            state["__cause__"] = _portable(self.__cause__)
        return _rebuild, (type(self), self.args), state


def _portable(cause: BaseException) -> BaseException:
    """Return a cause as it is, or its text where it cannot be pickled."""
    if isinstance(cause, SMSPartnerError):
        return cause
    try:
        pickle.loads(pickle.dumps(cause))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever a foreign class does
        return SMSPartnerError(f"{type(cause).__name__}: {cause}")
    return cause


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
        super().__init__(f"This request cannot be sent. {listed}.")
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

    advice: str = "Look the code up in the vendor's manual, or ask its support."

    def __init__(
        self,
        *,
        code: int | None,
        message: str,
        http_status: int,
        operation: str,
        retry_after: float | None = None,
    ) -> None:
        words = f" The vendor's words: {message!r}." if message else ""
        self.advice = CODE_ADVICE.get(code, self.advice)
        if operation in {"status", "download"}:  # of a rental that is paid
            self.advice = self.advice.replace("; nothing was charged", "")
        super().__init__(f"{refusal_text(operation, code, http_status)}{words} {self.advice}")
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

    advice = "Wait and try again; wait_until_ready() returns when the file can be downloaded."


class RateLimitError(APIError):
    """Too many requests (HTTP 429). The vendor did nothing with this one; nothing was charged."""

    advice = "Wait before asking again, or set max_requests_per_minute; nothing was charged."


class TransportError(SMSPartnerError):
    """No whole reply came: the network, TLS or a timeout was in the way.

    For a rent it is certain that nothing was charged: all else is a `RentOutcomeUnknownError`.

    Attributes:
        maybe_sent: `False` only where it is certain that no byte of the request left.
        reply_began: `False` only where it is certain that no byte of a reply came.
    """

    advice = "Check the network, base_url and any proxy, then try again."

    def __init__(self, message: str, *, maybe_sent: bool, reply_began: bool = True) -> None:
        super().__init__(f"{message} {FATES[maybe_sent]}")
        self.maybe_sent = maybe_sent
        self.reply_began: bool = maybe_sent and reply_began

    @property
    def problem(self) -> str:
        """What happened, without what it means: an error that quotes this one says that itself."""
        return str(self).removesuffix(FATES[self.maybe_sent]).rstrip()


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

    The client does not send it again.

    Attributes:
        targeting: what was asked for.
        volumes: the volumes asked for, or `None`.
        sent_at: when the request was made (aware, UTC).
        cause: what went wrong; also the error's `__cause__`.
        seen_token: what looked like a token in a reply that proves nothing, or `None`. A rental
            that `status(seen_token)` knows is the rental; the vendor did not confirm it yet.
    """

    advice: str = (
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
        seen_token: str | None = None,
    ) -> None:
        self.advice = self.advice if seen_token is None else seen_token_text(seen_token)
        super().__init__(
            f"A rental requested at {sent_at:%Y-%m-%d %H:%M:%S} UTC may have been charged: "
            f"{cause.problem} It is not sent again. {self.advice}"
        )
        self.targeting = targeting
        self.volumes = volumes
        self.sent_at = sent_at
        self.cause = cause
        self.seen_token = seen_token
        self.__cause__: BaseException | None = cause


class PriceExceededError(SMSPartnerError):
    """The price is above `max_total`, or could not be learnt. Nothing was rented or charged.

    Attributes:
        quote: the vendor's quote; `None` where it could not be read.
        max_total: the limit that was given.
    """

    advice: str = "Raise max_total or ask for fewer contacts (volumes)."

    def __init__(self, *, quote: Quote | None, max_total: Decimal) -> None:
        total = None if quote is None else quote.total
        self.advice = self.advice if total is not None else NO_PRICE_ADVICE
        price = price_text(total, max_total)
        super().__init__(f"{price} Nothing was rented or charged. {self.advice}")
        self.quote = quote
        self.max_total = max_total


class RentalFailedError(SMSPartnerError):
    """The vendor could not make the file of this rental (state 3, or code 36).

    Whether a failed rental is paid back is undocumented by the vendor.

    Attributes:
        token: the rental.
        status: its status, where that was the answer; else `None`.
        code: the vendor's error code, where an error was the answer; else `None`.
    """

    advice = "Compare credits() and ask the vendor's support, naming the token."

    def __init__(
        self, *, token: str, status: RentalStatus | None = None, code: int | None = None
    ) -> None:
        super().__init__(
            f"Rental {token} failed: the vendor made no file. Whether it is paid back is not "
            f"documented. {self.advice}"
        )
        self.token = token
        self.status = status
        self.code = code


class AlreadyDownloadedError(SMSPartnerError):
    """The file was downloaded before, and the vendor may serve it only once (state 5, code 34).

    Attributes:
        token: the rental.
        status: its status, where that was the answer; else `None`.
        code: the vendor's error code, where an error was the answer; else `None`.
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
    """The rental was not ready in time. The vendor keeps working on it, and nothing is lost.

    Attributes:
        token: the rental, for another `wait_until_ready(token)`.
        last_status: the last status seen, or `None`.
        elapsed: seconds waited.
        attempts: how often the vendor was asked.
    """

    advice: str = "Call wait_until_ready() again with the same token."

    def __init__(
        self,
        *,
        token: str,
        last_status: RentalStatus | None,
        elapsed: float,
        attempts: int,
        reason: str = "",
    ) -> None:
        seen = f"last seen: {last_status.state.name}" if last_status else "no status was seen"
        checks = "1 check" if attempts == 1 else f"{attempts} checks"
        advice = f"Nothing is lost: call wait_until_ready({token!r}) again."
        super().__init__(
            f"Rental {token} was not ready after {elapsed:.1f} s and {checks} ({seen}). "
            f"{reason}{advice}"
        )
        self.advice = advice
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
