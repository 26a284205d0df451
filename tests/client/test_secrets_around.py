"""The key stays hidden where aiohttp and asyncio speak for themselves: at shutdown, in traces."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import faults
import pytest
from eavesdropping import KEY, NUMBERS, PROXY_PASSWORD, PROXY_USER, eavesdropping, slips
from exchanges import OPERATIONS
from fault_server import FaultServer
from relay import Authority, Relay, unused_port

from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient, SMSPartnerError

CREDENTIALS = f"{PROXY_USER}:{PROXY_PASSWORD}"
CREDITS = b'{"success": true, "credits": {"balance": "1.5"}}'

# --- left behind -----------------------------------------------------------------------------

PROGRAM = """
import asyncio, gc, logging, sys
from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient, Targeting

key, before_head, within_body, proxy, path, how = sys.argv[1:]
logging.basicConfig(level=logging.DEBUG)
targeting = Targeting(gender="mixed", min_age=25, max_age=35, interest=14)

def in_flight():
    clients = [
        SMSPartnerClient(
            key, base_url=base_url, proxy=by, request_timeout=0.3, retry=RetryPolicy(attempts=1),
            polling=PollingPolicy(max_consecutive_errors=1),
        )
        for base_url in (before_head, within_body) for by in (None, proxy)
    ]
    return [
        asyncio.ensure_future(operation)
        for number, client in enumerate(clients)
        for operation in (
            client.calculate(targeting), client.price(targeting), client.rent(targeting),
            client.status("tok-1"), client.wait_until_ready("tok-1"), client.credits(),
            client.download("tok-1", path + str(number)),
        )
    ]

async def abandoned():
    tasks = in_flight()
    await asyncio.sleep(0.15)

async def stopped():
    tasks = in_flight()
    await asyncio.sleep(0.15)
    asyncio.get_running_loop().stop()

async def never_retrieved():
    await asyncio.wait(in_flight())

if how == "stopped":
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.create_task(stopped())
    loop.run_forever()
    loop.close()
    del loop
else:
    asyncio.run({"abandoned": abandoned, "never retrieved": never_retrieved}[how]())
