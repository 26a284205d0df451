"""The fault server does on the wire what its catalogue says, counts right, and ends cleanly."""

import asyncio
import gzip
import json
import socket
import zlib

import aiohttp
import faults
import pytest
from fault_server import Close, Drip, FaultServer, Reply, Send
from fault_table import FAULTS, Fault
from faults import MEBIBYTE, ODD_RETRY_AFTERS, busy, good, json_reply, redirect

PAYLOAD = json.dumps({"success": True, "token": "tok-1", "padding": "x" * 40}).encode()
HALF = PAYLOAD[: len(PAYLOAD) // 2]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(PAYLOAD)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = HEAD + LENGTH + PAYLOAD
RENT_BODY = b'{"apiKey": "k", "op": "rent", "parameters": {}}'
RENT_HEAD = b"POST /v1/location/optin HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
RENT = RENT_HEAD % len(RENT_BODY) + RENT_BODY


async def connect(server: FaultServer) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(0)
    address = ("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]))
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def listen(sock: socket.socket, seconds: float = 1.0) -> tuple[bytes, str]:
    """All that arrives, and how it ends: "closed", "reset", or "open" after silent seconds."""
    data = bytearray()
    while True:
        try:
            async with asyncio.timeout(seconds):
                part = await asyncio.get_running_loop().sock_recv(sock, MEBIBYTE)
        except TimeoutError:
            return bytes(data), "open"
        except ConnectionResetError:
            return bytes(data), "reset"
        if not part:
            return bytes(data), "closed"
        data += part


async def converse(server: FaultServer, request: bytes = RENT) -> tuple[bytes, str]:
    """What comes back on a new connection after these bytes."""
    with await connect(server) as sock:
        if request:
            await asyncio.get_running_loop().sock_sendall(sock, request)
        return await listen(sock)


# --- what each fault looks like on the wire: how it starts, ends, and leaves the connection ---

START = HEAD + LENGTH
WIRE: dict[str, tuple[bytes, bytes, str]] = {
    "close at accept": (b"", b"", "closed"),
    "reset at accept": (b"", b"", "reset"),
    "never read": (b"", b"", "open"),
    "close before head": (b"", b"", "closed"),
    "close within head": (START[: len(START) // 2], b"", "closed"),
    "close within body": (START + HALF, b"", "closed"),
    "reset before head": (b"", b"", "reset"),
    "reset within head": (START[: len(START) // 2], b"", "reset"),
    "reset within body": (START + HALF, b"", "reset"),
    "stall before head": (b"", b"", "open"),
    "stall within head": (START[: len(START) // 2], b"", "open"),
    "stall within body": (START + HALF, b"", "open"),
    "drip head": (GOOD, b"", "open"),
    "drip body": (GOOD, b"", "open"),
    "length too long": (
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(PAYLOAD) + 10) + PAYLOAD,
        b"",
        "closed",
    ),
    "length too long, open": (
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(PAYLOAD) + 10) + PAYLOAD,
        b"",
        "open",
    ),
    "length too short": (
        HEAD + b"Content-Length: %d\r\n\r\n" % len(HALF) + PAYLOAD,
        b"",
        "open",
    ),
    "length too short, apart": (
        HEAD + b"Content-Length: %d\r\n\r\n" % len(HALF) + PAYLOAD,
        b"",
        "open",
    ),
    "both framings": (
        START[:-2] + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PAYLOAD) + PAYLOAD,
        b"\r\n0\r\n\r\n",
        "open",
    ),
    "until close": (HEAD + b"\r\n" + PAYLOAD, b"", "closed"),
    "until close, cut": (HEAD + b"\r\n" + HALF, b"", "closed"),
    "until close, reset": (HEAD + b"\r\n" + HALF, b"", "reset"),
    "broken chunks": (
        CHUNKED + b"%x\r\n" % len(HALF) + HALF + b"\r\n",
        b"zz\r\n" + PAYLOAD,
        "closed",
    ),
    "broken chunks, apart": (
        CHUNKED + b"%x\r\n" % len(HALF) + HALF + b"\r\n",
        b"zz\r\n" + PAYLOAD,
        "closed",
    ),
    "chunks without end": (
        CHUNKED + b"%x\r\n" % len(PAYLOAD),
        PAYLOAD + b"\r\n",
        "closed",
    ),
    "100, then reply": (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, b"", "open"),
    "100, then close": (b"HTTP/1.1 100 Continue\r\n\r\n", b"", "closed"),
    "100, then stall": (b"HTTP/1.1 100 Continue\r\n\r\n", b"", "open"),
    "garbage status line": (b"\x16\x03\x01 what is this\r\n" + GOOD, b"", "closed"),
    "huge header": (START[:-2] + b"X-Padding: xxx", b"x\r\n\r\n" + PAYLOAD, "open"),
    "gzip bomb": (
        HEAD + b"Content-Encoding: gzip\r\n",
        (300 * MEBIBYTE).to_bytes(4, "little"),
        "open",
    ),
    "gzip cut": (HEAD, b"", "open"),
    "endless body": (CHUNKED + b"10000\r\n    ", b"    \r\n", "closed"),
    "HTML 200": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html", b"</html>", "open"),
    "HTML 502": (b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html", b"</html>", "open"),
    "empty 200": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", "open"),
    "empty 204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", "open"),
    "redirect 301": (b"HTTP/1.1 301 ", b"Location: ?again=1\r\nContent-Length: 0\r\n\r\n", "open"),
    "redirect 302": (b"HTTP/1.1 302 ", b"Location: ?again=1\r\nContent-Length: 0\r\n\r\n", "open"),
    "redirect 307": (b"HTTP/1.1 307 ", b"Location: ?again=1\r\nContent-Length: 0\r\n\r\n", "open"),
    "redirect 308": (b"HTTP/1.1 308 ", b"Location: ?again=1\r\nContent-Length: 0\r\n\r\n", "open"),
    "429": (b"HTTP/1.1 429 Too Many Requests\r\n", b"Content-Length: 0\r\n\r\n", "open"),
    "429 JSON": (b"HTTP/1.1 429 Too Many Requests\r\n", b'"Too many requests"}', "open"),
    "503": (b"HTTP/1.1 503 Service Unavailable\r\n", b"Content-Length: 0\r\n\r\n", "open"),
    "503 JSON": (b"HTTP/1.1 503 Service Unavailable\r\n", b'"Too many requests"}', "open"),
    "500 JSON": (b"HTTP/1.1 500 Internal", b'"code": 500, "message": "Error"}', "open"),
    "closed when idle": (GOOD, b"", "closed"),
    "closed at next byte": (GOOD, b"", "open"),
}


async def test_every_fault_has_its_row() -> None:
    """No fault joins the catalogue without a statement of what it does on the wire."""
    assert list(WIRE) == list(FAULTS)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_the_wire_shows_the_fault(fault: Fault) -> None:
    """Each constructor sends what it says, and leaves the connection as it says."""
    start, end, ending = WIRE[fault.name]
    async with FaultServer(fault.make(PAYLOAD)) as server:
        reply, how = await converse(server, RENT if fault.arrives else b"")
        assert (server.accepted, server.count("rent")) == (1, int(fault.arrives))
    assert how == ending
    assert reply.startswith(start)
    assert reply.endswith(end)
    if not end and start != HEAD:
        assert reply == start


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_the_facts_of_each_fault_hold(fault: Fault) -> None:
    """Status, wholeness and hanging are as a plain HTTP client meets them."""
    status, body, hung = None, b"", False
    async with FaultServer(fault.make(PAYLOAD)) as server, aiohttp.ClientSession() as session:
        url = f"{server.base_url}/location/optin"
        try:
            async with (
                asyncio.timeout(120),
                session.post(url, data=RENT_BODY, allow_redirects=False) as response,
            ):
                status = response.status
                while len(body) < MEBIBYTE and (part := await response.content.readany()):
                    body += part
        except TimeoutError:
            hung, body = True, b""
        except (aiohttp.ClientError, OSError):
            body = b""
        assert len(server.received) == int(fault.arrives)
        assert all(received.body == RENT_BODY for received in server.received)
    assert (status, hung) == (fault.status, fault.hangs)
    assert (status == 200 and body == PAYLOAD) == fault.whole


# --- constructors that take an argument ------------------------------------------------------


@pytest.mark.parametrize("value", ODD_RETRY_AFTERS, ids=lambda value: value[:20] or "empty")
async def test_odd_retry_after_arrives_as_written(value: str) -> None:
    """A Retry-After of any kind reaches the client in a 429 that it can read."""
    async with (
        FaultServer(busy(429, value)) as server,
        aiohttp.request("GET", f"{server.base_url}/me") as response,
    ):
        assert response.status == 429
        assert response.headers["Retry-After"] == value


@pytest.mark.looptime
@pytest.mark.parametrize(
    "stall", [faults.stall_before_head, faults.stall_within_head, faults.stall_within_body]
)
async def test_a_stall_of_some_seconds_ends_in_a_good_reply(stall: object) -> None:
    """A stall with seconds lasts exactly these, in the loop's time."""
    assert callable(stall)
    loop = asyncio.get_running_loop()
    async with FaultServer(stall(PAYLOAD, 100.0)) as server, aiohttp.ClientSession() as session:
        begun = loop.time()
        async with session.get(f"{server.base_url}/me") as response:
            assert await response.read() == PAYLOAD
        assert loop.time() - begun == pytest.approx(100, abs=0.1)


@pytest.mark.looptime
async def test_a_drip_pauses_after_each_portion() -> None:
    """Ten bytes, three at a time, are four portions and four pauses."""
    loop = asyncio.get_running_loop()
    async with FaultServer(Reply((Drip(b"0123456789", pause=5, size=3), Close()))) as server:
        begun = loop.time()
        with await connect(server) as sock:
            await loop.sock_sendall(sock, RENT)
            assert await listen(sock, seconds=6) == (b"0123456789", "closed")
        assert loop.time() - begun == pytest.approx(20, abs=0.1)


async def test_a_redirect_leads_to_another_server() -> None:
    """A 307 to another fault server carries the POST there, body and all."""
    async with FaultServer(good(PAYLOAD)) as there:
        target = f"{there.base_url}/location/optin"
        async with FaultServer(redirect(307, target)) as here, aiohttp.ClientSession() as session:
            async with session.post(f"{here.base_url}/location/optin", data=RENT_BODY) as response:
                assert await response.read() == PAYLOAD
            assert (here.count("rent"), there.count("rent")) == (1, 1)


async def test_gzip_bomb_is_valid_and_small() -> None:
    """The bomb is a correct gzip file, and a thousandth of what it unpacks to."""
    small = faults.gzip_bomb(3).steps[0]
    big = faults.gzip_bomb().steps[0]
    assert isinstance(small, Send)
    assert isinstance(big, Send)
    assert gzip.decompress(small.data.partition(b"\r\n\r\n")[2]) == bytes(3 * MEBIBYTE)
    assert len(big.data) < 400_000


@pytest.mark.looptime
async def test_gzip_cut_unpacks_to_a_beginning_only() -> None:
    """What is left of the cut file unpacks without an end."""
    async with FaultServer(faults.gzip_cut(PAYLOAD)) as server:
        reply, _ = await converse(server)
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert PAYLOAD.startswith(unpacker.decompress(reply.partition(b"\r\n\r\n")[2]))
    assert not unpacker.eof


@pytest.mark.looptime
async def test_chunked_json_and_vendor_errors_are_whole_replies() -> None:
    """The constructors without a fault give replies that any client reads."""
    script = (faults.chunked(PAYLOAD), json_reply([1], 201), faults.vendor_error(10, "no", 403))
    async with FaultServer(*script) as server, aiohttp.ClientSession() as session:
        seen = []
        for _ in script:
            async with session.get(f"{server.base_url}/me") as response:
                seen.append((response.status, await response.json()))
        assert server.connections == [3]
    refusal = {"success": False, "code": 10, "message": "no"}
    assert seen == [(200, json.loads(PAYLOAD)), (201, [1]), (403, refusal)]
