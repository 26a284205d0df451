"""What fails before a byte was sent is known as surely not sent."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import faults
import pytest
from aiohttp.client_reqrep import ConnectionKey
from exchanges import (
    KEY,
    OPERATIONS,
    PAYLOAD,
    Exchange,
    both_ways,
    outcome,
    transport_to,
)
from fault_server import Close, FaultServer, Reply, Send, Stall
from relay import Authority, Relay, unused_port

from smspartner_async import (
    RetryPolicy,
    SMSPartnerClient,
    TransportError,
)
from smspartner_async._http.transport import Transport


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
async def test_what_fails_before_sending_is_known_as_not_sent(
    exchange: Exchange, situation: Callable[[], Any], words: str
) -> None:
    """A paid request: refused, unresolved, without TLS: no byte left, and the error says why."""
    async with situation() as where, transport_to(**vars(where)) as there:
        error = await outcome(exchange, there)
    assert isinstance(error, TransportError)
    assert re.match(words, str(error))
    assert str(error).endswith("Nothing was sent, so it is safe to try again.")
    assert (error.maybe_sent, error.reply_began) == (False, False)


@both_ways
async def test_a_timeout_before_the_head_left_is_known_as_not_sent(
    exchange: Exchange,
) -> None:
    """A paid request: a TLS handshake that never ends has sent nothing, and says so."""
    async with FaultServer(faults.never_read()) as server:
        url = server.base_url.replace("http:", "https:")
        async with transport_to(url, request_timeout=0.1) as there:
            error = await outcome(exchange, there)
    assert isinstance(error, TransportError)
    assert "in time (request_timeout is 0.1 s)" in str(error)
    assert (error.maybe_sent, error.reply_began) == (False, False)


@pytest.mark.parametrize(("operation", "maybe_sent"), [("status", True), ("price", False)])
async def test_a_timeout_of_a_later_connection(
    monkeypatch: pytest.MonkeyPatch, operation: str, *, maybe_sent: bool
) -> None:
    """A GET may have left over an earlier connection, and be sent again: it says that it may."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    head = faults.head(200, f"Content-Length: {len(PAYLOAD)}", "Connection: close")
    async with (
        FaultServer(Reply((Send(head + PAYLOAD), Close()))) as server,
        SMSPartnerClient(KEY, base_url=server.base_url, retry=RetryPolicy(attempts=1)) as client,
    ):
        await client.status("tok-1")
        monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", never)
        with pytest.raises(TransportError) as caught:
            await OPERATIONS[operation](client.with_options(request_timeout=0.05), Path())
        assert len(server.received) == 1
    assert caught.value.maybe_sent is maybe_sent


NOWHERE = ConnectionKey("h", 1, False, True, None, None, None)  # noqa: FBT003 - aiohttp's order


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(), "broke off before a whole reply had come (OSError)"),
        (aiohttp.ClientConnectorError(NOWHERE, OSError()), "No connection to h:1: OSError"),
    ],
)
def test_a_failure_without_words_is_shown_by_its_name(error: OSError, words: str) -> None:
    """An error of the operating system's that says nothing gives a message that says something."""
    there = Transport("http://localhost", 1, None, None, None)
    assert words in str(there.explain(error))
