"""What can be known wrong before anything is sent: keys, URLs, tokens, limits. Pure."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Protocol, TypeGuard

from yarl import URL

from ._errors import ConfigurationError, PriceExceededError

if TYPE_CHECKING:
    from ._models import Quote

BASE_URL: Final = "https://api.smspartner.fr/v1"
KEY_VARIABLE: Final = "SMSPARTNER_API_KEY"
URL_VARIABLE: Final = "SMSPARTNER_BASE_URL"


class HasToken(Protocol):
    """Anything that knows its rental, such as a `Rental` or a `RentalStatus`."""

    @property
    def token(self) -> str:
        """The rental's token."""
        ...


def check_positive(name: str, value: float) -> None:
    """Refuse anything but a finite number above 0 with a `ValueError`."""
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0: {value!r}")


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an int or a float; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def cancel_requests() -> int:
    """How often somebody asked the running task to end.

    It tells a cancellation of the task from one of what a callback waited for, which looks alike.
    """
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def checked_key(given: object) -> str:
    """Let a key, or the environment's, through without the blanks around it.

    Raises:
        ConfigurationError: it is no text, blank, or garbled; the key is not shown.
    """
    key = os.environ.get(KEY_VARIABLE, "") if given is None else given
    if not isinstance(key, str):
        raise ConfigurationError(f"The API key must be text, not {type(key).__name__}.")
    key = key.strip()
    if not key:
        raise ConfigurationError(
            f"There is no API key. Pass api_key, or set {KEY_VARIABLE} in the environment."
        )
    if not key.isprintable() or " " in key:
        raise ConfigurationError(
            "The API key holds a space or a control character; copy it again from the vendor's "
            "web interface."
        )
    return key


def checked_url(given: object) -> str:
    """Let a base URL, the environment's, or the vendor's through, without a slash at its end.

    Raises:
        ConfigurationError: the key must not be sent there; what is wrong is told, not shown.
    """
    text = (os.environ.get(URL_VARIABLE) or BASE_URL) if given is None else given
    try:
        url = URL(text.strip() if isinstance(text, str) else "")
    except (ValueError, TypeError):
        raise ConfigurationError("base_url is not a URL.") from None
    host = url.host or ""
    if url.scheme not in ("http", "https") or not host or " " in host:
        raise ConfigurationError("base_url must begin with https:// and a host name.")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ConfigurationError("base_url must be scheme, host and path, and nothing else.")
    if url.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(
            f"base_url must begin with https://: over http:// to {host} everybody in between could "
            "read the API key. Only this machine (localhost) may be reached without TLS."
        )
    return str(url).rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_limit(max_total: object) -> Decimal:
    """Let an exact, finite amount from 0 on through; else `TypeError` or `ValueError`."""
    if isinstance(max_total, bool) or not isinstance(max_total, Decimal | int):
        raise TypeError(f"max_total must be a Decimal, which is exact, not {max_total!r}")
    limit = Decimal(max_total)
    if not limit.is_finite() or limit < 0:
        raise ValueError(f"max_total must be a number from 0 on: {max_total!r}")
    return limit


def check_price(quote: Quote, max_total: Decimal) -> None:
    """Raise `PriceExceededError` for a quote above `max_total`, or one that is no price."""
    total = quote.cost.total if quote.cost is not None else None
    if total is None or not 0 <= total <= max_total:
        raise PriceExceededError(quote=quote, max_total=max_total)


def checked_token(token: str | HasToken) -> str:
    """Take the token out of whatever holds it; else `TypeError` or `ValueError`."""
    text: object = token if isinstance(token, str) else getattr(token, "token", None)
    if not isinstance(text, str):
        raise TypeError(f"token must be text, or have a token, not {type(token).__name__}")
    if not text.strip() or not text.isprintable():
        raise ValueError("The token is blank or not printable; pass the one that rent() returned.")
    return text.strip()
