"""A rent whose reply is broken: what came of it is read, and what it proves decides."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import logging
import pickle
import zlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fault_server import Close, Drip, FaultServer, Reply, Send
from faults import close_before_head, good, html, json_reply, vendor_error
from renting import TARGETING, client_of, receipt

from smspartner_async import (
    InsufficientCreditError,
    PriceExceededError,
    RateLimitError,
    RentOutcomeUnknownError,
    RetryPolicy,
    SMSPartnerClient,
    TransportError,
)
from smspartner_async._operations import rent
from smspartner_async._values import instant

if TYPE_CHECKING:
    from collections.abc import Iterator

YES = b'{"success": true, "token": "tok-1"}'
NO = b'{"success": false, "code": 11, "message": "Non"}'
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(YES)
NOTHING = b"Content-Length: 0\r\n\r\n"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CUT = OK + b"Content-Length: 99\r\n\r\n" + YES[:-1] + b', "co'
QUOTE = json_reply({"success": True, "datas": [], "cost": {"total": "1.80"}})

BROKEN: dict[str, tuple[bytes, ...]] = {
    "a long header": (OK + b"X: " + b"a" * 9000 + b"\r\n" + LENGTH + YES,),
    "a header over all limits": (OK + b"X: " + b"a" * 70_000 + b"\r\n" + LENGTH + YES,),
    "many headers": (OK + b"X-A: b\r\n" * 900 + LENGTH + YES,),
    "a length that is too long": (OK + b"Content-Length: 999\r\n\r\n" + YES,),
    "a length that is too short": (OK + b"Content-Length: 9\r\n\r\n" + YES,),
    "a length of nothing, and a body later": (OK + NOTHING, YES),
    "a status without a body, and a body later": (
        b"HTTP/1.1 204 No Content\r\n\r\n",
        YES[:9],
        YES[9:],
    ),
    "two lengths": (OK + b"Content-Length: 9\r\n" + LENGTH + YES,),
    "no last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(YES) + YES,),
    "bytes behind it": (OK + LENGTH + YES + b"HTTP/1.1 junk\r\n\r\n",),
    "an odd head": (b"HTTP/1.1 2OO OK\r\n" + LENGTH + YES,),
    "an odd head, and its body later": (OK + b"no colon\r\n" + LENGTH, YES),
    "a length that ends like a last chunk, and its body later": (
        OK + b"no colon\r\nContent-Length: 40\r\n\r\n",
        YES.ljust(40),
    ),
    "two framings, in pieces": (
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n{" % len(YES),
        YES[1:9],
        YES[9:] + b"\r\n0\r\n\r\n",
    ),
    "a status without a body": (
        b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + YES,
    ),
    "a second server": (OK + b"Server: a\r\nServer: b\r\n" + LENGTH + YES,),
    "no head": (YES,),
    "a head without an end": (OK + b"Content-Type: application/json\r\n", YES),
    "warnings before it": (OK + b"\r\n<br>Warning: {x} in y.php\n" + YES,),
    "a list": (OK + b"Content-Length: %d\r\n\r\n[" % (len(YES) + 2) + YES + b"]",),
    "damaged gzip": (
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(YES)[:-8] + b"damaged!",
    ),
    "gzip of two members": (
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(YES[:9]) + gzip.compress(YES[9:]),
    ),
    "gzip without a header": (OK + b"\r\n" + gzip.compress(YES),),
    "gzip of gzip": (
        OK + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n",
        gzip.compress(gzip.compress(YES)),
    ),
    "gzip in transfer": (
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n%x\r\n" % len(gzip.compress(YES)),
        gzip.compress(YES) + b"\r\n0\r\n\r\n",
    ),
    "deflate without a header": (
        OK + b"Content-Encoding: deflate\r\n\r\n" + zlib.compress(YES)[2:-4],
    ),
    "a no, and then a yes": (
        OK + b"Content-Length: %d\r\n\r\n" % len(NO) + NO + OK + LENGTH + YES,
    ),
    "a 429 of nothing, and a body later": (BUSY + NOTHING, YES),
    "a 429 whose length is too short, and the rest later": (
        BUSY + b"Content-Length: 9\r\n\r\n" + YES[:9],
        YES[9:],
    ),
    "a last chunk, and a body behind it": (OK + CHUNKED + b"0\r\n\r\n" + YES,),
    "a 429 of no chunk, and then a yes": (BUSY + CHUNKED + b"0\r\n\r\n" + OK + LENGTH + YES,),
    "too much behind it": (OK + b"\r\n" + YES + b" " * 2**21,),
}


@pytest.mark.parametrize("parts", BROKEN.values(), ids=list(BROKEN))
async def test_the_token_of_a_broken_reply_reaches_the_caller(parts: tuple[bytes, ...]) -> None:
    """A paid request: whatever breaks, the bytes that came are read."""
    reply = Reply((*(Drip(part, pause=0.02, size=len(part)) for part in parts), Close()))
    async with FaultServer(reply) as server, client_of(server) as client:
        assert (await client.rent(TARGETING)).token == "tok-1"
        assert (server.count("rent"), len(server.received)) == (1, 1)


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"success": True, "data": json.dumps({"token": "tok-1"})}),
        json_reply({"data": json.dumps({"token": "tok-1"})}, 429),
        Reply((Send(OK + b"Content-Length: 21\r\n\r\nsuccess=1&token=tok-1"), Close())),
        json_reply({"success": False, "code": 11, "message": "made: token=tok-1"}),
        json_reply({"message": "made: token=tok-1"}, 429),
        Reply((Send(b"HTTP/1.1 302 Found\r\nLocation: /x?token=tok-1\r\n" + NOTHING), Close())),
        Reply((Send(OK + b"X-Rental-Token: tok-1\r\nSet-Cookie: token=no\r\n" + NOTHING), Close())),
    ],
    ids=["JSON in JSON", "so under 429", "a form", "a no", "a 429", "a redirect", "a header"],
)
async def test_a_token_in_another_place_is_asked_about_and_never_rented_again(reply: Reply) -> None:
    """A paid request: a free status settles it."""
    async with FaultServer(reply, good(receipt())) as server, client_of(server) as client:
        assert (await client.rent(TARGETING)).token == "tok-1"
        assert [received.method for received in server.received] == ["POST", "GET"]


async def test_an_empty_429_that_nothing_proves_whole_is_not_sent_again() -> None:
    """A paid request: without a framing, a cut behind the head looks like its end."""
    reply = Reply((Send(b"HTTP/1.1 429 Too Many Requests\r\n\r\n"), Close()))
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(RentOutcomeUnknownError):
            await client.rent(TARGETING)
        assert server.count("rent") == 1


@pytest.mark.parametrize("first", [OK, BUSY])
@pytest.mark.parametrize(
    ("behind", "seen"), [(b'{"token":"tok-1"}', "tok-1"), (b'{"success":true}', None)]
)
async def test_a_no_with_another_reply_behind_it_proves_nothing(
    first: bytes, behind: bytes, seen: str | None
) -> None:
    """A paid request: a plain no has nothing else in it."""
    doubt = OK + b"Content-Length: %d\r\n\r\n" % len(behind) + behind
    reply = Reply((Send(first + b"Content-Length: %d\r\n\r\n" % len(NO) + NO + doubt), Close()))
    async with FaultServer(reply, vendor_error(32, "?")) as server, client_of(server) as client:
        with pytest.raises(RentOutcomeUnknownError) as caught:
            await client.rent(TARGETING)
        assert server.count("rent") == 1
    assert caught.value.seen_token == seen


async def test_headers_behind_the_last_chunk_make_no_doubt_of_a_no() -> None:
    """A paid request: they belong to the reply, as those before it do."""
    body = b"%x\r\n" % len(NO) + NO + b"\r\n0\r\nServer-Timing: a\r\n\r\n"
    reply = Reply((Send(OK + CHUNKED + body),))
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(InsufficientCreditError):
            await client.rent(TARGETING)


@pytest.mark.parametrize("raised", [KeyError, asyncio.CancelledError])
async def test_a_hook_that_fails_while_a_token_is_looked_up_does_not_hide_it(
    raised: type[BaseException],
) -> None:
    """A borrowed session's hooks run for the status, too: what they raise leaves the doubt."""

    async def fail(*_: object) -> None:
        raise raised

    hooks = aiohttp.TraceConfig()
    hooks.on_request_start.append(fail)
    async with (
        FaultServer(Reply((Send(CUT), Close()))) as server,
        aiohttp.ClientSession(trace_configs=[hooks]) as session,
        client_of(server, session=session) as client,
    ):
        with pytest.raises(RentOutcomeUnknownError) as caught:
            await client.rent(TARGETING)
    assert caught.value.seen_token == "tok-1"


