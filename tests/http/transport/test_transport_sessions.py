"""Sessions, connections, TLS and proxies: what is sent, over what, and who closes it."""

import asyncio
import gc
import gzip
import json
import os
import re
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import aiohttp
import faults
import pytest
from attrs import evolve, frozen
from exchanges import (
    KEY,
    OPERATIONS,
    PAYLOAD,
    REQUEST,
    TARGETING,
    Exchange,
    both_ways,
    pooled,
    send_unpooled,
    transport_to,
)
from fault_server import FaultServer, Received, Reply, Send
from relay import Authority, Relay, port_of
from renting import arrival

from smspartner_async import ConfigurationError, SMSPartnerClient, TransportError
from smspartner_async._http.state import SendState
from smspartner_async._http.transport import Transport

CREDITS = json.dumps({"success": True, "code": 200, "credits": {"balance": "1.5"}}).encode()


# --- what is sent ----------------------------------------------------------------------------


def header_lines(received: Received) -> dict[str, str]:
    lines = received.head.decode().split("\r\n")[1:-2]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize(("exchange", "connection"), [(pooled, None), (send_unpooled, "close")])
async def test_a_get_carries_its_own_headers_and_no_others(
    exchange: Exchange, connection: str | None
) -> None:
    """A file: nothing compressed is asked for, and nothing names the machine or its software."""
    async with FaultServer(faults.good(PAYLOAD)) as server, transport_to(server.base_url) as there:
        await exchange(there, SendState())
    (received,) = server.received
    sent = header_lines(received)
    assert sent.pop("Connection", None) == connection
    assert sent == {
        "Host": server.base_url.split("/")[2],
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "smspartner-async",
    }
    assert received.target == f"/v1{REQUEST.target}"


@pytest.mark.parametrize("operation", ["price", "rent"])
async def test_a_post_says_that_it_is_json_and_how_long_it_is(operation: str) -> None:
    """A body of known length: a server that reads it knows when it has all of it."""
    async with (
        FaultServer(faults.good(b'{"success": true, "token": "t", "cost": {}}')) as server,
        SMSPartnerClient(KEY, base_url=server.base_url) as client,
    ):
        await getattr(client, operation)(TARGETING)
    (received,) = server.received
    assert received.header("Content-Type") == "application/json"
    assert received.header("Content-Length") == str(len(received.body))
    assert received.header("Transfer-Encoding") is received.header("Expect") is None
    assert json.loads(received.body)["apiKey"] == KEY


@both_ways
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(exchange: Exchange, status: int) -> None:
    """A paid request: a redirect comes out as it is; the key goes nowhere else."""
    async with FaultServer(faults.good(PAYLOAD)) as elsewhere:
        redirect = faults.redirect(status, f"{elsewhere.base_url}/location/status")
        async with FaultServer(redirect) as server, transport_to(server.base_url) as there:
            reply = await exchange(there, SendState())
    assert (reply.status, len(server.received), elsewhere.accepted) == (status, 1, 0)


async def test_cookies_are_not_kept() -> None:
    """A request knows nothing of those before it, whichever way it goes."""
    cookie = faults.json_reply({}, 200, "Set-Cookie: session=s3cret; Path=/")
    async with FaultServer(cookie) as server:
        # By name: of an address, cookies are not kept anyway.
        url = server.base_url.replace("127.0.0.1", "localhost")
        async with transport_to(url) as there:
            for exchange in (pooled, pooled, send_unpooled, send_unpooled):
                await exchange(there, SendState())
    assert [received.header("Cookie") for received in server.received] == [None] * 4


# --- connections -----------------------------------------------------------------------------


@pytest.mark.parametrize(("exchange", "connections"), [(pooled, [3]), (send_unpooled, [1, 1, 1])])
async def test_only_what_is_safe_to_repeat_shares_a_connection(
    exchange: Exchange, connections: list[int]
) -> None:
    """A paid request: it takes a fresh connection, never one that the server may be closing."""
    async with FaultServer(faults.good(PAYLOAD)) as server, transport_to(server.base_url) as there:
        for _ in range(3):
            await exchange(there, SendState())
    assert server.connections == connections


