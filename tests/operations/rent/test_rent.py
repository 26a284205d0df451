"""A paid request crosses the wire once, and its ending says what is certain: fault by fault."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from fault_server import FaultServer
from fault_table import FAULTS
from faults import good, html, json_reply, redirect, vendor_error
from renting import TARGETING, client_of, receipt

from smspartner_async import (
    AccessDeniedError,
    APIError,
    AuthenticationError,
    InsufficientCreditError,
    InvalidRequestError,
    RateLimitError,
    Rental,
    RentOutcomeUnknownError,
    ResponseError,
    SMSPartnerClient,
    TransportError,
)

# What came of it, and for an unknown outcome why.
RENTED = (Rental, None)
NO_REPLY = (RentOutcomeUnknownError, TransportError)
NOT_UNDERSTOOD = (RentOutcomeUnknownError, ResponseError)
IN_TROUBLE = (RentOutcomeUnknownError, APIError)
REFUSED = (RateLimitError, None)

# Fault: connections made, requests whose head arrived, and the ending. One row a fault. Whole JSON
# in a broken answer counts. Of a token in front of a cut the status is asked, over a second
# connection.
TABLE: dict[str, tuple[int, int, tuple[type, type | None]]] = {
    "close at accept": (1, 0, NO_REPLY),
    "reset at accept": (1, 0, NO_REPLY),
    "never read": (1, 0, NO_REPLY),
    "close before head": (1, 1, NO_REPLY),
    "close within head": (1, 1, NO_REPLY),
    "close within body": (2, 1, RENTED),
    "reset before head": (1, 1, NO_REPLY),
    "reset within head": (1, 1, NO_REPLY),
    "reset within body": (2, 1, RENTED),
    "stall before head": (1, 1, NO_REPLY),
    "stall within head": (1, 1, NO_REPLY),
    "stall within body": (2, 1, RENTED),
    "drip head": (1, 1, RENTED),
    "drip body": (1, 1, RENTED),
    "length too long": (1, 1, RENTED),
    "length too long, open": (1, 1, RENTED),
    "length too short": (1, 1, RENTED),
    "length too short, apart": (1, 1, RENTED),
    "both framings": (1, 1, RENTED),
    "until close": (1, 1, RENTED),
    "until close, cut": (2, 1, RENTED),
    "until close, reset": (2, 1, RENTED),
    "broken chunks": (1, 1, RENTED),
    "broken chunks, apart": (1, 1, RENTED),
    "chunks without end": (1, 1, RENTED),
    "100, then reply": (1, 1, RENTED),
    "100, then close": (1, 1, NO_REPLY),
    "100, then stall": (1, 1, NO_REPLY),
    "garbage status line": (1, 1, RENTED),
    "huge header": (1, 1, RENTED),
    "gzip bomb": (1, 1, NOT_UNDERSTOOD),
    "gzip cut": (1, 1, NOT_UNDERSTOOD),
    "endless body": (1, 1, NOT_UNDERSTOOD),
    "HTML 200": (1, 1, NOT_UNDERSTOOD),
    "HTML 502": (1, 1, NOT_UNDERSTOOD),
    "empty 200": (1, 1, NOT_UNDERSTOOD),
    "empty 204": (1, 1, NOT_UNDERSTOOD),
    "redirect 301": (1, 1, NOT_UNDERSTOOD),
    "redirect 302": (1, 1, NOT_UNDERSTOOD),
    "redirect 307": (1, 1, NOT_UNDERSTOOD),
    "redirect 308": (1, 1, NOT_UNDERSTOOD),
    "429": (4, 4, REFUSED),  # the vendor did not do it, four times
    "429 JSON": (4, 4, REFUSED),
    "503": (1, 1, NOT_UNDERSTOOD),
    "503 JSON": (1, 1, IN_TROUBLE),
    "500 JSON": (1, 1, IN_TROUBLE),
    "closed when idle": (1, 1, RENTED),
    "closed at next byte": (1, 1, RENTED),
}

# From the vendor's page of error codes; 32 to 36 are about a file and 200 says that all went well.
REFUSALS: dict[int, type[APIError]] = {
    **dict.fromkeys((1, 10), AuthenticationError),
    **dict.fromkeys((6, 20, 30, 40, 96), AccessDeniedError),
    11: InsufficientCreditError,
    **dict.fromkeys((3, 4, 5, 7, 8, 9, *range(12, 20), *range(22, 29), 31), InvalidRequestError),
    **dict.fromkeys((61, 90), InvalidRequestError),
}
NO_ANSWERS = (32, 33, 34, 35, 36, 200)
UNDOCUMENTED = (0, 2, 29, 77, 1000)


async def ending(client: SMSPartnerClient) -> Any:
    """The rental, or what was raised in its place."""
    try:
        return await client.rent(TARGETING)
    except Exception as error:  # noqa: BLE001 - the test names the class that it expects
        return error


def test_the_truth_table_has_a_row_for_each_fault() -> None:
    """A fault that is new in the catalogue needs its row here."""
    assert list(TABLE) == list(FAULTS)


@pytest.mark.looptime
@pytest.mark.parametrize(("name", "row"), TABLE.items(), ids=list(TABLE))
async def test_truth_table(name: str, row: tuple[int, int, tuple[type, type | None]]) -> None:
    """A paid request: under each fault it is sent once, and ends as is certain."""
    connections, arrivals, (kind, cause) = row
    async with (
        FaultServer(FAULTS[name].make(receipt()), default=good(receipt())) as server,
        client_of(server) as client,
    ):
        if kind is RateLimitError:
            server.play(FAULTS[name].make(receipt()))
        end = await ending(client)
        assert (type(end), type(getattr(end, "cause", None))) == (kind, cause or type(None))
        assert (server.accepted, server.count("rent")) == (connections, arrivals)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_is_not_followed(status: int) -> None:
    """A paid request: redirects are off, so another server never sees the rent."""
    async with (
        FaultServer(good(receipt())) as other,
        FaultServer(redirect(status, f"{other.base_url}/location/optin")) as server,
        client_of(server) as client,
    ):
        assert type(await ending(client)) is RentOutcomeUnknownError
        assert (server.count("rent"), other.accepted) == (1, 0)


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_documented_refusal_is_a_clear_no(status: int) -> None:
    """A paid request: the vendor's documented refusals count under any HTTP status."""
    replies = [vendor_error(code, "Non", status) for code in REFUSALS]
    async with FaultServer(*replies) as server, client_of(server) as client:
        ends = {code: type(await ending(client)) for code in REFUSALS}
        assert ends == REFUSALS
        assert server.count("rent") == len(REFUSALS)


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_code_that_is_no_answer_to_a_rent_leaves_the_outcome_unknown(status: int) -> None:
    """A paid request: an error about a file, or "all went well", does not say "not rented"."""
    replies = [vendor_error(code, "Oui ?", status) for code in NO_ANSWERS]
    async with FaultServer(*replies) as server, client_of(server) as client:
        ends = {code: type(await ending(client)) for code in NO_ANSWERS}
        assert ends == dict.fromkeys(NO_ANSWERS, RentOutcomeUnknownError)
        assert server.count("rent") == len(NO_ANSWERS)


