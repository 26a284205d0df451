"""What came in answer to a download: the file, or an error, or what nobody knows. A truth table."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replies import TOKEN, WIRE, reply

from smspartner_async import APIError, RateLimitError, RentalNotFoundError, ResponseError

FILE, GONE, KEPT, EMPTY_LIST = "file", "gone", "kept", "empty list"


def found(body: bytes, status: int) -> str:
    verdict = WIRE.judge_file(TOKEN, reply(body, status))
    if verdict.error is None:
        assert not verdict.is_kept
        return FILE
    if verdict.is_empty_list:
        assert verdict.is_kept
        return EMPTY_LIST
    return KEPT if verdict.is_kept else GONE


ENVELOPE = {"success": True, "code": 200, "message": "File is being generated"}


@pytest.mark.parametrize(
    ("body", "under_200", "under_206", "under_500", "under_503"),
    [
        # Numbers, however they are written.
        (b"+33612345678\n", FILE, KEPT, KEPT, KEPT),
        (b"33612345678\n33612345679\n", FILE, KEPT, KEPT, KEPT),
        (b"0612345678", FILE, KEPT, KEPT, KEPT),
        (b"06 12 34 56 78\r\n", FILE, KEPT, KEPT, KEPT),
        (b"numero;nom\n06.12.34.56.78;Dupont", FILE, KEPT, KEPT, KEPT),
        (b'"numero"\n"612345678"\n', FILE, KEPT, KEPT, KEPT),
        (b"nom\tnumero\nDupont\t351912345678", FILE, KEPT, KEPT, KEPT),
        (b'["+33612345678"]', FILE, KEPT, KEPT, KEPT),
        (b"[33612345678, 33612345679]", FILE, KEPT, KEPT, KEPT),
        (b'{"success": true, "numbers": ["33612345678"]}', FILE, KEPT, KEPT, KEPT),
        (b'{"success": false, "numbers": ["33612345678"]}', FILE, KEPT, KEPT, KEPT),
        ("\ufeff+33612345678\r\n".encode("utf-16"), FILE, KEPT, KEPT, KEPT),
        (b"\xef\xbb\xbf0612345678\n", FILE, KEPT, KEPT, KEPT),
        # No text at all.
        (b"PK\x03\x04\x14\x00", FILE, KEPT, KEPT, KEPT),
        (b"\x1f\x8b\x08\x00", FILE, KEPT, KEPT, KEPT),
        # The vendor's envelope without a number.
        (json.dumps(ENVELOPE).encode(), GONE, KEPT, GONE, GONE),
        (b'{"success": true, "message": "Appelez le 01 23 45 67 89"}', GONE, KEPT, GONE, GONE),
        (b'{"success": true, "code": 200, "numbers": []}', GONE, KEPT, GONE, GONE),
        (b'{"success": false, "code": 33, "message": "+33123456789"}', GONE, GONE, GONE, GONE),
        # A page.
        (b" \n<html>Bonjour", GONE, KEPT, GONE, GONE),
        (b"<br />\n<b>Fatal error</b>", GONE, KEPT, GONE, GONE),
        (b"\xef\xbb\xbf<!doctype html>", GONE, KEPT, GONE, GONE),
        (b"<n>+33612345678</n>", KEPT, KEPT, KEPT, KEPT),
        # Nothing.
        (b"", GONE, GONE, GONE, GONE),
        (b" \r\n", GONE, GONE, GONE, GONE),
        # Any other text.
        (b"Service temporarily unavailable, please retry", EMPTY_LIST, KEPT, KEPT, GONE),
        (b"Error at 2026-11-29 12:34:56, request 20261129123456", EMPTY_LIST, KEPT, KEPT, GONE),
        (b"numero;nom\n", EMPTY_LIST, KEPT, KEPT, GONE),
        (b"null", EMPTY_LIST, KEPT, KEPT, GONE),
        (b"[]", EMPTY_LIST, KEPT, KEPT, GONE),
        (b"0", EMPTY_LIST, KEPT, KEPT, GONE),
        # Of an empty table there may be a mark of the encoding alone.
        (b"\xef\xbb\xbf", EMPTY_LIST, KEPT, KEPT, GONE),
        (b"\xfe\xff", EMPTY_LIST, KEPT, KEPT, GONE),
        (b'{"success": tr', EMPTY_LIST, KEPT, KEPT, GONE),
    ],
)
def test_truth_table(
    body: bytes, under_200: str, under_206: str, under_500: str, under_503: str
) -> None:
    """A file: what is the file, what is refused and gone, and what is refused and kept."""
    assert found(body, 200) == found(body, 201) == under_200
    assert found(body, 206) == under_206
    assert [found(body, status) for status in (302, 404, 500)] == [under_500] * 3
    assert [found(body, status) for status in (408, 502, 503, 504)] == [under_503] * 4


@pytest.mark.parametrize("status", [200, 206, 404, 500])
def test_the_vendors_error_is_raised_as_one(status: int) -> None:
    """A file: an error of the vendor's has its class, under any status."""
    body = b'{"success": false, "code": 33, "message": "Non"}'
    verdict = WIRE.judge_file(TOKEN, reply(body, status))
    assert type(verdict.error) is RentalNotFoundError


def test_too_many_requests() -> None:
    """A file: a 429 is a RateLimitError, whatever came with it, and numbers in it are kept."""
    for body, is_kept in ((b"", False), (b"Slow down", False), (b"+33612345678", True)):
        verdict = WIRE.judge_file(TOKEN, reply(body, 429))
        assert (type(verdict.error), verdict.is_kept) == (RateLimitError, is_kept)


@pytest.mark.parametrize("status", [200, 206, 302, 404, 500, 503])
def test_no_number_is_shown(status: int) -> None:
    """A secret: what came in place of a file may be contacts, and none of it is shown."""
    for body in (b"<p>+33612345678", b"+33612345678", b"note 33612345678"):
        error = WIRE.judge_file(TOKEN, reply(body, status)).error
        assert error is None or isinstance(error, ResponseError | APIError)
        assert "3361" not in str(error)


@given(body=st.binary() | st.text().map(str.encode), status=st.integers(200, 599))
def test_any_bytes(body: bytes, status: int) -> None:
    """Bad input: any bytes under any status have a verdict, and only a 2xx but 206 is a file."""
    verdict = found(body, status)
    assert verdict != FILE or (200 <= status < 300 and status != 206)


@pytest.mark.parametrize("piece", [b"a", b"1 ", b"1-", b"[", b"0612345 ", b"{", b'"', b",1"])
def test_a_long_text_is_judged_in_bounded_time(piece: bytes) -> None:
    """Bad input: a MiB without a number takes about as long as its length, in CPU time."""
    started = time.process_time()
    found(piece * (2**20 // len(piece)), 200)
    assert time.process_time() - started < 5
