"""What plain HTTP and JSON say: numbers, bodies, waits. Whatever comes, a value or a ValueError."""

from __future__ import annotations

import gzip
import json
import math
import time
import tracemalloc
import zlib
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any

import pytest
from faults import ODD_RETRY_AFTERS
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict
from replies import reply

from smspartner_async._wire.reply import (
    MAX_BODY,
    as_decimal,
    as_integer,
    decompressed_beginning,
    if_readable,
    parse_json,
    plain_body,
    retry_after,
)

NOW = datetime(2025, 11, 21, 12, 0, 0, tzinfo=UTC)

# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((2, "2"), (0, "0"), (-5, "-5"), (10**23, "1" + "0" * 23)),
        *(("2", "2"), ("02", "2"), ("-2.50", "-2.50"), ("+2.5", "2.5"), (" 0.900\n", "0.900")),
        *((Decimal("2.520"), "2.520"), (Decimal("-0.0"), "-0.0"), (Decimal("1E+2"), "1E+2")),
        ("9" * 24 + "." + "9" * 24, "9" * 24 + "." + "9" * 24),
    ],
)
def test_numbers(value: object, written: str) -> None:
    """A number is read exactly, digit by digit, whatever precision the caller's context has."""
    with localcontext() as context:
        context.prec = 2
        assert str(as_decimal(value)) == written


NO_NUMBERS: list[Any] = [
    *(None, True, False, 2.5, math.nan, b"2", [], [2], {}, object(), 2 + 0j),
    *("", " ", ".", "+", "-", ".5", "5.", "1e3", "0x10", "1_000", "1,5", "1 000", "½", "٣", "1-"),
    *("1.2.3", "NaN", "inf", "-Infinity", "1" * 25, "0." + "1" * 25, "9" * 100_000, "two"),
    *(Decimal(name) for name in ("NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "NaN123")),
    *(Decimal(text) for text in ("1e24", "-1e24", "1e-25", "1e9999999", "-1e9999999")),
    *(Decimal(text) for text in ("0e24", "0e-25", "0e999999999999", "1e-999999999999")),
    *(10**24, -(10**24), 10**5000),
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_no_numbers(value: object) -> None:
    """What is no number, or not one of a price or a volume, is a ValueError and nothing else."""
    with pytest.raises(ValueError, match=r"number|finite|large"):
        as_decimal(value)
    with pytest.raises(ValueError, match=r"number|finite|large"):
        as_integer(value)


@pytest.mark.parametrize("value", [20, "20", "020", 20.0, "20.000", "2e1"])
def test_whole_numbers(value: object) -> None:
    """A whole number is one, however it is written."""
    number = as_integer(parse_json(str(value).encode()) if value != "020" else value)
    assert (number, type(number)) == (20, int)


@pytest.mark.parametrize("value", ["20.5", Decimal("0.1"), "0." + "0" * 23 + "1"])
def test_fractions_are_not_whole(value: object) -> None:
    """A fraction is no whole number: it is not rounded."""
    with pytest.raises(ValueError, match="not a whole number"):
        as_integer(value)


@given(
    st.one_of(
        st.decimals(),
        st.decimals(allow_nan=False, places=3),
        st.integers(),
        st.text(),
        st.from_regex(r"[+-]?\d{1,30}([.,]\d{0,30})?", fullmatch=True),
        st.booleans(),
        st.floats(),
    )
)
@example(Decimal("9.99e23"))
def test_any_number(value: Any) -> None:
    """Bad input: any value is read as what it is, or is a ValueError."""
    try:
        number = as_decimal(value)
    except ValueError:
        return
    assert number == Decimal(value)
    assert abs(number) < 10**24
    assert len(f"{number:f}") <= 50  # so that showing it takes no memory to speak of


@pytest.mark.parametrize("value", [None, "", "x", [], {}, 10**30])
def test_unreadable_fields(value: object) -> None:
    """A field that is missing, blank or unreadable is None."""
    assert if_readable(as_integer, value) is None


@pytest.mark.parametrize("value", [0, "0", Decimal(0)])
def test_nothing_is_a_number(value: object) -> None:
    """Zero is read: it is not taken for a missing field."""
    assert if_readable(as_integer, value) == 0


# --- JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"total": 2.520}', {"total": Decimal("2.520")}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b" \n[1]\r\n", [1]),
        (b'"Cl\xe9"', "Cl\ufffd"),
        ('"Clé"'.encode(), "Clé"),
        (b'"\\ud800"', "\ud800"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"NaN", "NaN"),
        (b"[Infinity, -Infinity]", ["Infinity", "-Infinity"]),
        (b"9" * 64, int("9" * 64)),
        (b"9" * 65, "9" * 65),
        (b"-" + b"9" * 5000, "-" + "9" * 5000),
        (b"0." + b"9" * 5000, "0." + "9" * 5000),
        (b"1e99999999999999999999", "1e99999999999999999999"),
    ],
)
def test_json(body: bytes, value: object) -> None:
    """JSON is read with exact fractions; what is no usable number is left as text."""
    read = parse_json(body)
    assert (read, repr(read)) == (value, repr(value))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b'{"a": 1', b"{'a': 1}", b"[1,]", b"[1] [2]", b"nan", b"+1", b"01"),
        *(b'"a\nb"', b'"\\x41"', b"<html>", b"\x00", b"\xff\xfe[\x001\x00]\x00", b"[1]\xff"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=range(19),
)
def test_no_json(body: bytes) -> None:
    """What is no JSON, or nested beyond reason, is a ValueError that shows none of it."""
    with pytest.raises(ValueError, match=r"^it is not JSON$") as caught:
        parse_json(body)
    assert caught.value.__suppress_context__


