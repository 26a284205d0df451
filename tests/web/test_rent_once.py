"""`RentOnce` by itself: one rent an order, without a framework around it."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from batches import Vendor, after, rented
from eager import begin_tasks_at_once, needs_eager_tasks
from fault_server import FaultServer
from faults import close_before_head, vendor_error
from renting import TARGETING, client_of, now

from smspartner_async import (
    ConfigurationError,
    Gender,
    InsufficientCreditError,
    RateLimitError,
    Rental,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    SocioProfessionalCategory,
    Targeting,
    TargetingError,
)
from smspartner_async.web import RentOnce, problem

BROKEN = close_before_head()


@pytest.mark.looptime
async def test_the_end_waits_for_the_rents_in_flight() -> None:
    """Callers may be gone: when the block ends, every token was reported."""
    reported: list[tuple[str, Rental]] = []

    def keep(key: str, rental: Rental) -> None:
        reported.append((key, rental))

    vendor = Vendor({12: after(5, rented(12))})
    async with FaultServer(vendor) as server, client_of(server) as client:
        async with RentOnce(client, on_rented=keep) as rents:
            caller = asyncio.create_task(rents("k-1", TARGETING))
            await asyncio.sleep(1)
            caller.cancel()
            begun = now()
        assert now() - begun == pytest.approx(4, abs=0.1)
        assert [(key, rental.token) for key, rental in reported] == [("k-1", "tok-12")]


class SentRent:
    """In place of a client: a rent that runs to its answer, however often it is cancelled."""

    cancellations = 0

    async def rent(self, *_: object, **__: object) -> None:
        end = now() + 5
        while now() < end and self.cancellations < 50:
            try:
                await asyncio.sleep(end - now())
            except asyncio.CancelledError:
                self.cancellations += 1
        raise asyncio.CancelledError


@pytest.mark.looptime
async def test_its_end_in_a_cancelled_scope_of_anyios_waits_without_spinning() -> None:
    """It cancels again in every turn of the loop; a rent that is sent learns of it once."""
    client: Any = SentRent()
    with anyio.move_on_after(2) as scope:
        async with RentOnce(client) as rents:
            caller = asyncio.create_task(rents("k-1", TARGETING))
            await asyncio.sleep(1)
    assert scope.cancelled_caught
    assert now() == pytest.approx(5, abs=0.1)
    assert client.cancellations == 1
    with pytest.raises(asyncio.CancelledError):
        await caller


@pytest.mark.looptime
async def test_callers_of_one_key_can_leave_one_by_one() -> None:
    """Each caller's cancellation is its own; the others get the rental."""
    vendor = Vendor({12: after(5, rented(12))})
    async with (
        FaultServer(vendor) as server,
        client_of(server) as client,
        RentOnce(client) as rents,
    ):
        callers = [asyncio.create_task(rents("k-1", TARGETING)) for _ in range(3)]
        await asyncio.sleep(1)
        callers[0].cancel()
        assert {(await caller).token for caller in callers[1:]} == {"tok-12"}
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
        assert vendor.wire[12] == 1


@pytest.mark.looptime
async def test_an_unknown_outcome_stays_with_its_key() -> None:
    """All who come with the key get the same; nothing is sent again."""
    vendor = Vendor({12: rented(12)})
    async with (
        FaultServer(vendor) as server,
        client_of(server, request_timeout=1) as client,
        RentOnce(client) as rents,
    ):
        vendor.rents = {12: [after(5, rented(12)), rented(12)]}
        for _ in range(3):
            with pytest.raises(RentOutcomeUnknownError):
                await rents("k-1", TARGETING)
        assert vendor.wire[12] == 1


@pytest.mark.parametrize("key", [None, "", "  "])
async def test_a_rent_without_a_key_is_not_sent(key: str | None) -> None:
    """Without a key a double-click could not be recognised."""
    async with (
        FaultServer(Vendor()) as server,
        client_of(server) as client,
        RentOnce(client) as rents,
    ):
        with pytest.raises(TargetingError, match="key: is missing"):
            await rents(key, TARGETING)
        assert not server.received


