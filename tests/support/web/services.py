"""README's two services, run over real HTTP beside a vendor in the same event loop."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import aiohttp
import uvicorn
from aiohttp import web
from attrs import frozen
from paths import PACKAGE

from smspartner_async import PollingPolicy, SMSPartnerClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

README = (PACKAGE / "web" / "README.md").read_text("utf-8")
SECRET = "of-the-notifications"
KEY = "key-of-the-service"
ORDER: dict[str, Any] = {
    "gender": "mixed",
    "min_age": 25,
    "max_age": 35,
    "interest": 14,
    "zipcodes": ["06200"],
    "volumes": {"06200": 20},
}


def block(pattern: str) -> str:
    """Cut the one code block out of README that begins so."""
    found = re.findall(rf"^```\w+\n({pattern}.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


PAGE = block("<!doctype html>")
SOURCES = {name: block(f"# {name}_service.py;") for name in ("aiohttp", "fastapi")}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    end = time.monotonic() + 120  # of the machine's clock: the loop's may be virtual
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.001)


def write_service(name: str, folder: Path) -> Path:
    """Write a service and its page to a folder, as a reader would."""
    (folder / "pages").mkdir(exist_ok=True)
    (folder / "pages" / "progress.html").write_text(PAGE, "utf-8")
    program = folder / f"{name}_service.py"
    program.write_text(SOURCES[name], "utf-8")
    return program


FORETOLD = PollingPolicy(jitter=0)
"""The usual polling, at moments which a test can foretell."""


def load_service(name: str, folder: Path, polling: PollingPolicy) -> ModuleType:
    """Load a service as a module, whose client asks in this way."""
    program = write_service(name, folder)
    module = ModuleType(program.stem)
    exec(compile(program.read_text("utf-8"), program, "exec"), module.__dict__)  # noqa: S102 - ours
    vars(module)["SMSPartnerClient"] = partial(SMSPartnerClient, polling=polling)
    return module


@frozen
class Events:
    """An open event stream, as a browser reads it."""

    response: aiohttp.ClientResponse

    async def next(self) -> tuple[str, Any]:
        """Return the kind and the data of the next event; ("", None) at the end."""
        kind = ""
        async for line in self.response.content:
            name, _, value = line.decode().strip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                return kind, json.loads(value)
        return "", None

    async def state(self) -> str:
        kind, data = await self.next()
        assert kind == "message"
        return str(data["state"])

    async def states(self) -> list[str]:
        """All states to the end of the stream."""
        found = []
        while (event := await self.next())[0]:
            found.append(event[1]["state"])
        return found


@frozen
class Service:
    """A running service, and its users' HTTP client."""

    base_url: str
    session: aiohttp.ClientSession
    stop: Callable[[], Any]
    """Stop it as SIGTERM would, with what README's command says about it."""

    async def rent(self, key: str | None = "k-1", **changes: Any) -> tuple[int, Any]:
        headers = {} if key is None else {"Idempotency-Key": key}
        async with self.session.post("/rentals", json=ORDER | changes, headers=headers) as reply:
            body = await reply.read()
            return reply.status, json.loads(body) if "json" in reply.content_type else body

    async def token(self) -> str:
        status, body = await self.rent()
        assert status == 202
        return str(body["token"])

    @asynccontextmanager
    async def events(self, token: str) -> AsyncIterator[Events]:
        """Open a stream of a rental's states; leaving it hangs up."""
        async with self.session.get(f"/rentals/{token}/events") as response:
            assert response.status == 200
            try:
                yield Events(response)
            finally:
                response.close()

    async def file(self, token: str) -> tuple[int, bytes]:
        async with self.session.get(f"/rentals/{token}/file") as reply:
            return reply.status, await reply.read()

    async def notify(self, secret: str, body: bytes) -> int:
        async with self.session.post(f"/notifications/{secret}", data=body) as reply:
            return reply.status


@asynccontextmanager
async def _serve_aiohttp(module: ModuleType, **options: Any) -> AsyncIterator[tuple[int, Any]]:
    options = {"handler_cancellation": True, "access_log": None, **options}
    runner = web.AppRunner(module.app, **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], runner.cleanup
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _serve_fastapi(module: ModuleType) -> AsyncIterator[tuple[int, Any]]:
    grace = re.search(r"--timeout-graceful-shutdown (\d+)$", SOURCES["fastapi"], re.MULTILINE)
    assert grace is not None
    config = uvicorn.Config(
        module.app,
        host="127.0.0.1",
        port=0,
        timeout_graceful_shutdown=int(grace[1]),
        log_config=None,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)

    async def stop() -> None:
        server.should_exit = True
        await asyncio.wait((serving,))

    try:
        yield server.servers[0].sockets[0].getsockname()[1], stop
    finally:
        await stop()


SERVERS: dict[str, Callable[..., AbstractAsyncContextManager[tuple[int, Any]]]] = {
    "aiohttp": _serve_aiohttp,
    "fastapi": _serve_fastapi,
}


@asynccontextmanager
async def serve(name: str, module: ModuleType, **options: Any) -> AsyncIterator[Service]:
    """Run a service on a free port of this machine."""
    async with SERVERS[name](module, **options) as (port, stop):
        base_url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(base_url) as session:
            yield Service(base_url, session, stop)
