"""Each fault of the sandbox is what its name says: to the real client, and to the money."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from downloads import contents
from yarl import URL

from smspartner_async import (
    AccessDeniedError,
    AlreadyDownloadedError,
    DownloadInterruptedError,
    FileNotReadyError,
    InsufficientCreditError,
    RateLimitError,
    RentalFailedError,
    RentalNotFoundError,
    RentalState,
    RentOutcomeUnknownError,
    ResponseError,
    RetryPolicy,
    SMSPartnerClient,
    Targeting,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGETING = Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200")
VOLUMES = {"06200": 20}
PRICE = Decimal("1.80")
ONCE = pytest.mark.smspartner_client(retry=RetryPolicy(attempts=1))


def now() -> float:
    return asyncio.get_running_loop().time()


# --- a request or its reply ------------------------------------------------------------------


async def test_a_dropped_rent_was_not_charged(sandbox: Sandbox, client: SMSPartnerClient) -> None:
    """The connection breaks before anything is done; the client cannot know, the sandbox does."""
    sandbox.drop_next_request("rent")
    with pytest.raises(RentOutcomeUnknownError) as caught:
        await client.rent(TARGETING, VOLUMES)
    assert isinstance(caught.value.cause, TransportError)
    assert caught.value.cause.maybe_sent
    sandbox.assert_paid(0)
    sandbox.assert_requests(rent=1)


async def test_a_rent_whose_reply_is_lost_was_charged(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """The rent is carried out, the connection breaks, and the client does not rent again."""
    sandbox.lose_next_reply("rent")
    with pytest.raises(RentOutcomeUnknownError) as caught:
        await client.rent(TARGETING, VOLUMES)
    assert isinstance(caught.value.cause, TransportError)
    sandbox.assert_paid(PRICE)
    sandbox.assert_requests(rent=1)


@pytest.mark.looptime
async def test_a_rent_without_an_answer_times_out_after_it_was_charged(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """By default a delayed reply never comes: the client gives up after its request_timeout."""
    sandbox.delay_next_reply("rent")
    began = now()
    with pytest.raises(RentOutcomeUnknownError) as caught:
        await client.rent(TARGETING, VOLUMES)
    assert isinstance(caught.value.cause, TransportError)
    assert now() - began == pytest.approx(30, abs=0.1)
    sandbox.assert_paid(PRICE)


@pytest.mark.looptime
async def test_a_delayed_reply_comes_late_and_whole(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """What was asked is done at once, and the reply comes so many seconds later."""
    sandbox.delay_next_reply("rent", seconds=20)
    began = now()
    renting = asyncio.create_task(client.rent(TARGETING, VOLUMES))
    await asyncio.sleep(1)
    assert sandbox.paid == PRICE
    rental = await renting
    assert now() - began == pytest.approx(20, abs=0.1)
    assert rental.token == sandbox.rentals[0].token


@pytest.mark.looptime
async def test_a_refusal_is_delayed_or_lost_too(sandbox: Sandbox, client: SMSPartnerClient) -> None:
    """A fault is about the reply, whether that is a yes or a no."""
    sandbox.delay_next_reply("status", seconds=5)
    began = now()
    with pytest.raises(RentalNotFoundError):
        await client.status("nobody's")
    assert now() - began == pytest.approx(5, abs=0.1)
    sandbox.lose_next_reply("status", count=20)
    with pytest.raises(TransportError):
        await client.status("nobody's")


@ONCE
@pytest.mark.parametrize(("code", "kind"), [(11, InsufficientCreditError), (96, AccessDeniedError)])
async def test_a_refusal_of_the_vendors(
    sandbox: Sandbox, client: SMSPartnerClient, code: int, kind: type[Any]
) -> None:
    """Any of the vendor's codes can be had, and nothing is charged; the next rent is accepted."""
    sandbox.refuse_next_request("rent", code)
    with pytest.raises(kind) as caught:
        await client.rent(TARGETING, VOLUMES)
    assert caught.value.code == code
    sandbox.assert_paid(0)
    await client.rent(TARGETING, VOLUMES)
    sandbox.assert_paid("1.80")


@ONCE
@pytest.mark.parametrize("status", [502, 504])
async def test_a_page_of_a_proxy(sandbox: Sandbox, client: SMSPartnerClient, status: int) -> None:
    """A page of HTML is no reply of the vendor's; for a rent, an unknown outcome, not charged."""
    sandbox.answer_next_with_page("credits", status)
    with pytest.raises(ResponseError, match=str(status)) as page:
        await client.credits()
    assert "<h1>" in page.value.excerpt
    sandbox.answer_next_with_page("rent", status)
    with pytest.raises(RentOutcomeUnknownError):
        await client.rent(TARGETING, VOLUMES)
    sandbox.assert_paid(0)