@pytest.mark.parametrize("status", [200, 400, 404, 451, 500, 503])
async def test_a_no_that_proves_nothing_leaves_the_outcome_unknown(status: int) -> None:
    """A paid request: only the codes that the vendor documents for a rent are a clear no."""
    replies = [vendor_error(code, "Non", status) for code in UNDOCUMENTED]
    replies.append(json_reply({"success": False}, status))
    async with FaultServer(*replies) as server, client_of(server) as client:
        ends = [type(await ending(client)) for _ in replies]
        assert ends == [RentOutcomeUnknownError] * len(replies)
        assert server.count("rent") == len(replies)


@pytest.mark.parametrize(
    "answer",
    [
        {"success": True},
        {"success": True, "token": ""},
        {"success": True, "token": "  "},
        {"success": True, "token": None},
        {"success": True, "token": 1.5},
        {"success": True, "token": ["tok-1"]},
        {"success": True, "token": {}},
        {"success": True, "token": "tok\n1"},
        {"success": True, "token": "tok\x00"},
        {"success": True, "jeton": "tok-1"},
        [],
        "tok-1",
        None,
    ],
    ids=repr,
)
async def test_a_success_without_a_token_leaves_the_outcome_unknown(answer: object) -> None:
    """A paid request: a success whose token is missing or cannot be one was surely charged."""
    async with FaultServer(json_reply(answer)) as server, client_of(server) as client:
        assert type(await ending(client)) is RentOutcomeUnknownError
        assert server.count("rent") == 1


