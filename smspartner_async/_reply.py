"""The triple at the border between I/O and everything else, and what plain HTTP says of it. Pure.

Knows HTTP and JSON, and nothing of the vendor. Whatever bytes come, a function here gives a value
or a `ValueError`, within the memory of `MAX_BODY`.
"""

from __future__ import annotations

import html
import json
import math
import re
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")
Operation = Literal["calculate", "price", "rent", "status", "download", "credits"]

MAX_BODY: Final = 2**20
"""Bytes of a reply that is not a contact file; the vendor's own are a hundredth of it."""

EXCERPT_LENGTH: Final = 200

_MAX_DIGITS: Final = 18
_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_COMPRESSED: Final = ("gzip", "x-gzip", "deflate")
_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS  # lets zlib find out whether it is gzip or deflate
_PHONE_NUMBER: Final = re.compile(r"\+?\d(?:[\s.\-()/]{0,2}\d){7,}")


class Reply(NamedTuple):
    """One whole HTTP reply."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes


def plain_body(reply: Reply) -> bytes:
    """Undo a compression that was not asked for, never into more than `MAX_BODY`.

    Raises:
        ValueError: an unknown compression, a body cut short, or one that grows too large.
    """
    coding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if coding in ("", "identity") or not reply.body:
        return reply.body
    if coding not in _COMPRESSED:
        raise ValueError(f"it is compressed as {coding[:20]!r}, which was not asked for")
    inflater = zlib.decompressobj(_EITHER_HEADER)
    try:
        body = inflater.decompress(reply.body, MAX_BODY + 1)
    except zlib.error:
        raise ValueError("its compressed body is damaged") from None
    if len(body) > MAX_BODY:
        raise ValueError(f"it is larger than {MAX_BODY} bytes once decompressed")
    if not inflater.eof:
        raise ValueError("its compressed body is cut short")
    return body


def parse_json(body: bytes) -> Any:
    """Read JSON with every fraction as a `Decimal`.

    Raises:
        ValueError: the body is not JSON.
    """
    try:
        # Characters that are not UTF-8 can only stand in texts, where a replacement does no harm.
        return json.loads(
            body.decode("utf-8-sig", "replace"),
            parse_float=Decimal,
            parse_constant=_no_such_number,
        )
    except (ValueError, ArithmeticError, RecursionError):
        raise ValueError("it is not JSON") from None


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(name)


def as_decimal(value: object) -> Decimal:
    """Read a number that comes as a number or as text.

    Raises:
        ValueError: not a number, or one of a size that no price or volume has.
    """
    number: Decimal | None = None
    if isinstance(value, str):
        text = value.strip().replace(",", ".")
        if _PLAIN_NUMBER.fullmatch(text):
            number = Decimal(text)
    elif isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value) if abs(value) < 10**_MAX_DIGITS else None
    if number is None:
        raise ValueError("not a number")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MAX_DIGITS:
        raise ValueError("not finite, or too many digits")
    return number


def as_integer(value: object) -> int:
    """Read a whole number that comes as a number or as text.

    Raises:
        ValueError: not a whole number.
    """
    number = as_decimal(value)
    if number != (whole := int(number)):
        raise ValueError("not a whole number")
    return whole


UNREADABLE: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What reading a value of an unexpected shape raises."""


def if_readable(read: Callable[[Any], _T], value: object) -> _T | None:
    """Read a field that may be missing, blank or unreadable: no reply is refused for its sake."""
    try:
        return read(value) if value not in (None, "") else None
    except UNREADABLE:
        return None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How many seconds a reply asks to wait (RFC 9110, 10.2.3): a number or an HTTP date.

    Whether the vendor sends the header is undocumented. A wait that is zero, past, negative,
    infinite or unreadable is none.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now or datetime.now(UTC))
    return seconds if 0 < seconds < math.inf else None


def _seconds_until(text: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(text)
        return (
            moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        ).timestamp() - now.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def clean(text: str, secret: str) -> str:
    """Take the secret (as it is sent, and as it may be echoed) and phone numbers out of a text."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    spellings = (
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        html.escape(secret),
    )
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, "[API key]")
    return _PHONE_NUMBER.sub("[number]", text)


def excerpt(body: bytes, secret: str) -> str:
    """Show the beginning of a body that nobody understands, with nothing secret in it."""
    text = clean(body.decode("utf-8-sig", "replace"), secret)
    return text if len(text) <= EXCERPT_LENGTH else f"{text[:EXCERPT_LENGTH]}…"
