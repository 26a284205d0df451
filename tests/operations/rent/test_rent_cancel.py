"""A cancelled rent: given up while nothing has left, finished once it has."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from fault_server import FaultServer, Reply
from faults import busy, good, never_read, stall_before_head, vendor_error
from renting import TARGETING, arrival, client_of, now, receipt, turns

from smspartner_async import (
    InsufficientCreditError,
    RateLimitError,
    Rental,
    RentOutcomeUnknownError,
    RetryPolicy,
)

if TYPE_CHECKING:
    from smspartner_async import SMSPartnerClient

LATE = stall_before_head(receipt(), 5)


def renting(client: SMSPartnerClient, rentals: list[Rental]) -> asyncio.Task[Rental]:
    """A task that rents."""
    return asyncio.create_task(client.rent(TARGETING, on_rented=rentals.append))


async def give_up(task: asyncio.Task[Rental]) -> None:
    """Cancel a rent after a second: it ends at once. Leave it time to be sent all the same."""
    await asyncio.sleep(1)
    task.cancel()
    begun = now()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() - begun < 0.1
    await asyncio.sleep(100)


# --- a request that is under way -------------------------------------------------------------


@pytest.mark.looptime
async def test_a_cancelled_rent_runs_to_its_answer() -> None:
    """A paid request: the answer is awaited and `on_rented` called before it is cancelled."""
    rentals: list[Rental] = []
    async with FaultServer(LATE) as server, client_of(server) as client:
        begun = now()
        task = renting(client, rentals)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(3)
        assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() - begun == pytest.approx(5, abs=0.1)
        assert ([rental.token for rental in rentals], server.count("rent")) == (["tok-1"], 1)


@pytest.mark.looptime
async def test_a_rent_that_is_cancelled_again_and_again_runs_to_its_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A paid request: a hundred cancellations, one a turn, cost one warning and no token."""
    rentals: list[Rental] = []
    async with FaultServer(LATE) as server, client_of(server) as client:
        task = renting(client, rentals)
        await asyncio.sleep(1)
        for _ in range(100):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert ([rental.token for rental in rentals], server.count("rent")) == (["tok-1"], 1)


async def test_a_rent_that_is_cancelled_in_every_turn_until_it_ends_runs_to_its_answer() -> None:
    """A paid request: a canceller that never gives up, as anyio's, does not abandon it."""
    rentals: list[Rental] = []
    answer = stall_before_head(receipt(), 0.02)
    async with FaultServer(answer) as server, client_of(server) as client:
        task = renting(client, rentals)
        await arrival(server)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert ([rental.token for rental in rentals], server.count("rent")) == (["tok-1"], 1)


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize(
    ("host", "fates"),
    [("127.0.0.1", {(0, True), (1, True)}), ("localhost", {(0, True)})],  # a name takes a thread
)
async def test_whenever_a_rent_is_cancelled_its_token_comes_out(
    host: str, fates: set[tuple[int, bool]], times: int
) -> None:
    """A paid request: cancelled at any turn, nothing was sent, or the token is reported."""
    outcomes = set()
    for turn in range(70):
        rentals: list[Rental] = []
        answer = stall_before_head(receipt(), 0.002)
        async with FaultServer(answer) as server:
            url = server.base_url.replace("127.0.0.1", host)
            async with client_of(server, base_url=url) as client:
                task = renting(client, rentals)
                await turns(turn)
                for _ in range(times):
                    task.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([task])
            arrived = server.count("rent")
        assert len(rentals) == arrived
        outcomes.add((arrived, task.cancelled()))
    assert fates <= outcomes