gc.collect()
print("over", file=sys.stderr)
"""


# CPython 3.11 itself crashes in about one run of ten when it collects a stopped loop's tasks.
INTERPRETER_CRASHES = 6


@pytest.mark.parametrize("how", ["abandoned", "stopped", "never retrieved"])
async def test_what_a_program_leaves_behind_holds_no_secret(how: str, tmp_path: Path) -> None:
    """A secret: a loop that ends with requests in flight complains, and names no key."""
    payload = f'{{"apiKey": "{KEY}", "numbers": "{NUMBERS[0]}"}}'.encode()
    async with (
        FaultServer(faults.stall_before_head(payload)) as before_head,
        FaultServer(faults.stall_within_body(payload)) as within_body,
        Relay() as proxy,
    ):
        complaints = ""
        for _ in range(INTERPRETER_CRASHES + 1):
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-X", "dev", "-c", PROGRAM),
                *(KEY, before_head.base_url, within_body.base_url),
                f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}",
                *(str(tmp_path / "file"), how),
                stderr=asyncio.subprocess.PIPE,
            )
            complaints = (await program.communicate())[1].decode()
            assert slips(complaints) == []
            if program.returncode != -signal.SIGSEGV:
                break
    assert "\nover\n" in complaints, complaints
    assert "Unclosed" in complaints


# --- nobody there ----------------------------------------------------------------------------

OTHERS = ("calculate", "price", "rent", "status", "wait_until_ready", "download", "credits")


@asynccontextmanager
async def nowhere() -> AsyncIterator[dict[str, str]]:
    yield {"base_url": f"http://127.0.0.1:{unused_port()}/v1"}


@asynccontextmanager
async def unresolvable() -> AsyncIterator[dict[str, str]]:
    yield {"base_url": "https://sms-partner.invalid/v1"}


@asynccontextmanager
async def untrusted() -> AsyncIterator[dict[str, str]]:
    async with Relay(unused_port(), Authority().server()) as front:
        yield {"base_url": front.url()}


def by_proxy(port: int, scheme: str = "http") -> dict[str, str]:
    proxy = f"{scheme}://{CREDENTIALS}@127.0.0.1:{port}"
    return {"base_url": "https://sms-partner.invalid/v1", "proxy": proxy}


@asynccontextmanager
async def no_proxy() -> AsyncIterator[dict[str, str]]:
    yield by_proxy(unused_port())


@asynccontextmanager
async def untrusted_proxy() -> AsyncIterator[dict[str, str]]:
    async with Relay(None, Authority().server()) as proxy:
        yield by_proxy(proxy.port, "https")


@asynccontextmanager
async def refusing_proxy() -> AsyncIterator[dict[str, str]]:
    refusal = f"HTTP/1.1 407 {CREDENTIALS} is wrong\r\nContent-Length: 0\r\n\r\n"
    async with Relay(refusal=refusal.encode()) as proxy:
        yield by_proxy(proxy.port)


@asynccontextmanager
async def broken_proxy() -> AsyncIterator[dict[str, str]]:
    async with Relay(refusal=b"") as proxy:
        yield by_proxy(proxy.port)


@asynccontextmanager
async def proxy_without_tunnel() -> AsyncIterator[dict[str, str]]:
    async with Relay(refusal=f"{CREDENTIALS} is no HTTP\r\n\r\n".encode()) as proxy:
        yield by_proxy(proxy.port) | {"base_url": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize(
    "situation",
    [
        nowhere,
        unresolvable,
        untrusted,
        no_proxy,
        untrusted_proxy,
        refusing_proxy,
        broken_proxy,
        proxy_without_tunnel,
    ],
)
async def test_no_connection_that_fails_lets_a_secret_slip(
    situation: Callable[[], AbstractAsyncContextManager[dict[str, str]]], tmp_path: Path
) -> None:
    """A secret: neither the key nor a proxy's password shows where no server is reached."""
    with eavesdropping(debug=True) as ear:
        async with situation() as where:
            client = SMSPartnerClient(
                KEY,
                **where,  # type: ignore[arg-type] # base_url and proxy are text
                request_timeout=0.3,
                retry=RetryPolicy(attempts=2, first_delay=0),
                polling=PollingPolicy(first_interval=0.01, max_consecutive_errors=2),
            )
            async with client:
                work = (OPERATIONS[operation](client, tmp_path / "file") for operation in OTHERS)
                failures = await asyncio.gather(*work, return_exceptions=True)
                ear.heard += [repr(client), repr(client._pipeline.transport)]
            for failure in failures:
                assert isinstance(failure, SMSPartnerError)
                ear.hear(failure)
    assert ear.slips() == []


# --- who sees URLs ---------------------------------------------------------------------------


def scrubbed_trace(logger: logging.Logger) -> aiohttp.TraceConfig:
    """The recipe of the README: a trace that logs requests without the query of their URLs."""

    async def log_request(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        params: aiohttp.TraceRequestStartParams | aiohttp.TraceRequestEndParams,
    ) -> None:
        # The query holds the API key. params.exception and params.response show the URL as well.
        logger.info("%s %s", params.method, params.url.with_query(None))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(log_request)
    trace.on_request_end.append(log_request)
    return trace


async def test_a_scrubbed_trace_logs_requests_without_the_key() -> None:
    """A secret: a trace of a borrowed session sees the key; the README's recipe keeps it back."""
    seen: list[str] = []

    async def look(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(str(params.url))

    careless = aiohttp.TraceConfig()
    careless.on_request_start.append(look)
    traces = [careless, scrubbed_trace(logging.getLogger("app"))]
    with eavesdropping() as ear:
        async with (
            FaultServer(faults.good(CREDITS)) as server,
            aiohttp.ClientSession(trace_configs=traces) as session,
            SMSPartnerClient(KEY, base_url=server.base_url, session=session) as client,
        ):
            await client.credits()
    assert slips(seen[0])
    assert ear.heard.count(f"GET {server.base_url}/me") == 2
    assert ear.slips() == []