# --- compression ------------------------------------------------------------------------------

TEXT = b'{"success": true}'


def packed(body: bytes, coding: str) -> Any:
    return reply(body, headers={"content-encoding": coding})


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZip ", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", gzip.compress),
        ("deflate", lambda body: zlib.compress(body)[2:-4]),  # without its header, as some send it
        ("identity, gzip", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:])),
        ("gzip", lambda body: gzip.compress(body) + bytes(9)),  # padded
        ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body))),
        ("gzip", lambda body: gzip.compress(gzip.compress(body))),  # once more by a proxy
        ("br, x", gzip.compress),
        *((coding, bytes) for coding in ("", "identity", "utf-8", "gzip", "deflate", "br", "?")),
    ],
)
def test_a_compressed_body(coding: str, compress: Any) -> None:
    """A compression that was not asked for is undone; a header that the body belies is not."""
    assert plain_body(packed(compress(TEXT), coding)) == TEXT
    assert plain_body(reply(TEXT)) == TEXT


def test_a_body_that_is_compressed_again_and_again() -> None:
    """Compression is undone three times, and no more: nobody can keep a client busy with it."""
    three = gzip.compress(gzip.compress(gzip.compress(TEXT)))
    assert plain_body(packed(three, "gzip")) == TEXT
    assert plain_body(packed(gzip.compress(three), "gzip")) == gzip.compress(TEXT)


@pytest.mark.parametrize("cut", [1, 4, 8, 12])
def test_a_compressed_body_cut_short(cut: int) -> None:
    """A compressed body without its end is refused as cut, and not taken for a shorter one."""
    with pytest.raises(ValueError, match="cut short"):
        plain_body(packed(gzip.compress(TEXT)[:-cut], "gzip"))


def test_a_damaged_body() -> None:
    """A compressed body that is damaged is refused, and read up to its first broken byte."""
    damages = (
        gzip.compress(TEXT)[:-8] + b"\x00" * 8,
        gzip.compress(TEXT) + b"more",
        gzip.compress(TEXT) + gzip.compress(b"") * 200 + gzip.compress(b"more"),
    )
    for damaged in damages:
        assert decompressed_beginning(packed(damaged, "gzip")) == (TEXT, False)
        with pytest.raises(ValueError, match="cut short or damaged"):
            plain_body(packed(damaged, "gzip"))


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
def test_the_size_limit(size: int) -> None:
    """Bad input: a body may grow to the size limit, and not by one byte more."""
    bomb = packed(gzip.compress(bytes(size)), "gzip")
    if size <= MAX_BODY:
        assert len(plain_body(bomb)) == size
    else:
        with pytest.raises(ValueError, match="larger than 1048576 bytes once decompressed"):
            plain_body(bomb)