async def test_without_a_place_for_its_bytes_the_outcome_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A version of aiohttp that makes connections elsewhere costs the token, and no double rent."""
    monkeypatch.setattr("smspartner_async._http.raw_reply.tap", lambda *_: False)
    reply = Reply((Send(OK + b"no colon\r\n" + LENGTH + YES), Close()))
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(RentOutcomeUnknownError) as caught:
            await client.rent(TARGETING)
        assert server.count("rent") == 1
    assert caught.value.seen_token is None


async def test_aiohttp_has_the_place_for_the_bytes_of_a_reply() -> None:
    """In all versions that this one is tested with."""
    async with aiohttp.TCPConnector() as connector:
        assert hasattr(connector, "_factory")


@pytest.mark.parametrize(
    "known", [good(receipt()), vendor_error(34, "Oui"), vendor_error(36, "Non")]
)
async def test_a_token_in_front_of_a_cut_is_the_rental_if_the_vendor_knows_it(known: Reply) -> None:
    """A paid request: its status is asked once, which is free."""
    tokens: list[str] = []
    async with FaultServer(Reply((Send(CUT), Close())), known) as server:
        async with client_of(server) as client:
            rental = await client.rent(TARGETING, on_rented=lambda r: tokens.append(r.token))
        assert [received.method for received in server.received] == ["POST", "GET"]
        assert "token=tok-1" in server.received[1].target
    assert (rental.token, tokens) == ("tok-1", ["tok-1"])


@pytest.mark.parametrize(
    "answer",
    [
        *(vendor_error(32, "Inconnu"), html(502), close_before_head(), json_reply({}, 429)),
        json_reply({"success": True, "status": "please log in"}),
    ],
)
async def test_a_seen_token_that_the_vendor_does_not_know_is_in_the_error(
    answer: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    """A paid request: in the error, its message and the log; and never sent a second time."""
    retry = RetryPolicy(attempts=1)
    server = FaultServer(Reply((Send(CUT), Close())), answer, default=answer)
    async with server, client_of(server, retry=retry) as client:
        with pytest.raises(RentOutcomeUnknownError, match=r"status\('tok-1'\)") as caught:
            await client.rent(TARGETING)
        assert server.count("rent") == 1
    assert caught.value.seen_token == "tok-1"
    assert "try again" not in str(caught.value)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == str(caught.value)
    assert vars(record)["seen_token"] == "tok-1"
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):  # noqa: S301 - ours
        assert (again.seen_token, str(again)) == ("tok-1", str(caught.value))
        assert str(again.__cause__) == str(caught.value.cause)


@pytest.mark.parametrize("cut", [True, False])
async def test_a_429_that_was_cut_is_not_sent_again(cut: bool) -> None:  # noqa: FBT001 - a table
    """A paid request: only a whole one proves that nothing was rented."""
    reply = Reply(
        (Send(b"HTTP/1.1 429 Slow\r\nContent-Length: %d\r\n\r\nno" % (9 * cut + 2)), Close())
    )
    async with FaultServer(default=reply) as server, client_of(server) as client:
        with pytest.raises(RentOutcomeUnknownError if cut else RateLimitError):
            await client.rent(TARGETING)
        assert server.count("rent") == (1 if cut else 4)


# --- the price -------------------------------------------------------------------------------


async def test_a_rent_that_fails_at_its_price_says_that_nothing_was_rented() -> None:
    """A paid request: the price may have been asked; the rent was not sent."""
    async with FaultServer(default=close_before_head()) as server, client_of(server) as client:
        with pytest.raises(TransportError, match="Nothing was rented") as caught:
            await client.rent(TARGETING, max_total=Decimal(5))
        assert (server.count("rent"), caught.value.maybe_sent) == (0, False)
    assert "may have received" not in str(caught.value)


class Clock:
    """The clocks of a rent, one of which is moved on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.moved = 0.0

    def monotonic(self) -> float:
        return self.moved if self.name == "monotonic" else 0.0

    def time(self) -> float:
        return self.moved if self.name == "time" else 0.0


