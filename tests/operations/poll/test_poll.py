"""What a wait gives: the ready status, an end, a timeout; and what it reports on the way."""

import asyncio
import logging
import pickle
from collections.abc import Callable
from typing import Any, Final

import pytest
from attrs.exceptions import FrozenInstanceError
from fault_server import FaultServer, Reply
from faults import busy, html, stall_before_head, vendor_error
from polls import (
    GENERATING,
    READY,
    READY_BODY,
    REQUESTED,
    TOKEN,
    Heard,
    Script,
    client_of,
    now,
    said,
)

from smspartner_async import (
    AlreadyDownloadedError,
    AuthenticationError,
    ConfigurationError,
    Gender,
    PollEvent,
    PollingPolicy,
    RentalFailedError,
    RentalState,
    RentalStatus,
    ResponseError,
    SMSPartnerClient,
    SMSPartnerError,
    Targeting,
    WaitTimeoutError,
)

STEADY: Final = PollingPolicy(jitter=0)
UNKNOWN: Final = said(4)
BROKEN: Final = html(502)
DENIED: Final = vendor_error(10, "Clé API incorrecte")

# How the vendor says that nothing more will come, and what that is to the user.
ENDINGS: Final = [
    (said(3), RentalFailedError, RentalState.FAILED, None),
    (said("The rental request failed"), RentalFailedError, RentalState.FAILED, None),
    (vendor_error(36, "Erreur"), RentalFailedError, RentalState.FAILED, 36),
    (vendor_error(36, "Erreur", 500), RentalFailedError, RentalState.FAILED, 36),
    (said(5), AlreadyDownloadedError, RentalState.DOWNLOADED, None),
    (
        said("File downloaded by user from api"),
        AlreadyDownloadedError,
        RentalState.DOWNLOADED,
        None,
    ),
    (vendor_error(34, "Fichier"), AlreadyDownloadedError, RentalState.DOWNLOADED, 34),
    (vendor_error(34, "Fichier", 404), AlreadyDownloadedError, RentalState.DOWNLOADED, 34),
]


@pytest.mark.looptime
async def test_waits_for_a_rental_from_beginning_to_end(client: SMSPartnerClient) -> None:
    """A poll: a rental of the sandbox is waited for, by its token or whatever holds it."""
    people = Targeting(gender=Gender.MIXED, min_age=18, max_age=30, interest=12, zipcodes="60200")
    rental = await client.rent(people)
    ready = await client.wait_until_ready(rental)
    assert ready.state is RentalState.READY
    assert ready.token == rental.token
    for token in (ready, rental.token):
        assert (await client.wait_until_ready(token)).state is RentalState.READY


# --- 5: ends ---------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(("reply", "kind", "state", "code"), ENDINGS)
async def test_an_end_is_one_error_however_it_is_said(
    reply: Reply, kind: type[Any], state: RentalState, code: int | None
) -> None:
    """A poll: failed and downloaded are raised as such, with the status, at the first word."""
    heard = Heard()
    async with FaultServer(GENERATING, reply) as server, client_of(server) as client:
        with pytest.raises(kind) as caught:
            await client.wait_until_ready(TOKEN, on_poll=heard)
        assert server.count("status") == 2
    error = caught.value
    assert isinstance(error.status, RentalStatus)
    assert error.status.state is state
    assert error.token == error.status.token == TOKEN
    assert error.code == code
    assert pickle.loads(pickle.dumps(error)).status == error.status  # noqa: S301 - made here
    last = heard.events[-1]
    assert (last.status, last.error, last.next_delay) == (error.status, None, None)


@pytest.mark.looptime
@pytest.mark.parametrize(("reply", "kind", "state", "code"), ENDINGS)
async def test_watch_yields_the_end(
    reply: Reply, kind: type[Any], state: RentalState, code: int | None
) -> None:
    """A poll: watch yields failed and downloaded, and does not raise them."""
    async with FaultServer(GENERATING, reply) as server, client_of(server) as client:
        seen = [status async for status in client.watch(TOKEN)]
        assert [status.state for status in seen] == [RentalState.GENERATING, state]
        assert server.count("status") == 2


