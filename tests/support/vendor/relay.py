"""What stands between a client and a server: TLS in front of a plain server, and HTTP proxies."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import trustme
from attrs import define, field

_READ_SIZE = 65536


def port_of(base_url: str) -> int:
    """The port in a server's base URL."""
    port = urlsplit(base_url).port
    assert port is not None
    return port


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@define
class Authority:
    """A throwaway CA: a context that trusts it, and servers' contexts with its certificates."""

    _ca: trustme.CA = field(factory=trustme.CA)

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate(*names).configure_cert(context)
        return context

    def certificate(self, *names: str) -> trustme.LeafCert:
        return self._ca.issue_cert(*(names or ("127.0.0.1", "localhost")))


@define(eq=False)
class Relay:
    """Passes bytes on, to one port or, as a proxy, to where a request's head says.

    Args:
        port: where everything goes; `None` makes it a proxy, for CONNECT and for absolute URLs.
        ssl: speak TLS to the client.
        refusal: a proxy's reply, bytes as they are, to every request.
    """

    _port: int | None = None
    _ssl: ssl.SSLContext | None = None
    refusal: bytes | None = None
    heads: list[bytes] = field(factory=list, init=False)
    accepted: int = field(default=0, init=False)
    port: int = field(init=False)
    _server: asyncio.Server = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(factory=set, init=False)

    def url(self, scheme: str = "https", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._ssl)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._pass_on(reader, writer)
        writer.transport.abort()
        self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port, first = (self._port, b"") if self._port else await self._read_target(reader, writer)
        if port is None:
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        server_writer.write(first)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, server_writer.write, server_writer.close))
                group.create_task(_pump(server_reader, writer.write, writer.close))
        finally:
            server_writer.transport.abort()

    async def _read_target(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int | None, bytes]:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self.refusal is not None:
            writer.write(self.refusal)
            await writer.drain()
            await reader.read(_READ_SIZE)  # the client hangs up first
            return None, b""
        method, target = head.decode("latin-1").split(" ")[:2]
        if method != "CONNECT":
            return port_of(target), head
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return int(target.rpartition(":")[2]), b""


async def _pump(
    reader: asyncio.StreamReader, write: Callable[[bytes], None], close: Callable[[], None]
) -> None:
    with suppress(OSError):
        while data := await reader.read(_READ_SIZE):
            write(data)
    close()