@pytest.fixture(params=["monotonic", "time"])
def clock(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock(request.param)
    monkeypatch.setattr(instant, "time", clock)
    now = lambda: instant.Instant(clock.monotonic(), clock.time())  # noqa: E731 - as Instant() does
    monkeypatch.setattr(rent, "Instant", now)
    return clock  # type: ignore[return-value]  # no generator: nothing is to be undone


@pytest.mark.parametrize(("step", "prices", "rents"), [(59, 1, 1), (-61, 3, 0), (61, 3, 0)])
async def test_a_price_that_is_too_old_is_asked_again(
    clock: Clock, step: float, prices: int, rents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid request: by either clock, three times at most; then nothing was rented."""
    check = SMSPartnerClient._price

    async def price(*args: Any, **options: Any) -> Any:
        quote = await check(*args, **options)
        clock.moved += step
        return quote

    monkeypatch.setattr(SMSPartnerClient, "_price", price)
    answers = [QUOTE] * prices + [good(receipt())]
    async with FaultServer(*answers) as server, client_of(server) as client:
        if rents:
            await client.rent(TARGETING, max_total=5)
        else:
            with pytest.raises(TransportError, match="Nothing was rented") as caught:
                await client.rent(TARGETING, max_total=5)
            assert not caught.value.maybe_sent
        assert (server.count("price"), server.count("rent")) == (prices, rents)


async def test_a_price_that_cannot_be_read_rents_nothing() -> None:
    """A paid request: a page in place of a price is no price."""
    async with FaultServer(default=html(200)) as server, client_of(server) as client:
        with pytest.raises(PriceExceededError):
            await client.rent(TARGETING, max_total=5)
        assert server.count("rent") == 0
