"""What `on_exchange` is called with: HTTP status and headers of each request, failed ones too."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import faults
import pytest
from eavesdropping import ECHOES, KEY, slips
from fault_server import FaultServer, Received
from polls import GENERATING, READY, TOKEN, Script
from renting import TARGETING, arrival, receipt

from smspartner_async import (
    APIError,
    DownloadInterruptedError,
    Exchange,
    PollingPolicy,
    RateLimitError,
    RentOutcomeUnknownError,
    RetryPolicy,
    SMSPartnerClient,
    TransportError,
)
from smspartner_async._http.exchange import ExchangeReport

if TYPE_CHECKING:
    from pathlib import Path

    from fault_server import Reply


QUICK = PollingPolicy(first_interval=0.01, max_interval=0.01)


def client_of(server: FaultServer, **options: Any) -> SMSPartnerClient:
    retry = RetryPolicy(first_delay=0)
    options = {"base_url": server.base_url, "retry": retry, "polling": QUICK, **options}
    return SMSPartnerClient(KEY, **options)


async def test_status_and_headers_of_a_call(tmp_path: Path) -> None:
    """A listener is called for each request: what was asked, and how HTTP answered."""

    def answer(received: Received) -> Reply:
        return faults.json_reply(
            {"success": True, "token": TOKEN, "status": 2, "cost": {"total": 1}}
            | {"credits": {"balance": 1}, "numbers": ["+33612345678"]},
            200,
            f"X-Operation: {received.operation}",
        )

    seen: list[Exchange] = []
    began = asyncio.get_running_loop().time()
    async with FaultServer(default=answer) as server, client_of(server) as client:
        asking = client.with_options(on_exchange=seen.append)
        await asking.calculate(TARGETING)
        await asking.price(TARGETING)
        await asking.rent(TARGETING)
        await asking.status(TOKEN)
        await asking.wait_until_ready(TOKEN)
        await asking.download(TOKEN, tmp_path / "file")
        await asking.credits()
        await client.credits()  # the original has no listener
    assert [(one.operation, one.method, one.path, one.token, one.polling) for one in seen] == [
        ("calculate", "POST", "/location/optin", None, False),
        ("price", "POST", "/location/optin", None, False),
        ("rent", "POST", "/location/optin", None, False),
        ("status", "GET", "/location/status", TOKEN, False),
        ("status", "GET", "/location/status", TOKEN, True),
        ("download", "GET", "/location/file/download", TOKEN, False),
        ("credits", "GET", "/me", None, False),
    ]
    assert {one.http_status for one in seen} == {200}
    assert [one.headers["x-operation"] for one in seen] == [one.operation for one in seen]
    assert {(one.attempt, one.error) for one in seen} == {(1, None)}
    assert 0 < sum(one.elapsed for one in seen) <= asyncio.get_running_loop().time() - began


async def test_a_call_that_raised_is_reported_too() -> None:
    """The exchange holds the HTTP status, the headers, and the very error that the caller gets."""
    reply = faults.json_reply({"success": False, "code": 10}, 403, "X-Trace: abc")
    seen: list[Exchange] = []
    async with (
        FaultServer(default=reply) as server,
        client_of(server, on_exchange=seen.append) as client,
    ):
        with pytest.raises(APIError) as raised:
            await client.credits()
    (one,) = seen
    assert (one.http_status, one.headers["X-TRACE"], one.error) == (403, "abc", raised.value)


async def test_every_attempt_is_reported() -> None:
    """A request that is sent again is reported each time, with its number."""
    script = (faults.close_before_head(), faults.busy(503), READY)
    seen: list[Exchange] = []
    async with (
        FaultServer(faults.empty(503), *script) as server,
        client_of(server, on_exchange=seen.append) as client,
    ):
        await client.status(TOKEN)
    assert [one.attempt for one in seen] == list(range(1, len(seen) + 1))
    assert [one.http_status for one in seen][:1] == [503]
    assert [one.http_status for one in seen][-1] == 200
    assert seen[-1].error is None
    assert all(one.error is not None for one in seen[:-1])


async def test_a_reply_that_broke_off_still_shows_its_head(tmp_path: Path) -> None:
    """The status and the headers are known where the body never came whole, a file's too."""
    seen: list[Exchange] = []
    broken = faults.close_within_body(b" " * 400)
    async with (
        FaultServer(default=broken) as server,
        client_of(server, on_exchange=seen.append, retry=RetryPolicy(attempts=1)) as client,
    ):
        with pytest.raises(TransportError):
            await client.status(TOKEN)
        with pytest.raises(RentOutcomeUnknownError):
            await client.rent(TARGETING)
        with pytest.raises(DownloadInterruptedError):
            await client.download(TOKEN, tmp_path / "file")
    assert [one.http_status for one in seen] == [200] * 3
    assert all("Content-Length" in one.headers for one in seen)
    assert [type(one.error) for one in seen] == [
        TransportError,
        RentOutcomeUnknownError,
        DownloadInterruptedError,
    ]


async def test_where_no_reply_came_there_is_no_status() -> None:
    """No head, no status, no headers: and the error says why."""
    seen: list[Exchange] = []
    client = SMSPartnerClient(
        KEY,
        base_url="http://127.0.0.1:1",
        retry=RetryPolicy(attempts=1),
        on_exchange=seen.append,
    )
    async with client:
        with pytest.raises(TransportError):
            await client.credits()
    assert (seen[0].http_status, dict(seen[0].headers)) == (None, {})
    assert isinstance(seen[0].error, TransportError)


