"""The bytes of a reply, kept as they came: how many, whether it has begun, whether it has ended."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from smspartner_async._http.raw_reply import RawReply, tap

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


def fed(*pieces: bytes, limit: int = 1000) -> RawReply:
    raw = RawReply(limit)
    for piece in pieces:
        raw.feed(piece)
    return raw


@pytest.mark.parametrize(
    "pieces", [(HEAD + b"token",), (HEAD, b"to", b"ken"), (HEAD[:9], HEAD[9:], b"token")]
)
def test_what_came_is_read_however_it_was_cut(pieces: tuple[bytes, ...]) -> None:
    """Status and body are those of the bytes, piece by piece or at once."""
    reply = fed(*pieces).read()
    assert (reply.status, reply.body) == (200, b"token")


def test_no_more_is_kept_than_the_limit() -> None:
    """A reply without an end costs no more memory than that; what came first is kept."""
    raw = fed(HEAD, b"x" * 10_000, b"y" * 10_000, limit=len(HEAD) + 3)
    assert raw.read().body == b"xxx"
    assert raw.has_ended()


def test_clear_forgets_and_stop_keeps_nothing_more() -> None:
    """After `clear` the next reply is kept; after `stop` none: a file is read as it comes."""
    raw = fed(b"HTTP/1.1 200 Connection established\r\n\r\n")
    raw.clear()
    raw.feed(HEAD + b"token")
    assert raw.read().body == b"token"
    raw.stop()
    raw.feed(HEAD + b"token")
    assert not raw.has_begun()


@pytest.mark.parametrize(
    ("data", "begun"),
    [
        (b"", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"no HTTP at all", True),
    ],
)
def test_a_reply_has_begun_unless_it_is_interim(data: bytes, begun: bool) -> None:  # noqa: FBT001 - a table
    """An interim reply says nothing of what became of the request."""
    assert fed(data).has_begun() is begun


@pytest.mark.parametrize(
    ("data", "ended"),
    [
        (HEAD + b"toke", False),
        (HEAD + b"token", True),
        (HEAD + b"token and more", False),  # the length is wrong: there may be more to come
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the connection closes", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc", False),
    ],
)
def test_a_reply_has_ended_by_its_own_framing(data: bytes, ended: bool) -> None:  # noqa: FBT001 - a table
    """A length that is none, absurd, or passed already ends nothing."""
    assert fed(data, limit=10_000).has_ended() is ended


def test_a_connector_without_the_place_is_left_alone() -> None:
    """Another version of aiohttp may have no such place: the caller learns it."""
    connector: Any = object()
    assert tap(connector, RawReply(1)) is False


@pytest.mark.parametrize(
    ("length", "pieces", "more"),
    [
        (5, (HEAD, b"token"), b""),
        (5, (HEAD, b"token\r\n"), b""),  # some servers send a line break
        (5, (HEAD, b"token and more"), b" and more"),
        (5, (HEAD, b"token", b" and more"), b" and more"),
        (5, (HEAD, b"token and more", b""), b" and more"),
    ],
)
def test_what_came_behind_a_body_is_known(
    length: int, pieces: tuple[bytes, ...], more: bytes
) -> None:
    """A file that is longer than its reply announced shows its next bytes."""
    raw = fed(HEAD)
    raw.stop()
    for piece in pieces[1:]:
        raw.feed(piece)
    assert raw.excess(length) == more


def test_a_body_that_is_refused_is_kept_again_from_the_refused_piece_on() -> None:
    """A file: what comes behind a broken framing is there as it came, up to the limit."""
    raw = fed(HEAD + b"to", limit=10)
    raw.stop()
    raw.feed(b"ken, ")
    assert raw.rest == b""
    raw.feed(b"zz")
    raw.refuse()
    assert not raw.has_ended()
    raw.feed(b"more" * 10)
    assert raw.rest == b"zzmoremore"
    assert raw.has_ended()


async def reply_over_a_socket(
    *pieces: bytes, stays_open: bool = False
) -> tuple[RawReply, Exception | bytes]:
    """Let aiohttp ask a server that sends these pieces; return what was kept, and what it read."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(pieces[0])
        while not raw.has_begun():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)  # what follows comes after aiohttp's parser has seen this
        writer.writelines(pieces[1:])
        if stays_open:
            await reader.read()  # until the client closes the connection
        writer.close()

    raw = RawReply(10_000)
    connector = aiohttp.TCPConnector(force_close=True)
    assert tap(connector, raw)
    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        port = server.sockets[0].getsockname()[1]
        try:
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                return raw, await response.read()
        except aiohttp.ClientError as error:
            return raw, error


async def test_a_reply_is_read_by_aiohttp_as_ever() -> None:
    """What is valid reaches aiohttp unchanged, and is kept beside."""
    raw, read = await reply_over_a_socket(HEAD[:20], HEAD[20:], b"to", b"ken")
    assert read == b"token"
    assert raw.read().body == b"token"
    assert not raw.refused


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"token"),
        (b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 5\r\n\r\n", b"tok", b"en"),
        (b"no HTTP at all: token",),
    ],
)
async def test_what_aiohttp_refuses_is_kept_to_its_end(pieces: tuple[bytes, ...]) -> None:
    """Its refusal is raised when the reply has ended: what comes after the odd head is there."""
    raw, read = await reply_over_a_socket(*pieces)
    assert isinstance(read, aiohttp.ClientError)
    assert raw.refused
    assert raw.read().body.endswith(b"token")


async def test_a_refused_reply_that_has_ended_is_waited_for_no_longer() -> None:
    """A server may keep the connection open: the end of the reply is in its own framing."""
    head = b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 5\r\n\r\n"
    async with asyncio.timeout(60):
        raw, read = await reply_over_a_socket(head, b"tok", b"en", stays_open=True)
    assert isinstance(read, aiohttp.ClientError)
    assert raw.read().body == b"token"
