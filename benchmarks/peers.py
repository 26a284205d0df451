"""Everyone who takes part in the comparison of requests: each asks for a status in its own way.

A peer that is not installed takes no part; its import says so, and nothing is guessed.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
from attrs import define, field, frozen

from smspartner_async import PollingPolicy, RentalState, SMSPartnerClient

from .server import STATUS_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from smspartner_async import PollEvent

KEY: Final = "0123456789abcdef0123456789abcdef01234567"
PAUSE: Final = 0.001
"""Seconds between two polls of a measured wait."""


class Prepare(Protocol):
    """Makes ready to wait for a rental that is ready at its n-th poll; what it gives, waits."""

    def __call__(self, token: str, polls: int) -> Awaitable[Callable[[], Awaitable[object]]]:
        """Make ready; not measured."""
        ...


@frozen
class Contender:
    """One that asks for statuses. `prepare` is there where it knows how to wait, too."""

    ask: Callable[[str], Awaitable[object]]
    prepare: Prepare | None = None


@frozen
class Entry:
    """A line of the comparison: how to set a contender up, and which packages it needs."""

    name: str
    open: Callable[[str], AbstractAsyncContextManager[Contender]]
    packages: tuple[str, ...] = ()
    waiting: str = ""
    """What its way to wait is called."""


@asynccontextmanager
async def _bare(base: str) -> AsyncIterator[Contender]:
    url = base + STATUS_PATH
    async with aiohttp.ClientSession() as session:

        async def ask(token: str) -> Any:
            async with session.get(url, params={"apiKey": KEY, "token": token}) as reply:
                return json.loads(await reply.read())

        async def wait(token: str, polls: int) -> None:
            for _ in range(polls - 1):
                await ask(token)
                await asyncio.sleep(PAUSE)
            await ask(token)

        async def prepare(token: str, polls: int) -> Callable[[], Awaitable[object]]:
            return partial(wait, token, polls)

        yield Contender(ask, prepare)


@asynccontextmanager
async def _this_client(base: str) -> AsyncIterator[Contender]:
    policy = PollingPolicy(first_interval=PAUSE, max_interval=PAUSE, jitter=0)
    async with SMSPartnerClient(KEY, base_url=f"{base}/v1", polling=policy) as client:

        async def prepare(token: str, polls: int) -> Callable[[], Awaitable[object]]:  # noqa: ARG001 - the server knows
            return partial(client.wait_until_ready, token, on_poll=_look_at_state)

        yield Contender(client.status, prepare)


def _look_at_state(event: PollEvent) -> None:
    assert event.status is not None  # noqa: S101 - for the type checker
    assert event.status.state is not RentalState.UNKNOWN  # noqa: S101 - as the server has it


@asynccontextmanager
async def _this_client_all_read(base: str) -> AsyncIterator[Contender]:
    """A status is read as far as it is looked at: here, all of it."""
    async with SMSPartnerClient(KEY, base_url=f"{base}/v1") as client:

        async def ask(token: str) -> Any:
            return (await client.status(token)).targeting

        yield Contender(ask)


@asynccontextmanager
async def _azure(base: str) -> AsyncIterator[Contender]:
    """azure-core with the policies that the clients of the Azure SDK have."""
    core = import_module("azure.core")
    rest = import_module("azure.core.rest")
    policies = import_module("azure.core.pipeline.policies")
    polling = import_module("azure.core.polling")
    base_polling = import_module("azure.core.polling.async_base_polling")
    transport = import_module("azure.core.pipeline.transport")
    client = core.AsyncPipelineClient(
        base,
        policies=[
            policies.RequestIdPolicy(),
            policies.HeadersPolicy(),
            policies.UserAgentPolicy(sdk_moniker="benchmark/1"),
            policies.ProxyPolicy(),
            policies.ContentDecodePolicy(),
            policies.AsyncRedirectPolicy(),
            policies.AsyncRetryPolicy(),
            policies.CustomHookPolicy(),
            policies.DistributedTracingPolicy(),
            policies.HttpLoggingPolicy(),
        ],
        transport=transport.AioHttpTransport(),
    )

    async def ask(token: str) -> Any:
        request = rest.HttpRequest(
            "GET", base + STATUS_PATH, params={"apiKey": KEY, "token": token}
        )
        reply = await client.send_request(request)
        return reply.json()

    async def prepare(token: str, polls: int) -> Callable[[], Awaitable[object]]:  # noqa: ARG001 - the server knows
        start = rest.HttpRequest("GET", f"{base}/lro/start", params={"apiKey": KEY, "token": token})
        begun = await client.send_request(start, _return_pipeline_response=True)
        method = base_polling.AsyncLROBasePolling(timeout=PAUSE)
        poller = polling.AsyncLROPoller(
            client, begun, lambda answer: answer.http_response.json(), method
        )
        return poller.result  # type: ignore[no-any-return]  # the module is known at run time only

    async with client:
        yield Contender(ask, prepare)


@asynccontextmanager
async def _httpx(base: str) -> AsyncIterator[Contender]:
    url = base + STATUS_PATH
    async with import_module("httpx").AsyncClient() as client:

        async def ask(token: str) -> Any:
            reply = await client.get(url, params={"apiKey": KEY, "token": token})
            return json.loads(reply.content)

        yield Contender(ask)


@asynccontextmanager
async def _openai(base: str) -> AsyncIterator[Contender]:
    """The HTTP layer of openai-python, pointed at the local server; none of OpenAI's API."""
    async with import_module("openai").AsyncOpenAI(api_key=KEY, base_url=f"{base}/v1") as client:

        async def ask(token: str) -> Any:
            options = {"params": {"apiKey": KEY, "token": token}}
            return await client.get("/location/status", cast_to=object, options=options)

        yield Contender(ask)