async def test_what_was_not_sent_is_no_exchange(tmp_path: Path) -> None:
    """A download that its own disk refuses is no exchange with the vendor."""
    seen: list[Exchange] = []
    async with (
        FaultServer(default=READY) as server,
        client_of(server, on_exchange=seen.append) as client,
    ):
        with pytest.raises(FileNotFoundError):
            await client.download(TOKEN, tmp_path / "no such folder" / "file")
    assert seen == []


async def test_concurrent_calls_are_kept_apart() -> None:
    """Each call has its copy of the client, whose listener is called for its requests alone."""

    def answer(received: Received) -> Reply:
        token = received.target.rpartition("token=")[2]
        return faults.json_reply({"success": True, "status": 2}, 200, f"X-Token: {token}")

    async with FaultServer(default=answer) as server, client_of(server) as client:

        async def ask(token: str) -> None:
            seen: list[Exchange] = []
            await client.with_options(on_exchange=seen.append).status(token)
            assert [one.headers["X-Token"] for one in seen] == [token]

        await asyncio.gather(*(ask(f"tok-{number}") for number in range(20)))


@pytest.mark.looptime
async def test_all_who_wait_together_hear_of_the_one_request() -> None:
    """Waits that share their requests all report each, once, whoever sent it."""
    even = PollingPolicy(first_interval=10, jitter=0)
    first: list[Exchange] = []
    second: list[Exchange] = []
    async with (
        FaultServer(default=Script.of(GENERATING, GENERATING, READY)) as server,
        client_of(server, polling=even) as client,
    ):
        one = client.with_options(on_exchange=first.append)
        waits = [one.wait_until_ready(TOKEN), one.wait_until_ready(TOKEN)]
        waits += [client.with_options(on_exchange=second.append).wait_until_ready(TOKEN)]
        await asyncio.gather(*waits, client.wait_until_ready(TOKEN))
        assert server.count("status") == 3
        await client.status(TOKEN)
    assert len(first) == len(second) == 3
    assert all(exchange.polling for exchange in (*first, *second))


@pytest.mark.looptime
async def test_a_wait_that_has_ended_hears_nothing_more() -> None:
    """Who stopped waiting is not called for the requests of those who wait on."""
    even = PollingPolicy(first_interval=10, multiplier=1, jitter=0)
    seen: list[Exchange] = []
    async with (
        FaultServer(default=GENERATING) as server,
        client_of(server, polling=even) as client,
    ):
        brief = client.with_options(on_exchange=seen.append)
        patient = asyncio.create_task(client.wait_until_ready(TOKEN))
        with pytest.raises(TimeoutError):
            await brief.wait_until_ready(TOKEN, timeout=15)
        reported = len(seen)
        await asyncio.sleep(60)
        patient.cancel()
        assert server.count("status") > reported + 3
        assert len(seen) == reported


@pytest.mark.parametrize("failure", [RuntimeError("no room left"), asyncio.CancelledError()])
async def test_a_paid_rental_survives_a_listener_that_fails(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """A paid request: what `on_exchange` raises is logged, and the token reaches the caller.

    Also the cancellation of a task whose result it looks at.
    """

    def fail(_: Exchange) -> None:
        raise failure

    seen: list[Exchange] = []
    async with (
        FaultServer(default=faults.good(receipt())) as server,
        client_of(server, on_exchange=fail) as client,
    ):
        rental = await client.with_options(on_exchange=seen.append).rent(TARGETING)
        assert server.count("rent") == 1
    assert rental.token == "tok-1"
    assert len(seen) == 1
    assert "on_exchange failed" in caplog.text


async def test_a_rent_that_is_cancelled_is_reported_with_its_answer() -> None:
    """A cancelled rent is reported with the reply that it got."""
    seen: list[Exchange] = []
    async with (
        FaultServer(default=faults.stall_before_head(receipt(), 0.1)) as server,
        client_of(server, on_exchange=seen.append) as client,
    ):
        rent = asyncio.create_task(client.rent(TARGETING))
        await arrival(server)
        rent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rent
    assert [(one.http_status, one.error) for one in seen] == [(200, None)]


async def test_a_429_is_reported_as_any_other() -> None:
    """The headers of a 429 are there to see."""
    seen: list[Exchange] = []
    async with (
        FaultServer(default=faults.busy(429, "900")) as server,
        client_of(server, on_exchange=seen.append) as client,
    ):
        with pytest.raises(RateLimitError):
            await client.credits()
    assert [(one.http_status, one.headers["Retry-After"]) for one in seen] == [(429, "900")]


async def test_an_exchange_shows_no_key() -> None:
    """A secret: the key is in none of its texts, even where the server echoes it in its headers."""
    lines = [f"X-Echo-{number}: {echo}" for number, echo in enumerate(sorted(ECHOES))]
    reply = faults.json_reply({"success": True, "status": 2}, 200, *lines)
    seen: list[Exchange] = []
    async with (
        FaultServer(default=reply) as server,
        client_of(server, on_exchange=seen.append) as client,
    ):
        await client.status(TOKEN)
    (one,) = seen
    assert one.headers["X-Echo-0"] == "[API key]"
    for text in (repr(one), str(one), repr(one.headers), repr(dict(one.headers)), one.path):
        assert slips(text) == []


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO])
async def test_a_client_that_nobody_watches_makes_no_exchanges(
    level: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Seeing inside is free of cost where nobody looks: nothing is put together for it."""
    made: list[object] = []

    def make(**details: Any) -> ExchangeReport:
        made.append(details)
        return ExchangeReport(**details)

    monkeypatch.setattr("smspartner_async._http.exchange.ExchangeReport", make)
    caplog.set_level(level, "smspartner_async")
    async with FaultServer(default=READY) as server, client_of(server) as client:
        await client.wait_until_ready(TOKEN)
    assert bool(made) is (level == logging.DEBUG)
