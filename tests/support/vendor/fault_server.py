"""A scripted HTTP server on bare sockets that breaks exactly where a test says.

It knows sockets, HTTP/1.1 requests and the API's paths, and nothing of the client under test. What
can go wrong is spelled in steps; faults.py holds the catalogue of replies made of them. All waiting
is in the loop's time, so the server works in virtual time too.
"""

import asyncio
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeAlias, assert_never

from attrs import define, field, frozen

Operation: TypeAlias = Literal[
    "calculate", "price", "rent", "status", "download", "credits", "unknown"
]

_BY_PATH: dict[str, Operation] = {
    "/location/file/download": "download",
    "/location/status": "status",
    "/me": "credits",
}
_BY_OP: dict[bytes, Operation] = {b"calcul": "calculate", b"price": "price", b"rent": "rent"}
_OP = re.compile(rb'"op"\s*:\s*"(\w+)"')
_READ_SIZE = 65536
# Linger for no time: closing sends a reset. Windows packs the two numbers as shorts.
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


@frozen
class Send:
    """Send these bytes."""

    data: bytes


@frozen
class Drip:
    """Send these bytes, `size` at a time, with `pause` seconds after each portion."""

    data: bytes
    pause: float = 0.001
    size: int = 1


@frozen
class Flood:
    """Send these bytes `times` times, as fast as they are taken."""

    data: bytes
    times: int


@frozen
class Stall:
    """Do nothing for `seconds`; None lasts until the client hangs up or the server ends."""

    seconds: float | None = None


@frozen
class Await:
    """Wait for an event of the test's."""

    event: asyncio.Event


@frozen
class AwaitByte:
    """Wait until a byte of the next request arrives; close when none did within `seconds`."""

    seconds: float | None = None


@frozen
class Close:
    """Close the connection in good order (FIN)."""


@frozen
class Reset:
    """Break the connection off (RST)."""


Sending: TypeAlias = Send | Drip | Flood
Step: TypeAlias = Sending | Stall | Await | AwaitByte | Close | Reset


@frozen
class Reply:
    """What happens on the wire in answer to a request; the connection stays open unless closed.

    With `before`, it happens before anything is read, as soon as a client connects (or, on a
    connection that is open already, when a next request begins), and the connection ends with it.
    """

    steps: tuple[Step, ...]
    before: bool = False

    def then(self, *steps: Step) -> "Reply":
        return Reply((*self.steps, *steps), before=self.before)