@pytest.mark.looptime
async def test_an_unknown_state_is_waited_out_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A poll: a state that the manual does not list is no end, and makes one line in the log."""
    caplog.set_level(logging.DEBUG, "smspartner_async")
    replies = (UNKNOWN, UNKNOWN, GENERATING, said("Something new"), READY)
    async with FaultServer(*replies) as server, client_of(server) as client:
        assert (await client.wait_until_ready(TOKEN)).state is RentalState.READY
        assert server.count("status") == 5
    warned = [one for one in caplog.records if one.levelno >= logging.WARNING]
    lines = [one.getMessage() for one in warned if TOKEN in one.getMessage()]
    assert len(lines) == 1
    assert "has a state that the manual does not list" in lines[0]


# --- watch -----------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_watch_yields_each_change() -> None:
    """A poll: watch yields a status when its state is another than before, errors or not."""
    script = Script.of(
        *(REQUESTED, REQUESTED, BROKEN, REQUESTED, GENERATING, BROKEN, GENERATING),
        *(UNKNOWN, UNKNOWN, GENERATING, READY),
    )
    async with FaultServer(script) as server, client_of(server) as client:
        states = [status.state async for status in client.watch(TOKEN)]
    assert states == [
        RentalState.REQUESTED,
        RentalState.GENERATING,
        RentalState.UNKNOWN,
        RentalState.GENERATING,
        RentalState.READY,
    ]
    assert len(script.times) == 11


@pytest.mark.looptime
async def test_watch_raises_as_a_wait_does() -> None:
    """A poll: watch ends in WaitTimeoutError at its deadline, and in what does not pass."""
    async with FaultServer(GENERATING) as server, client_of(server) as client:
        changes = client.watch(TOKEN, timeout=10)
        assert (await anext(changes)).state is RentalState.GENERATING
        with pytest.raises(WaitTimeoutError) as caught:
            await anext(changes)
        assert caught.value.last_status is not None
        assert caught.value.elapsed <= 10
        server.play(DENIED)
        with pytest.raises(AuthenticationError):
            await anext(client.watch(TOKEN))


@pytest.mark.looptime
async def test_the_time_of_a_watch_begins_with_its_first_check() -> None:
    """A poll: what is made of watch() can be kept for a while before it is gone through."""
    async with FaultServer(GENERATING, READY) as server, client_of(server) as client:
        changes = client.watch(TOKEN, timeout=10)
        await asyncio.sleep(60)
        assert [status.state async for status in changes][-1] is RentalState.READY


@pytest.mark.looptime
async def test_the_deadline_of_a_watch_holds_for_a_slow_reader() -> None:
    """A poll: a reader that takes longer than the timeout finds a wait that is over."""
    script = Script.of(GENERATING)
    async with FaultServer(script) as server, client_of(server) as client:
        changes = client.watch(TOKEN, timeout=10)
        await anext(changes)
        await asyncio.sleep(60)
        with pytest.raises(WaitTimeoutError):
            await anext(changes)
    assert len(script.times) == 1


# --- 7: on_poll ------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ([GENERATING, BROKEN, GENERATING, READY], None),
        ([READY], None),
        ([GENERATING, BROKEN, said(3)], RentalFailedError),
        ([GENERATING, BROKEN, vendor_error(34, "Fichier")], AlreadyDownloadedError),
        ([GENERATING, DENIED], AuthenticationError),
        ([GENERATING, BROKEN, BROKEN, BROKEN, READY], ResponseError),
        ([BROKEN, GENERATING], WaitTimeoutError),
        ([BROKEN, GENERATING, busy(429, "1000")], WaitTimeoutError),
        ([GENERATING, stall_before_head(READY_BODY)], WaitTimeoutError),
    ],
)
async def test_reports_every_check_exactly_once(
    replies: list[Reply], kind: type[SMSPartnerError] | None
) -> None:
    """A poll: one event a check, numbered and timed, with no next delay on the last alone."""
    heard = Heard()
    script = Script.of(*replies)
    end: object = None
    policy = PollingPolicy(max_consecutive_errors=3)
    async with FaultServer(script) as server, client_of(server, polling=policy) as client:
        try:
            await client.wait_until_ready(TOKEN, timeout=20, on_poll=heard)
        except SMSPartnerError as error:
            end = error
    assert type(end) is (kind or type(None))
    assert [event.attempt for event in heard.events] == [n + 1 for n in range(len(script.times))]
    assert heard.delays[-1] is None
    for event, time, gap in zip(heard.events, script.times, script.gaps, strict=False):
        assert event.elapsed == pytest.approx(time)
        assert event.next_delay == pytest.approx(gap, abs=1e-5)
    for event in heard.events:
        assert event.token == TOKEN
        assert (event.status is None) is (event.error is not None)


@pytest.mark.looptime
async def test_an_event_is_frozen() -> None:
    """A poll: no callback changes what another one sees."""
    heard = Heard()

    def hear(event: PollEvent) -> PollEvent:
        heard(event)
        return event  # ignored, where it is nothing to wait for

    async with FaultServer(READY) as server, client_of(server) as client:
        await client.wait_until_ready(TOKEN, on_poll=hear)
    with pytest.raises(FrozenInstanceError):
        heard.events[0].attempt = 7  # type: ignore[misc] # what must not work


@pytest.mark.looptime
async def test_an_async_callback_is_awaited() -> None:
    """A poll: on_poll may be async; the wait continues when it is done."""
    attempts: list[int] = []

    async def on_poll(event: PollEvent) -> None:
        await asyncio.sleep(1)
        attempts.append(event.attempt)

    async with FaultServer(GENERATING, READY) as server, client_of(server) as client:
        await client.wait_until_ready(TOKEN, on_poll=on_poll)
    assert attempts == [1, 2]


def _plainly(error: Exception) -> Callable[[PollEvent], object]:
    def on_poll(_: PollEvent) -> None:
        raise error

    return on_poll


def _async(error: Exception) -> Callable[[PollEvent], object]:
    async def on_poll(_: PollEvent) -> None:
        await asyncio.sleep(0.1)
        raise error

    return on_poll


@pytest.mark.looptime
@pytest.mark.parametrize("raising", [_plainly, _async])
@pytest.mark.parametrize("reply", [GENERATING, BROKEN, READY, DENIED, busy(429, "1000")])
@pytest.mark.parametrize("error", [ZeroDivisionError(), TimeoutError("mine"), WaitTimeoutError])
async def test_what_a_callback_raises_ends_the_wait(
    raising: Callable[[Exception], Callable[[PollEvent], object]], reply: Reply, error: Any
) -> None:
    """A poll: the exception of on_poll comes out as it is, and no further check is made."""
    if isinstance(error, type):
        error = WaitTimeoutError(token="other", last_status=None, elapsed=0, attempts=0)
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(type(error)) as caught:
            await client.wait_until_ready(TOKEN, on_poll=raising(error))
        assert caught.value is error
        assert server.count("status") == 1


@pytest.mark.looptime
@pytest.mark.parametrize("raising", [_plainly, _async])
@pytest.mark.parametrize("error", [StopIteration(), StopAsyncIteration()])
@pytest.mark.parametrize("reply", [GENERATING, BROKEN, READY])
async def test_the_end_of_a_callback_is_not_taken_for_the_end_of_the_wait(
    raising: Callable[[Exception], Callable[[PollEvent], object]], error: Exception, reply: Reply
) -> None:
    """A poll: where on_poll runs out of values, the wait ends in an error, not in a status."""
    async with FaultServer(reply) as server, client_of(server) as client:
        with pytest.raises(RuntimeError, match=r"raised Stop(Async)?Iteration"):
            await client.wait_until_ready(TOKEN, on_poll=raising(error))


@pytest.mark.looptime
@pytest.mark.parametrize(("reply", "ready"), [(READY, True), (GENERATING, False)])
async def test_a_callback_that_hangs_is_given_up_at_the_deadline(
    reply: Reply, *, ready: bool
) -> None:
    """A poll: an async on_poll is cut off at the deadline; a status that is there is given."""

    async def on_poll(_: PollEvent) -> None:
        await asyncio.Event().wait()

    began = now()
    async with FaultServer(reply) as server, client_of(server) as client:
        try:
            status = await client.wait_until_ready(TOKEN, timeout=10, on_poll=on_poll)
        except WaitTimeoutError:
            assert not ready
        else:
            assert ready
            assert status.state is RentalState.READY
    assert now() - began == pytest.approx(10)


# --- 8: giving up ----------------------------------------------------------------------------


@pytest.mark.looptime
async def test_giving_up_names_all_that_is_known() -> None:
    """A poll: WaitTimeoutError holds token, last status, checks, time, and the last error."""
    script = Script.of(REQUESTED, GENERATING, BROKEN)
    began = now()
    async with FaultServer(script) as server, client_of(server, polling=STEADY) as client:
        with pytest.raises(TimeoutError) as caught:
            await client.wait_until_ready(TOKEN, timeout=9)
    error = caught.value
    assert isinstance(error, WaitTimeoutError)
    assert error.token == TOKEN
    assert error.last_status is not None
    assert error.last_status.state is RentalState.GENERATING
    assert error.attempts == len(script.times) == 4
    assert error.elapsed == pytest.approx(now() - began) == pytest.approx(8.55)
    assert isinstance(error.__cause__, ResponseError)
    assert error.__cause__.http_status == 502
    assert "wait_until_ready('tok-1')" in str(error)


@pytest.mark.looptime
async def test_an_error_that_passed_is_no_cause() -> None:
    """A poll: the cause of a timeout is an error of the last check, and none from before it."""
    async with FaultServer(BROKEN, GENERATING) as server, client_of(server) as client:
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_until_ready(TOKEN, timeout=10)
    assert caught.value.__cause__ is None


@pytest.mark.looptime
async def test_giving_up_before_any_status_says_so() -> None:
    """A poll: where no check ever got through, there is no last status."""
    async with FaultServer(BROKEN) as server, client_of(server) as client:
        with pytest.raises(WaitTimeoutError, match="no status was seen") as caught:
            await client.wait_until_ready(TOKEN, timeout=10)
    assert caught.value.last_status is None


# --- misuse ----------------------------------------------------------------------------------


def test_watch_may_be_called_anywhere() -> None:
    """Bad input: watch() itself needs no running loop; only going through it does."""
    client = SMSPartnerClient("k-1", base_url="http://127.0.0.1:9/v1")
    assert client.watch(TOKEN) is not None


@pytest.mark.parametrize("token", ["", "  ", "a\nb"])
async def test_a_blank_token_is_refused_before_anything_is_sent(token: str) -> None:
    """Bad input: a token that cannot be one is a ValueError, and nothing is sent."""
    async with FaultServer(READY) as server, client_of(server) as client:
        with pytest.raises(ValueError, match="token"):
            await client.wait_until_ready(token)
        with pytest.raises(ValueError, match="token"):
            client.watch(token)
        assert server.accepted == 0


@pytest.mark.looptime
async def test_closing_the_client_ends_its_waits() -> None:
    """A poll: a wait on a client that was closed meanwhile says so at its next check."""
    script = Script.of(GENERATING)
    async with FaultServer(script) as server:
        client = client_of(server)
        wait = asyncio.create_task(client.wait_until_ready(TOKEN))
        await asyncio.sleep(1)
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await wait
    assert len(script.times) == 1
