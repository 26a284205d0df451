"""One queue for the rate and the connections: what waits there is not sent, and is held back."""

import asyncio
import random
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from attrs import define, field
from fault_server import FaultServer, Received, Reply
from faults import busy, json_reply, stall_before_head
from polls import READY_BODY, RENTED, TOKEN, Log, all_of, client_of, in_time, now, start
from relay import Authority, Relay, port_of
from renting import TARGETING, arrival

from smspartner_async import (
    ConfigurationError,
    RateLimitError,
    RentalState,
    RetryPolicy,
    SMSPartnerClient,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async._http.connections import HoldingConnector
from smspartner_async._http.rate_limiter import RateLimiter

ONCE = RetryPolicy(attempts=1)
SLOW = stall_before_head(READY_BODY, 0.2)


def asked_about(server: FaultServer) -> list[str]:
    return [received.target.rpartition("token=")[2] for received in server.received]


# --- what waits for a connection ---------------------------------------------------------------


@pytest.mark.looptime
async def test_the_time_in_the_queue_is_no_part_of_request_timeout() -> None:
    """A shared budget: `request_timeout` begins with the turn, however long the queue is."""
    async with (
        FaultServer(default=SLOW) as server,
        client_of(server, max_connections=2, request_timeout=1.0, retry=ONCE) as client,
    ):
        began = now()
        statuses = await asyncio.gather(*(client.status(f"t{n}") for n in range(40)))
        assert {status.state for status in statuses} == {RentalState.READY}
        assert now() - began == pytest.approx(20 * 0.2, abs=0.1)
        assert len(server.connections) == 2
        assert asked_about(server) == [f"t{n}" for n in range(40)]


@pytest.mark.looptime
async def test_a_deadline_in_the_queue_says_that_nothing_was_sent() -> None:
    """A shared budget: a wait whose deadline comes before its turn is not said to be sent."""
    async with (
        FaultServer(default=stall_before_head(READY_BODY, 20)) as server,
        client_of(server, max_connections=1) as client,
    ):
        first = start(client.status("t0"))
        await asyncio.sleep(0.1)
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_until_ready("w", timeout=5)
        assert isinstance(caught.value.__cause__, TransportError)
        assert caught.value.__cause__.maybe_sent is False
        assert "max_connections" in str(caught.value.__cause__)
        await first
        assert asked_about(server) == ["t0"]


@pytest.mark.looptime
async def test_closing_ends_what_waits_for_a_connection() -> None:
    """A shared budget: close() ends those in the queue, and says that nothing was sent."""
    async with FaultServer(default=stall_before_head(READY_BODY)) as server:
        client = client_of(server, max_connections=1)
        tasks = [start(client.status(f"t{n}")) for n in range(5)]
        await asyncio.sleep(0.1)
        await client.close()
        ends = in_time(all_of(*tasks), "close() ends what waits for a connection.")
        sent, *queued = await ends
        assert isinstance(sent, TransportError)
        assert {type(end) for end in queued} == {ConfigurationError}
        assert all("Nothing was sent" in str(end) for end in queued)
        assert asked_about(server) == ["t0"]


@pytest.mark.looptime
async def test_paid_requests_and_downloads_have_separate_connections(tmp_path: Path) -> None:
    """A shared budget: what is busy on the pooled connections keeps no rent and no file waiting."""

    def answer(received: Received) -> Reply:
        if received.operation == "status":
            return stall_before_head(READY_BODY)
        return RENTED if received.operation == "rent" else json_reply(33612345678)

    async with (
        FaultServer(default=answer) as server,
        client_of(server, max_connections=1) as client,
    ):
        status = start(client.status("t0"))
        await arrival(server)
        began = now()
        assert (await client.rent(TARGETING)).token == TOKEN
        await all_of(start(client.download(TOKEN, tmp_path / "file.csv")))
        assert now() - began < 1
        assert server.count("download") == 1
        status.cancel()


@pytest.mark.looptime
@pytest.mark.parametrize("limits", [{"limit": 2}, {"limit_per_host": 2}, {"limit": 0}])
async def test_a_borrowed_session_counts_with_the_smallest_limit(limits: dict[str, Any]) -> None:
    """A shared budget: nothing waits in the queue of a session that was passed in."""
    async with (
        FaultServer(default=SLOW) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(**limits)) as session,
        client_of(
            server, session=session, max_connections=8, request_timeout=0.5, retry=ONCE
        ) as client,
    ):
        await asyncio.gather(*(client.status(f"t{n}") for n in range(20)))
        assert len(server.connections) == (8 if limits == {"limit": 0} else 2)


# --- what a 429 of another request holds back ----------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize("borrow", [False, True])
async def test_a_429_holds_back_all_that_queue(borrow: bool) -> None:  # noqa: FBT001
    """A shared budget: of 100 waits on ten connections, only ten are sent before the pause ends."""
    log = Log([busy(429, "60")] * 10)
    async with FaultServer(log) as server, aiohttp.ClientSession() as session:
        borrowed = {"session": session} if borrow else {}
        async with client_of(server, max_connections=10, **borrowed) as client:
            waits = [start(client.wait_until_ready(f"w{n}", timeout=600)) for n in range(100)]
            await asyncio.sleep(59)
            assert len(log.times) == 10
            await asyncio.sleep(62)
            assert len(set(log.names)) == 100
            for wait in waits:
                wait.cancel()
            await all_of(*waits)