@pytest.mark.looptime
async def test_a_key_belongs_to_its_owner() -> None:
    """Two owners use one key for two orders; each gets the own rental, however often."""
    stored: list[tuple[str, str, object]] = []

    def keep(key: str, rental: Rental, owner: object) -> None:
        stored.append((key, rental.token, owner))

    vendor = Vendor({12: [rented(1), rented(2)]})
    async with (
        FaultServer(vendor) as server,
        client_of(server) as client,
        RentOnce(client, on_rented=keep) as rents,
    ):
        for _ in range(2):
            assert (await rents("k-1", TARGETING, owner="alice")).token == "tok-1"
            assert (await rents("k-1", TARGETING, {"06200": 1}, owner=7)).token == "tok-2"
        assert vendor.wire[12] == 2
    assert stored == [("k-1", "tok-1", "alice"), ("k-1", "tok-2", 7)]


@pytest.mark.looptime
async def test_a_paid_key_is_forgotten_after_a_day() -> None:
    """A settled key is kept for 24 h by default, and then stands for a new order."""
    vendor = Vendor({12: [rented(1), rented(2)]})
    async with (
        FaultServer(vendor) as server,
        client_of(server) as client,
        RentOnce(client) as rents,
    ):
        assert (await rents("k-1", TARGETING)).token == "tok-1"
        await asyncio.sleep(24 * 60 * 60 - 1)
        assert (await rents("k-1", TARGETING)).token == "tok-1"
        await asyncio.sleep(2)
        assert (await rents("k-1", TARGETING)).token == "tok-2"


@pytest.mark.looptime
async def test_a_key_that_is_not_settled_is_never_dropped() -> None:
    """An unknown outcome and a rent under way outlive `keep_for`: neither is sent again."""
    vendor = Vendor({12: [BROKEN, after(200, rented(2))]})
    async with (
        FaultServer(vendor) as server,
        client_of(server, request_timeout=1000) as client,
        RentOnce(client, keep_for=10) as rents,
    ):
        with pytest.raises(RentOutcomeUnknownError):
            await rents("unknown", TARGETING)
        slow = asyncio.create_task(rents("slow", TARGETING))
        await asyncio.sleep(100)
        again = asyncio.create_task(rents("slow", TARGETING))
        with pytest.raises(RentOutcomeUnknownError):
            await rents("unknown", TARGETING)
        assert (await slow).token == (await again).token == "tok-2"
        assert vendor.wire[12] == 2


@pytest.mark.looptime
async def test_new_keys_are_refused_when_it_is_full() -> None:
    """A 503 before anything is sent; known keys are answered, and room comes with time."""
    vendor = Vendor({12: [rented(1), rented(2), rented(3)]})
    async with (
        FaultServer(vendor) as server,
        client_of(server) as client,
        RentOnce(client, max_keys=2, keep_for=60) as rents,
    ):
        await rents("k-1", TARGETING)
        await rents("k-2", TARGETING)
        sent = len(server.received)
        with pytest.raises(ConfigurationError, match="nothing was rented") as full:
            await rents("k-3", TARGETING)
        assert problem(full.value)["status"] == 503
        assert len(server.received) == sent
        assert (await rents("k-1", TARGETING)).token == "tok-1"
        await asyncio.sleep(61)
        assert (await rents("k-3", TARGETING)).token == "tok-3"


async def test_a_refusal_takes_no_room() -> None:
    """Where nothing was rented, the key is free at once: nobody fills it up without paying."""
    refusal = vendor_error(11, "Crédit insuffisant")
    async with (
        FaultServer(Vendor({12: [refusal, refusal, rented(3)]})) as server,
        client_of(server) as client,
        RentOnce(client, max_keys=1) as rents,
    ):
        for key in ("k-1", "k-2"):
            with pytest.raises(InsufficientCreditError):
                await rents(key, TARGETING)
        assert (await rents("k-3", TARGETING)).token == "tok-3"


@pytest.mark.looptime
async def test_an_error_that_nobody_foresaw_stays_with_its_key() -> None:
    """It may have been raised after the money was spent: the key is never sent again."""

    class Odd(SMSPartnerClient):
        """A client with a defect."""

        rents = 0

        async def rent(self, *_: Any, **__: Any) -> Rental:
            self.rents += 1
            raise RuntimeError("odd")

    client = Odd("key", base_url="http://127.0.0.1:1")
    async with client, RentOnce(client, keep_for=10) as rents:
        for _ in range(3):
            with pytest.raises(RuntimeError, match="odd"):
                await rents("k-1", TARGETING)
            await asyncio.sleep(100)
        with pytest.raises(TargetingError, match="another order"):
            await rents("k-1", TARGETING, {"60200": 1})
    assert client.rents == 1


