"""The bounds of one HTTP exchange: time in real seconds, and the size of a reply in memory."""

import asyncio
import gc
import sys
import time
import tracemalloc

import faults
import pytest
from exchanges import KEY, PAYLOAD, REQUEST, Exchange, both_ways, outcome, transport_to
from fault_server import Drip, FaultServer
from fault_table import FAULTS
from faults import MEBIBYTE

from smspartner_async import ResponseError, SMSPartnerClient
from smspartner_async._http.state import SendState
from smspartner_async._http.transport import Transport
from smspartner_async._wire.codec import Wire
from smspartner_async._wire.reply import MAX_BODY
from smspartner_async._wire.reply import Reply as Triple

# How far a bound in real time may be overrun, by DESIGN.
GRACE = 0.25


# --- time ------------------------------------------------------------------------------------

SLOW = {name: FAULTS[name].make(PAYLOAD) for name in FAULTS if FAULTS[name].hangs} | {
    "slow drip within head": faults.drip_head(PAYLOAD, 0.05),
    "slow drip within body": faults.drip_body(PAYLOAD, 0.05),
    "slow endless chunks": faults.chunked(PAYLOAD).then(Drip(b"1\r\n \r\n" * 100, 0.05, 6)),
}


@both_ways
@pytest.mark.parametrize("name", SLOW)
async def test_no_request_takes_longer_than_its_timeout(exchange: Exchange, name: str) -> None:
    """A poll: request_timeout bounds stall, drip and broken framing, at most 0.25 s over."""
    async with (
        FaultServer(SLOW[name]) as server,
        transport_to(server.base_url, request_timeout=0.1) as there,
    ):
        started = time.monotonic()
        await outcome(exchange, there)
        assert time.monotonic() - started <= there.request_timeout + GRACE


@pytest.mark.parametrize("name", SLOW)
async def test_no_request_runs_past_a_deadline(name: str) -> None:
    """A poll: a deadline that comes before request_timeout holds, at most 0.25 s over."""

    async def before_deadline(transport: Transport, _: SendState) -> Triple:
        return await transport.exchange(REQUEST, asyncio.get_running_loop().time() + 0.1)

    async with (
        FaultServer(SLOW[name]) as server,
        transport_to(server.base_url, request_timeout=30) as there,
    ):
        started = time.monotonic()
        await outcome(before_deadline, there)
        assert time.monotonic() - started <= 0.1 + GRACE


# --- size ------------------------------------------------------------------------------------


@both_ways
async def test_a_body_of_the_size_limit_comes_out_and_one_byte_more_does_not(
    exchange: Exchange,
) -> None:
    """Bad input: the limit is exactly 1 MiB."""
    most = b" " * MAX_BODY
    async with (
        FaultServer(faults.good(most), faults.good(most + b" ")) as server,
        transport_to(server.base_url) as there,
    ):
        assert len((await exchange(there, SendState())).body) == MAX_BODY
        assert isinstance(await outcome(exchange, there), ResponseError)


@both_ways
@pytest.mark.parametrize("name", ["endless body", "gzip bomb"])
async def test_a_flood_is_refused_within_a_few_times_the_limit_of_memory(
    exchange: Exchange, name: str
) -> None:
    """Bad input: an endless body, or 300 MB packed into 300 kB, takes up a few MiB at most."""
    reply = FAULTS[name].make(PAYLOAD)
    wire = Wire(KEY)
    async with (
        FaultServer(reply) as server,
        transport_to(server.base_url) as there,
    ):
        gc.collect()
        tracemalloc.start()
        try:
            with pytest.raises(ResponseError, match="is larger than 1048576 bytes"):
                wire.status("tok-1", await exchange(there, SendState()))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * MEBIBYTE


@pytest.mark.skipif(sys.platform == "win32", reason="there is no getrusage on Windows")
async def test_a_gzip_bomb_does_not_grow_the_process() -> None:
    """Bad input: zlib's own memory, which Python does not count, stays small too."""
    import resource  # noqa: PLC0415 - not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    async with (
        FaultServer(faults.gzip_bomb()) as server,
        SMSPartnerClient(KEY, base_url=server.base_url) as client,
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ResponseError):
            await client.credits()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * unit < 32 * MEBIBYTE