@define(eq=False)
class _Floor(asyncio.Protocol):
    """The least that Python can do: one connection, fixed bytes, no checks."""

    _transport: asyncio.Transport | None = field(default=None, init=False)
    _reply: asyncio.Future[bytes] | None = field(default=None, init=False)
    _data: bytes = field(default=b"", init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(b"\r\n\r\n") + 4
        if end < len(b"\r\n\r\n") or self._reply is None:
            return
        length = int(self._data[:end].partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        if len(self._data) >= end + length:
            self._reply.set_result(self._data[end:])
            self._data, self._reply = b"", None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is not None:
            self._reply.set_exception(exc or ConnectionError("closed"))

    async def ask(self, token: str) -> Any:
        assert self._transport is not None  # noqa: S101 - connected
        reply = self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(
            f"GET {STATUS_PATH}?apiKey={KEY}&token={token} HTTP/1.1\r\n"
            "Host: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode()
        )
        return json.loads(await reply)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@asynccontextmanager
async def _floor(base: str) -> AsyncIterator[Contender]:
    host, _, port = urlsplit(base).netloc.partition(":")
    loop = asyncio.get_running_loop()
    _, floor = await loop.create_connection(_Floor, host, int(port))
    try:
        yield Contender(floor.ask)
    finally:
        floor.close()


BARE: Final = "bare aiohttp"
OURS: Final = "this client"
ENTRIES: Final = (
    Entry(BARE, _bare, ("aiohttp",), waiting="bare aiohttp, asyncio.sleep"),
    Entry("bare aiohttp, again", _bare, ("aiohttp",)),
    Entry("socket floor", _floor),
    Entry(OURS, _this_client, ("smspartner_async",), waiting="this client, wait_until_ready"),
    Entry(f"{OURS}, all of it read", _this_client_all_read, ("smspartner_async",)),
    Entry("azure-core", _azure, ("azure-core", "aiohttp"), waiting="azure-core, AsyncLROPoller"),
    Entry("httpx", _httpx, ("httpx",)),
    Entry("openai-python", _openai, ("openai",)),
)
