"""Closing a connection is not part of the answer: whatever it does, the reply is kept."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import anyio
import faults
import pytest
from exchanges import (
    PAYLOAD,
    Exchange,
    both_ways,
    pooled,
    send_unpooled,
    transport_to,
)
from fault_server import FaultServer
from relay import Authority

from smspartner_async import TransportError
from smspartner_async._http.state import SendState


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
    """A paid request: a reply that came whole comes out, whatever the peer does afterwards."""
    authority = Authority()
    async with (
        silent_after_reply(authority.server()) as url,
        transport_to(url, ssl=authority.client(), request_timeout=1) as there,
    ):
        assert (await send_unpooled(there, SendState())).body == PAYLOAD


async def closing_fails(_: aiohttp.TCPConnector) -> None:
    raise ConnectionResetError


async def closing_hangs(_: aiohttp.TCPConnector) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("closing", [closing_fails, closing_hangs])
async def test_a_close_that_fails_or_hangs_does_not_take_the_reply_away(
    closing: Callable[[aiohttp.TCPConnector], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid request: once the token is here, trouble with the connection does not matter."""
    close = aiohttp.TCPConnector.close

    async def troubled(self: aiohttp.TCPConnector) -> None:
        await close(self)
        await closing(self)

    async with (
        FaultServer(faults.good(PAYLOAD)) as server,
        transport_to(server.base_url, request_timeout=1) as there,
    ):
        monkeypatch.setattr(aiohttp.TCPConnector, "close", troubled)
        assert (await send_unpooled(there, SendState())).body == PAYLOAD


async def test_a_cancellation_while_closing_does_not_take_the_reply_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A paid request: whoever cancels once the token is here, the token comes out."""
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
        task = asyncio.ensure_future(send_unpooled(there, SendState()))
        await closing.wait()
        task.cancel()
        assert (await task).body == PAYLOAD


@both_ways
async def test_a_cancellation_before_the_reply_is_raised(exchange: Exchange) -> None:
    """A poll: what is cancelled with no reply here ends at once, and as cancelled."""
    async with (
        FaultServer(faults.stall_within_body(PAYLOAD)) as server,
        transport_to(server.base_url) as there,
    ):
        task = asyncio.ensure_future(exchange(there, SendState()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_close_that_is_cancelled_closes_the_connections_too() -> None:
    """A client that is closed in a cancelled scope leaves no session open, and no request."""
    async with (
        FaultServer(faults.stall_within_body(PAYLOAD)) as server,
        transport_to(server.base_url) as there,
    ):
        under_way = asyncio.ensure_future(pooled(there, SendState()))
        await asyncio.sleep(0.05)
        (session,) = there._own
        with anyio.CancelScope() as scope:
            scope.cancel()
            await there.close()
        assert session.closed
        with pytest.raises(TransportError, match="closed before"):
            await under_way