def test_the_memory_of_a_bomb() -> None:
    """Bad input: a body that would grow to 300 MB takes no more memory than the size limit."""
    packer = zlib.compressobj()
    first, more = (
        packer.compress(bytes(MAX_BODY)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    bomb = first + more * 299
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="larger than"):
            plain_body(packed(bomb, "deflate"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_BODY  # what grew, with the room that zlib takes for it


@pytest.mark.parametrize(
    "body",
    [b"[" + b"1," * 2**19, b"9" * 2**20, b'"' + b"\xff" * 2**20],
    ids=["list", "int", "text"],
)
def test_the_memory_of_a_full_body(body: bytes) -> None:
    """Bad input: the largest body that comes in is read within a few times its size."""
    tracemalloc.start()
    try:
        if_readable(parse_json, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * MAX_BODY


# --- waits ------------------------------------------------------------------------------------


def wait_of(text: str) -> float | None:
    return retry_after(reply(b"", headers={"retry-after": text}).headers, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("0.001", 0.001),
        ("9" * 20, 1e20),
        ("Fri, 21 Nov 2025 12:01:30 GMT", 90.0),
        ("Friday, 21-Nov-25 12:01:30 GMT", 90.0),
        ("Fri Nov 21 12:01:30 2025", 90.0),
        ("Fri, 21 Nov 2025 13:01:30 +0100", 90.0),
        ("Fri, 21 Nov 2025 07:01:30 EST", 90.0),
        ("Fri, 21 Nov 2025 12:01:30 -0000", 90.0),
        ("Fri, 21 Nov 2025 12:01:30", 90.0),
    ],
)
def test_a_wait(text: str, seconds: float) -> None:
    """A poll: Retry-After is seconds, or an HTTP date in any of its forms."""
    assert wait_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "0", "0.0", "-0", "-1", "-1e9", "nan", "inf", "-inf", "infinity", "1e400"),
        *("9" * 400, "soon", "1;2", "120 seconds", "0x10", "\x00", "\udc80", "²"),
        "Fri, 21 Nov 2025 12:00:00 GMT",
        "Fri, 21 Nov 2025 11:59:59 GMT",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Fri, 32 Nov 2025 12:01:30 GMT",
        "Fri, 21 Nov 99999 12:01:30 GMT",
        "Fri, 21 Nov 2025 12:01:30 +9999",
        "Fri, 21 Nov 2025 99:01:30 GMT",
        "2025-11-21T12:01:30Z",
        "Fri, 21 Nov -1 12:01:30 GMT",
    ],
)
def test_no_wait(text: str) -> None:
    """A poll: zero, past, negative, infinite and unreadable waits are ignored."""
    assert wait_of(text) is None


def test_no_header() -> None:
    """Without the header there is no wait."""
    assert retry_after({}) is None


@pytest.mark.parametrize("first", ["0", "3", "soon", "Fri, 21 Nov 2025 12:00:05 GMT", "90"])
def test_several_headers(first: str) -> None:
    """A poll: of several Retry-After the longest is the least wait, in whatever order."""
    for texts in ((first, "90"), ("90", first)):
        headers = CIMultiDict(("retry-after", text) for text in texts)
        assert retry_after(headers, NOW) == 90
        assert wait_of(", ".join(texts)) == 90  # as proxies join them


def test_the_clock_of_a_wait() -> None:
    """A date counts from now."""
    seconds = retry_after({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})
    assert seconds == pytest.approx(253402300799 - datetime.now(UTC).timestamp(), abs=60)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Fri, 21 Nov 2025 13:00:00 GMT", 30),  # this machine's clock is an hour late
        ("Fri, 21 Nov 2025 11:00:00 GMT", 7230),
        ("Fri, 21 Nov 2025 13:00:30 GMT", None),
        ("yesterday", 3630),
        ("", 3630),
    ],
)
def test_a_date_counts_from_the_replys_own(date: str, seconds: float | None) -> None:
    """A poll: a Retry-After date counts from the reply's `Date`, else from this clock."""
    headers = {"Retry-After": "Fri, 21 Nov 2025 13:00:30 GMT", "Date": date}
    assert retry_after(headers, NOW) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its time zone")
def test_a_date_without_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll: a date that names no zone is in GMT, wherever this machine stands."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert wait_of("Fri, 21 Nov 2025 12:01:30 -0000") == 90
    finally:
        monkeypatch.undo()
        time.tzset()


@given(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(ODD_RETRY_AFTERS),
        st.floats().map(str),
        st.from_regex(
            r"\w{3}, \d{1,3} (Jan|Feb|Nov) \d{1,6} \d\d:\d\d:\d\d (GMT|[+-]\d{1,6}|\w{0,5})",
            fullmatch=True,
        ),
    )
)
def test_any_wait(text: str) -> None:
    """A poll: any header at all is a finite wait above 0, or none."""
    seconds = wait_of(text)
    assert seconds is None or 0 < seconds < math.inf


def test_a_body_is_not_touched() -> None:
    """What is read of a reply leaves the reply as it was."""
    body = json.dumps({"a": [1, 2.5]}).encode()
    answer = reply(body)
    assert (plain_body(answer), answer.body) == (body, body)