@define(eq=False)
class Received:
    """A request whose whole head arrived; its body grows while it is being read."""

    connection: int  # 1 is the first
    head: bytes
    body: bytes = b""
    whole: bool = False  # the whole body arrived
    replied: bool = False  # every byte of the reply, if it has any, was handed to the kernel

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query, as sent."""
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def operation(self) -> Operation:
        """The API's operation; "unknown" for a POST of which no `op` arrived."""
        path = self.target.partition("?")[0]
        if path.endswith("/location/optin"):
            found = _OP.search(self.body)
            return _BY_OP.get(found[1], "unknown") if found else "unknown"
        return next((name for end, name in _BY_PATH.items() if path.endswith(end)), "unknown")

    def header(self, name: str) -> str | None:
        """The value of a header, its name in any case; None without one."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


Script: TypeAlias = Reply | Callable[[Received], Reply]


class FaultServer:
    """Answers each request with the next reply of its script; the last one (or `default`) repeats.

    `accepted` counts TCP connections, `started` those on which at least one byte was read, `begun`
    the requests of which at least one byte was read (also when they were then dropped), `received`
    holds the requests whose whole head was read.
    """

    def __init__(self, *script: Script, default: Script | None = None) -> None:
        self.play(*script, default=default)
        self.received: list[Received] = []
        self.accepted = 0
        self.started = 0
        self.begun = 0
        self._links: list[_Link] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def play(self, *script: Script, default: Script | None = None) -> None:
        """Replace what is left of the script."""
        if not script and default is None:
            raise ValueError("a script needs at least one reply, or a default")
        self._script = list(script)
        self._default = script[-1] if default is None else default

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def connections(self) -> list[int]:
        """For each accepted connection, how many requests were received on it."""
        found = Counter(received.connection for received in self.received)
        return [found[number] for number in range(1, self.accepted + 1)]

    def count(self, operation: Operation) -> int:
        """How many requests for this operation were received."""
        return sum(received.operation == operation for received in self.received)

    def take(self) -> Script:
        return self._script.pop(0) if self._script else self._default

    def take_before(self) -> Reply | None:
        """Take the next reply if it is one that does not wait for a request."""
        script = self._script[0] if self._script else self._default
        if not isinstance(script, Reply) or not script.before:
            return None
        self.take()
        return script

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.settimeout(0)
        self._port = self._listener.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        try:
            await self._stop_accepting()
            for task in self._tasks:
                task.cancel()
            outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self._listener.close()
            for link in self._links:
                link.close()
        if error is None:
            self._raise_first(outcomes)

    async def _stop_accepting(self) -> None:
        # An accept that is cancelled at the wrong moment loses a socket, so it is woken instead.
        with socket.socket() as waker:
            waker.settimeout(0)
            waker.connect_ex(("127.0.0.1", self._port))
            await self._accepting

    @staticmethod
    def _raise_first(outcomes: list[BaseException | None]) -> None:
        """A mistake inside a script shows in its test."""
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            if self._closing:
                sock.close()
                return
            self.accepted += 1
            link = _Link(self, self.accepted, sock)
            self._links.append(link)
            self._tasks.append(asyncio.create_task(link.serve()))


@define(eq=False)
class _Link:
    """One accepted connection; an OSError ends it, whoever caused it."""

    _server: FaultServer
    _number: int
    _sock: socket.socket
    _buffer: bytearray = field(factory=bytearray)
    _silent: bool = True

    def close(self) -> None:
        self._sock.close()

    async def serve(self) -> None:
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._play_before()
            while True:
                await self._exchange()
        except OSError:
            pass
        finally:
            self.close()

    async def _play_before(self) -> None:
        reply = self._server.take_before()
        if reply is not None:
            for step in reply.steps:
                await self._do(step, reading=False)
            raise ConnectionAbortedError

    async def _exchange(self) -> None:
        if not self._buffer:
            await self._more()
        self._server.begun += 1
        await self._play_before()
        received = await self._read_request()
        script = self._server.take()
        reply = script if isinstance(script, Reply) else script(received)
        unsent = sum(isinstance(step, Sending) for step in reply.steps)
        for step in reply.steps:
            received.replied = not unsent
            await self._do(step)
            unsent -= isinstance(step, Sending)
        received.replied = True

    async def _do(self, step: Step, *, reading: bool = True) -> None:
        match step:
            case Send(data):
                await self._send(data)
            case Drip():
                await self._drip(step)
            case Flood(data, times):
                for _ in range(times):
                    await self._send(data)
            case Stall(seconds):
                await self._stall(seconds, reading=reading)
            case Await(event):
                await event.wait()
            case AwaitByte(seconds):
                await self._await_byte(seconds)
            case Close():
                raise ConnectionAbortedError
            case Reset():
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                raise ConnectionAbortedError
            case _:
                assert_never(step)

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)
        await asyncio.sleep(0)  # a send that fits the kernel's buffer does not let others run

    async def _drip(self, drip: Drip) -> None:
        for start in range(0, len(drip.data), drip.size):
            await self._send(drip.data[start : start + drip.size])
            await asyncio.sleep(drip.pause)

    async def _stall(self, seconds: float | None, *, reading: bool) -> None:
        try:
            async with asyncio.timeout(seconds):
                if not reading:
                    await asyncio.Event().wait()
                while True:  # reading is how the end of the client is noticed
                    await self._more()
        except TimeoutError:
            return

    async def _await_byte(self, seconds: float | None) -> None:
        if not self._buffer:
            async with asyncio.timeout(seconds):  # a TimeoutError is an OSError: it closes
                await self._more()

    async def _more(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _READ_SIZE)
        if not data:
            raise ConnectionAbortedError
        self._server.started += self._silent
        self._silent = False
        self._buffer += data

    async def _read_request(self) -> Received:
        received = Received(self._number, await self._read_until(b"\r\n\r\n"))
        self._server.received.append(received)
        if (received.header("Transfer-Encoding") or "").lower() == "chunked":
            await self._read_chunks(received)
        else:
            await self._read_body(received, int(received.header("Content-Length") or 0))
        received.whole = True
        return received

    async def _read_chunks(self, received: Received) -> None:
        while size := int((await self._read_until(b"\r\n")).split(b";")[0], 16):
            await self._read_body(received, size)
            await self._read_until(b"\r\n")
        while await self._read_until(b"\r\n") != b"\r\n":
            pass  # trailers

    async def _read_body(self, received: Received, size: int) -> None:
        while size:
            if not self._buffer:
                await self._more()
            part = bytes(self._buffer[:size])
            del self._buffer[:size]
            received.body += part
            size -= len(part)

    async def _read_until(self, end: bytes) -> bytes:
        while (found := self._buffer.find(end)) < 0:
            await self._more()
        data = bytes(self._buffer[: found + len(end)])
        del self._buffer[: found + len(end)]
        return data
