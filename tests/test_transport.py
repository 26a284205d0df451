"""One HTTP exchange under every fault: what comes out, and what may have been sent.

Real sockets throughout: what counts here is what aiohttp and the kernel do, not what they promise.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import faults
import pytest
from aiohttp.client_reqrep import ConnectionKey
from attrs import frozen
from exchanges import PAYLOAD, Exchange, alone, both_ways, outcome, pooled, transport_to, under
from fault_server import FaultServer, Reply, Send, Stall
from faults import FAULTS, Fault
from relay import Authority, Relay, unused_port

from smspartner_async import ResponseError, SMSPartnerError, TransportError
from smspartner_async._reply import MAX_BODY
from smspartner_async._reply import Reply as Triple
from smspartner_async._transport import Sending, Transport

HALF = PAYLOAD[: len(PAYLOAD) // 2]


# --- the truth table -------------------------------------------------------------------------


@frozen
class Lost:
    """No whole reply came: what the error says, and how often a pooled GET arrives."""

    reply_began: bool = True
    arrivals: int = 1


@frozen
class Came:
    """A triple came out."""

    status: int = 200
    body: bytes | None = PAYLOAD


TOO_LARGE = "too large"
# aiohttp sends a pooled GET a second time where a connection breaks before the head of the reply.
# An interim `100 Continue` is no part of a reply.
TABLE: dict[str, Lost | Came | str] = {
    "close at accept": Lost(reply_began=False, arrivals=0),
    "reset at accept": Lost(arrivals=0),
    "never read": Lost(arrivals=0),
    "close before head": Lost(reply_began=False, arrivals=2),
    "close within head": Lost(arrivals=2),
    "close within body": Lost(),
    "reset before head": Lost(arrivals=2),
    "reset within head": Lost(arrivals=2),
    "reset within body": Lost(),
    "stall before head": Lost(),
    "stall within head": Lost(),
    "stall within body": Lost(),
    "drip head": Came(),
    "drip body": Came(),
    "length too long": Lost(),
    "length too long, open": Lost(),
    "length too short": Lost(),
    "length too short, apart": Came(body=HALF),
    "both framings": Lost(),
    "until close": Came(),
    "until close, cut": Came(body=HALF),
    "until close, reset": Came(body=HALF),
    "broken chunks": Lost(),
    "broken chunks, apart": Lost(),
    "chunks without end": Lost(),
    "100, then reply": Came(),
    "100, then close": Lost(reply_began=False, arrivals=2),
    "100, then stall": Lost(),
    "garbage status line": Lost(),
    "huge header": Lost(),
    "gzip bomb": Came(body=None),
    "gzip cut": Came(body=None),
    "endless body": TOO_LARGE,
    "HTML 200": Came(body=None),
    "HTML 502": Came(502, None),
    "empty 200": Came(body=b""),
    "empty 204": Came(204, b""),
    "redirect 301": Came(301, b""),
    "redirect 302": Came(302, b""),
    "redirect 307": Came(307, b""),
    "redirect 308": Came(308, b""),
    "429": Came(429, b""),
    "429 JSON": Came(429, None),
    "503": Came(503, b""),
    "503 JSON": Came(503, None),
    "500 JSON": Came(500, None),
    "closed when idle": Came(),
    "closed at next byte": Came(),
}


def test_the_truth_table_has_a_row_for_every_fault() -> None:
    """A fault that is added to the catalogue cannot be forgotten here."""
    assert TABLE.keys() == FAULTS.keys()


def check_row(fault: Fault, found: Triple | SMSPartnerError, *, reply_began: bool) -> None:
    match TABLE[fault.name]:
        case Came(status, body):
            assert isinstance(found, Triple), found
            assert found.status == status
            assert body in (None, found.body)
        case Lost():
            assert isinstance(found, TransportError), found
            assert found.maybe_sent
            assert found.reply_began == reply_began
        case _:
            assert isinstance(found, ResponseError), found
            assert str(MAX_BODY) in str(found)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_a_fault_gives_a_pooled_request_its_row_of_the_truth_table(fault: Fault) -> None:
    """A pooled request under a fault gives the triple, or an error that it may have been sent."""
    async with under(fault) as (server, there):
        found = await outcome(pooled, there)
    row = TABLE[fault.name]
    check_row(fault, found, reply_began=True)
    assert len(server.received) == (row.arrivals if isinstance(row, Lost) else 1)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_a_fault_gives_an_unpooled_request_its_row_of_the_truth_table(fault: Fault) -> None:
    """A paid request, 1: a fault gives the triple, or an error that tells how far it came."""
    row = TABLE[fault.name]
    async with under(fault) as (_, there):
        found = await outcome(alone, there)
    check_row(fault, found, reply_began=isinstance(row, Lost) and row.reply_began)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_an_unpooled_get_arrives_once_whatever_happens_to_it(fault: Fault) -> None:
    """A file: a GET on a connection of its own is never re-sent behind our back."""
    async with under(fault) as (server, there):
        await outcome(alone, there)
        await asyncio.sleep(0.01)
    assert server.accepted == 1
    assert server.begun == len(server.received) == fault.arrives


async def test_a_triple_comes_out_whole() -> None:
    """Status, headers in any case, and every byte of the body, whatever bytes they are."""
    body = bytes(range(256)) * 1000
    async with (
        FaultServer(faults.chunked(body).then()) as server,
        transport_to(server.base_url) as there,
    ):
        for exchange in (pooled, alone):
            status, headers, came = await exchange(there, Sending())
            assert (status, headers["tRANSFER-eNCODING"], came) == (200, "chunked", body)


# --- before anything was sent ----------------------------------------------------------------


@asynccontextmanager
async def nobody_there() -> AsyncIterator[SimpleNamespace]:
    yield SimpleNamespace(base_url=f"http://127.0.0.1:{unused_port()}/v1")


@asynccontextmanager
async def no_such_name() -> AsyncIterator[SimpleNamespace]:
    yield SimpleNamespace(base_url="https://sms-partner.invalid/v1")


@asynccontextmanager
async def no_tls() -> AsyncIterator[SimpleNamespace]:
    no_handshake = Reply((Send(faults.head(400, "Content-Length: 0")), Stall()), before=True)
    async with FaultServer(no_handshake) as server:
        yield SimpleNamespace(base_url=server.base_url.replace("http:", "https:"))


@asynccontextmanager
async def untrusted() -> AsyncIterator[SimpleNamespace]:
    async with Relay(unused_port(), Authority().server()) as front:
        yield SimpleNamespace(base_url=front.url())


@asynccontextmanager
async def wrong_name() -> AsyncIterator[SimpleNamespace]:
    authority = Authority()
    async with Relay(unused_port(), authority.server("elsewhere.example")) as front:
        yield SimpleNamespace(base_url=front.url(), ssl=authority.client())


@asynccontextmanager
async def no_proxy() -> AsyncIterator[SimpleNamespace]:
    proxy = f"http://127.0.0.1:{unused_port()}"
    yield SimpleNamespace(base_url="https://sms-partner.invalid/v1", proxy=proxy)


@asynccontextmanager
async def refusing_proxy() -> AsyncIterator[SimpleNamespace]:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with Relay(refusal=refusal) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        yield SimpleNamespace(base_url="https://sms-partner.invalid/v1", proxy=url)


@both_ways
@pytest.mark.parametrize(
    ("situation", "words"),
    [
        (nobody_there, r"No connection to 127\.0\.0\.1:\d+: Connect call failed"),
        (no_such_name, r"The host name 'sms-partner\.invalid' cannot be resolved\."),
        (no_tls, r"TLS with 127\.0\.0\.1 failed: "),
        (untrusted, r"TLS with 127\.0\.0\.1 failed: .*(self-signed|issuer) certificate"),
        (wrong_name, r"TLS with 127\.0\.0\.1 failed: .*certificate is not valid for '127\.0\.0"),
        (no_proxy, r"No connection to 127\.0\.0\.1:\d+: Connect call failed"),
        (refusing_proxy, r"The proxy refused the connection \(HTTP 407\)\."),
    ],
)
async def test_what_fails_before_sending_is_told_as_surely_not_sent(
    exchange: Exchange, situation: Callable[[], Any], words: str
) -> None:
    """A paid request, 2: refused, unresolved, without TLS: no byte left, and the error says why."""
    async with situation() as where, transport_to(**vars(where)) as there:
        error = await outcome(exchange, there)
    assert isinstance(error, TransportError)
    assert re.match(words, str(error))
    assert str(error).endswith("Nothing was sent, so it is safe to try again.")
    assert (error.maybe_sent, error.reply_began) == (False, False)


async def test_a_timeout_before_the_head_left_is_told_as_surely_not_sent() -> None:
    """A paid request, 1: a TLS handshake that never ends has sent nothing, and that is told."""
    async with FaultServer(faults.never_read()) as server:
        url = server.base_url.replace("http:", "https:")
        async with transport_to(url, request_timeout=0.1) as there:
            error = await outcome(alone, there)
    assert isinstance(error, TransportError)
    assert "in time (request_timeout is 0.1 s)" in str(error)
    assert not error.maybe_sent


NOWHERE = ConnectionKey("h", 1, False, True, None, None, None)  # noqa: FBT003 - aiohttp's order


NOWHERE = ConnectionKey("h", 1, False, True, None, None, None)  # noqa: FBT003 - aiohttp's order


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(), "broke off before a whole reply had come (OSError)"),
        (aiohttp.ClientConnectorError(NOWHERE, OSError()), "No connection to h:1: OSError"),
    ],
)
def test_a_failure_without_words_is_told_by_its_name(error: OSError, words: str) -> None:
    """An error of the operating system's that says nothing gives a message that says something."""
    there = Transport(
        base_url="http://localhost", request_timeout=1, ssl=None, proxy=None, borrowed=None
    )
    assert words in str(there.explain(error))


