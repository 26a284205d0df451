"""What both of README's services promise, each over real HTTP and in virtual time."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from batches import Vendor, after, rented
from fault_server import FaultServer, Received, Reply
from faults import html, json_reply, stall_within_body
from programs import running
from services import KEY, ORDER, SECRET, SOURCES, until

from smspartner_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from services import Service

    Start = Callable[..., AbstractAsyncContextManager[Service]]

POLLS = 4
"""Of one rental from its start to ready at 8 s: at 0, 2, 5 and 9.5 s."""


@pytest.mark.parametrize("name", SOURCES)
def test_an_example_is_short(name: str) -> None:
    """Each example has fewer than 75 lines, blank ones and all, and none to scroll sideways."""
    lines = SOURCES[name].splitlines()
    assert len(lines) < 75
    assert max(map(len, lines)) <= 100


@pytest.mark.looptime
async def test_a_rental_is_rented_and_followed_to_its_end(start: Start) -> None:
    """202 with the token; then every state as an event, unbuffered, and the end of the stream."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        assert [rental.token for rental in sandbox.rentals] == [token]
        async with service.events(token) as events:
            assert events.response.content_type == "text/event-stream"
            assert events.response.headers["X-Accel-Buffering"] == "no"
            assert events.response.headers["Cache-Control"] == "no-store"
            assert await events.states() == ["REQUESTED", "GENERATING", "READY"]
        assert sandbox.requests["status"] == POLLS


@pytest.mark.looptime
async def test_two_streams_of_one_rental_cost_one_poll_an_interval(start: Start) -> None:
    """Two browsers see every state, at what one of them costs."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.events(token) as first, service.events(token) as second:
            for seen in await asyncio.gather(first.states(), second.states()):
                assert seen == ["REQUESTED", "GENERATING", "READY"]
        assert sandbox.requests["status"] == POLLS


@pytest.mark.looptime
async def test_a_stream_continues_when_another_one_is_closed(start: Start) -> None:
    """The browser that stays sees the end, whoever of the two was the one to ask."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.events(token) as second:
            async with service.events(token) as first:
                assert await first.state() == "REQUESTED"
                assert await first.state() == "GENERATING"
            assert await second.states() == ["REQUESTED", "GENERATING", "READY"]
        assert sandbox.requests["status"] == POLLS


@pytest.mark.looptime
async def test_the_last_browser_to_leave_ends_the_polling(start: Start) -> None:
    """When nobody looks any more, nothing is asked any more."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.events(token) as first, service.events(token) as second:
            assert await first.state() == await second.state() == "REQUESTED"
        await asyncio.sleep(0.1)
        asked = sandbox.requests["status"]
        await asyncio.sleep(600)
        assert sandbox.requests["status"] == asked == 1


@pytest.mark.looptime
async def test_a_browser_that_comes_back_is_body_the_state_of_now(start: Start) -> None:
    """A reconnecting browser has missed nothing that still matters."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.events(token) as events:
            assert await events.state() == "REQUESTED"
        await asyncio.sleep(60)
        async with service.events(token) as events:
            assert await events.states() == ["READY"]


@pytest.mark.looptime
async def test_an_unknown_rental_is_a_problem_in_the_stream(start: Start) -> None:
    """A stream that cannot continue says why, and ends."""
    async with (
        Sandbox(api_key=KEY) as sandbox,
        start(sandbox.base_url) as service,
        service.events("no-such-token") as events,
    ):
        kind, body = await events.next()
        assert (kind, body["title"], body["status"]) == ("problem", "RentalNotFoundError", 404)
        assert await events.next() == ("", None)


