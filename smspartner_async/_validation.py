"""Checks of arguments before anything is sent: keys, URLs, tokens, limits. Pure."""

from __future__ import annotations

import inspect
import ipaddress
import math
import os
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeGuard

from yarl import URL

from ._errors import ConfigurationError, PriceExceededError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._models import Quote

BASE_URL: Final = "https://api.smspartner.fr/v1"
_GENERATORS: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
KEY_VARIABLE: Final = "SMSPARTNER_API_KEY"
RENT_ADVICE: Final = "pass the token that rent() returned"
KEY_ADVICE: Final = f"Pass api_key, or set {KEY_VARIABLE} in the environment."
URL_VARIABLE: Final = "SMSPARTNER_BASE_URL"


class HasToken(Protocol):
    """Anything with the token of a rental, such as a `Rental` or a `RentalStatus`."""

    @property
    def token(self) -> str:
        """The rental's token."""
        ...


def check_positive(name: str, value: float) -> None:
    """Refuse anything but a finite number above 0 with a `ValueError`."""
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number above 0: {value!r}")


def check_whole(name: str, value: object) -> None:
    """Refuse anything but a whole number from 1 on with a `ValueError`."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be a whole number from 1 on: {value!r}")


def check_type(name: str, value: object, kind: type, *, hint: str = "") -> None:
    """Refuse anything but a `kind` with a `TypeError`; `hint` says what to pass."""
    if not isinstance(value, kind):
        wrong = f"{name} must be of type {kind.__name__}, not {_described(value)}."
        raise TypeError(f"{wrong} {hint}".rstrip())


def check_callback(
    name: str, callback: object, *arguments: str, kinds: str = "plain or async"
) -> None:
    """Refuse a callback that cannot be called with `arguments`; `None` stands for no callback.

    A mistake that showed at its first call, after a rent was paid, would lose the token.

    Args:
        name: of the parameter.
        callback: what was given.
        arguments: what it is called with, in words.
        kinds: "plain" where nothing awaits what it returns.

    Raises:
        TypeError: it cannot be called, takes other arguments, is async where nothing awaits it, or
            is a generator function, whose call runs nothing.
    """
    if callback is None or _takes_just(callback, len(arguments), kinds):
        return
    wanted = f"{name} must be a function ({kinds}) that takes {' and '.join(arguments)}"
    if not callable(callback):
        called = inspect.isawaitable(callback)
        raise TypeError(
            f"{wanted}, not {_described(callback)}."
            + " Pass the function itself, without calling it." * called
        )
    if inspect.isgeneratorfunction(callback) or inspect.isasyncgenfunction(callback):
        raise TypeError(f"{wanted}, and does not `yield`: calling a generator runs none of it.")
    if kinds == "plain" and is_async(callback):
        raise TypeError(f"{wanted}: nothing would await an async one.")
    if mismatch := mismatch_of(callback, *arguments):
        raise TypeError(f"{wanted}; this one does not: {mismatch}.")


def _takes_just(function: object, count: int, kinds: str) -> bool:
    """Whether it is clearly right, as nearly all are: `inspect` would cost more than a wait."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_kwonlyargcount or hasattr(function, "__signature__"):
        return False
    wrong = _GENERATORS if kinds != "plain" else _GENERATORS | inspect.CO_COROUTINE
    takes = code.co_argcount - inspect.ismethod(function)
    return bool(takes == count and not code.co_flags & wrong)


def is_async(function: object) -> bool:
    """Whether a function, or an object's call, is declared with `async`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - of an object, its method
    )


def mismatch_of(function: Callable[..., object], *arguments: object) -> str:
    """Return why a function cannot be called with `arguments`; empty where it can."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some functions written in C have no signature, such as `deque.append`. A class that has
        # none, such as `dict`, makes a value of its argument, and stores nothing.
        return f"{function.__name__} is a class" if isinstance(function, type) else ""
    try:
        signature.bind(*arguments)
    except TypeError as error:
        return str(error)
    return ""


def check_methods(name: str, value: object, kind: str, *methods: str) -> None:
    """Refuse what cannot stand in for a `kind` with a `TypeError`; a test's double can."""
    if isinstance(value, type) or not all(callable(getattr(value, one, None)) for one in methods):
        raise TypeError(f"{name} must be of type {kind}, not {_described(value)}.")