# --- closing is not part of the answer -------------------------------------------------------


@asynccontextmanager
async def silent_after_reply(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Answer over TLS, and from then on neither read nor answer a close."""
    loop = asyncio.get_running_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_side=True)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            try:
                request += tls.read(65536)
            except ssl.SSLWantReadError:
                writer.write(outward.read())
                if not (data := await reader.read(65536)):
                    return
                inward.write(data)
        tls.write(faults.good_head(PAYLOAD) + PAYLOAD)
        writer.write(outward.read())
        writer.transport.pause_reading()  # type: ignore[attr-defined] # of sockets only
        await ended
        writer.transport.abort()

    ended = loop.create_future()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        ended.set_result(None)
        server.close()
        await asyncio.sleep(0)


async def test_a_peer_that_never_answers_the_close_does_not_take_the_reply_away() -> None:
    """A paid request, 4: a reply that came whole comes out, whatever the peer does afterwards."""
    authority = Authority()
    async with (
        silent_after_reply(authority.server()) as url,
        transport_to(url, ssl=authority.client(), request_timeout=1) as there,
    ):
        assert (await alone(there, Sending())).body == PAYLOAD


async def closing_fails(_: aiohttp.TCPConnector) -> None:
    raise ConnectionResetError


async def closing_hangs(_: aiohttp.TCPConnector) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("closing", [closing_fails, closing_hangs])
async def test_a_close_that_fails_or_hangs_does_not_take_the_reply_away(
    closing: Callable[[aiohttp.TCPConnector], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid request, 4: once the token is here, trouble with the connection does not matter."""
    close = aiohttp.TCPConnector.close

    async def troubled(self: aiohttp.TCPConnector) -> None:
        await close(self)
        await closing(self)

    async with (
        FaultServer(faults.good(PAYLOAD)) as server,
        transport_to(server.base_url, request_timeout=0.3) as there,
    ):
        monkeypatch.setattr(aiohttp.TCPConnector, "close", troubled)
        assert (await alone(there, Sending())).body == PAYLOAD


async def test_a_cancellation_while_closing_does_not_take_the_reply_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A paid request, 4: whoever cancels once the token is here, the token comes out."""
    close = aiohttp.TCPConnector.close
    closing = asyncio.Event()

    async def slow(self: aiohttp.TCPConnector) -> None:
        await close(self)
        closing.set()
        await asyncio.Event().wait()

    async with (
        FaultServer(faults.good(PAYLOAD)) as server,
        transport_to(server.base_url) as there,
    ):
        monkeypatch.setattr(aiohttp.TCPConnector, "close", slow)
        task = asyncio.ensure_future(alone(there, Sending()))
        await closing.wait()
        task.cancel()
        assert (await task).body == PAYLOAD


@both_ways
async def test_a_cancellation_before_the_reply_goes_on(exchange: Exchange) -> None:
    """A poll, 6: what is cancelled with no reply here ends at once, and as cancelled."""
    async with (
        FaultServer(faults.stall_within_body(PAYLOAD)) as server,
        transport_to(server.base_url) as there,
    ):
        task = asyncio.ensure_future(exchange(there, Sending()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
