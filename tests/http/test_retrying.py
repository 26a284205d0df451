"""When one request is sent again: after what, how often, how much later, and what is raised."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from fault_server import FaultServer, Reply
from fault_table import FAULTS, Fault
from faults import (
    ODD_RETRY_AFTERS,
    busy,
    close_within_body,
    good,
    html,
    json_reply,
    stall_before_head,
    vendor_error,
)
from polls import TOKEN, Script, client_of, now, said, strange_tasks
from tenacity import AsyncRetrying, RetryCallState

from smspartner_async import (
    APIError,
    ConfigurationError,
    Gender,
    Quote,
    RateLimitError,
    ResponseError,
    RetryPolicy,
    SMSPartnerClient,
    Targeting,
    TransportError,
)
from smspartner_async._http import retrying
from smspartner_async._wire.envelope import CODE_CLASSES

PEOPLE: Final = Targeting(gender=Gender.MIXED, min_age=25, max_age=35, interest=12)
QUOTE_BODY: Final = (
    b'{"success": true, "op": "price", "datas": [{"Type": "total", "Localite": "total",'
    b' "Volume": 20}], "cost": {"quantity": 20, "total": 2.52, "cost_unity": 0.09}}'
)
QUOTE: Final = good(QUOTE_BODY)
CREDITS: Final = json_reply({"success": True, "credits": {"balance": "10.5", "currency": "EUR"}})

# What is safe to repeat: each operation with a good answer to it.
OPERATIONS: Final[dict[str, tuple[Callable[[SMSPartnerClient], Awaitable[Any]], Reply]]] = {
    "calculate": (lambda client: client.calculate(PEOPLE), QUOTE),
    "price": (lambda client: client.price(PEOPLE), QUOTE),
    "status": (lambda client: client.status(TOKEN), said(1)),
    "credits": (lambda client: client.credits(), CREDITS),
}

# Whole replies that are not the vendor's: asking again would bring the same.
FOREIGN: Final = {
    *("length too short, apart", "until close, cut", "until close, reset"),
    *("gzip bomb", "gzip cut", "endless body", "HTML 200", "empty 200", "empty 204"),
    *(f"redirect {status}" for status in (301, 302, 307, 308)),
}
REPEATED: Final = [
    fault for fault in FAULTS.values() if not fault.whole and fault.name not in FOREIGN
]


@pytest.fixture
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every delay be the longest that it may be."""
    monkeypatch.setattr(random, "uniform", max)


# --- after what ------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize("fault", FAULTS.values(), ids=str)
async def test_repeats_after_what_may_pass(fault: Fault) -> None:
    """RetryPolicy: broken exchanges, 429 and 5xx are tried again; good and foreign replies not."""
    async with (
        FaultServer(fault.make(QUOTE_BODY), default=QUOTE) as server,
        client_of(server, request_timeout=5.0) as client,
    ):
        if fault.name in FOREIGN:
            with pytest.raises(ResponseError):
                await client.price(PEOPLE)
        else:
            assert isinstance(await client.price(PEOPLE), Quote)
        assert server.count("price") == len(server.received) == fault.arrives + (fault in REPEATED)


@pytest.mark.looptime
@pytest.mark.parametrize("fault", REPEATED, ids=str)
async def test_repeats_as_often_as_allowed(fault: Fault) -> None:
    """RetryPolicy: a fault that stays is met `attempts` times, and then comes out as it is."""
    async with (
        FaultServer(fault.make(QUOTE_BODY)) as server,
        client_of(server, request_timeout=5.0, retry=RetryPolicy(attempts=3)) as client,
    ):
        with pytest.raises((TransportError, ResponseError, APIError)) as caught:
            await client.price(PEOPLE)
        assert (server.count("price") if fault.arrives else server.accepted) == 3
    broken = fault.status is None or fault.status == 200
    assert isinstance(caught.value, TransportError) is broken
    assert broken or getattr(caught.value, "http_status", None) == fault.status
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.looptime
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_safe_operation_is_repeated(operation: str) -> None:
    """RetryPolicy: calculate, price, status and credits all survive what passes."""
    call, answer = OPERATIONS[operation]
    broken = close_within_body(QUOTE_BODY)
    async with FaultServer(html(502), broken, answer) as server, client_of(server) as client:
        assert await call(client) is not None
        assert [received.operation for received in server.received] == [operation] * 3


@pytest.mark.looptime
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_attempts_of_one_never_repeats(operation: str) -> None:
    """RetryPolicy: with `attempts=1` a request is sent once, whatever becomes of it."""
    call, _ = OPERATIONS[operation]
    for reply in (html(502), busy(429), busy(429, "1"), close_within_body(QUOTE_BODY)):
        async with (
            FaultServer(reply) as server,
            client_of(server, retry=RetryPolicy(attempts=1)) as client,
        ):
            with pytest.raises((TransportError, ResponseError, APIError)):
                await call(client)
            assert len(server.received) == 1