# --- money -----------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_a_double_click_pays_once(start: Start) -> None:
    """One key is one rental: at the same time, and afterwards."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        first, second = await asyncio.gather(service.rent("k-1"), service.rent("k-1"))
        assert first == second == await service.rent("k-1")
        assert first[0] == 202
        assert sandbox.requests["rent"] == 1
        assert (await service.rent("k-2"))[1] != first[1]
        assert sandbox.requests["rent"] == 2


@pytest.mark.looptime
async def test_a_key_of_another_order_and_no_key_at_all_are_refused(start: Start) -> None:
    """What may be a double-click, or is none, pays nothing."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        assert (await service.rent("k-1"))[0] == 202
        assert (await service.rent("k-1", volumes={"06200": 21}))[0] == 422
        assert (await service.rent(None))[0] == 422
        assert (await service.rent(" "))[0] == 422
        assert sandbox.requests["rent"] == 1


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"min_age": 5}, 422),
        ({"zipcodes": ["6200"]}, 422),
        ({"volumes": {"06200": -1}}, 422),
        ({"volumes": {"06200": 200}}, 409),
        ({"department": ["06"]}, (400, 422)),
        ({"volumes": [1]}, 422),
    ],
    ids=str,
)
async def test_an_order_that_cannot_be_right_pays_nothing(
    start: Start, changes: dict[str, Any], status: int | tuple[int, int]
) -> None:
    """Bad fields, misspelt ones, and a price above the service's limit are the caller's to mend."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        allowed = status if isinstance(status, tuple) else (status,)
        assert (await service.rent(**changes))[0] in allowed
        assert sandbox.requests["rent"] == 0


@pytest.mark.looptime
@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b'"x"', b"{", b"\xff", b"{}"], ids=repr)
async def test_a_body_that_is_no_order_is_a_bad_request(start: Start, body: bytes) -> None:
    """Whatever comes in place of an order is the caller's mistake, not the service's."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        headers = {"Idempotency-Key": "k-1", "Content-Type": "application/json"}
        async with service.session.post("/rentals", data=body, headers=headers) as reply:
            assert reply.status in (400, 422)
        assert not sandbox.requests


@pytest.mark.looptime
async def test_the_token_of_a_caller_who_went_away_is_kept(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rent finishes when its caller hangs up; the same key gets its token later."""
    vendor = Vendor({14: after(5, rented(14))})
    async with FaultServer(vendor) as server, start(server.base_url) as service:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.rent("k-1"), 1)
        await asyncio.sleep(10)
        assert "k-1 Rental(token='tok-14'" in capsys.readouterr().out
        assert await service.rent("k-1") == (202, {"token": "tok-14"})
        assert vendor.wire[14] == 1


@pytest.mark.looptime
async def test_an_outcome_that_nobody_knows_is_no_reason_to_send_it_again(start: Start) -> None:
    """It is a 409, which proxies pass on, and the key keeps it: nothing is rented twice."""
    vendor = Vendor({14: [html(502), rented(14)]})
    async with FaultServer(vendor) as server, start(server.base_url) as service:
        status, body = await service.rent("k-1")
        assert (status, body["title"]) == (409, "RentOutcomeUnknownError")
        assert await service.rent("k-1") == (status, body)
        assert vendor.wire[14] == 1


@pytest.mark.looptime
async def test_a_key_may_try_again_when_nothing_was_rented(start: Start) -> None:
    """A refusal does not use the key up."""
    refusal = json_reply({"success": False, "code": 11, "message": "Crédits insuffisants"})
    vendor = Vendor({14: [refusal, rented(14)]})
    async with FaultServer(vendor) as server, start(server.base_url) as service:
        status, body = await service.rent("k-1")
        assert (status, body["title"]) == (402, "InsufficientCreditError")
        assert await service.rent("k-1") == (202, {"token": "tok-14"})


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("name", SOURCES)
async def test_a_program_answers_the_rent_in_flight_before_it_ends(
    name: str, tmp_path: Path
) -> None:
    """Started by README's command, it takes SIGTERM for a wish, and not for an order."""
    async with (
        FaultServer(Vendor({14: after(0.5, rented(14))})) as server,
        running(name, tmp_path, server.base_url) as program,
    ):
        renting = asyncio.create_task(program.rent())
        await until(lambda: server.count("rent") == 1)
        program.process.send_signal(signal.SIGTERM)
        assert await renting == 202
        out, _ = await program.process.communicate()
        assert b"k-1 Rental(token='tok-14'" in out
        assert KEY.encode() not in out
        assert program.process.returncode in (0, -signal.SIGTERM)
        assert server.count("rent") == 1


async def test_two_users_with_one_key_have_two_orders(start: Start) -> None:
    """A key belongs to the user whom the service names: nobody gets another's token."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        tokens = set()
        for user in ("alice", "bob", "alice"):
            service.session.headers["X-Authenticated-User"] = user
            tokens.add((await service.rent("k-1"))[1]["token"])
        assert len(tokens) == sandbox.requests["rent"] == 2


# --- the file --------------------------------------------------------------------------------


async def test_a_file_is_handed_out_however_often(start: Start) -> None:
    """Two clicks at once, one later, and one after a restart: the vendor serves it once."""
    async with Sandbox(api_key=KEY) as sandbox:
        async with start(sandbox.base_url) as service:
            token = await service.token()
            assert (await service.file(token))[0] in {404, 409}  # not made yet
            sandbox.make_ready(token)
            first, second = await asyncio.gather(service.file(token), service.file(token))
            assert first == second == await service.file(token)
        async with start(sandbox.base_url) as service:
            assert await service.file(token) == first
        status, numbers = first
        assert (status, numbers.count(b"+33")) == (200, 20)
        (file,) = [one for one in sandbox.rentals if one.downloaded]
        assert file.token == token


async def test_a_file_is_whole_whoever_leaves_and_when_the_service_stops(start: Start) -> None:
    """The tab is closed, then the service stops: the download finishes, and is found afterwards."""
    numbers = b"+33612345678\n" * 20
    vendor = stall_within_body(numbers, 0.5)
    async with FaultServer(vendor) as server:
        async with start(server.base_url) as service:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(service.file("tok-1"), 0.2)
            await service.stop()
        async with start(server.base_url) as service:
            assert await service.file("tok-1") == (200, numbers)
        assert server.count("download") == 1


@pytest.mark.looptime
async def test_a_token_that_nobody_knows_has_no_file(start: Start) -> None:
    """A problem, and no file in the folder."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        assert (await service.file("no-such-token"))[0] == 404


# --- the vendor's notification ---------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize("secret", ["wrong", SECRET[:-1], SECRET + "x", "%FF%00", "é", "."])
async def test_a_wrong_secret_is_refused_and_asks_nothing(start: Start, secret: str) -> None:
    """Whoever does not know the secret makes nothing happen."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.events(token) as events:
            assert await events.state() == "REQUESTED"
            assert await service.notify(secret, token.encode()) in (403, 404, 405)
            await asyncio.sleep(1)
            assert sandbox.requests["status"] == 1


@pytest.mark.looptime
@pytest.mark.parametrize(
    "form",
    [b'{"token": "%b", "status": 3}', b"status=2&token=%b", b"<r><t>%b</t></r>", b"\xff\x00%b\xff"],
)
async def test_a_notification_asks_and_is_not_believed(start: Start, form: bytes) -> None:
    """Whatever its form, it costs one poll now, and what it claims shows nowhere."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.events(token) as events:
            assert await events.state() == "REQUESTED"
            assert await service.notify(SECRET, form % token.encode()) == 204
            await asyncio.sleep(1)
            assert sandbox.requests["status"] == 2
            assert await events.states() == ["GENERATING", "READY"]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("query", "body"),
    [("?id=3", b"tok-1"), ("?token=tok-1", b"hello"), ("?tok-1", b""), ("?x", b"a tok-1")],
    ids=str,
)
async def test_a_token_is_found_wherever_it_stands(start: Start, query: str, body: bytes) -> None:
    """In the body or the query, at an edge of either, with a dash in it."""
    async with (
        FaultServer(Vendor(state=1)) as server,
        start(server.base_url) as service,
        service.events("tok-1") as events,
    ):
        assert await events.state() == "GENERATING"
        assert await service.notify(SECRET + query, body) == 204
        await asyncio.sleep(1)
        assert server.count("status") == 2


