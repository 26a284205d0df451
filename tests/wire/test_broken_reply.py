"""What is read of a reply that is not valid HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspartner_async._wire.broken_reply import read_broken_head, read_broken_reply

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (HEAD + b"\r\n{}", 200, b"{}"),
        (HEAD + b"Content-Length: 1\r\n\r\n{} and more", 200, b"{} and more"),
        (b"HTTP/1.1 502\nX: y\n\n{}", 502, b"{}"),
        (b"HTTP/1.0  404 Not Found\r\nno colon\r\n\r\nx", 404, b"x"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 See\r\nA: b\r\n\r\n" + HEAD + b"\r\nx",
            200,
            b"x",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 100, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 103, 100, b"HTTP/1.1 100 Continue\r\n\r\n" * 3),
        (HEAD, 200, b""),
        (HEAD + b"Content-Le", 200, b""),
        (HEAD + b"X: y\r\n folded\r\n", 200, b""),
        (HEAD + b'{"token": 1}', 200, b'{"token": 1}'),
        (HEAD + b"+33612345678\n+33612345679\n", 200, b"+33612345678\n+33612345679\n"),
        (b"{}", 0, b"{}"),
        (b"HTT", 0, b""),
        (b"HTTP/1.1 20", 0, b""),
        (b"HTTP/1.1 2OO OK\r\nA: b\r\n\r\n{}", 0, b"{}"),
        (b"ICY 200 OK\r\n\r\n{}", 0, b"ICY 200 OK\r\n\r\n{}"),
        (b"", 0, b""),
    ],
)
def test_status_and_body_are_separated(raw: bytes, status: int, body: bytes) -> None:
    """As far as they can be; the rest is left in the body."""
    found = read_broken_reply(raw)
    assert (found.status, found.body) == (status, body)


@pytest.mark.parametrize(
    ("raw", "is_whole"),
    [
        (b"", False),
        (b"HTT", False),
        (b"HTTP/1.1 20", False),
        (b"{}", False),
        (HEAD, False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (HEAD + b"\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\n{}", True),
    ],
)
def test_a_head_is_whole_when_its_end_has_come(raw: bytes, *, is_whole: bool) -> None:
    """Before that more of it may come, and it is read again."""
    assert read_broken_head(raw).is_whole is is_whole


@pytest.mark.parametrize(
    ("framing", "body", "ended"),
    [
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n", True),
        (b"Transfer-Encoding: chunked", b"0\r\n\r\n", True),
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n", False),
        (b"Transfer-Encoding: chunked", b"3\r\n10\r\n\r\n", False),
        (b"Transfer-Encoding: chunked", b"", False),
        (b"Content-Length: 2", b"{}", True),
        (b"Content-Length: 2", b"{", False),
        (b"Content-Length: 2", b"{}x", False),
        (b"X: y", b"{}", False),
    ],
)
def test_a_reply_has_ended_where_its_framing_says_so(
    framing: bytes, body: bytes, *, ended: bool
) -> None:
    """By its last chunk, or its length; where more came than announced, the length is wrong."""
    raw = HEAD + framing + b"\r\n\r\n" + body
    assert read_broken_head(raw).has_ended(bytearray(raw)) is ended


def test_headers_are_looked_up_without_regard_to_case() -> None:
    """As those of a valid reply are."""
    found = read_broken_reply(HEAD + b"retry-after: 7\r\nretry-after: 8\r\n\r\n")
    assert (found.headers["Retry-After"], found.headers["content-type"]) == (
        "7",
        "application/json",
    )


@pytest.mark.parametrize(
    ("chunks", "body"),
    [
        (b"2\r\n{}\r\n0\r\n\r\n", b"{}"),
        (b"1;x=y\r\n{\r\n1\r\n}\r\n", b"{}"),
        (b"1\n{\n1\n}\n0\n\n", b"{}"),
        (b"10\r\n{}", b"{}"),
        (b"12\r\n" + b" " * 18 + b"\r\n2\r\n{}\r\n0\r\n\r\n", b" " * 18 + b"{}"),
        (b"0a\r\n" + b" " * 10 + b"\r\n2\r\n{}\r\n0\r\n\r\n", b" " * 10 + b"{}"),
        (b"1\r\n{\r\nno size\r\n}", b"{no size\r\n}"),
        (b"33612345678\n33612345679\n", b"33612345678\n33612345679\n"),
        (b"2\r\n{}\r\n0\r\n\r\n{}", b"{}{}"),
        (b"2\r\n{}\r\n0\r\nX-Token: t\r\n\r\n{}", b"{}{}"),
        (b"0\r\n{}", b"{}"),
        (b"0\r\n\r\nHTTP/1.1 200 OK\r\nX: y\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{}"),
        (b"{}", b"{}"),
        (b"", b""),
    ],
)
def test_chunks_are_joined_up_to_the_first_that_is_none(chunks: bytes, body: bytes) -> None:
    """What follows is left as it is."""
    assert read_broken_reply(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks).body == body


def test_a_header_behind_the_last_chunk_is_one() -> None:
    """A trailer: what it says stands in no body."""
    chunks = b"2\r\n{}\r\n0\r\nX-Token: t\r\n\r\n"
    found = read_broken_reply(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (found.headers["x-token"], found.body) == ("t", b"{}")


@given(st.binary() | st.binary().map(lambda end: HEAD + end))
def test_any_bytes_give_a_reply(raw: bytes) -> None:
    """Nothing is refused."""
    found = read_broken_reply(raw)
    assert isinstance(found.status, int)
    assert len(found.body) <= len(raw)
