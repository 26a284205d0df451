"""The triple at the border between I/O and everything else, and what plain HTTP says of it. Pure.

Knows HTTP and JSON, and nothing of the vendor. Whatever bytes come, a function here gives a value
or a `ValueError`, within the memory of `MAX_BODY`.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from ._models import PHONE_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")
Operation = Literal["calculate", "price", "rent", "status", "download", "credits"]

MAX_BODY: Final = 2**20
"""Bytes of a reply that is not a contact file; the vendor's own are a hundredth of it."""

_SHOWN: Final = 200
"""Characters of a foreign text that an error shows."""

_MAX_DIGITS: Final = 24  # before and behind the point: room for a float, written in full
_TOO_LARGE: Final = 10**_MAX_DIGITS
_LONGEST_NUMBER: Final = 64
_PLAIN_NUMBER: Final = r"[+-]?[0-9]{1,24}(\.[0-9]{1,24})?"
_SECONDS: Final = r"[0-9]+(\.[0-9]+)?"
_COMPRESSED: Final = ("gzip", "x-gzip", "deflate")
_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS  # lets zlib find out whether it is gzip or deflate


class Reply(NamedTuple):
    """One whole HTTP reply."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes


def plain_body(reply: Reply) -> bytes:
    """Undo a compression that was not asked for, never into more than `MAX_BODY`.

    A header that the body belies is passed over, so that it costs nobody a paid token: some
    scripts put a character set there, and some proxies decompress and leave the header.

    Raises:
        ValueError: a body cut short, or one that grows too large.
    """
    encoding = reply.headers.get("Content-Encoding")
    if encoding is None or encoding.strip().lower() not in _COMPRESSED:
        return reply.body
    inflater = zlib.decompressobj(_EITHER_HEADER)
    try:
        body = inflater.decompress(reply.body, MAX_BODY + 1)
    except zlib.error:
        return reply.body
    if len(body) > MAX_BODY:
        raise ValueError(f"it is larger than {MAX_BODY} bytes once decompressed")
    if not inflater.eof:
        raise ValueError("its compressed body is cut short")
    return body


def parse_json(body: bytes) -> Any:
    """Read JSON with every fraction as a `Decimal`.

    What is no number that anybody would send (NaN, a hundred digits) is left as text: it costs
    its field, and not the whole reply.

    Raises:
        ValueError: the body is not JSON.
    """
    # Characters that are not UTF-8 can only stand in texts, where a replacement does no harm.
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip(_BLANKS)
    try:
        value, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        value, end = None, -1
    if end != len(text):
        raise ValueError("it is not JSON") from None
    return value


def _fraction(text: str) -> Decimal | str:
    try:
        return Decimal(text) if len(text) <= _LONGEST_NUMBER else text
    except ArithmeticError:  # an exponent of twenty digits
        return text


def _whole(text: str) -> int | str:
    return int(text) if len(text) <= _LONGEST_NUMBER else text


_BLANKS: Final = " \t\n\r"  # what JSON takes for blank
_JSON: Final = json.JSONDecoder(parse_float=_fraction, parse_int=_whole, parse_constant=str)


def as_decimal(value: object) -> Decimal:
    """Read a number that comes as a number or as text, in which a point parts the decimals.

    A comma is not read at all: "1,234" may be 1.234 or a thousand times that.

    Raises:
        ValueError: not a number, or one of a size that no price or volume has.
    """
    if isinstance(value, str) and re.fullmatch(_PLAIN_NUMBER, value.strip()):
        return Decimal(value.strip())  # of a size that the pattern bounds
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise ValueError("not a number")  # noqa: TRY004 - the one error of all that reads a value
    number = Decimal(value)
    # Only now, and without arithmetic: that fails on what is not finite, or not of this world.
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MAX_DIGITS:
        raise ValueError("not finite, or too many decimals")
    if number.adjusted() >= _MAX_DIGITS:
        raise ValueError("too large")
    return number


def as_integer(value: object) -> int:
    """Read a whole number that comes as a number or as text.

    Raises:
        ValueError: not a whole number.
    """
    # Nearly all of them are one or the other.
    if type(value) is int and -_TOO_LARGE < value < _TOO_LARGE:
        return value
    if type(value) is str and len(value) <= _MAX_DIGITS and value.isascii() and value.isdecimal():
        return int(value)
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
    if re.fullmatch(_SECONDS, text):
        seconds = float(text)
    else:
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
    """Make one short printable line of a foreign text, without the secret and phone numbers."""
    # What has no width goes before anything is searched for: it could hide the rest.
    seen = (" " if c.isspace() else c if c.isprintable() else "" for c in text)
    line = " ".join("".join(seen).split())
    line = re.sub(PHONE_NUMBER, "[number]", without(secret, line))
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def without(secret: str, text: str) -> str:
    """Take a secret out of a text, in whatever spelling it stands there."""
    return _any_spelling(secret).sub("[API key]", text)


@lru_cache(maxsize=8)
def _any_spelling(secret: str) -> re.Pattern[str]:
    """Match a secret in either case, with any of its characters escaped for URL, JSON or HTML."""
    import html  # noqa: PLC0415 - few ever get here, and importing it takes its time
    from html.entities import codepoint2name  # noqa: PLC0415 - as above

    characters = (
        {
            c,
            f"\\{c}",
            f"\\u{ord(c):04x}",
            json.dumps(c)[1:-1],
            "".join(f"%{byte:02x}" for byte in c.encode()),
            f"&#{ord(c)};",
            f"&#x{ord(c):x};",
            f"&{codepoint2name.get(ord(c), '')};",
            html.escape(c),
        }
        for c in secret
    )
    pattern = "".join(f"(?:{'|'.join(map(re.escape, sorted(forms)))})" for forms in characters)
    # An escape may be escaped once more, and again.
    pattern = pattern.replace("%", "%(?:25)*").replace(r"\\", r"\\+")
    return re.compile(pattern, re.IGNORECASE)


def excerpt(body: bytes, secret: str) -> str:
    """Show the beginning of a body that nobody understands, with nothing secret in it."""
    return clean(body.decode("utf-8-sig", "replace"), secret)
