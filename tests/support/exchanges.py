"""Every operation of the client, and both ways of a `Transport` to send a request."""

import json
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from fault_server import FaultServer
from fault_table import Fault

from smspartner_async import SMSPartnerClient, SMSPartnerError, Targeting
from smspartner_async._http.state import SendState
from smspartner_async._http.transport import Transport
from smspartner_async._wire.codec import Wire
from smspartner_async._wire.reply import Reply as Triple

Exchange = Callable[[Transport, SendState], Awaitable[Triple]]

KEY = "k€y+/=%"
REQUEST = Wire(KEY).status_request("tok-1")
TARGETING = Targeting(gender="mixed", min_age=25, max_age=35, interest=14)
PAYLOAD = json.dumps({"success": True, "status": 2, "padding": "x" * 80}).encode()

OPERATIONS: dict[str, Callable[[SMSPartnerClient, Path], Awaitable[object]]] = {
    "calculate": lambda client, _: client.calculate(TARGETING),
    "price": lambda client, _: client.price(TARGETING),
    "rent": lambda client, _: client.rent(TARGETING),
    "status": lambda client, _: client.status("tok-1"),
    "wait_until_ready": lambda client, _: client.wait_until_ready("tok-1"),
    "watch": lambda client, _: anext(client.watch("tok-1")),
    "download": lambda client, path: client.download("tok-1", path),
    "credits": lambda client, _: client.credits(),
}


async def pooled(transport: Transport, _: SendState) -> Triple:
    return await transport.exchange(REQUEST)


async def send_unpooled(transport: Transport, sending: SendState) -> Triple:
    return await transport.send_unpooled(REQUEST, sending)


both_ways = pytest.mark.parametrize("exchange", [pooled, send_unpooled], ids=["pooled", "unpooled"])


@asynccontextmanager
async def transport_to(
    base_url: str,
    *,
    request_timeout: float = 5,
    ssl: tls.SSLContext | None = None,
    proxy: str | None = None,
    borrowed: aiohttp.ClientSession | None = None,
) -> AsyncIterator[Transport]:
    transport = Transport(base_url, request_timeout, ssl, proxy, borrowed)
    try:
        yield transport
    finally:
        await transport.close()


@asynccontextmanager
async def under(fault: Fault) -> AsyncIterator[tuple[FaultServer, Transport]]:
    """A server with this fault, and a transport to it."""
    async with (
        FaultServer(fault.make(PAYLOAD)) as server,
        transport_to(server.base_url) as there,
    ):
        yield server, there


async def outcome(exchange: Exchange, transport: Transport) -> Triple | SMSPartnerError:
    try:
        return await exchange(transport, SendState())
    except SMSPartnerError as error:
        return error