@pytest.mark.looptime
@pytest.mark.parametrize("status", [200, 400, 404, 500])
async def test_the_vendors_no_is_final(status: int) -> None:
    """RetryPolicy: a documented error code is not asked about twice, whatever the HTTP status."""
    for code, kind in CODE_CLASSES.items():
        async with FaultServer(vendor_error(code, "Non", status)) as server:
            async with client_of(server) as client:
                with pytest.raises(kind):
                    await client.price(PEOPLE)
            assert server.count("price") == 1


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("status", "sent"), [(200, 1), (400, 1), (404, 1), (408, 4), (429, 4), (500, 4), (503, 4)]
)
@pytest.mark.parametrize("reply", [html, lambda status: vendor_error(999, "?", status)])
async def test_the_http_status_decides_where_the_vendor_gives_no_reason(
    status: int, sent: int, reply: Callable[[int], Reply]
) -> None:
    """RetryPolicy: without a documented code, 408, 429 and 5xx are repeated, and nothing else."""
    async with FaultServer(reply(status)) as server, client_of(server) as client:
        with pytest.raises((ResponseError, APIError)):
            await client.price(PEOPLE)
        assert server.count("price") == sent


@pytest.mark.looptime
async def test_the_last_error_is_raised() -> None:
    """RetryPolicy: of several errors the last one comes out, with none of the others behind it."""
    async with FaultServer(html(502), busy(429), html(503)) as server, client_of(server) as client:
        with pytest.raises(ResponseError) as caught:
            await client.price(PEOPLE)
    assert caught.value.http_status == 503
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.looptime
async def test_stops_at_the_first_error_that_does_not_pass() -> None:
    """RetryPolicy: a final error on a later try ends the tries."""
    async with FaultServer(html(502), vendor_error(10, "Non")) as server:
        async with client_of(server) as client:
            with pytest.raises(APIError, match="API key is wrong"):
                await client.price(PEOPLE)
        assert server.count("price") == 2


async def test_a_success_does_not_pass_through_tenacity(monkeypatch: pytest.MonkeyPatch) -> None:
    """RetryPolicy: a request that succeeds at once costs nothing for its retries."""

    def explode(**_: object) -> None:
        raise AssertionError("tenacity was asked")

    monkeypatch.setattr(retrying, "AsyncRetrying", explode)
    async with FaultServer(QUOTE, vendor_error(10, "Non")) as server, client_of(server) as client:
        assert isinstance(await client.price(PEOPLE), Quote)
        with pytest.raises(APIError):
            await client.price(PEOPLE)


async def test_what_failed_once_is_called_again_until_an_error_is_final() -> None:
    """RetryPolicy: the first failure counts as tenacity's first attempt, and none is hidden."""
    errors: list[Exception] = [OSError("first"), OSError("second"), ValueError("third")]
    asked: list[BaseException] = []
    attempts: list[int] = []

    async def call() -> None:
        raise errors.pop(0)

    def is_passing(error: BaseException) -> bool:
        asked.append(error)
        return isinstance(error, OSError)

    async def sleep(_: float) -> None:
        """Take no time."""

    with pytest.raises(ValueError, match="third"):
        await retrying.call_until(
            call,
            retry=is_passing,
            sleep=sleep,
            before_sleep=lambda state: attempts.append(state.attempt_number),
        )
    assert [*dict.fromkeys(map(str, asked))] == ["first", "second", "third"]
    assert (errors, attempts) == ([], [1, 2])


# --- how much later --------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.usefixtures("_no_jitter")
async def test_the_delay_doubles_up_to_the_cap() -> None:
    """RetryPolicy: `first_delay`, then twice as long each time, and never above `max_delay`."""
    script = Script.of(html(502))
    policy = RetryPolicy(attempts=7, first_delay=0.5, max_delay=6.0)
    async with FaultServer(script) as server, client_of(server, retry=policy) as client:
        with pytest.raises(ResponseError):
            await client.price(PEOPLE)
    assert script.gaps == pytest.approx([0.5, 1, 2, 4, 6, 6])


@pytest.mark.looptime
async def test_the_delay_is_shortened_by_up_to_a_half() -> None:
    """RetryPolicy: many clients do not come back together."""
    script = Script.of(html(502))
    policy = RetryPolicy(attempts=60, first_delay=4, max_delay=4)
    async with FaultServer(script) as server, client_of(server, retry=policy) as client:
        with pytest.raises(ResponseError):
            await client.price(PEOPLE)
    assert all(2 - 1e-5 <= gap <= 4 + 1e-5 for gap in script.gaps)
    assert min(script.gaps) < 2.5
    assert max(script.gaps) > 3.5


