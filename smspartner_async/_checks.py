"""What can be known wrong before anything is sent: keys, URLs, tokens, limits. Pure."""

from __future__ import annotations

import ipaddress
import math
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


def checked_key(key: str) -> str:
    """Let a key through without the blanks around it, or raise `ConfigurationError`."""
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


def checked_url(text: str) -> str:
    """Check where the key would be sent to. What is wrong with a URL is told without showing it."""
    try:
        url = URL(text.strip())
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