async def test_what_was_connecting_says_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Save a GET once a connection was made: it may have left before, over one that broke."""
    connector = HoldingConnector(lambda: False, limit=1)
    opened = asyncio.Event()

    async def connect(*_: Any) -> Any:
        await opened.wait()

    async def notes_of(method: str) -> list[str]:
        request: Any = SimpleNamespace(method=method)
        connecting = asyncio.create_task(connector._create_connection(request))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await connecting
        return getattr(caught.value, "__notes__", [])

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", connect)
    nothing_sent = ["It had no connection yet: nothing of the request was sent."]
    assert await notes_of("GET") == await notes_of("POST") == nothing_sent
    opened.set()
    await connector._create_connection(SimpleNamespace(method="GET"))  # type: ignore[arg-type]
    opened.clear()
    assert (await notes_of("GET"), await notes_of("POST")) == ([], nothing_sent)
    await connector.close()


@pytest.mark.looptime
async def test_a_turn_that_was_granted_just_before_a_429_is_taken_back() -> None:
    """A shared budget: a request that has its turn, and is not sent yet, goes back in line."""
    limiter = RateLimiter(None, 1)
    assert limiter.try_acquire()
    waiting = start(limiter.acquire("status"))
    await asyncio.sleep(0)
    began = now()
    limiter.release()  # the turn is granted; its task has not run since
    limiter.cool_down(5)
    await waiting
    assert now() - began == pytest.approx(5)
    assert limiter.sent == 2


@define(eq=False)
class SlowRelay(Relay):
    """Connections after the first get through when `opened` is set, and not before."""

    connected: asyncio.Event = field(factory=asyncio.Event)
    opened: asyncio.Event = field(factory=asyncio.Event)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.set()
        if self.accepted > 1:
            await self.opened.wait()
        await super()._pass_on(reader, writer)


@pytest.mark.parametrize("operation", ["status", "wait", "rent"])
async def test_a_429_holds_back_what_is_still_connecting(operation: str) -> None:
    """A shared budget: a request whose TLS handshake ends during a pause is not sent in it."""
    authority = Authority()
    log = Log([busy(429, "1")])
    async with (
        FaultServer(log) as server,
        Relay(port_of(server.base_url), authority.server()) as tls,
        SlowRelay(tls.port) as slow,
        SMSPartnerClient(
            "k-1", base_url=slow.url(), ssl=authority.client(), retry=RetryPolicy(attempts=2)
        ) as client,
    ):
        calls: dict[str, Any] = {
            "status": lambda: client.status("late"),
            "wait": lambda: anext(client.watch("late")),
            "rent": lambda: client.rent(TARGETING),
        }
        first = start(client.status("t0"))
        await slow.connected.wait()
        late = start(calls[operation]())
        await arrival(server)
        await asyncio.sleep(0.1)
        slow.opened.set()
        await all_of(first, late)
        assert not late.exception()
        assert sorted(log.names[1:]) == ["late" if operation != "rent" else "rent", "t0"]
        assert min(log.times[1:]) - log.times[0] >= 0.99
        assert client._pipeline.limiter.sent == 3


# --- order, what is given back --------------------------------------------------------------


@pytest.mark.looptime
async def test_a_rent_goes_right_after_its_price() -> None:
    """A shared budget: between a price and its rent no other request goes, also of another rent."""
    reply = {"success": True, "token": TOKEN, "status": 1, "cost": {"total": "1.80"}}
    async with (
        FaultServer(default=json_reply(reply)) as server,
        client_of(server, max_requests_per_minute=60) as client,
    ):
        await all_of(
            *(start(client.rent(TARGETING, max_total=Decimal(5))) for _ in range(3)),
            start(client.status("t0")),
        )
        came = [received.operation for received in server.received]
    assert came == ["price", "rent", "price", "rent", "price", "rent", "status"]


@pytest.mark.looptime
@pytest.mark.parametrize("number", range(20))
async def test_no_connection_is_lost_whoever_leaves(number: int) -> None:
    """A shared budget: under any comings, cancellations and pauses, all connections come back."""
    seed = random.Random(number)
    most = seed.randint(1, 4)
    limiter = RateLimiter(seed.choice([None, 600]), most)
    under_way = 0

    async def request(*, pooled: bool, deadline: float | None) -> None:
        nonlocal under_way
        await limiter.acquire(
            "status", pooled=pooled, deadline=deadline, priority=seed.random() < 0.2
        )
        if not pooled:
            return
        under_way += 1
        assert under_way <= most
        try:
            await asyncio.sleep(seed.uniform(0, 0.5))
        finally:
            under_way -= 1
            limiter.release()

    tasks = []
    for _ in range(60):
        deadline = now() + seed.uniform(0, 5) if seed.random() < 0.3 else None
        tasks.append(start(request(pooled=seed.random() < 0.8, deadline=deadline)))
        if seed.random() < 0.3:
            asyncio.get_running_loop().call_later(seed.uniform(0, 5), seed.choice(tasks).cancel)
        if seed.random() < 0.05:
            limiter.cool_down(seed.uniform(0, 2))
        await asyncio.sleep(seed.choice([0, 0, 0.05]))
    ends = await all_of(*tasks)
    assert {type(end) for end in ends} <= {
        type(None),
        TransportError,
        asyncio.CancelledError,
        RateLimitError,
    }
    assert limiter._in_use == 0
    for _ in range(most):
        await limiter.acquire("status")
    assert limiter.queued == 0
