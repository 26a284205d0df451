"""When a rent is sent again: only after what proves that nothing was rented."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import pytest
import trustme
from fault_server import FaultServer, Received, Reply
from faults import busy, closed_at_next_byte, closed_when_idle, good, good_head, html, never_read
from renting import TARGETING, client_of, now, receipt

from smspartner_async import RateLimitError, RetryPolicy, SMSPartnerClient, TransportError
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = {"success": False, "code": 429, "message": "Trop de requêtes"}


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# --- nothing left ----------------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_refused_connection_is_tried_again_until_the_server_is_there() -> None:
    """A paid request: a refused connection carried nothing, so the rent is sent once it can."""
    sandbox = Sandbox(port=free_port())

    async def open_later() -> None:
        await asyncio.sleep(1)
        await sandbox.start()

    url = f"http://127.0.0.1:{sandbox._port}/v1"
    async with SMSPartnerClient(sandbox.api_key, base_url=url) as client:
        opening = asyncio.create_task(open_later())
        rental = await client.rent(TARGETING)
        await opening
    assert [each.token for each in sandbox.rentals] == [rental.token]
    assert sandbox.requests == Counter(rent=1)
    await sandbox.close()


@pytest.mark.looptime
async def test_a_refused_connection_is_tried_so_often_and_no_more() -> None:
    """A paid request: after the last attempt the error says that nothing was sent."""
    url = f"http://127.0.0.1:{free_port()}/v1"
    policy = RetryPolicy(attempts=5, first_delay=1, max_delay=1)
    async with SMSPartnerClient("key", base_url=url, retry=policy) as client:
        begun = now()
        with pytest.raises(TransportError, match="Nothing was sent") as caught:
            await client.rent(TARGETING)
    assert not caught.value.maybe_sent
    assert 4 * 0.5 <= now() - begun <= 4 * 1.01


async def test_a_name_that_is_not_resolved_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paid request: without an address nothing is sent; with one, the rent is sent once."""
    resolve = socket.getaddrinfo
    asked: list[object] = []

    def fail_twice(host: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(host)
        if len(asked) <= 2:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", fail_twice)
    async with FaultServer(good(receipt())) as server:
        url = server.base_url.replace("127.0.0.1", "localhost")
        async with client_of(server, base_url=url) as client:
            assert (await client.rent(TARGETING)).token == "tok-1"
        assert (asked, server.count("rent")) == (["localhost"] * 3, 1)


class TLSServer:
    """Offers TLS, to the first `broken` connections a broken one; counts what came inside of it."""

    def __init__(self, broken: int = 0) -> None:
        authority = trustme.CA()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self.trusted = ssl.create_default_context()
        authority.configure_trust(self.trusted)
        self._broken = broken
        self.connections = 0
        self.requests = 0

    @property
    def base_url(self) -> str:
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.connections > self._broken:
                await writer.start_tls(self._context)
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(good_head(receipt()) + receipt())
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


async def test_tls_that_breaks_off_is_tried_again() -> None:
    """A paid request: before TLS stands nothing is sent; when it stands, the rent is, once."""
    async with TLSServer(broken=2) as server, client_of(server, ssl=server.trusted) as client:
        assert (await client.rent(TARGETING)).token == "tok-1"
        assert (server.connections, server.requests) == (3, 1)


async def test_a_certificate_that_is_not_trusted_gets_no_rent() -> None:
    """A paid request: TLS with a stranger is not established, and no byte is sent to him."""
    async with TLSServer() as server, client_of(server) as client:
        with pytest.raises(TransportError, match=r"TLS .* failed") as caught:
            await client.rent(TARGETING)
        assert not caught.value.maybe_sent
        assert (server.connections, server.requests) == (4, 0)


async def test_a_server_without_tls_gets_no_rent() -> None:
    """A paid request: what answers https:// in plain text never sees a rent."""
    async with FaultServer(Reply((), before=True)) as server:
        url = server.base_url.replace("http:", "https:")
        async with client_of(server, base_url=url) as client:
            with pytest.raises(TransportError) as caught:
                await client.rent(TARGETING)
        assert not caught.value.maybe_sent
        assert (server.accepted, server.received) == (4, [])


@pytest.mark.looptime
async def test_a_handshake_that_hangs_is_given_up_and_tried_again() -> None:
    """A paid request: a timeout before the first byte leaves proves that none did."""
    async with FaultServer(never_read()) as server:
        options = {"base_url": server.base_url.replace("http:", "https:"), "request_timeout": 10}
        async with client_of(server, **options) as client:
            begun = now()
            with pytest.raises(TransportError, match="in time") as caught:
                await client.rent(TARGETING)
        assert not caught.value.maybe_sent
        assert now() - begun == pytest.approx(40, abs=0.1)
        assert (server.accepted, server.received) == (4, [])


async def test_a_proxy_that_refuses_to_connect_gets_no_rent() -> None:
    """A paid request: the refused CONNECT shows the proxy a host name, and nothing of a rent."""
    async with FaultServer(html(403)) as proxy:
        options = {"base_url": "https://api.invalid/v1", "proxy": proxy.base_url[:-3]}
        async with client_of(proxy, **options) as client:
            with pytest.raises(TransportError, match="proxy") as caught:
                await client.rent(TARGETING)
        assert not caught.value.maybe_sent
        assert [r.head.split()[:2] for r in proxy.received] == [
            [b"CONNECT", b"api.invalid:443"]
        ] * 4
        assert not any(received.body for received in proxy.received)


# --- refused by the limit on requests --------------------------------------------------------


@pytest.mark.looptime
async def test_the_clients_own_limit_lets_each_rent_through_once() -> None:
    """A paid request: rents that wait for their turn are sent once each, at even distances."""
    times: list[float] = []

    def note(_: Received) -> Reply:
        times.append(now())
        return good(receipt())

    async with FaultServer(note) as server, client_of(server, max_requests_per_minute=60) as client:
        begun = now()
        await asyncio.gather(*(client.rent(TARGETING) for _ in range(5)))
    assert [at - begun for at in times] == pytest.approx([0, 1, 2, 3, 4], abs=0.1)


@pytest.mark.looptime
@pytest.mark.parametrize(("pause", "arrivals"), [("5", 1), ("31", 0)])
async def test_a_cool_down_of_the_client_holds_a_rent_back(pause: str, arrivals: int) -> None:
    """A paid request: in a cool-down a rent waits its turn, or fails unsent if that is long."""
    answers = (busy(429, pause, FULL), good(receipt()))
    options = {"retry": RetryPolicy(attempts=1), "request_timeout": 30}
    async with FaultServer(*answers) as server, client_of(server, **options) as client:
        with pytest.raises(RateLimitError):
            await client.credits()
        begun = now()
        if arrivals:
            await client.rent(TARGETING)
            assert now() - begun == pytest.approx(5, abs=0.1)
        else:
            with pytest.raises(RateLimitError):
                await client.rent(TARGETING)
            assert now() - begun == pytest.approx(0, abs=0.1)
        assert server.count("rent") == arrivals


@pytest.mark.looptime
@pytest.mark.parametrize("error", [None, FULL], ids=["no body", "JSON"])
@pytest.mark.parametrize("pause", [None, "2", "0", "soon"])
@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_429_is_tried_again_so_often_and_no_more(
    error: dict[str, object] | None, pause: str | None, attempts: int
) -> None:
    """A paid request: refused before it was done, a rent is sent again, and counted."""
    policy = RetryPolicy(attempts=attempts, first_delay=0.5)
    async with (
        FaultServer(busy(429, pause, error)) as server,
        client_of(server, retry=policy) as client,
    ):
        begun = now()
        with pytest.raises(RateLimitError) as caught:
            await client.rent(TARGETING)
        assert server.count("rent") == attempts
        assert caught.value.retry_after == (2 if pause == "2" else None)
        if pause == "2":
            assert now() - begun >= 2 * (attempts - 1)


@pytest.mark.looptime
async def test_a_429_and_then_a_receipt_is_one_rental() -> None:
    """A paid request: after refusals the rent that gets through is the only one done."""
    answers = (busy(429), busy(429, "1", FULL), good(receipt()))
    async with FaultServer(*answers) as server, client_of(server) as client:
        assert (await client.rent(TARGETING)).token == "tok-1"
        assert server.count("rent") == 3


@pytest.mark.looptime
async def test_a_429_that_asks_for_a_long_pause_is_raised_at_once() -> None:
    """A paid request: a Retry-After beyond request_timeout is for the caller to wait out."""
    async with (
        FaultServer(busy(429, "31", FULL)) as server,
        client_of(server, request_timeout=30) as client,
    ):
        begun = now()
        with pytest.raises(RateLimitError) as caught:
            await client.rent(TARGETING)
        assert (caught.value.retry_after, server.count("rent")) == (31, 1)
        assert now() - begun == pytest.approx(0, abs=0.1)


# --- a new connection ------------------------------------------------------------------------


@pytest.mark.parametrize("borrowed", [False, True], ids=["own", "borrowed"])
async def test_a_rent_goes_over_a_new_connection(
    borrowed: bool,  # noqa: FBT001 - a row of the test's
) -> None:
    """A paid request: whatever is pooled, and by whom, a rent has a fresh connection."""
    async with FaultServer(good(receipt())) as server, aiohttp.ClientSession() as session:
        async with client_of(server, session=session if borrowed else None) as client:
            for _ in range(2):
                await client.status("tok-1")
                await client.rent(TARGETING)
            await client.status("tok-1")
        statuses = {r.connection for r in server.received if r.operation == "status"}
        rents = [r for r in server.received if r.operation == "rent"]
        assert len(statuses) == 1
        assert len({rent.connection for rent in rents} - statuses) == len(rents) == 2
        assert {rent.header("Connection") for rent in rents} == {"close"}


@pytest.mark.looptime
@pytest.mark.parametrize("close", [closed_when_idle, closed_at_next_byte])
async def test_connections_that_close_at_the_worst_moment_cost_no_rent(
    close: Callable[[bytes], Reply],
) -> None:
    """A paid request: an idle timeout that strikes between two requests never hits a rent."""
    rounds = 300
    async with FaultServer(close(receipt())) as server, client_of(server) as client:
        for _ in range(rounds):
            await client.status("tok-1")
            await asyncio.sleep(0.05)  # exactly the server's idle timeout
            await client.rent(TARGETING)
        assert server.count("rent") == rounds
        shared = {r.connection for r in server.received if r.operation == "status"}
        alone = {r.connection for r in server.received if r.operation == "rent"}
        assert (len(alone), alone & shared) == (rounds, set())