@pytest.mark.parametrize(
    ("again", "volumes"),
    [
        ({"gender": Gender.MIXED}, {"60200": 20, "06200": 10}),
        ({"category": SocioProfessionalCategory.CSP_PLUS}, {"60200": 20, "06200": 10}),
        ({"zipcodes": ["06200", "60200"]}, {"60200": 20, "06200": 10}),
        ({"zipcodes": " 60200,06200,60200 "}, {"60200": 20, "06200": 10}),
        ({"departments": ("2a", "75")}, {" 06200": 10, "60200": 20}),
    ],
    ids=str,
)
async def test_the_same_order_in_another_spelling_is_the_same(
    again: dict[str, Any], volumes: dict[str, int]
) -> None:
    """Who reads that it is another one would send a new key, and pay twice."""
    order: dict[str, Any] = {
        "gender": "mixed",
        "min_age": 25,
        "max_age": 35,
        "interest": 12,
        "category": "csp+",
        "departments": "75,2A",
        "zipcodes": "60200,06200",
    }
    vendor = Vendor({12: rented(12)})
    async with (
        FaultServer(vendor) as server,
        client_of(server) as client,
        RentOnce(client) as rents,
    ):
        await rents("k-1", Targeting(**order), {"60200": 20, "06200": 10})
        assert (await rents("k-1", Targeting(**{**order, **again}), volumes)).token == "tok-12"
        for other in ({"zipcodes": "60200"}, {"departments": "75"}, {"interest": 13}):
            with pytest.raises(TargetingError, match="another order"):
                await rents("k-1", Targeting(**{**order, **other}), volumes)
        with pytest.raises(TargetingError, match="another order"):
            await rents("k-1", Targeting(**order))
        assert vendor.wire == {12: 1}


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("client must be", {"client": "key"}),
        ("client must be", {"client": SMSPartnerClient}),
        ("max_total must be", {"max_total": 1.5}),
        ("on_rented must be", {"on_rented": "tokens.txt"}),
        ("on_rented must be .* the owner; this one", {"on_rented": lambda _key: None}),
        ("keep_for must be", {"keep_for": 0}),
        ("max_keys must be", {"max_keys": 0.5}),
    ],
)
async def test_it_is_not_made_of_what_would_fail_later(words: str, options: dict[str, Any]) -> None:
    """Before money: wrong arguments are refused when it is made."""
    client = SMSPartnerClient("key", base_url="http://127.0.0.1:1")
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        RentOnce(**{"client": client, **options})
    arguments: list[Any] = [client, 5]  # which of its limits is that?
    with pytest.raises(TypeError, match="positional"):
        RentOnce(*arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"targeting": {"gender": "mixed"}},
        {"volumes": [1]},
        {"owner": " "},
        {"owner": []},
        {"key": 5},
        {"owner": "alice"},  # which its on_rented does not take
    ],
    ids=str,
)
async def test_a_wrong_order_is_not_sent(options: dict[str, Any]) -> None:
    """Before money: what cannot be an order is refused unsent; its key is free."""
    async with (
        FaultServer(Vendor({12: rented(12)})) as server,
        client_of(server) as client,
        RentOnce(client, on_rented=lambda _key, _rental: None) as rents,
    ):
        with pytest.raises((TypeError, ValueError)):
            await rents(**{"key": "k-1", "targeting": TARGETING, **options})
        assert not server.received
        assert (await rents("k-1", TARGETING)).token == "tok-12"


@needs_eager_tasks
async def test_eager_tasks_free_a_refused_key() -> None:
    """A rent that is refused before its task first waits does not block its key."""
    begin_tasks_at_once()
    limited = RateLimitError(
        code=None, message="", http_status=429, operation="rent", retry_after=1
    )

    answers: list[Rental | RateLimitError] = [limited, Rental(token="tok-1")]

    class Refusing(SMSPartnerClient):
        """A client that waits for nothing."""

        async def rent(self, *_: Any, **__: Any) -> Rental:
            answer = answers.pop(0)
            if isinstance(answer, Rental):
                return answer
            raise answer

    client = Refusing("key", base_url="http://127.0.0.1:1")
    async with client, RentOnce(client) as rents:
        with pytest.raises(RateLimitError):
            await rents("k-1", TARGETING)
        for _ in range(2):
            assert (await rents("k-1", TARGETING)).token == "tok-1"