async def test_a_session_is_made_when_it_is_first_needed_and_closed_with_the_client() -> None:
    """A client that is not used costs nothing, and one that was used leaves nothing open."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with FaultServer(faults.good(CREDITS)) as server:
            client = SMSPartnerClient(KEY, base_url=server.base_url)
            assert not client._pipeline.transport._own
            await client.credits()
            (session,) = client._pipeline.transport._own
            await client.close()
            assert session.closed
            await client.close()  # twice does nothing
        del client, session
        gc.collect()
    assert caught == []


# --- a borrowed session ----------------------------------------------------------------------


async def test_a_borrowed_session_is_used_and_never_closed() -> None:
    """Its connections serve what is safe to pool; its owner can use it afterwards."""
    async with FaultServer(faults.good(CREDITS)) as server, aiohttp.ClientSession() as session:
        async with SMSPartnerClient(KEY, base_url=server.base_url, session=session) as client:
            await client.credits()
            await client.credits()
        assert not session.closed
        async with session.get(f"{server.base_url}/me") as response:
            assert await response.read() == CREDITS
    assert server.connections == [3]


async def test_a_paid_request_does_not_use_the_borrowed_session() -> None:
    """A paid request: it goes over a fresh connection, also where a session was passed in."""
    async with (
        FaultServer(faults.good(b'{"success": true, "token": "t"}')) as server,
        aiohttp.ClientSession() as own,
    ):
        async with own.get(server.base_url) as response:
            await response.read()
        async with SMSPartnerClient(KEY, base_url=server.base_url, session=own) as client:
            await client.rent(TARGETING)
    assert server.connections == [1, 1]


async def test_the_settings_of_a_borrowed_session_change_nothing() -> None:
    """Its time limit, headers, cookies, unpacking and raise_for_status are its owner's alone."""
    packed = gzip.compress(CREDITS)
    lines = ("Content-Type: application/json", "Content-Encoding: gzip", "Content-Length: %d")
    head = faults.head(418, *lines) % len(packed)
    strange = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=0.001, connect=0.001, sock_read=0.001),
        raise_for_status=True,
        headers={"Accept-Encoding": "br", "Accept": "text/html", "User-Agent": "browser"},
        cookies={"session": "s3cret"},
    )
    async with (
        FaultServer(Reply((Send(head[:9]), faults._READ_FIRST, Send(head[9:] + packed)))) as server,
        strange,
        transport_to(server.base_url, borrowed=strange) as there,
    ):
        reply = await there.exchange(REQUEST)
    assert (reply.status, reply.body) == (418, packed)
    sent = header_lines(server.received[0])
    assert [sent[name] for name in ("Accept", "Accept-Encoding", "User-Agent")] == [
        "application/json",
        "identity",
        "smspartner-async",
    ]


async def test_a_closed_session_is_named_as_one() -> None:
    """Bad input: a borrowed session that its owner closed is named, and nothing is tried again."""
    async with FaultServer(faults.good(CREDITS)) as server:
        async with aiohttp.ClientSession() as session:
            client = SMSPartnerClient(KEY, base_url=server.base_url, session=session)
            await client.credits()
        with pytest.raises(ConfigurationError, match=r"session that was passed .* is closed"):
            await client.credits()
        await client.close()
    assert len(server.received) == 1


# --- whose loop, and until when --------------------------------------------------------------


