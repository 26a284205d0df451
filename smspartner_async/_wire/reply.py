"""The reply triple (status, headers, body), and the values of HTTP and JSON in it. Pure.

Nothing here depends on the vendor. For any bytes a function returns a value or raises `ValueError`,
within the memory of `MAX_BODY`.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")
Operation = Literal["calculate", "price", "rent", "status", "download", "credits"]

MAX_BODY: Final = 2**20
"""Bytes of a reply that is not a contact file; the vendor's own are a hundredth of it."""

_MAX_DIGITS: Final = 24  # before and behind the point: room for a float, written in full
_TOO_LARGE: Final = 10**_MAX_DIGITS
_LONGEST_NUMBER: Final = 64
_PLAIN_NUMBER: Final = r"[+-]?[0-9]{1,24}(\.[0-9]{1,24})?"
_SECONDS: Final = r"[0-9]+(\.[0-9]+)?"
ENCODINGS: Final = ("gzip", "x-gzip", "deflate")
"""Values of `Content-Encoding` that can be decompressed."""
EITHER_HEADER: Final = 32 + zlib.MAX_WBITS
"""Lets zlib find out whether a body is gzip or deflate."""
_GZIP: Final = b"\x1f\x8b\x08"
_MOST_CODINGS: Final = 3  # of one body, each around the one before
_STEP: Final = 4096
_MOST_MEMBERS: Final = 100  # of a gzip body; a flood of them would block the event loop
_PADDING: Final = b"\0\r\n"  # behind a compressed body
_LONGEST_LENGTH: Final = 18  # digits of a `Content-Length`; a longer number is none


class Reply(NamedTuple):
    """One whole HTTP reply."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes


def is_chunked(headers: Mapping[str, str]) -> bool:
    """Return whether a body comes in chunks, even if a length is announced as well."""
    return "chunked" in headers.get("Transfer-Encoding", "").lower()


def announced_length(headers: Mapping[str, str]) -> int | None:
    """Return the bytes that a body's `Content-Length` announces, or `None`."""
    length = headers.get("Content-Length", "")
    fits = length.isdecimal() and len(length) <= _LONGEST_LENGTH
    return int(length) if fits else None


def encodings_of(headers: Mapping[str, str]) -> list[str]:
    """Return how a body is compressed, in lower case; of several codings, the last one is outer."""
    listed = ("content-encoding", "transfer-encoding")
    values = [value for kind in listed for name, value in headers.items() if name.lower() == kind]
    codings = (coding.strip().lower() for coding in ",".join(values).split(","))
    return [coding for coding in codings if coding not in {"", "identity", "chunked"}]


def plain_body(reply: Reply) -> bytes:
    """Return the body, decompressed where the server compressed it unasked; at most `MAX_BODY`.

    Raises:
        ValueError: a body cut short or damaged, or one that grows too large.
    """
    if "Content-Encoding" not in reply.headers:
        return reply.body  # nearly always
    body, whole = decompressed_beginning(reply)
    if not whole and len(body) > MAX_BODY:
        raise ValueError(f"it is larger than {MAX_BODY} bytes once decompressed")
    if not whole:
        raise ValueError("its compressed body is cut short or damaged")
    return body


def decompressed_beginning(reply: Reply) -> tuple[bytes, bool]:
    """Return the body, decompressed as far as possible, and whether all of it was.

    What the headers say and the body belies is ignored, and so is what they leave out, so that a
    paid token is not lost: some scripts name a character set there, some proxies decompress and
    keep the header, or compress once more.
    """
    body, whole = reply.body, True
    codings = encodings_of(reply.headers)
    for _ in range(_MOST_CODINGS):
        coding = codings.pop() if codings else ""
        if coding not in ENCODINGS and not body.startswith(_GZIP):
            break
        plain, ended = inflated(body, EITHER_HEADER)
        if not plain and not ended and coding == "deflate":
            plain, ended = inflated(body, -zlib.MAX_WBITS)  # as old servers of Microsoft's send
            plain = plain if ended else b""  # nearly any bytes begin a deflate body without header
        if not plain and not ended:
            break
        body, whole = plain, whole and ended
    return body, whole


def inflated(data: bytes, wbits: int) -> tuple[bytes, bool]:
    """Decompress up to the first broken byte; return also whether the end is right and the last."""
    inflater = zlib.decompressobj(wbits)
    body = b""
    at, step, members = 0, _STEP, 1
    while at < len(data):
        before = inflater.copy()
        try:
            piece = inflater.decompress(data[at : at + step], MAX_BODY + 1 - len(body))
        except zlib.error:
            if step == 1:
                return body, False
            inflater, step = before, 1  # what comes before a broken byte is worth reading
            continue
        body += piece
        if len(body) > MAX_BODY:
            return body, False
        at = min(at + step, len(data)) - len(inflater.unused_data)
        if inflater.eof:
            if not data[at:].strip(_PADDING):
                return body, True
            if members == _MOST_MEMBERS:
                return body, False
            inflater, members = zlib.decompressobj(wbits), members + 1
    return body, inflater.eof


def parse_json(body: bytes) -> Any:
    """Read JSON with every fraction as a `Decimal`.

    A number that is none (NaN) or absurd (a hundred digits) is left as text: that makes one field
    unreadable, and not the whole reply.

    Raises:
        ValueError: the body is not JSON.
    """
    # Characters that are not UTF-8 can only stand in texts, where a replacement does no harm.
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip(_BLANKS)
    try:
        value, end = JSON.raw_decode(text)
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
JSON: Final = json.JSONDecoder(parse_float=_fraction, parse_int=_whole, parse_constant=str)


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
    # Without arithmetic, which fails on numbers that are not finite or absurdly large.
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
"""The exceptions of reading a value of an unexpected shape."""


def if_readable(read: Callable[[Any], _T], value: object) -> _T | None:
    """Read an optional field; return `None` for one that is missing, blank or unreadable."""
    try:
        return read(value) if value not in (None, "") else None
    except UNREADABLE:
        return None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how many seconds a reply asks to wait (RFC 9110, 10.2.3): a number or an HTTP date.

    A date is read against the reply's own `Date`, so that this clock may be wrong; without
    one, against `now`. Whether the vendor sends the header is undocumented. A wait that is zero,
    past, negative, infinite or unreadable is none; of several, in one line or more, the longest
    counts.
    """
    lines = (value for name, value in headers.items() if name.lower() == "retry-after")
    # The comma of a date parts it from the day of the week, without which it reads the same.
    texts = {text.strip() for line in lines for text in line.split(",")}
    return max((_wait(text, headers, now) for text in texts), default=0.0) or None


def _wait(text: str, headers: Mapping[str, str], now: datetime | None) -> float:
    """Return the seconds of one `Retry-After`; 0 where it asks for none."""
    if re.fullmatch(_SECONDS, text):
        seconds = float(text)
    else:
        sent_at = date_timestamp(headers.get("Date", ""))
        if sent_at is None:
            sent_at = (now or datetime.now(UTC)).timestamp()
        moment = date_timestamp(text)
        seconds = 0.0 if moment is None else moment - sent_at
    return seconds if 0 < seconds < math.inf else 0.0


def date_timestamp(date: str) -> float | None:
    """Read an HTTP date as seconds since the epoch; return `None` for any other text."""
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
