"""One HTTP exchange under every fault: what comes out, and what may have been sent.

Real sockets throughout: what counts here is what aiohttp and the kernel do, not what they promise.
"""

import asyncio

import faults
import pytest
from attrs import frozen
from exchanges import (
    PAYLOAD,
    outcome,
    pooled,
    send_unpooled,
    transport_to,
    under,
)
from fault_server import FaultServer
from fault_table import FAULTS, Fault

from smspartner_async import (
    ResponseError,
    SMSPartnerError,
    TransportError,
)
from smspartner_async._http.state import SendState
from smspartner_async._wire.reply import MAX_BODY
from smspartner_async._wire.reply import Reply as Triple

HALF = PAYLOAD[: len(PAYLOAD) // 2]


@frozen
class Lost:
    """No whole reply came: what the error says, and how often a pooled GET arrives."""

    reply_began: bool = True
    arrivals: int = 1


@frozen
class Came:
    """A triple came out."""

    status: int = 200
    body: bytes | None = PAYLOAD


TOO_LARGE = "too large"
# aiohttp sends a pooled GET a second time where a connection breaks before the head of the reply.
# An interim `100 Continue` is no part of a reply.
TABLE: dict[str, Lost | Came | str] = {
    "close at accept": Lost(reply_began=False, arrivals=0),
    "reset at accept": Lost(arrivals=0),
    "never read": Lost(arrivals=0),
    "close before head": Lost(reply_began=False, arrivals=2),
    "close within head": Lost(arrivals=2),
    "close within body": Lost(),
    "reset before head": Lost(arrivals=2),
    "reset within head": Lost(arrivals=2),
    "reset within body": Lost(),
    "stall before head": Lost(),
    "stall within head": Lost(),
    "stall within body": Lost(),
    "drip head": Came(),
    "drip body": Came(),
    "length too long": Lost(),
    "length too long, open": Lost(),
    "length too short": Lost(),
    "length too short, apart": Came(body=HALF),
    "both framings": Lost(),
    "until close": Came(),
    "until close, cut": Came(body=HALF),
    "until close, reset": Came(body=HALF),
    "broken chunks": Lost(),
    "broken chunks, apart": Lost(),
    "chunks without end": Lost(),
    "100, then reply": Came(),
    "100, then close": Lost(reply_began=False, arrivals=2),
    "100, then stall": Lost(),
    "garbage status line": Lost(),
    "huge header": Lost(),
    "gzip bomb": Came(body=None),
    "gzip cut": Came(body=None),
    "endless body": TOO_LARGE,
    "HTML 200": Came(body=None),
    "HTML 502": Came(502, None),
    "empty 200": Came(body=b""),
    "empty 204": Came(204, b""),
    "redirect 301": Came(301, b""),
    "redirect 302": Came(302, b""),
    "redirect 307": Came(307, b""),
    "redirect 308": Came(308, b""),
    "429": Came(429, b""),
    "429 JSON": Came(429, None),
    "503": Came(503, b""),
    "503 JSON": Came(503, None),
    "500 JSON": Came(500, None),
    "closed when idle": Came(),
    "closed at next byte": Came(),
}


def test_the_truth_table_has_a_row_for_every_fault() -> None:
    """A fault that is added to the catalogue cannot be forgotten here."""
    assert TABLE.keys() == FAULTS.keys()


def check_row(fault: Fault, found: Triple | SMSPartnerError, *, reply_began: bool) -> None:
    match TABLE[fault.name]:
        case Came(status, body):
            assert isinstance(found, Triple), found
            assert found.status == status
            assert body in (None, found.body)
        case Lost():
            assert isinstance(found, TransportError), found
            assert found.maybe_sent
            assert found.reply_began == reply_began
        case _:
            assert isinstance(found, ResponseError), found
            assert str(MAX_BODY) in str(found)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_a_fault_gives_a_pooled_request_its_row_of_the_truth_table(fault: Fault) -> None:
    """A pooled request under a fault gives the triple, or an error that it may have been sent."""
    async with under(fault) as (server, there):
        found = await outcome(pooled, there)
    row = TABLE[fault.name]
    check_row(fault, found, reply_began=True)
    assert len(server.received) == (row.arrivals if isinstance(row, Lost) else 1)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_a_fault_gives_an_unpooled_request_its_row_of_the_truth_table(fault: Fault) -> None:
    """A paid request: a fault gives the triple, or an error that says how far it came."""
    row = TABLE[fault.name]
    async with under(fault) as (_, there):
        found = await outcome(send_unpooled, there)
    check_row(fault, found, reply_began=isinstance(row, Lost) and row.reply_began)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_an_unpooled_get_arrives_once_whatever_happens_to_it(fault: Fault) -> None:
    """A file: a GET on a new connection is never re-sent behind our back."""
    async with under(fault) as (server, there):
        await outcome(send_unpooled, there)
        await asyncio.sleep(0.01)
    assert server.accepted == 1
    assert server.begun == len(server.received) == fault.arrives


async def test_a_triple_comes_out_whole() -> None:
    """Status, headers in any case, and every byte of the body, whatever bytes they are."""
    body = bytes(range(256)) * 1000
    async with (
        FaultServer(faults.chunked(body).then()) as server,
        transport_to(server.base_url) as there,
    ):
        for exchange in (pooled, send_unpooled):
            status, headers, came = await exchange(there, SendState())
            assert (status, headers["tRANSFER-eNCODING"], came) == (200, "chunked", body)