async def test_closing_a_session_cancels_no_request_that_waits_for_its_connections() -> None:
    """A shared budget: the application closes it, and a call ends with an error, not cancelled."""
    async with (
        FaultServer(faults.stall_before_head(PAYLOAD, 30)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        SMSPartnerClient(KEY, base_url=server.base_url, session=session) as client,
    ):
        busy = asyncio.create_task(session.get(f"{server.base_url}/other"))
        await arrival(server)
        call = asyncio.create_task(client.credits())
        cancelled = asyncio.create_task(client.credits())
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await session.close()
        with pytest.raises(ConfigurationError, match=r"session that was passed .* is closed"):
            await call
        await asyncio.wait((busy, cancelled))
        assert cancelled.cancelled()
        assert busy.exception() is not None  # of which class is for each aiohttp to say


def test_a_client_used_on_a_second_event_loop_is_refused() -> None:
    """Bad input: its sessions belong to the loop that first used it, and the message says so."""
    client = SMSPartnerClient(KEY)

    async def use() -> None:
        async with FaultServer(faults.good(CREDITS)) as server:
            there = Transport(server.base_url, 1, None, None, None)
            client._pipeline = evolve(client._pipeline, transport=there)
            assert (await client.credits()).balance == Decimal("1.5")
            await there.close()

    asyncio.run(use())
    with pytest.raises(ConfigurationError, match="belongs to another event loop"):
        asyncio.run(use())


@pytest.mark.parametrize("borrow", [False, True])
async def test_closing_ends_what_is_under_way_on_pooled_connections(borrow: bool) -> None:  # noqa: FBT001
    """A closed client keeps nobody waiting, neither for a reply nor for a free connection."""
    async with (
        FaultServer(faults.stall_before_head(PAYLOAD)) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        borrowed = session if borrow else None
        there = Transport(server.base_url, 30, None, None, borrowed, max_connections=1)
        tasks = [asyncio.ensure_future(there.exchange(REQUEST)) for _ in range(3)]
        await arrival(server)
        closing = asyncio.ensure_future(there.close())
        for _ in range(2):
            await asyncio.sleep(0)
        await there.close()  # twice at once does no harm
        await closing
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not session.closed
    assert len(server.received) == 1
    assert {type(outcome) for outcome in outcomes} == {TransportError}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_closed_client_says_so_and_sends_nothing(operation: str, tmp_path: Path) -> None:
    """Bad input: using a closed client is a clear error, whatever is asked of it."""
    async with FaultServer(faults.good(PAYLOAD)) as server:
        async with SMSPartnerClient(KEY, base_url=server.base_url) as client:
            pass
        with pytest.raises(ConfigurationError, match="This client is closed; make a new one"):
            await OPERATIONS[operation](client, tmp_path / "file")
    assert server.accepted == 0
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - nobody waits for it here


# --- TLS and proxies -------------------------------------------------------------------------


@frozen
class Tunnel:
    """What a request passes on its way to the server."""

    server: FaultServer
    front: Relay
    proxy: Relay
    trust: ssl.SSLContext


@asynccontextmanager
async def tunnel() -> AsyncIterator[Tunnel]:
    """A server behind TLS of a throwaway CA, and a proxy to go through."""
    authority = Authority()
    payload = b'{"success": true, "token": "tok-1", "credits": {"balance": "1.5"}}'
    async with (
        FaultServer(faults.good(payload)) as server,
        Relay(port_of(server.base_url), authority.server()) as front,
        Relay() as proxy,
    ):
        yield Tunnel(server, front, proxy, authority.client())


@pytest.mark.parametrize("borrow", [False, True])
async def test_the_tls_context_and_the_proxy_serve_every_request(borrow: bool) -> None:  # noqa: FBT001
    """A client: pooled and unpooled requests take the same `ssl` and `proxy`, a session or none."""
    async with (
        tunnel() as through,
        aiohttp.ClientSession() as session,
        SMSPartnerClient(
            KEY,
            base_url=through.front.url(),
            session=session if borrow else None,
            ssl=through.trust,
            proxy=f"http://user:p%40ss@127.0.0.1:{through.proxy.port}",
        ) as client,
    ):
        await client.credits()
        await client.rent(TARGETING)
    assert [received.operation for received in through.server.received] == ["credits", "rent"]
    assert all(
        received.header("Proxy-Authorization") is None for received in through.server.received
    )
    assert through.front.accepted == len(through.proxy.heads) == 2
    for head in through.proxy.heads:
        assert head.startswith(b"CONNECT 127.0.0.1:%d " % through.front.port)
        assert b"\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n" in head
        assert b"apiKey" not in head


@both_ways
async def test_a_proxy_serves_requests_without_tls_too(exchange: Exchange) -> None:
    """A client: the proxy sees the whole URL of a request to this machine, and passes it on."""
    async with FaultServer(faults.good(PAYLOAD)) as server, Relay() as proxy:
        url = f"http://:p%C3%A9@127.0.0.1:{proxy.port}"
        async with transport_to(server.base_url, proxy=url) as there:
            assert (await exchange(there, SendState())).body == PAYLOAD
    assert proxy.heads[0].startswith(f"GET {server.base_url}{REQUEST.target} ".encode())
    assert b"\r\nProxy-Authorization: Basic OnDDqQ==\r\n" in proxy.heads[0]


@pytest.mark.parametrize(
    "proxy",
    ["", "http://", "proxy.example:8080", "socks5://user:s3cret@proxy", "http://user:s3cret@[::1"],
)
def test_a_proxy_that_cannot_be_one_is_refused_at_once(proxy: str) -> None:
    """Bad input: no request goes past a proxy that was asked for, and its password is not shown."""
    with pytest.raises(ConfigurationError, match=r"^proxy must begin with http") as caught:
        SMSPartnerClient(KEY, proxy=proxy)
    assert not re.search("s3cret", str(caught.value))


# --- host names ---------------------------------------------------------------------------


async def test_neither_key_nor_password_shows_in_a_repr() -> None:
    """A secret: the repr of a transport and of its responses shows neither URL nor proxy."""
    async with FaultServer(faults.good(PAYLOAD)) as server, Relay() as proxy:
        url = f"http://user:s3cret@127.0.0.1:{proxy.port}"
        async with (
            transport_to(server.base_url, proxy=url) as there,
            there.open_unpooled(REQUEST, SendState()) as response,
        ):
            assert repr(response) == "<response 200>"
            assert not re.search(r"s3cret|apiKey", repr(there))
