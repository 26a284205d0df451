"""The vendor's endpoints, as cheap as Python allows, in a separate process on loopback.

The token of a rental says how it behaves, so that the server needs no set-up:

- `polls-<n>-<any>`: generating for n requests, ready from then on;
- `at-<seconds>-<any>`: ready from that moment of the server's clock (seconds since 1970);
- any other: generating for ever.

Every price and every rent is the same one, and every file has the same 100 numbers.

It ends by itself: when its standard input closes (as it does when its parent dies), or after a
bounded time. Run as `python -m benchmarks.server [seconds]`; the port is its first line.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
LIFETIME: Final = 300.0
STATUS_PATH: Final = "/v1/location/status"
OPTIN_PATH: Final = "/v1/location/optin"
DOWNLOAD_PATH: Final = "/v1/location/file/download"

_GENERATING: Final = b"File is being generated"
_READY: Final = b"File is ready. You can download it."
_TOKEN_MARK: Final = b"<token>"
_STATUS_MARK: Final = b"<status>"

# The manual's sample of a status, as it is printed there.
_SAMPLE: Final = json.dumps(
    {
        "success": True,
        "token": "<token>",
        "status": "<status>",
        "location": {
            "sexe": "femme",
            "minAge": 31,
            "maxAge": 49,
            "zipcode": "60200",
            "interest": "12",
            "category": 103,
            "details_localisation": [
                {"Type": "cp", "Location": "60200", "VolumeDesired": "10", "Volume": "266"}
            ],
            "cost": {"quantity": 10, "total": "0.900", "cost_unity": "0.090"},
        },
        "file": {"phoneNumbers": "10"},
    },
    indent=4,
).encode()
_QUOTE: Final = json.dumps(
    {
        "success": True,
        "code": 200,
        "token": "b22b841a21624f4f",
        "cost": {"quantity": 20, "total": 2.52, "cost_unity": 0.09},
        "datas": [{"Type": "CP", "Localite": "60200", "Volume": 20}],
    },
    indent=4,
).encode()
_FILE: Final = b"".join(b"+336000000%02d\n" % number for number in range(100))
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: nginx\r\n"
    b"Date: Sat, 01 Nov 2025 12:00:00 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b"%sContent-Length: %d\r\n\r\n%s"
)


@define
class Rentals:
    """Knows by its token whether a rental is ready, and counts what was asked."""

    clock: Callable[[], float] = time.time
    requests: int = 0
    connections: int = 0
    most_connections: int = 0
    _asked: dict[bytes, int] = field(factory=dict, init=False)

    def is_ready(self, token: bytes) -> bool:
        """Return whether the rental is ready, and count the request."""
        self.requests += 1
        kind, _, rest = token.partition(b"-")
        if kind == b"polls":
            asked = self._asked.get(token, 0)
            if asked >= int(rest.partition(b"-")[0]):
                self._asked.pop(token, None)
                return True
            self._asked[token] = asked + 1
            return False
        return kind == b"at" and self.clock() >= float(rest.partition(b"-")[0])

    def counts(self) -> bytes:
        """Return the counts as JSON."""
        counts = {"requests": self.requests, "most_connections": self.most_connections}
        return json.dumps(counts).encode()


@define(eq=False)
class StatusProtocol(asyncio.Protocol):
    """One keep-alive connection; understands GET and POST requests, one after the other."""

    rentals: Rentals
    _transport: asyncio.Transport | None = field(default=None, init=False)
    _rest: bytes = field(default=b"", init=False)
    _counted: bool = field(default=False, init=False)
    """Whether it is one that asks for statuses."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Count the connection no more."""
        self.rentals.connections -= self._counted

    def data_received(self, data: bytes) -> None:
        """Answer every whole request that has come."""
        data = self._rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            if head.startswith(b"POST"):
                body = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
                if len(data) < end + 4 + body:
                    break
                end += body
            target = head.split(b" ", 2)[1]
            data = data[end + 4 :]
            if self._transport is not None:
                self._transport.write(self._reply(target))
        self._rest = data

    def _reply(self, target: bytes) -> bytes:
        path, _, query = target.partition(b"?")
        token = query.partition(b"token=")[2].partition(b"&")[0]
        more = b""
        if path == b"/counts":
            body = self.rentals.counts()
        elif path == b"/lro/start":  # what azure-core's poller begins with
            assert self._transport is not None  # noqa: S101 - for the type checker
            host, port = self._transport.get_extra_info("sockname")
            where = f"http://{host}:{port}/lro/status?{query.decode()}"
            more = f"Operation-Location: {where}\r\n".encode()
            body = b"{}"
        elif path == b"/lro/status":  # the same in the words that azure-core's poller knows
            body = _body(token, b"Succeeded" if self._is_ready(token) else b"InProgress")
        elif path == OPTIN_PATH.encode():
            body = _QUOTE
        elif path == DOWNLOAD_PATH.encode():
            body = _FILE
        else:
            body = _body(token, _READY if self._is_ready(token) else _GENERATING)
        return _HEAD % (more, len(body), body)

    def _is_ready(self, token: bytes) -> bool:
        if not self._counted:
            self._counted = True
            self.rentals.connections += 1
            self.rentals.most_connections = max(
                self.rentals.connections, self.rentals.most_connections
            )
        return self.rentals.is_ready(token)


def _body(token: bytes, status: bytes) -> bytes:
    return _SAMPLE.replace(_TOKEN_MARK, token, 1).replace(_STATUS_MARK, status, 1)


async def _serve(lifetime: float) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def wait_for_parent() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock a thread would keep at the end
            pass
        with suppress(RuntimeError):  # the loop is closed: the time was over first
            loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    rentals = Rentals()
    server = await loop.create_server(lambda: StatusProtocol(rentals), "127.0.0.1", 0, backlog=1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    try:
        async with asyncio.timeout(lifetime):
            await over.wait()
    except TimeoutError:
        pass
    finally:
        server.close()


@contextmanager
def running_server(lifetime: float = LIFETIME) -> Iterator[str]:
    """Run the server in another process; gives `http://127.0.0.1:<port>`."""
    with subprocess.Popen(  # noqa: S603 - this very module
        [sys.executable, "-m", "benchmarks.server", str(lifetime)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) if len(sys.argv) > 1 else LIFETIME))
