"""The client as its users meet it: how it is made, what it refuses, the whole way of a rental."""

from __future__ import annotations

import asyncio
import inspect
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import faults
import pytest
from fault_server import FaultServer
from polls import in_time

import smspartner_async
from smspartner_async import (
    AuthenticationError,
    ConfigurationError,
    PollingPolicy,
    PriceExceededError,
    RentalNotFoundError,
    RentalState,
    ResponseError,
    SMSPartnerClient,
    Targeting,
    TargetingError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from aioresponses import aioresponses
    from fault_server import Reply

    from smspartner_async.sandbox import Sandbox

KEY = "test-key"
TARGETING = Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200")
VENDOR = "https://api.smspartner.fr/v1"


pytestmark = pytest.mark.smspartner_sandbox(api_key=KEY)


@pytest.mark.smspartner_sandbox(speed=0.001)  # no rental moves by itself while a test runs
async def test_the_whole_way_of_a_rental(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Calculate, price, rent, wait and download work together, and cost exactly the price."""
    calculated = await client.calculate(TARGETING)
    assert calculated.operation == "calculate"
    assert calculated.total_volume == 362
    quote = await client.price(TARGETING, {"06200": 20})
    assert quote.cost is not None
    assert quote.cost.total == Decimal("1.80")
    before = (await client.credits()).balance

    rental = await client.rent(TARGETING, {"06200": 20}, max_total=Decimal("1.80"))
    states, moves = list[RentalState](), iter((sandbox.make_generating, sandbox.make_ready))
    async for status in client.watch(rental):
        states.append(status.state)
        if status.state is not RentalState.READY:
            next(moves)(rental)
    file = await client.download(rental.token, tmp_path / "contacts.csv")

    assert states == [RentalState.REQUESTED, RentalState.GENERATING, RentalState.READY]
    assert file.path.read_bytes().count(b"\n") == 20
    assert file.verified
    assert sandbox.paid == quote.cost.total == before - (await client.credits()).balance
    assert (await client.status(rental)).state is RentalState.DOWNLOADED
    assert sandbox.requests["rent"] == 1


async def test_a_token_is_all_that_another_process_needs(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A second client continues with nothing but the token as text."""
    token = (await client.rent(TARGETING)).token
    async with SMSPartnerClient(
        KEY, base_url=sandbox.base_url, polling=client._pipeline.options.polling
    ) as other:
        status = await other.wait_until_ready(token)
        assert status.state is RentalState.READY
        await other.download(status, tmp_path / "contacts.csv")


async def test_max_total_refuses_to_rent_above_it(
    client: SMSPartnerClient, sandbox: Sandbox
) -> None:
    """A paid request: `max_total` prices first, and above it nothing is rented."""
    with pytest.raises(PriceExceededError, match="Nothing was rented") as refused:
        await client.rent(TARGETING, {"06200": 20}, max_total=Decimal("1.79"))
    assert refused.value.quote is not None
    assert sandbox.requests["rent"] == 0


def test_key_and_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """SMSPARTNER_API_KEY and SMSPARTNER_BASE_URL stand in for what is not passed."""
    monkeypatch.setenv("SMSPARTNER_API_KEY", " from-env\n")
    monkeypatch.setenv("SMSPARTNER_BASE_URL", "http://127.0.0.1:8080/v1/")
    client = SMSPartnerClient()
    assert repr(client) == "<SMSPartnerClient http://127.0.0.1:8080/v1>"
    request = client._wire.credits_request()
    assert request.target == "/me?apiKey=from-env"
    monkeypatch.delenv("SMSPARTNER_BASE_URL")
    assert repr(SMSPartnerClient()) == f"<SMSPartnerClient {VENDOR}>"
    assert repr(SMSPartnerClient("k", base_url="https://example.org")).endswith("example.org>")


@pytest.mark.parametrize("key", [None, "", "  \n", "two words", "bell\a"])
def test_a_bad_key_is_refused_at_once(key: str | None) -> None:
    """Bad input: a key that is missing, blank or garbled is refused before anything is sent."""
    with pytest.raises(ConfigurationError, match="API key"):
        SMSPartnerClient(key)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.smspartner.fr/v1",
        "http://127.0.0.1.example.org/v1",
        "ftp://localhost/v1",
        "localhost:8080",
        "",
        "https://user:secret@api.smspartner.fr/v1",
        "https://api.smspartner.fr/v1?apiKey=secret",
        "https://[half",
    ],
)
def test_a_base_url_that_would_show_the_key_is_refused(url: str) -> None:
    """A secret: the key is not sent over http:// except to this machine, nor put into odd URLs."""
    with pytest.raises(ConfigurationError, match="The base URL") as refused:
        SMSPartnerClient(KEY, base_url=url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://[::1]:1", "http://127.9.9.9"])
def test_this_machine_may_be_reached_without_tls(url: str) -> None:
    """Loopback addresses are fine over http://: nobody stands in between."""
    assert repr(SMSPartnerClient(KEY, base_url=url)) == f"<SMSPartnerClient {url}>"


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf"), True, "30"])
@pytest.mark.parametrize("name", ["request_timeout", "max_requests_per_minute"])
def test_a_number_out_of_its_range_is_refused(name: str, number: Any) -> None:
    """Bad input: a limit must be a finite number above 0."""
    with pytest.raises(ValueError, match=name):
        SMSPartnerClient(KEY, **{name: number})


@pytest.mark.parametrize("token", ["", " ", "a\nb", "\ud800"])
async def test_a_token_that_cannot_be_one_is_not_sent(
    client: SMSPartnerClient, sandbox: Sandbox, tmp_path: Path, token: str
) -> None:
    """Bad input: a blank or unprintable token is refused before anything is sent."""
    for call in (client.status, client.wait_until_ready):
        with pytest.raises(ValueError, match="token"):
            await call(token)
    with pytest.raises(ValueError, match="token"):
        client.watch(token)
    with pytest.raises(ValueError, match="token"):
        await client.download(token, tmp_path / "contacts.csv")
    no_text: Any = 12
    with pytest.raises(TypeError, match="token"):
        await client.status(no_text)
    assert not sandbox.requests


async def test_wrong_input_gives_the_error_that_is_promised(
    client: SMSPartnerClient, sandbox: Sandbox
) -> None:
    """A wrong key, an unknown token and bad volumes each have their class and their advice."""
    async with SMSPartnerClient("wrong", base_url=sandbox.base_url) as stranger:
        with pytest.raises(AuthenticationError, match="Check the API key"):
            await stranger.credits()
    with pytest.raises(RentalNotFoundError, match="Check the token"):
        await client.status("no-such-rental")
    bad: tuple[Any, ...] = ({}, {"06200": 0}, {"6200": 1}, {"06200": True}, ["06200"])
    for volumes in bad:
        with pytest.raises(TargetingError, match="volumes"):
            await client.rent(TARGETING, volumes)
    assert sandbox.requests["rent"] == 0


@pytest.mark.parametrize("limit", [1.5, True, "2", None])
async def test_max_total_is_exact_money(
    client: SMSPartnerClient, sandbox: Sandbox, limit: Any
) -> None:
    """Bad input: a limit that is not exact, or not a price, is refused before anything is sent."""
    if limit is None:
        with pytest.raises(ValueError, match="max_total"):
            await client.rent(TARGETING, max_total=Decimal("NaN"))
    else:
        with pytest.raises(TypeError, match="max_total"):
            await client.rent(TARGETING, max_total=limit)
    assert not sandbox.requests


async def test_a_closed_client_says_so(client: SMSPartnerClient) -> None:
    """Using a client after close() is a clear error, and closing twice is none."""
    await client.close()
    await client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await client.credits()
    with pytest.raises(ConfigurationError, match="closed"):
        async with client:
            pass


@pytest.mark.looptime
async def test_what_waits_for_its_turn_is_not_sent_after_close(sandbox: Sandbox) -> None:
    """A paid request: a rent that the request budget holds back is not sent by a closed client."""
    client = SMSPartnerClient(KEY, base_url=sandbox.base_url, max_requests_per_minute=6)
    await client.credits()
    held_back = [asyncio.ensure_future(call) for call in (client.rent(TARGETING), client.credits())]
    await asyncio.sleep(1)
    await client.close()
    errors = await asyncio.gather(*held_back, return_exceptions=True)
    assert [type(error) for error in errors] == [ConfigurationError] * 2
    assert sandbox.requests == {"credits": 1}


@pytest.mark.looptime
@pytest.mark.parametrize("reply", [faults.busy(429, "20"), faults.busy(503, "20")])
async def test_closing_ends_a_pause_before_a_further_try(reply: Reply) -> None:
    """Nobody who waits to ask again, or to rent, sleeps on after the client was closed."""
    loop = asyncio.get_running_loop()
    async with FaultServer(default=reply) as server:
        client = SMSPartnerClient(KEY, base_url=server.base_url)
        task = asyncio.ensure_future(client.credits())
        await asyncio.sleep(1)
        closed_at = loop.time()
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await task
        assert loop.time() - closed_at < 0.1
        assert server.count("credits") == 1


@pytest.mark.looptime
async def test_closing_ends_a_request_under_way_and_says_why() -> None:
    """close() does not wait for an answer, nor ask again, nor blame the time."""
    async with FaultServer(default=faults.stall_before_head(b"{}")) as server:
        client = SMSPartnerClient(KEY, base_url=server.base_url)
        task = asyncio.ensure_future(client.credits())
        await asyncio.sleep(1)
        await client.close()
        with pytest.raises(TransportError, match="closed before a whole reply"):
            await task
        assert server.count("credits") == 1


@pytest.mark.parametrize("options", [{}, {"max_requests_per_minute": 1}, {"max_connections": 1}])
async def test_closing_ends_all_waits_and_the_loop_continues(options: dict[str, Any]) -> None:
    """close() ends the waits that sleep and those in the queue, in many turns of the loop."""
    generating = faults.json_reply({"success": True, "status": 1})
    async with FaultServer(default=generating) as server:
        client = SMSPartnerClient(KEY, base_url=server.base_url, **options)
        waits = [asyncio.ensure_future(client.wait_until_ready(f"t{n}")) for n in range(500)]
        await asyncio.sleep(0.2)
        closing, ended = asyncio.ensure_future(client.close()), set[int]()

        async def count_ended() -> None:
            while not all(wait.done() for wait in waits):
                await asyncio.sleep(0)
                ended.add(sum(wait.done() for wait in waits))

        await in_time(count_ended(), "close() ends waits that sleep, and those in the queue.")
        await closing
        assert len(ended) > 3
        assert {type(wait.exception()) for wait in waits} == {ConfigurationError}


@pytest.mark.looptime
@pytest.mark.parametrize("watched", [False, True])
async def test_a_poll_that_is_granted_while_the_client_closes_is_the_last_one(
    monkeypatch: pytest.MonkeyPatch, *, watched: bool
) -> None:
    """Its answer may come before its connection is closed: the wait does not sleep on it."""

    async def slowly(items: Iterable[Any], call: Callable[[Any], object]) -> None:
        for item in items:
            call(item)
            await asyncio.sleep(1)  # as many turns of the loop as thousands of waits take

    answer = faults.stall_before_head(b'{"success": true, "status": 1}', 1.5)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("smspartner_async._operations.shared_poll.for_each", slowly)
    async with FaultServer(default=answer) as server:
        client = SMSPartnerClient(
            KEY,
            base_url=server.base_url,
            max_connections=1,
            polling=PollingPolicy(first_interval=300, max_interval=300),
        )

        async def watch(token: str) -> None:
            async for _ in client.watch(token):
                pass

        one = watch if watched else client.wait_until_ready
        waits = [asyncio.ensure_future(one(f"t{n}")) for n in range(5)]
        await asyncio.sleep(0)  # the first is sent, and the others are queued behind it
        started = loop.time()
        await client.close()
        await asyncio.wait(waits)
        assert loop.time() - started < 10
        assert {type(wait.exception()) for wait in waits} == {ConfigurationError}


def test_a_client_belongs_to_one_event_loop() -> None:
    """A client that is carried into a second asyncio.run() says so, in place of hanging."""
    client = SMSPartnerClient(
        KEY, base_url="http://127.0.0.1:1", retry=smspartner_async.RetryPolicy(attempts=1)
    )

    async def use() -> None:
        with pytest.raises(TransportError):
            await client.status("token")
        await client.close()
        client._pipeline.state.closed = False

    asyncio.run(use())
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(client.credits())


async def test_a_borrowed_session_is_used_and_left_open(sandbox: Sandbox, tmp_path: Path) -> None:
    """A session that was passed in serves what is safe to pool, and is never closed."""
    async with aiohttp.ClientSession() as session:
        polling = PollingPolicy(first_interval=0.05)
        async with SMSPartnerClient(
            KEY, base_url=sandbox.base_url, session=session, polling=polling
        ) as client:
            rental = await client.rent(TARGETING)
            await client.wait_until_ready(rental)
            await client.download(rental, tmp_path / "contacts.csv")
        assert not session.closed
    async with SMSPartnerClient(KEY, base_url=sandbox.base_url, session=session) as client:
        with pytest.raises(ConfigurationError, match="session that was passed"):
            await client.credits()


async def test_a_reply_that_is_a_page_is_named_as_one(canned: aioresponses) -> None:
    """A reply that is HTML is a ResponseError that shows how it begins and what to check."""
    canned.get(f"{VENDOR}/me?apiKey={KEY}", body="<html>Welcome to the hotel's network</html>")
    async with SMSPartnerClient(KEY) as client:
        with pytest.raises(ResponseError, match=r"hotel's network.*Check base_url"):
            await client.credits()


async def test_the_manuals_price_sample_comes_out_of_the_client(canned: aioresponses) -> None:
    """The reply that the manual prints is what a caller of price() holds."""
    payload = (
        '{"success": true, "op": "price", "datas": [{"Type": "CP", "Localite": "06200", '
        '"Volume": 20}, {"Type": "total", "Localite": "total", "Volume": 20}], '
        '"cost": {"quantity": 20, "total": 2.52, "cost_unity": 0.09}}'
    )
    canned.post(f"{VENDOR}/location/optin", body=payload)
    async with SMSPartnerClient(KEY) as client:
        quote = await client.price(TARGETING)
    assert quote.cost is not None
    assert (quote.total_volume, quote.cost.total) == (20, Decimal("2.52"))


def test_all_that_is_public_is_documented() -> None:
    """Every public name, and every public method of the client, has a docstring."""
    public = {name: getattr(smspartner_async, name) for name in smspartner_async.__all__}
    public |= {
        name: method
        for name, method in inspect.getmembers(SMSPartnerClient, inspect.isfunction)
        if not name.startswith("_")
    }
    assert [name for name, thing in public.items() if not inspect.getdoc(thing)] == []