@pytest.mark.looptime
async def test_a_notification_for_nobody_asks_nothing(start: Start) -> None:
    """Nobody waits, nothing is asked; a query counts as much as a body."""
    async with Sandbox(api_key=KEY) as sandbox, start(sandbox.base_url) as service:
        token = await service.token()
        async with service.session.get(f"/notifications/{SECRET}?token={token}") as reply:
            assert reply.status == 204
        await asyncio.sleep(60)
        assert sandbox.requests["status"] == 0


# --- the key ---------------------------------------------------------------------------------


def _telltale(received: Received) -> Reply:
    """A vendor that shows the key in every refusal."""
    assert KEY in f"{received.head!r}{received.body!r}"
    return json_reply({"success": False, "code": 10, "message": f"Clé API {KEY} incorrecte"})


@pytest.mark.looptime
@pytest.mark.parametrize(
    "vendor", [_telltale, html(500), json_reply({"apiKey": KEY})], ids=["no", "html", "foreign"]
)
async def test_no_error_shows_the_key(
    start: Start, vendor: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither a reply's bytes, head and all, nor a log line at any level holds the key."""
    caplog.set_level(logging.DEBUG)
    async with FaultServer(vendor) as server, start(server.base_url) as service:
        seen = b""
        for path, method in (("/rentals", "POST"), ("/rentals/tok-1/events", "GET")):
            async with service.session.request(
                method, path, json=ORDER, headers={"Idempotency-Key": "k-1"}
            ) as reply:
                seen += repr(reply.raw_headers).encode() + await reply.read()
        assert b"Error" in seen
        assert server.received
    printed = capfd.readouterr()
    assert KEY not in f"{seen!r}{caplog.text}{printed.out}{printed.err}"
