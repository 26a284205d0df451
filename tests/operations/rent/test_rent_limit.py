"""What a rent may cost, and who gets the rental: `max_total` and `on_rented`."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fault_server import FaultServer, Received, Reply
from fault_table import FAULTS
from faults import busy, good, html, json_reply, vendor_error
from renting import TARGETING, client_of, receipt

from smspartner_async import (
    APIError,
    ConfigurationError,
    InsufficientCreditError,
    PriceExceededError,
    RateLimitError,
    Rental,
    SMSPartnerClient,
    Targeting,
    TargetingError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspartner_async.sandbox import Sandbox

PLACE = Targeting(gender="mixed", min_age=25, max_age=35, interest=12, zipcodes="06200")
VOLUMES = {"06200": 20}  # 1.80 euros in the sandbox


def quote(cost: object) -> Reply:
    """A reply to price."""
    rows = [{"Type": "total", "Localite": "total", "Volume": 20}]
    return json_reply({"success": True, "op": "price", "datas": rows, "cost": cost})


# --- max_total -------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [Decimal("1.80"), Decimal("1.81"), Decimal("1e9"), 2])
async def test_a_price_within_the_limit_is_rented(
    client: SMSPartnerClient, sandbox: Sandbox, limit: Decimal
) -> None:
    """A paid request: a quote that equals `max_total`, or is below it, is rented."""
    await client.rent(PLACE, VOLUMES, max_total=limit)
    assert sandbox.paid == Decimal("1.80")
    assert sandbox.requests == {"price": 1, "rent": 1}


@pytest.mark.parametrize("limit", [Decimal("1.79"), Decimal("1.7999999"), Decimal(0), 1])
async def test_a_price_above_the_limit_is_not_rented(
    client: SMSPartnerClient, sandbox: Sandbox, limit: Decimal
) -> None:
    """A paid request: a quote above `max_total` raises without renting."""
    with pytest.raises(PriceExceededError) as caught:
        await client.rent(PLACE, VOLUMES, max_total=limit)
    assert sandbox.requests == {"price": 1}
    assert caught.value.max_total == limit
    assert caught.value.quote is not None
    assert caught.value.quote.cost is not None
    assert caught.value.quote.cost.total == Decimal("1.80")


async def test_the_volumes_are_priced_that_are_rented() -> None:
    """A paid request: price and rent ask for the same targeting and the same volumes."""
    async with FaultServer(quote({"total": 1}), good(receipt())) as server:
        async with client_of(server) as client:
            await client.rent(PLACE, VOLUMES, max_total=Decimal(1))
        asked = [json.loads(received.body) for received in server.received]
    assert [one.pop("op") for one in asked] == ["price", "rent"]
    assert asked[0] == asked[1]
    assert asked[0]["volumes"] == VOLUMES


@pytest.mark.parametrize(
    "answer",
    [
        quote({"quantity": 20}),
        quote({"quantity": 20, "total": None}),
        quote({"total": ""}),
        quote({"total": "free"}),
        quote({"total": True}),
        quote({"total": "NaN"}),
        quote({"total": "-Infinity"}),
        quote({"total": [1]}),
        quote([]),
        quote(None),
        json_reply({"success": True, "datas": []}),
        json_reply({"success": True}),
        html(200),
        FAULTS["gzip cut"].make(receipt()),
        FAULTS["until close, cut"].make(receipt()),
        FAULTS["empty 200"].make(receipt()),
    ],
)
async def test_a_price_that_cannot_be_learnt_is_not_rented(answer: Reply) -> None:
    """A paid request: a quote without a total, or an unreadable one, raises without renting."""
    async with FaultServer(answer) as server, client_of(server) as client:
        with pytest.raises(PriceExceededError):
            await client.rent(TARGETING, max_total=Decimal(1000))
        assert (server.count("price"), server.count("rent")) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (vendor_error(11, "Crédit insuffisant"), InsufficientCreditError),
        (vendor_error(77, "?", 500), APIError),
        (busy(429), RateLimitError),
        (FAULTS["close before head"].make(b""), TransportError),
        (html(502), PriceExceededError),
    ],
)
async def test_a_price_that_fails_is_not_rented(answer: Reply, kind: type[Exception]) -> None:
    """A paid request: whatever ends the pricing, nothing is rented, and the error says so."""
    async with FaultServer(default=answer) as server, client_of(server) as client:
        with pytest.raises(kind, match="Nothing was rented") as caught:
            await client.rent(TARGETING, max_total=Decimal(1000))
        assert server.count("rent") == 0
    assert "Raise max_total" not in str(caught.value)


async def test_a_closed_client_says_that_nothing_was_rented() -> None:
    """A paid request: so does one that fails before the price is asked."""
    async with client_of(SimpleNamespace(base_url="http://127.0.0.1:1")) as client:
        await client.close()
        with pytest.raises(ConfigurationError, match="Nothing was rented"):
            await client.rent(TARGETING, max_total=Decimal(1000))


async def test_a_price_without_a_connection_is_advised_about_once() -> None:
    """A paid request: what is quoted as a cause is quoted without its own advice."""
    async with client_of(SimpleNamespace(base_url="http://127.0.0.1:1")) as client:
        with pytest.raises(TransportError) as caught:
            await client.rent(TARGETING, max_total=Decimal(1000))
    assert str(caught.value).count("safe to try again") == 1


@pytest.mark.parametrize(
    ("limit", "kind"),
    [
        (1.8, TypeError),
        ("1.80", TypeError),
        (True, TypeError),
        (Decimal("NaN"), ValueError),
        (Decimal("sNaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        (Decimal("-0.01"), ValueError),
        (-1, ValueError),
    ],
)
async def test_a_limit_that_is_none_is_refused_before_sending(limit: Any, kind: type) -> None:
    """Bad input: a `max_total` that is no exact amount is refused, and nothing is sent."""
    async with FaultServer(good(receipt())) as server, client_of(server) as client:
        with pytest.raises(kind):
            await client.rent(TARGETING, max_total=limit)
        assert server.accepted == 0


@pytest.mark.parametrize("volumes", [{}, {"60200": 0}, {"60200": 1.5}, {"nowhere": 5}, 20])
async def test_volumes_that_cannot_be_right_are_refused_before_sending(volumes: Any) -> None:
    """Bad input: volumes that would rent something else than meant are refused, nothing is sent."""
    async with FaultServer(good(receipt())) as server, client_of(server) as client:
        with pytest.raises(TargetingError):
            await client.rent(TARGETING, volumes)
        assert server.accepted == 0


# --- on_rented -------------------------------------------------------------------------------


async def rent(on_rented: Callable[[Rental], object]) -> Rental:
    """Rent once where all goes well."""
    async with FaultServer(good(receipt())) as server, client_of(server) as client:
        rental = await client.rent(TARGETING, on_rented=on_rented)
        assert server.count("rent") == 1
    return rental


async def test_a_plain_callback_is_called_with_the_rental() -> None:
    """A paid request: `on_rented` gets the rental that is returned, once, before it is."""
    reported: list[Rental] = []
    rental = await rent(reported.append)
    assert len(reported) == 1
    assert reported[0] is rental


async def test_an_async_callback_is_waited_for() -> None:
    """A paid request: the rental is returned after a slow callback has stored it."""
    reported: list[Rental] = []

    async def store(rental: Rental) -> None:
        await asyncio.sleep(0.05)
        reported.append(rental)

    rental = await rent(store)
    assert reported == [rental]


async def test_a_callback_may_return_any_awaitable() -> None:
    """A paid request: a future that a plain callback returns is waited for."""
    reported: list[Rental] = []

    def store(rental: Rental) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: reported.append(rental))
        asyncio.get_running_loop().call_later(0.05, future.set_result, None)
        return future

    rental = await rent(store)
    assert reported == [rental]


async def fail(_: Rental) -> None:
    raise RuntimeError("the disk is full")


async def wait_for_what_was_cancelled(_: Rental) -> None:
    writing = asyncio.ensure_future(asyncio.sleep(10))
    asyncio.get_running_loop().call_soon(writing.cancel)
    await writing


async def time_out(_: Rental) -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(10)


@pytest.mark.parametrize(
    "callback",
    [lambda _: 1 / 0, fail, wait_for_what_was_cancelled, time_out],
    ids=["plain", "async", "cancelled", "timeout"],
)
async def test_a_callback_that_fails_does_not_lose_the_rental(
    callback: Callable[[Rental], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A paid request: what `on_rented` raises is logged with the token; all else continues."""
    assert (await rent(callback)).token == "tok-1"
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "tok-1" in record.getMessage()
    assert record.exc_info is not None


async def test_nobody_is_called_for_what_was_not_rented() -> None:
    """A paid request: `on_rented` hears of rentals only."""
    reported: list[Rental] = []
    answers = (vendor_error(11, "Crédit insuffisant"), html(502))
    async with FaultServer(*answers) as server, client_of(server) as client:
        for _ in answers:
            with pytest.raises(Exception, match="rent"):
                await client.rent(TARGETING, on_rented=reported.append)
    assert reported == []


async def test_the_callback_is_called_once_even_after_a_refusal() -> None:
    """A paid request: of several attempts only the paid one is reported."""
    reported: list[Rental] = []
    calls: list[Received] = []

    def answer(received: Received) -> Reply:
        calls.append(received)
        return FAULTS["429"].make(b"") if len(calls) < 3 else good(receipt())

    async with FaultServer(answer) as server, client_of(server) as client:
        await client.rent(TARGETING, on_rented=reported.append)
    assert (len(calls), [rental.token for rental in reported]) == (3, ["tok-1"])