def checked_path(name: str, path: object) -> Path:
    """Return text or a path-like as a path; else `TypeError`, or `ValueError` (empty, a NUL)."""
    try:
        text = os.fspath(path)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a path: text or a pathlib.Path, not {_described(path)}.")
    if not text:
        raise ValueError(f"{name} must be a path, not empty text.")
    if "\0" in text:
        raise ValueError(f"{name} must be a path without a NUL character, not {text!r}.")
    return Path(text)


def _described(value: object) -> str:
    """Name a value's type, and not the value: it may be a key."""
    if value is None:
        return "None"
    return f"the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an int or a float; a bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def checked_key(given: object) -> str:
    """Return the given key, or the environment's, without the blanks around it.

    Raises:
        ConfigurationError: it is no text, blank, or garbled; the key is not shown.
    """
    key = os.environ.get(KEY_VARIABLE, "") if given is None else given
    if not isinstance(key, str):
        raise ConfigurationError(f"The API key must be text, not {type(key).__name__}.")
    key = key.strip()
    if not key:
        raise ConfigurationError(f"There is no API key. {KEY_ADVICE}")
    if not key.isprintable() or " " in key:
        raise ConfigurationError(
            "The API key holds a space or a control character; copy it again from the vendor's "
            "web interface."
        )
    return key


def checked_url(given: object) -> str:
    """Return the given base URL, the environment's, or the vendor's, without a slash at its end.

    Raises:
        ConfigurationError: the key must not be sent there. The message does not show the URL.
    """
    text = (os.environ.get(URL_VARIABLE) or BASE_URL) if given is None else given
    if not isinstance(text, str):
        raise ConfigurationError(f"base_url must be text, not {type(text).__name__}.")
    try:
        url = URL(text.strip())
    except (ValueError, TypeError):
        raise ConfigurationError("The base URL is no URL.") from None
    host = url.host or ""
    if url.scheme not in ("http", "https") or not host or " " in host:
        raise ConfigurationError("The base URL must begin with https:// and a host name.")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ConfigurationError("The base URL must be scheme, host and path, and nothing else.")
    if url.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(
            f"The base URL must begin with https://: over http:// to {host} everybody in between "
            "could read the API key. Only this machine (localhost) may be reached without TLS."
        )
    return str(url).rstrip("/")


def checked_proxy(proxy: str | None) -> URL | None:
    """Return the URL of an HTTP proxy. No message shows it: it may hold a password.

    Raises:
        ConfigurationError: aiohttp would refuse or silently ignore it.
    """
    if proxy is None:
        return None
    try:
        url = URL(proxy)
    except (ValueError, TypeError):
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError("proxy must begin with http:// or https:// and a host name.")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_limit(max_total: object) -> Decimal:
    """Return an exact, finite amount from 0 on; else `TypeError` or `ValueError`."""
    if isinstance(max_total, bool) or not isinstance(max_total, Decimal | int):
        raise TypeError(f"max_total must be a Decimal, which is exact, not {max_total!r}")
    limit = Decimal(max_total)
    if not limit.is_finite() or limit < 0:
        raise ValueError(f"max_total must be a number from 0 on: {max_total!r}")
    return limit


def check_price(quote: Quote, max_total: Decimal) -> None:
    """Raise `PriceExceededError` for a quote above `max_total`, or one that is no price."""
    total = quote.total
    if total is None or total > max_total:
        raise PriceExceededError(quote=quote, max_total=max_total)


def checked_token(token: str | HasToken) -> str:
    """Return the token, given itself or as an attribute; else `TypeError` or `ValueError`."""
    text: object = token if isinstance(token, str) else getattr(token, "token", None)
    if not isinstance(text, str):
        raise TypeError(f"token must be text, or have a token, not {type(token).__name__}")
    known = text.strip()
    if not known or not text.isprintable():
        hint = RENT_ADVICE
        if known and known.isprintable():
            hint = "a line break stands around it: pass token.strip()"
        raise ValueError(f"The token is blank or not printable; {hint}.")
    return known
