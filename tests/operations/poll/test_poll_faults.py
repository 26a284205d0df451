"""A wait among faults: what it survives, what stops it, its deadline, and its cancellation."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, Final

import pytest
from fault_server import Close, Drip, FaultServer, Reply, Send
from fault_table import FAULTS, Fault
from faults import (
    busy,
    drip_body,
    drip_head,
    good_head,
    html,
    json_reply,
    never_read,
    stall_before_head,
    stall_within_body,
    stall_within_head,
    vendor_error,
)
from polls import (
    GENERATING,
    KEY,
    READY,
    READY_BODY,
    TOKEN,
    Heard,
    client_of,
)

from smspartner_async import (
    APIError,
    PollEvent,
    PollingPolicy,
    RentalState,
    SMSPartnerClient,
    SMSPartnerError,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async._wire.envelope import CODE_CLASSES

STEADY: Final = PollingPolicy(jitter=0)
OVERRUN: Final = 0.25

# --- 2: the deadline, in real time -----------------------------------------------------------

SLOW: Final[dict[str, Reply]] = {
    "stall before head": stall_before_head(READY_BODY),
    "stall within head": stall_within_head(READY_BODY),
    "stall within body": stall_within_body(READY_BODY),
    "drip head": drip_head(READY_BODY, pause=0.05),
    "drip body": drip_body(READY_BODY, pause=0.05),
    "slow body": Reply((Send(good_head(READY_BODY * 9)), Drip(READY_BODY * 9, 0.1, 32))),
    "slow good reply": stall_before_head(READY_BODY, 0.9),
    "never read": never_read(),
}


async def overrun(client: SMSPartnerClient, seconds: float, **options: Any) -> float:
    """How much longer than its timeout a wait in vain takes, in real time."""
    began = time.monotonic()
    with pytest.raises(WaitTimeoutError):
        await client.wait_until_ready(TOKEN, timeout=seconds, **options)
    return time.monotonic() - began - seconds


@pytest.mark.parametrize("name", SLOW)
async def test_a_slow_server_does_not_hold_a_wait_up(name: str) -> None:
    """A poll: a request that stalls or drips ends within 0.25 s of the deadline."""
    async with FaultServer(SLOW[name]) as server, client_of(server) as client:
        assert await overrun(client, 0.3) <= OVERRUN


async def test_a_slow_server_does_not_hold_a_later_check_up() -> None:
    """A poll: the deadline holds for a request that stalls later, on a connection in use."""
    policy = PollingPolicy(first_interval=0.05)
    async with (
        FaultServer(GENERATING, GENERATING, SLOW["stall within body"]) as server,
        client_of(server, polling=policy) as client,
    ):
        assert await overrun(client, 0.3) <= OVERRUN
        assert server.accepted == 1


@asynccontextmanager
async def unreachable(kind: str) -> AsyncIterator[str]:
    """The base URL of a port that refuses connections, or lets them wait for ever."""
    with ExitStack() as stack, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if kind == "never accepting":
            listener.listen(0)
            for _ in range(3):  # with its queue full, further connections get no answer
                waiting = stack.enter_context(socket.socket())
                waiting.settimeout(0)
                with suppress(BlockingIOError):
                    waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.mark.parametrize("kind", ["never accepting", "refusing"])
async def test_an_unreachable_server_does_not_hold_a_wait_up(kind: str) -> None:
    """A poll: a connection that does not come about ends within 0.25 s of the deadline."""
    async with (
        unreachable(kind) as base_url,
        SMSPartnerClient(KEY, base_url=base_url) as client,
    ):
        assert await overrun(client, 0.3) <= OVERRUN


@pytest.mark.parametrize("reply", [GENERATING, html(502)])
async def test_a_slow_callback_does_not_hold_a_wait_up(reply: Reply) -> None:
    """A poll: an async on_poll that never ends is given up within 0.25 s of the deadline."""

    async def on_poll(_: PollEvent) -> None:
        await asyncio.sleep(5)

    async with FaultServer(reply) as server, client_of(server) as client:
        assert await overrun(client, 0.3, on_poll=on_poll) <= OVERRUN


async def test_a_full_queue_does_not_hold_a_wait_up() -> None:
    """A poll: a check whose turn does not come ends within 0.25 s of the deadline, unsent."""
    async with (
        FaultServer(GENERATING) as server,
        client_of(server, max_requests_per_minute=0.5) as client,
    ):
        await client.status(TOKEN)
        assert await overrun(client, 0.3) <= OVERRUN
        assert server.count("status") == 1


# --- 3: what passes, and what does not -------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_no_fault_ends_it(fault: Fault) -> None:
    """A poll: a spoilt reply costs one more check, and nothing else."""
    heard = Heard()
    async with (
        FaultServer(fault.make(READY_BODY), default=READY) as server,
        client_of(server, polling=STEADY, request_timeout=5.0) as client,
    ):
        ready = await client.wait_until_ready(TOKEN, on_poll=heard)
        assert ready.state is RentalState.READY
        # aiohttp may send a GET a second time when its connection breaks before the reply.
        resent = fault.status is None and not fault.hangs and len(heard.events) == 1
        assert len(heard.events) == (1 if fault.whole or resent else 2)
        assert {received.operation for received in server.received} == {"status"}


@pytest.mark.looptime
@pytest.mark.parametrize(
    "reply",
    [
        *(busy(status) for status in (408, 429, 500, 502, 503, 504)),
        *(html(status) for status in (200, 403, 404, 408, 429, 500, 502)),
        *(vendor_error(999, "?", status) for status in (408, 429, 500, 503)),
        vendor_error(10, "Trop", 429),
        json_reply({"success": True, "token": TOKEN}),
        json_reply([1, 2, 3]),
    ],
)
async def test_what_passes_does_not_end_it(reply: Reply) -> None:
    """A poll: 408, 429, 5xx and replies that cannot be read are asked again about."""
    async with FaultServer(reply, reply, READY) as server, client_of(server) as client:
        assert (await client.wait_until_ready(TOKEN)).state is RentalState.READY
        assert server.count("status") == 3


@pytest.mark.looptime
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_stops_at_once_at_the_vendors_no(status: int) -> None:
    """A poll: an error that asking again does not change is raised at the first time."""
    kinds: dict[int, type[APIError]] = {999: APIError, **CODE_CLASSES}
    for code, kind in kinds.items():
        if code == 999 and status == 500:
            continue  # an unknown error of a broken server may pass
        heard = Heard()
        async with (
            FaultServer(GENERATING, vendor_error(code, "Non", status), READY) as server,
            client_of(server) as client,
        ):
            with pytest.raises(kind) as caught:
                await client.wait_until_ready(TOKEN, on_poll=heard)
            assert type(caught.value) is kind
            assert server.count("status") == 2
            assert heard.events[-1].error is caught.value
            assert any(TOKEN in note for note in caught.value.__notes__)


@pytest.mark.looptime
@pytest.mark.parametrize("most", [1, 2, 5])
async def test_too_many_errors_in_a_row_are_the_end(most: int) -> None:
    """A poll: after `max_consecutive_errors` the last of them is raised, the token in a note."""
    policy = PollingPolicy(max_consecutive_errors=most)
    replies = [html(500 + number) for number in range(most - 1)]
    async with (
        FaultServer(GENERATING, *replies, html(504), READY) as server,
        client_of(server, polling=policy) as client,
    ):
        with pytest.raises(SMSPartnerError) as caught:
            await client.wait_until_ready(TOKEN)
        assert getattr(caught.value, "http_status", None) == 504
        assert server.count("status") == 1 + most
    (note,) = caught.value.__notes__
    assert TOKEN in note
    assert f"checks made: {1 + most}, failed in a row: {most}." in note


@pytest.mark.looptime
async def test_a_success_in_between_begins_the_count_anew(caplog: pytest.LogCaptureFixture) -> None:
    """A poll: only errors in a row count, and the first of them is a warning in the log."""
    caplog.set_level(logging.WARNING, "smspartner_async")
    policy = PollingPolicy(max_consecutive_errors=3)
    replies = [html(502), busy(429), GENERATING] * 4
    async with FaultServer(*replies, READY) as server, client_of(server, polling=policy) as client:
        assert (await client.wait_until_ready(TOKEN)).state is RentalState.READY
    assert [getattr(line, "attempt", None) for line in caplog.records] == [1, 4, 7, 10]


@pytest.mark.looptime
async def test_the_deadline_goes_before_the_count_of_errors() -> None:
    """A poll: an error too many at the very deadline is a timeout, caused by that error."""
    policy = PollingPolicy(max_consecutive_errors=1)
    async with (
        FaultServer(stall_before_head(READY_BODY)) as server,
        client_of(server, polling=policy) as client,
    ):
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_until_ready(TOKEN, timeout=5)
    assert isinstance(caught.value.__cause__, TransportError)


@pytest.mark.looptime
async def test_errors_last_until_the_deadline_where_the_count_allows_it() -> None:
    """A poll: with a high `max_consecutive_errors` it is the deadline that ends a wait."""
    policy = PollingPolicy(max_consecutive_errors=1000)
    async with FaultServer(html(502)) as server, client_of(server, polling=policy) as client:
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_until_ready(TOKEN, timeout=600)
    assert caught.value.attempts > 15


@pytest.mark.looptime
async def test_a_connection_closed_in_good_order_ends_nothing() -> None:
    """A poll: a server that closes after each reply costs no wait an error."""
    heard = Heard()
    closing = GENERATING.then(Close())
    async with FaultServer(closing, closing, READY) as server, client_of(server) as client:
        await client.wait_until_ready(TOKEN, on_poll=heard)
    assert [event.error for event in heard.events] == [None] * 3