@pytest.mark.looptime
async def test_no_delay_is_possible() -> None:
    """RetryPolicy: `first_delay=0` repeats at once."""
    script = Script.of(html(502))
    policy = RetryPolicy(first_delay=0)
    async with FaultServer(script) as server, client_of(server, retry=policy) as client:
        with pytest.raises(ResponseError):
            await client.price(PEOPLE)
    assert script.times == [0] * 4


@pytest.mark.parametrize("attempt", [1, 2, 1_000, 1_000_000])
def test_the_delay_does_not_overflow(attempt: int) -> None:
    """RetryPolicy: however many attempts are allowed, the cap holds."""
    state = RetryCallState(AsyncRetrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    assert 0 <= RetryPolicy(attempts=2_000_000).delay(state) <= 8


@pytest.mark.looptime
@pytest.mark.usefixtures("_no_jitter")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked_for", "gap"), [("20", 20), ("30", 30), ("0.1", 0.5), ("0", 0.5)])
async def test_waits_as_long_as_the_vendor_asks(status: int, asked_for: str, gap: float) -> None:
    """RetryPolicy: `Retry-After` is the least wait, up to the time that one request may take."""
    script = Script.of(busy(status, asked_for), QUOTE)
    async with FaultServer(script) as server, client_of(server) as client:
        assert isinstance(await client.price(PEOPLE), Quote)
    assert script.gaps == pytest.approx([gap])


@pytest.mark.looptime
@pytest.mark.parametrize("odd", ODD_RETRY_AFTERS, ids=lambda odd: odd[:20])
@pytest.mark.parametrize("status", [429, 503])
async def test_an_odd_retry_after_does_no_harm(odd: str, status: int) -> None:
    """RetryPolicy: an odd `Retry-After` is either none, or too long and raised at once."""
    began = now()
    async with FaultServer(busy(status, odd)) as server, client_of(server) as client:
        with pytest.raises((APIError, ResponseError)) as caught:
            await client.price(PEOPLE)
        asked_for = getattr(caught.value, "retry_after", None) or 0
        assert server.count("price") == (4 if asked_for <= 30 else 1)
    assert now() - began <= 15


@pytest.mark.looptime
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_long_wait_is_raised_rather_than_waited(operation: str) -> None:
    """RetryPolicy: a `Retry-After` beyond `request_timeout` is raised at once; nothing is sent."""
    call, answer = OPERATIONS[operation]
    began = now()
    async with (
        FaultServer(busy(429, "31"), default=answer) as server,
        client_of(server, request_timeout=30.0) as client,
    ):
        with pytest.raises(RateLimitError) as caught:
            await call(client)
        assert caught.value.retry_after == 31
        assert now() == began
        await asyncio.sleep(0.5)
        with pytest.raises(RateLimitError) as caught:
            await call(client)
        assert caught.value.retry_after == pytest.approx(30.5)
        assert len(server.received) == 1
        await asyncio.sleep(0.5)
        assert await call(client)
        assert now() - began == pytest.approx(31)


@pytest.mark.looptime
@pytest.mark.usefixtures("_no_jitter")
async def test_a_429_without_retry_after_backs_off() -> None:
    """RetryPolicy: a 429 that names no time is repeated with the usual delays."""
    script = Script.of(busy(429), busy(429), QUOTE)
    async with FaultServer(script) as server, client_of(server) as client:
        assert isinstance(await client.price(PEOPLE), Quote)
    assert script.gaps == pytest.approx([0.5, 1])


# --- on the way ------------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize("turns", [0, 1, 20, None])
async def test_a_cancellation_ends_the_tries(turns: int | None) -> None:
    """RetryPolicy: cancelled in flight or between two tries, a request is not sent again."""
    replies = (html(502), stall_before_head(QUOTE_BODY)) if turns is None else (html(502),)
    async with FaultServer(*replies) as server, client_of(server) as client:
        task: asyncio.Task[Quote] = asyncio.create_task(client.price(PEOPLE))
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        if turns is None:
            await asyncio.sleep(2)
            assert server.count("price") == 2
        task.cancel()
        await asyncio.sleep(0)
        assert task.cancelled()
        assert not strange_tasks()
        sent = len(server.received)
        await asyncio.sleep(60)
        assert len(server.received) <= max(sent, 1)


@pytest.mark.looptime
async def test_a_client_closed_between_two_tries_says_so() -> None:
    """RetryPolicy: the next try of a request whose client was closed is a clear error."""
    async with FaultServer(html(502)) as server:
        client = client_of(server, retry=RetryPolicy(first_delay=5))
        task = asyncio.create_task(client.price(PEOPLE))
        await asyncio.sleep(1)
        await client.close()
        with pytest.raises(ConfigurationError, match="closed"):
            await task
        assert server.count("price") == 1