async def test_passing_trouble_ends_nothing_where_a_retry_is_safe(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """Faults of one operation come as planned, as often as asked for; others are left alone."""
    sandbox.drop_next_request("price", count=2)
    sandbox.answer_next_with_page("price")
    await client.credits()
    assert (await client.price(TARGETING, VOLUMES)).total_volume == 20
    sandbox.assert_requests(price=4, credits=1)


# --- 429 -------------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_limit_holds_all_requests_for_as_long_as_it_says(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """Every operation gets 429 with what is left as Retry-After; then all are answered."""
    sandbox.limit_requests(10)
    began = now()
    rental = await client.rent(TARGETING, VOLUMES)
    assert 10 <= now() - began < 12
    await client.status(rental)
    sandbox.assert_requests(rent=2, status=1)
    sandbox.assert_paid(PRICE)


@ONCE
@pytest.mark.looptime
@pytest.mark.parametrize(("header", "wait"), [(True, 10.0), (False, None)])
async def test_a_limit_with_and_without_retry_after(
    sandbox: Sandbox, client: SMSPartnerClient, *, header: bool, wait: object
) -> None:
    """Retry-After is sent in whole seconds, or not at all; a limit starts with what it meets."""
    sandbox.limit_requests(9.5, retry_after=header)
    await asyncio.sleep(100)
    with pytest.raises(RateLimitError) as caught:
        await client.credits()
    assert caught.value.retry_after == wait
    await asyncio.sleep(10)
    await client.credits()


@pytest.mark.looptime
async def test_a_limit_uses_up_no_other_fault(sandbox: Sandbox, client: SMSPartnerClient) -> None:
    """What is planned for the next request is still to come after a limit."""
    sandbox.lose_next_reply("rent")
    sandbox.limit_requests(1)
    with pytest.raises(RentOutcomeUnknownError):
        await client.rent(TARGETING, VOLUMES)
    sandbox.assert_requests(rent=2)
    sandbox.assert_paid(PRICE)


# --- rentals ---------------------------------------------------------------------------------


async def test_a_rental_that_fails(sandbox: Sandbox, client: SMSPartnerClient) -> None:
    """The next rental fails; one that exists fails at a word; both stay paid."""
    sandbox.fail_next_rental()
    first = await client.rent(TARGETING, VOLUMES)
    second = await client.rent(TARGETING, VOLUMES)
    sandbox.make_failed(second)
    for rental in (first, second):
        with pytest.raises(RentalFailedError):
            await client.wait_until_ready(rental)
    sandbox.assert_paid("3.60")


@pytest.mark.looptime
async def test_a_rental_that_stays_generating(sandbox: Sandbox, client: SMSPartnerClient) -> None:
    """It is never ready, until it is made so."""
    sandbox.hold_next_rental()
    rental = await client.rent(TARGETING, VOLUMES)
    with pytest.raises(WaitTimeoutError) as caught:
        await client.wait_until_ready(rental, timeout=3600)
    assert caught.value.last_status is not None
    assert caught.value.last_status.state is RentalState.GENERATING
    sandbox.make_ready(rental.token)
    await client.wait_until_ready(rental, timeout=0)


@pytest.mark.smspartner_sandbox(speed=0.001)
async def test_states_by_hand(sandbox: Sandbox, client: SMSPartnerClient, tmp_path: Path) -> None:
    """A rental goes where it is put, at once, with what a file is then served or refused."""
    rental = await client.rent(TARGETING, VOLUMES)
    assert (await client.status(rental)).state is RentalState.REQUESTED
    sandbox.make_generating(rental)
    assert (await client.status(rental)).state is RentalState.GENERATING
    with pytest.raises(FileNotReadyError):
        await client.download(rental, tmp_path / "a")
    sandbox.make_ready(sandbox.rentals[0])
    await client.download(rental, tmp_path / "a")
    with pytest.raises(AlreadyDownloadedError):
        await client.download(rental, tmp_path / "b")
    sandbox.make_ready(rental)
    await client.download(rental, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError, match=f"'nobody'.*{rental.token}"):
        sandbox.make_ready("nobody")


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 100, 259])
async def test_a_cut_download(
    sandbox: Sandbox, client: SMSPartnerClient, tmp_path: Path, length: int
) -> None:
    """So many bytes of the file arrive, of the length that was announced; the file is used up."""
    rental = await client.rent(TARGETING, VOLUMES)
    sandbox.cut_next_download(length)
    sandbox.make_generating(rental)
    with pytest.raises(FileNotReadyError):  # which leaves the fault for the next download
        await client.download(rental, tmp_path / "contacts.csv")
    sandbox.make_ready(rental)
    with pytest.raises(DownloadInterruptedError) as caught:
        await client.download(rental, tmp_path / "contacts.csv")
    assert (caught.value.received, caught.value.expected) == (length, 260)
    assert (await client.status(rental)).state is RentalState.DOWNLOADED
    assert not (tmp_path / "contacts.csv").exists()