@pytest.mark.looptime
@pytest.mark.parametrize("turn", range(6))
async def test_a_cancellation_just_when_the_answer_is_reported_loses_nothing(turn: int) -> None:
    """A paid request: cancelled in the very turns in which it ends, it is reported once."""
    rentals: list[Rental] = []

    def keep(rental: Rental) -> None:
        rentals.append(rental)
        cancel_in(turn)

    def cancel_in(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(cancel_in, left - 1)
        else:
            task.cancel()

    async with FaultServer(good(receipt())) as server, client_of(server) as client:
        task = asyncio.create_task(client.rent(TARGETING, on_rented=keep))
        await asyncio.wait([task])
    assert [rental.token for rental in rentals] == ["tok-1"]
    assert task.cancelled() or task.result() is rentals[0]
    if turn == 0:
        assert task.cancelled()


@pytest.mark.looptime
async def test_a_slow_callback_is_allowed_to_finish() -> None:
    """A paid request: a cancellation also waits until `on_rented` has stored the token."""
    rentals: list[Rental] = []

    async def store(rental: Rental) -> None:
        await asyncio.sleep(2)
        rentals.append(rental)

    async with FaultServer(LATE) as server, client_of(server) as client:
        task = asyncio.create_task(client.rent(TARGETING, on_rented=store))
        for _ in range(3):
            await asyncio.sleep(2)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [rental.token for rental in rentals] == ["tok-1"]


@pytest.mark.looptime
async def test_without_a_callback_a_cancelled_caller_finds_the_token_in_note_and_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A paid request: a token that comes back to a cancelled caller reaches note and log."""
    caplog.set_level(logging.INFO, "smspartner_async")
    async with FaultServer(LATE) as server, client_of(server) as client:
        task = asyncio.create_task(client.rent(TARGETING))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert caught.value.__notes__ == ["The rent was cancelled, and is paid: its token is tok-1."]
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "cancelled while a rent is under way: waiting for its answer first"),
        ("INFO", "rented: token tok-1"),
        (
            "WARNING",
            "rent was cancelled and is paid: token tok-1; pass it to wait_until_ready()",
        ),
    ]


@pytest.mark.looptime
async def test_a_cancellation_carries_an_unknown_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A paid request: its wait is bounded, and what is unknown is its cause and in the log."""
    options = {"request_timeout": 3}
    async with FaultServer(LATE) as server, client_of(server, **options) as client:
        begun = now()
        task = renting(client, [])
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert now() - begun == pytest.approx(3, abs=0.1)
    assert isinstance(caught.value.__cause__, RentOutcomeUnknownError)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == str(caught.value.__cause__)


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("answer", "kind"),
    [(vendor_error(11, "Non"), InsufficientCreditError), (busy(429), RateLimitError)],
)
async def test_a_cancelled_rent_that_is_refused_is_not_sent_again(
    answer: Reply, kind: type[Exception]
) -> None:
    """A paid request: after a cancellation nothing new is sent, whatever the answer was."""
    async with FaultServer(lambda _: answer) as server, client_of(server) as client:
        task = renting(client, [])
        await arrival(server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert type(caught.value.__cause__) is kind
        assert server.count("rent") == 1


# --- nothing has left yet --------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_rent_that_is_still_connecting_is_given_up_at_once() -> None:
    """A paid request: cancelled while TLS is not yet established, nothing is ever sent."""
    rentals: list[Rental] = []
    async with FaultServer(never_read()) as server:
        url = server.base_url.replace("http:", "https:")
        async with client_of(server, base_url=url) as client:
            task = renting(client, rentals)
            await give_up(task)
        assert (server.accepted, server.received, rentals) == (1, [], [])


@pytest.mark.looptime
async def test_a_rent_that_waits_for_its_turn_is_given_up_at_once() -> None:
    """A paid request: cancelled while it waits for max_requests_per_minute, nothing is sent."""
    rentals: list[Rental] = []
    async with (
        FaultServer(good(receipt())) as server,
        client_of(server, max_requests_per_minute=1) as client,
    ):
        await client.status("tok-1")
        task = renting(client, rentals)
        await give_up(task)
        assert (server.count("rent"), rentals) == (0, [])


@pytest.mark.looptime
async def test_a_rent_that_waits_to_be_sent_again_is_given_up_at_once() -> None:
    """A paid request: cancelled in the pause after a 429, it is not sent another time."""
    rentals: list[Rental] = []
    retry = RetryPolicy(first_delay=8)
    async with (
        FaultServer(busy(429), good(receipt())) as server,
        client_of(server, retry=retry) as client,
    ):
        task = renting(client, rentals)
        await give_up(task)
        assert (server.count("rent"), rentals) == (1, [])


@pytest.mark.looptime
async def test_a_rent_that_is_cancelled_while_it_is_priced_is_given_up_at_once() -> None:
    """A paid request: cancelled while the price is being asked, nothing is rented."""
    async with FaultServer(LATE) as server, client_of(server) as client:
        task = asyncio.create_task(client.rent(TARGETING, max_total=Decimal(1000)))
        await give_up(task)
        assert (server.count("price"), server.count("rent")) == (1, 0)


@pytest.mark.looptime
@pytest.mark.parametrize("turn", [0, 3, 20])
async def test_the_cancellation_that_is_raised_is_the_callers_own(turn: int) -> None:
    """A paid request: its message survives, by which anyio knows a cancellation as its own."""
    async with FaultServer(LATE) as server, client_of(server) as client:
        task = renting(client, [])
        await turns(turn)
        task.cancel("Cancelled by cancel scope 7f")
        with pytest.raises(asyncio.CancelledError, match="cancel scope 7f"):
            await task