async def test_a_429_that_says_success_is_not_sent_again() -> None:
    """A paid request: a 429 proves that nothing was rented only where it does not say yes."""
    yes = json_reply({"success": True}, 429)
    async with FaultServer(yes) as server, client_of(server) as client:
        assert type(await ending(client)) is RentOutcomeUnknownError
        assert server.count("rent") == 1


@pytest.mark.parametrize("status", [200, 201, 202, 404, 429, 500])
async def test_a_success_with_a_token_is_a_rental_under_any_status(status: int) -> None:
    """A paid request: whatever HTTP status a token comes with, it reaches the caller."""
    answer = json_reply({"success": True, "token": "tok-9"}, status)
    async with FaultServer(answer) as server:
        async with client_of(server) as client:
            assert (await client.rent(TARGETING)).token == "tok-9"
        assert (server.count("rent"), len(server.received)) == (1, 1)


@pytest.mark.looptime
@pytest.mark.parametrize("trouble", ["fails", "hangs", "is cancelled"])
async def test_a_whole_reply_counts_though_closing_its_connection_does_not_work(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid request: once the reply is there, nothing that goes wrong later loses its token."""
    close = aiohttp.ClientSession.close

    async def close_badly(session: aiohttp.ClientSession) -> None:
        await close(session)
        if trouble == "fails":
            raise ConnectionResetError
        if trouble == "is cancelled":
            raise asyncio.CancelledError
        await asyncio.sleep(1000)

    async with FaultServer(good(receipt())) as server, client_of(server) as client:
        monkeypatch.setattr(aiohttp.ClientSession, "close", close_badly)
        rental = await client.rent(TARGETING)
        monkeypatch.undo()
    assert rental.token == "tok-1"


# --- the error of an unknown outcome ---------------------------------------------------------


async def unknown_outcome(**options: Any) -> RentOutcomeUnknownError:
    """Rent some volumes from a server in trouble."""
    async with FaultServer(html(502)) as server, client_of(server, **options) as client:
        with pytest.raises(RentOutcomeUnknownError) as caught:
            await client.rent(TARGETING, {"60200": 20})
    return caught.value


async def test_an_unknown_outcome_says_what_was_asked_when_and_what_went_wrong() -> None:
    """A paid request: the error carries the targeting, the volumes, the time and the cause."""
    before = datetime.now(UTC)
    error = await unknown_outcome()
    assert (error.targeting, error.volumes) == (TARGETING, {"60200": 20})
    assert error.sent_at.utcoffset() == timedelta(0)
    assert before <= error.sent_at <= datetime.now(UTC)
    assert isinstance(error.cause, ResponseError)
    assert error.__cause__ is error.cause


async def test_an_unknown_outcome_says_what_to_check() -> None:
    """A paid request: the message names the time, the cause, and where to look."""
    error = await unknown_outcome()
    for part in (f"{error.sent_at:%Y-%m-%d %H:%M:%S} UTC", "(HTTP 502)", "not sent again"):
        assert part in str(error)
    for place in ("credits()", "web interface"):
        assert place in str(error)
    assert "try again" not in str(error)


async def test_an_unknown_outcome_survives_pickling() -> None:
    """A paid request: a queue or another process gets the error with all that it carries."""
    error = await unknown_outcome()
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again)) == (type(error), str(error))
    assert (again.targeting, again.volumes) == (error.targeting, error.volumes)
    assert (again.sent_at, str(again.cause)) == (error.sent_at, str(error.cause))


async def test_an_unknown_outcome_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A paid request: even where nobody catches the error, the log names it."""
    error = await unknown_outcome()
    records = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert records == [("ERROR", str(error))]


@pytest.mark.parametrize("surprise", [AssertionError, LookupError, asyncio.CancelledError])
async def test_an_error_that_nobody_foresaw_leaves_the_outcome_unknown(
    surprise: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid request: every other failure counts, also one of a class that nobody foresaw."""

    async def fail(*_: object) -> None:
        raise surprise("of words that nobody checked")

    monkeypatch.setattr(aiohttp.ClientResponse, "start", fail)
    async with FaultServer(good(receipt())) as server, client_of(server) as client:
        error = await ending(client)
    assert type(error) is RentOutcomeUnknownError
    assert surprise.__name__ in str(error)
    assert "nobody checked" not in "".join(traceback.format_exception(error))