async def test_a_cut_before_the_first_byte(
    sandbox: Sandbox, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """With 0, the head of the reply is all that comes."""
    rental = await client.rent(TARGETING, VOLUMES)
    sandbox.make_ready(rental)
    sandbox.cut_next_download(0)
    with pytest.raises(TransportError, match="ClientPayloadError"):
        await client.download(rental, tmp_path / "contacts.csv")
    assert sandbox.rentals[0].downloaded
    assert contents(tmp_path) == {}


async def test_a_cut_after_the_end_cuts_nothing(
    sandbox: Sandbox, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """A file that is no longer than what is let through arrives whole."""
    rental = await client.rent(TARGETING, VOLUMES)
    sandbox.make_ready(rental)
    sandbox.cut_next_download(260)
    file = await client.download(rental, tmp_path / "contacts.csv")
    assert (file.size, file.verified) == (260, True)


# --- what it costs ---------------------------------------------------------------------------


async def test_what_was_paid_and_asked_is_shown_when_it_is_not_as_expected(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """A failure shows requests, rentals and faults: enough to see what went wrong, and no key."""
    rental = await client.rent(TARGETING, VOLUMES)
    sandbox.make_ready(rental)
    sandbox.lose_next_reply("status")
    sandbox.assert_paid(PRICE)
    sandbox.assert_requests(rent=1, price=0)
    account = (
        "\nRequests: rent 1\n"
        f"Rentals:  {rental.token[:8]}…: 20 contacts, 1.80 euros, state 2\n"
        "Faults that were not played: lose_next_reply (status)"
    )
    with pytest.raises(AssertionError) as paid:
        sandbox.assert_paid(2)
    assert str(paid.value) == f"1.80 euros were paid, not 2.{account}"
    with pytest.raises(AssertionError) as asked:
        sandbox.assert_requests(rent=2, price=1, status=0)
    assert str(asked.value) == f"Requests that came: 1 of rent, not 2; 0 of price, not 1.{account}"
    assert repr(sandbox) == (f"<Sandbox {sandbox.base_url}: 1 rentals, 1.80 euros paid>")
    with pytest.raises(ValueError, match="rents"):
        sandbox.assert_requests(rents=1)


NONSENSE: dict[str, Callable[[Sandbox, Any], None]] = {
    "operation": lambda sandbox, odd: sandbox.drop_next_request(odd),
    "count": lambda sandbox, _: sandbox.lose_next_reply("rent", count=0),
    "seconds": lambda sandbox, _: sandbox.delay_next_reply("rent", seconds=float("nan")),
    "seconds must be a number": lambda sandbox, _: sandbox.limit_requests(0),
    "code": lambda sandbox, _: sandbox.refuse_next_request("rent", 2),
    "status": lambda sandbox, _: sandbox.answer_next_with_page("rent", 200),
    "after_bytes": lambda sandbox, _: sandbox.cut_next_download(-1),
    "count must": lambda sandbox, _: sandbox.hold_next_rental(0),
}


@pytest.mark.parametrize("message", NONSENSE)
def test_a_fault_that_cannot_be_is_refused(message: str) -> None:
    """Bad input: a fault that could never be played is refused when it is planned."""
    with pytest.raises(ValueError, match=message):
        NONSENSE[message](Sandbox(), "calcul")


async def test_a_silent_request_does_not_hold_up_the_sandboxs_end() -> None:
    """A sandbox that owes a reply for ever hangs up when it closes."""
    sandbox = Sandbox()
    sandbox.delay_next_reply("credits")
    await sandbox.start()
    host, port = str(URL(sandbox.base_url).host), URL(sandbox.base_url).port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /v1/me HTTP/1.1\r\nHost: sandbox\r\n\r\n")
    answer = asyncio.create_task(reader.read())
    await asyncio.sleep(0.05)
    assert not answer.done()
    await sandbox.close()
    assert await answer == b""
    assert sandbox.requests == {"credits": 1}
    assert repr(sandbox) == "<Sandbox closed: 0 rentals, 0 euros paid>"
    writer.close()
