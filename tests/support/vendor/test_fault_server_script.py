"""The fault server plays its script, counts what arrives, and ends cleanly."""

import asyncio
import gc
from collections.abc import Iterator

import aiohttp
import faults
import pytest
from fault_server import AwaitByte, Drip, FaultServer, Received, Reply, Send, Stall
from faults import busy, good, json_reply
from test_fault_server import GOOD, PAYLOAD, RENT, RENT_BODY, RENT_HEAD, connect, converse, listen

# --- counting --------------------------------------------------------------------------------

REQUESTS = {
    "calculate": ("POST", "/location/optin", '{"op":"calcul"}'),
    "price": ("POST", "/location/optin", '{"op": "price"}'),
    "rent": ("POST", "/location/optin", '{"parameters": {}, "op": "rent"}'),
    "status": ("GET", "/location/status?apiKey=k&token=t", None),
    "download": ("GET", "/location/file/download?apiKey=k&token=t", None),
    "credits": ("GET", "/me?apiKey=k", None),
    "unknown": ("GET", "/location/optin", None),
}


async def test_requests_are_counted_by_operation_and_connection() -> None:
    """Every operation is known by its path and `op`, on a pooled connection and on fresh ones."""
    async with FaultServer(good(PAYLOAD)) as server:
        for pooled in (True, False):
            connector = aiohttp.TCPConnector(force_close=not pooled)
            async with aiohttp.ClientSession(connector=connector) as session:
                for method, path, body in REQUESTS.values():
                    async with session.request(method, server.base_url + path, data=body):
                        pass
        assert [received.operation for received in server.received] == [*REQUESTS, *REQUESTS]
        assert server.count("rent") == 2
        assert server.connections == [7] + [1] * 7
        assert (server.accepted, server.started, server.begun) == (8, 8, 14)
        assert all(received.whole and received.replied for received in server.received)
        status = server.received[3]
        assert (status.method, status.target) == ("GET", "/v1/location/status?apiKey=k&token=t")
        assert status.header("hOST") == server.base_url.split("/")[2]
        assert status.header("X-None") is None


@pytest.mark.looptime
async def test_what_arrives_in_part_is_kept_apart() -> None:
    """A connection, a first byte, a head and a body are four different things to have arrived."""
    loop = asyncio.get_running_loop()
    head = RENT_HEAD % len(RENT_BODY)
    async with FaultServer(good(PAYLOAD)) as server:
        with await connect(server) as sock:
            seen: list[tuple[int, int, int, int]] = []
            for part in (b"", head[:1], head[1:], RENT_BODY[:-1], RENT_BODY[-1:]):
                await loop.sock_sendall(sock, part)
                await asyncio.sleep(0.1)
                whole = sum(received.whole for received in server.received)
                seen.append((server.accepted, server.begun, len(server.received), whole))
                if part == RENT_BODY[:-1]:
                    assert (server.count("rent"), server.received[0].body) == (1, part)
        assert server.started == 1
    assert seen == [(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 1, 0), (1, 1, 1, 1)]


@pytest.mark.looptime
async def test_pipelined_and_chunked_requests_are_read() -> None:
    """Requests that arrive in one piece, one of them chunked, are two requests."""
    chunked = (
        b"POST /v1/location/optin HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'4;x=y\r\n{"op\r\n9\r\n": "rent"\r\n1\r\n}\r\n0\r\nTrailer: t\r\n\r\n'
    )
    async with FaultServer(good(PAYLOAD)) as server:
        reply, how = await converse(server, chunked + RENT)
        assert server.received[0].body == b'{"op": "rent"}'
        assert (server.count("rent"), server.connections) == (2, [2])
    assert (reply, how) == (GOOD * 2, "open")


# --- the script ------------------------------------------------------------------------------


async def codes(server: FaultServer, number: int) -> list[int]:
    async with aiohttp.ClientSession() as session:
        found = []
        for _ in range(number):
            async with session.get(f"{server.base_url}/me") as response:
                found.append(response.status)
        return found


async def test_the_script_is_played_in_order() -> None:
    """Replies come in order; then the last repeats, or the default; a new script takes over."""
    async with FaultServer(busy(429), busy(503), good(PAYLOAD)) as server:
        assert await codes(server, 5) == [429, 503, 200, 200, 200]
        server.play(busy(429), default=busy(503))
        assert await codes(server, 3) == [429, 503, 503]


async def test_a_script_may_look_at_the_request() -> None:
    """A callable makes the reply from what was received."""

    def answer(received: Received) -> Reply:
        return json_reply({"operation": received.operation, "on": received.connection})

    async with (
        FaultServer(answer) as server,
        aiohttp.request("GET", f"{server.base_url}/me") as response,
    ):
        assert await response.json() == {"operation": "credits", "on": 1}


