"""`download` when the network or the disk fails: what is asked again, kept and raised."""

import asyncio
import errno
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import faults
import pytest
from downloads import FILE, client_of, contents, outcome_of
from fault_server import Close, Drip, FaultServer, Reply, Send, Stall
from fault_table import FAULTS, Fault
from faults import MEBIBYTE

from smspartner_async import (
    APIError,
    ContactFile,
    DownloadInterruptedError,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    SMSPartnerClient,
    TransportError,
)

HALF = FILE[: len(FILE) // 2]
SHORT = FILE[:520]  # dripping takes a while
SHORT_HALF = FILE[:260]
AS_SENT_RAW = b"head and body as the server sends them"
AS_SENT = b"the whole body that the server sends"


pytestmark = pytest.mark.usefixtures("nothing_is_left")


def body_of(reply: Reply) -> bytes:
    """What follows the head that a reply sends in one piece."""
    assert isinstance(reply.steps[0], Send)
    return reply.steps[0].data.partition(b"\r\n\r\n")[2]


# --- the network -----------------------------------------------------------------------------

AGAIN = 3  # as often as the policy of client_of() allows
LOST: tuple[type, bytes] = (TransportError, b"")
BROKEN = DownloadInterruptedError

# For each fault: how often the file is asked for, how it ends (an error, or `verified`), and the
# bytes left: at the final name after a success, else in `.part`.
TRUTH: dict[str, tuple[int, type | bool, bytes]] = {
    "close at accept": (AGAIN, *LOST),
    "reset at accept": (1, *LOST),
    "never read": (1, *LOST),
    "close before head": (AGAIN, *LOST),
    "close within head": (1, *LOST),
    "close within body": (1, BROKEN, SHORT_HALF),
    "reset before head": (1, *LOST),
    "reset within head": (1, *LOST),
    "reset within body": (1, BROKEN, SHORT_HALF),
    "stall before head": (1, *LOST),
    "stall within head": (1, *LOST),
    "stall within body": (1, BROKEN, SHORT_HALF),
    "drip head": (1, True, SHORT),
    "drip body": (1, True, SHORT),
    "length too long": (1, BROKEN, SHORT),
    "length too long, open": (1, BROKEN, SHORT),
    "length too short": (1, BROKEN, SHORT),
    "length too short, apart": (1, True, SHORT_HALF),
    "both framings": (1, BROKEN, SHORT),
    "until close": (1, False, SHORT),
    "until close, cut": (1, False, SHORT_HALF),
    "until close, reset": (1, False, SHORT_HALF),
    "broken chunks": (1, BROKEN, SHORT_HALF + b"zz\r\n" + SHORT),
    "broken chunks, apart": (1, BROKEN, SHORT_HALF + b"zz\r\n" + SHORT),
    "chunks without end": (1, BROKEN, SHORT),
    "100, then reply": (1, True, SHORT),
    "100, then close": (AGAIN, *LOST),  # an interim reply is no part of the reply
    "100, then stall": (1, *LOST),
    "garbage status line": (1, BROKEN, AS_SENT_RAW),
    "huge header": (1, True, SHORT),  # refused by aiohttp, and whole by its own length
    "gzip bomb": (1, False, AS_SENT),
    "gzip cut": (1, False, AS_SENT),
    "endless body": (1, BROKEN, b" " * 32 * MEBIBYTE),
    "HTML 200": (1, ResponseError, b""),
    "HTML 502": (AGAIN, ResponseError, b""),
    "empty 200": (1, ResponseError, b""),
    "empty 204": (1, ResponseError, b""),
    "redirect 301": (1, ResponseError, b""),
    "redirect 302": (1, ResponseError, b""),
    "redirect 307": (1, ResponseError, b""),
    "redirect 308": (1, ResponseError, b""),
    "429": (AGAIN, RateLimitError, b""),
    "429 JSON": (AGAIN, RateLimitError, b""),
    "503": (AGAIN, ResponseError, b""),
    "503 JSON": (AGAIN, APIError, b""),
    "500 JSON": (1, APIError, b""),
    "closed when idle": (1, True, SHORT),
    "closed at next byte": (1, True, SHORT),
}


async def found_for(fault: Fault, folder: Path) -> tuple[int, type | bool, bytes]:
    """What is true of a fault, in the terms of the table."""
    async with (
        FaultServer(fault.make(SHORT)) as server,
        client_of(server, request_timeout=0.25 if fault.hangs else 5) as client,
    ):
        ended = await outcome_of(client.download("tok", folder / "a"))
        asked = server.accepted
        assert server.count("download") == (asked if fault.arrives else 0), fault
    left = contents(folder)
    if isinstance(ended, ContactFile):
        assert (list(left), ended.size) == (["a"], len(left["a"])), fault
        return asked, ended.verified, left["a"]
    if isinstance(ended, DownloadInterruptedError):
        assert (ended.path, ended.received) == (folder / "a.part", len(left["a.part"])), fault
    assert set(left) <= {"a.part"}, fault
    return asked, type(ended), left.get("a.part", b"")


def truth_of(fault: Fault) -> tuple[int, type | bool, bytes]:
    asked, ended, left = TRUTH[fault.name]
    if left == AS_SENT_RAW:
        (start, *_) = fault.make(SHORT).steps
        assert isinstance(start, Send)
        return asked, ended, start.data
    return asked, ended, body_of(fault.make(SHORT)) if left == AS_SENT else left


@pytest.mark.parametrize("hangs", [False, True], ids=["at once", "by its timeout"])
async def test_truth_table(tmp_path: Path, *, hangs: bool) -> None:
    """A file: under every fault it is asked for again only where no byte of a reply came.

    What came is in `.part`, and the final name is there after a success only.
    """
    chosen = [fault for fault in FAULTS.values() if fault.hangs is hangs]
    folders = [tmp_path / fault.name for fault in chosen]
    for folder in folders:
        folder.mkdir()
    found = await asyncio.gather(*map(found_for, chosen, folders))
    assert dict(zip(map(str, chosen), found, strict=True)) == {
        fault.name: truth_of(fault) for fault in chosen
    }


ODD_HEADS = {
    "a long header": [f"X-Padding: {'x' * 70_000}"],
    "1,500 headers": [f"X-{n}: {n}" for n in range(1500)],
    "a header that is none": ["this is no header"],
    "a control character": ["X-Odd: \x00"],
}


@pytest.mark.parametrize("lines", ODD_HEADS.values(), ids=ODD_HEADS)
@pytest.mark.parametrize("framing", ["length", "close"])
async def test_an_odd_head_costs_no_file(path: Path, lines: list[str], framing: str) -> None:
    """A file: what aiohttp refuses for its head is whole by its own length, or kept."""
    length = [f"Content-Length: {len(FILE)}"] if framing == "length" else []
    script = Reply((Send(faults.head(200, *length, *lines)), Send(FILE), Close()))
    async with FaultServer(script) as server, client_of(server) as client:
        ended = await outcome_of(client.download("tok", path))
        assert server.count("download") == 1
    kept = path if isinstance(ended, ContactFile) else path.with_name("contacts.csv.part")
    assert isinstance(ended, ContactFile if framing == "length" else ContactFile | BROKEN)
    assert contents(path.parent) == {kept.name: FILE}


async def test_an_odd_head_of_an_error(path: Path) -> None:
    """A file: what aiohttp refuses for its head, and is an error's, leaves no litter."""
    script = Reply((Send(faults.head(500, *ODD_HEADS["a long header"]) + b"<p>Oops"), Close()))
    async with FaultServer(script) as server, client_of(server) as client:
        assert isinstance(await outcome_of(client.download("tok", path)), TransportError)
    assert contents(path.parent) == {}


async def test_cancelled_behind_an_odd_head(path: Path) -> None:
    """A file: cancelled while a refused reply still comes, what came of it is kept."""
    head = faults.head(200, f"Content-Length: {len(FILE)}", *ODD_HEADS["a long header"])
    script = Reply((Send(head), Send(HALF), Stall()))
    async with FaultServer(script) as server, client_of(server) as client:
        downloading = asyncio.ensure_future(client.download("tok", path))
        await asyncio.sleep(0.5)
        downloading.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await downloading
    [(name, data)] = contents(path.parent).items()
    assert (name, data) == ("contacts.csv.part", HALF)
    assert name in caught.value.__notes__[0]


async def test_one_byte_of_a_reply(path: Path) -> None:
    """A file: after a single byte of a reply it is not asked for again."""
    script = Reply((Send(b"H"), Close()))
    async with FaultServer(script) as server, client_of(server) as client:
        assert isinstance(await outcome_of(client.download("tok", path)), TransportError)
        assert server.count("download") == 1


@pytest.mark.parametrize("fault", ["close before head", "close at accept", "429", "429 JSON"])
async def test_asked_again_until_it_comes(path: Path, fault: str) -> None:
    """A file: where nothing can have been served, asking again within the policy brings it."""
    trouble = FAULTS[fault].make(FILE)
    script = (trouble, trouble, faults.good(FILE))
    async with FaultServer(*script) as server, client_of(server) as client:
        await client.download("tok", path)
        assert server.accepted == AGAIN
    assert contents(path.parent) == {path.name: FILE}


async def test_refused_connections(path: Path) -> None:
    """A file: a connection that is refused is tried again, and then the file comes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(faults.good_head(FILE) + FILE)
        writer.close()

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and does not listen yet
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        policy = RetryPolicy(attempts=100, first_delay=0.01, max_delay=0.01)
        async with SMSPartnerClient("the-key", base_url=url, retry=policy) as client:
            downloading = asyncio.ensure_future(client.download("tok", path))
            await asyncio.sleep(0.05)
            assert path.name not in contents(path.parent)
            async with await asyncio.start_server(answer, sock=listener):
                await downloading
    assert contents(path.parent) == {path.name: FILE}


async def test_a_long_retry_after(path: Path) -> None:
    """A file: a 429 that asks for a longer pause than one request may take is raised at once."""
    script = faults.busy(429, "60")
    async with FaultServer(script) as server, client_of(server, request_timeout=1) as client:
        error = await outcome_of(client.download("tok", path))
        assert server.count("download") == 1
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 60


@pytest.mark.parametrize("make", [faults.close_within_body, faults.chunks_without_end])
async def test_nothing_that_arrived_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[bytes], Reply]
) -> None:
    """A file: what arrives while the disk is slow is kept although the connection has broken."""
    slow_down(monkeypatch, "write", 0.02)
    large = FILE * 80
    arrived = large if make is faults.chunks_without_end else large[: len(large) // 2]
    async with FaultServer(make(large)) as server, client_of(server) as client:
        error = await outcome_of(client.download("tok", path))
    assert isinstance(error, DownloadInterruptedError)
    assert error.received == len(arrived)
    assert contents(path.parent) == {"contacts.csv.part": arrived}


@pytest.mark.parametrize("trouble", ["error", "slow"])
async def test_closing_does_not_matter(
    path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """A file: one that came whole is whole, even if its connection closes badly or slowly."""
    close = aiohttp.ClientSession.close

    async def close_badly(session: aiohttp.ClientSession) -> None:
        await close(session)
        if trouble == "slow":
            await asyncio.sleep(1)
        raise OSError(errno.EPIPE, "Broken pipe")

    async with FaultServer(faults.good(FILE)) as server:
        client = client_of(server, request_timeout=0.2)
        monkeypatch.setattr(aiohttp.ClientSession, "close", close_badly)
        file = await client.download("tok", path)
        assert server.count("download") == 1
    assert file.verified
    assert contents(path.parent) == {path.name: FILE}


async def test_the_error_of_a_broken_download(path: Path) -> None:
    """A file: the error of a broken transfer says where, how much, and survives pickling."""
    script = (faults.close_within_body(FILE), faults.chunks_without_end(HALF), faults.good(FILE))
    part = path.with_name("contacts.csv.part")
    async with FaultServer(*script) as server, client_of(server) as client:
        for received, expected, words in (
            (len(HALF), len(FILE), f"after {len(HALF)} of {len(FILE)} bytes"),
            (len(HALF), None, f"after {len(HALF)} bytes"),
        ):
            error = await outcome_of(client.download("tok", path))
            assert isinstance(error, DownloadInterruptedError)
            for same in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
                assert (same.path, same.received, same.expected) == (part, received, expected)
                assert words in str(same)
                assert f"kept in {part}." in str(same)
            assert error.__cause__ is error.__context__ is None
        await client.download("tok", path)
    assert contents(path.parent) == {path.name: FILE}


# --- time ------------------------------------------------------------------------------------


def slow_down(monkeypatch: pytest.MonkeyPatch, call: str, seconds: float) -> None:
    """Let a download's own calls of an `os` function take so long."""
    really = getattr(os, call)

    def slow(*args: Any) -> Any:
        if threading.current_thread().name.startswith("smspartner-download"):
            time.sleep(seconds)
        return really(*args)

    monkeypatch.setattr(os, call, slow)


@pytest.mark.parametrize("slow", ["write", "read", "fsync", "on_progress"])
async def test_the_server_is_not_to_blame(
    path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """A file: the time that the disk or `on_progress` takes is not the server's."""

    async def on_progress(*_: object) -> None:
        await asyncio.sleep(0.25 if slow == "on_progress" else 0)

    if slow != "on_progress":
        slow_down(monkeypatch, slow, 0.25)
    async with FaultServer(faults.good(FILE)) as server:
        client = client_of(server, request_timeout=0.15)
        await client.download("tok", path, on_progress=on_progress)
    assert contents(path.parent) == {path.name: FILE}


async def test_a_slow_server_that_keeps_sending(path: Path) -> None:
    """A file: `request_timeout` bounds the time between two pieces, not a whole transfer."""
    script = Reply((Send(faults.good_head(FILE)), Drip(FILE, 0.05, len(FILE) // 5 + 1)))
    async with FaultServer(script) as server:
        file = await client_of(server, request_timeout=0.15).download("tok", path)
    assert file.verified


async def test_a_server_that_falls_silent_later(path: Path) -> None:
    """A file: also after many pieces, silence for longer than `request_timeout` ends it."""
    script = Reply((Send(faults.good_head(FILE)), Drip(HALF, 0.001, 500), Stall()))
    heard = []
    async with FaultServer(script) as server:
        client = client_of(server, request_timeout=0.15)
        error = await outcome_of(
            client.download("tok", path, on_progress=lambda *_: heard.append(time.monotonic()))
        )
        assert time.monotonic() - heard[-1] < 0.15 + 0.25
    assert isinstance(error, DownloadInterruptedError)
    assert "request_timeout is 0.15 s" in str(error)
    assert contents(path.parent) == {"contacts.csv.part": HALF}