@pytest.mark.looptime
async def test_a_mistake_in_a_script_is_raised_at_the_end() -> None:
    """An error inside a callable is not swallowed with its connection."""

    def answer(received: Received) -> Reply:
        raise ValueError(received.operation)

    with pytest.raises(ValueError, match="rent"):
        async with FaultServer(answer) as server:
            assert await converse(server) == (b"", "closed")


async def test_a_script_needs_a_reply() -> None:
    """An empty script is refused when it is written."""
    with pytest.raises(ValueError, match="at least one reply"):
        FaultServer()


@pytest.mark.looptime
async def test_a_fault_before_the_request_strikes_an_open_connection_too() -> None:
    """On a connection kept alive, a fault at accept strikes when the next request begins."""
    async with FaultServer(good(PAYLOAD), faults.close_at_accept()) as server:
        assert await converse(server, RENT * 2) == (GOOD, "closed")
        assert (server.begun, server.count("rent"), server.accepted) == (2, 1, 1)


# --- idle connections ------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(("pause", "replies"), [(4, 2), (6, 1)])
async def test_an_idle_connection_is_closed_after_its_seconds(pause: float, replies: int) -> None:
    """A request within the idle time is answered; later the connection is gone."""
    loop = asyncio.get_running_loop()
    async with FaultServer(faults.closed_when_idle(PAYLOAD, 5)) as server:
        with await connect(server) as sock:
            await loop.sock_sendall(sock, RENT)
            await asyncio.sleep(pause)
            await loop.sock_sendall(sock, RENT)
            assert await listen(sock, 10) == (GOOD * replies, "closed")
        assert server.count("rent") == replies


@pytest.mark.looptime
async def test_a_connection_closed_at_the_next_byte_loses_a_request() -> None:
    """The second request on a kept connection begins, and is never received."""
    loop = asyncio.get_running_loop()
    async with FaultServer(faults.closed_at_next_byte(PAYLOAD)) as server:
        with await connect(server) as sock:
            await loop.sock_sendall(sock, RENT)
            assert await listen(sock) == (GOOD, "open")
            await loop.sock_sendall(sock, RENT)
            assert await listen(sock) == (b"", "closed")
        assert (server.count("rent"), server.received[0].replied) == (1, True)


# --- the end ---------------------------------------------------------------------------------

HANGING = [
    faults.never_read(),
    Reply((Stall(),)),
    Reply((Stall(3600), Send(b"late"))),
    Reply((Drip(b"x" * 1000, pause=60),)),
    faults.endless_body(),
    Reply((AwaitByte(),)),
]


@pytest.fixture
def _no_warning_at_collection() -> Iterator[None]:
    """Collects what a test left, so that an unclosed socket warns in this test."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_no_warning_at_collection")
@pytest.mark.parametrize("reply", HANGING, ids=lambda reply: type(reply.steps[-1]).__name__)
async def test_the_server_ends_while_clients_hang(reply: Reply) -> None:
    """Leaving the block closes every connection and leaves no task, whatever is under way."""
    before = asyncio.all_tasks()
    async with FaultServer(reply) as server:
        clients = [await connect(server) for _ in range(3)]
        for sock in clients:
            await asyncio.get_running_loop().sock_sendall(sock, RENT)
        await asyncio.sleep(0.01)
        assert server.accepted == 3
    assert asyncio.all_tasks() == before
    for sock in clients:
        with sock:
            assert (await listen(sock, 5))[1] in {"closed", "reset"}


@pytest.mark.looptime
async def test_a_stall_ends_when_the_client_hangs_up() -> None:
    """A client that is gone holds no connection of the server's."""
    before = asyncio.all_tasks()
    async with FaultServer(Reply((Stall(),))) as server:
        with await connect(server) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, RENT)
            await asyncio.sleep(0.1)
            busy_tasks = len(asyncio.all_tasks() - before)
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks() - before) == busy_tasks - 1


@pytest.mark.usefixtures("_no_warning_at_collection")
async def test_clients_may_connect_while_the_server_ends() -> None:
    """A connection that is made in the moment of the end is closed, not lost."""
    for turns in range(60):
        async with FaultServer(good(PAYLOAD)) as server:
            tries = [asyncio.create_task(converse(server)) for _ in range(3)]
            for _ in range(turns % 6):
                await asyncio.sleep(0)
        for outcome in await asyncio.gather(*tries, return_exceptions=True):
            assert not isinstance(outcome, BaseException) or isinstance(outcome, OSError)


@pytest.mark.usefixtures("_no_warning_at_collection")
async def test_the_server_ends_when_its_test_fails() -> None:
    """An error inside the block passes through, and the port is free again."""
    with pytest.raises(ZeroDivisionError):
        async with FaultServer(good(PAYLOAD)) as server:
            raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        await connect(server)
