"""What the vendor asks for by Retry-After holds for a wait, and never past its deadline."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fault_server import FaultServer
from faults import (
    ODD_RETRY_AFTERS,
    busy,
)
from polls import (
    GENERATING,
    READY,
    TOKEN,
    Script,
    client_of,
    end_of_wait,
)

from smspartner_async import (
    PollingPolicy,
    RateLimitError,
    RentalState,
    RetryPolicy,
    SMSPartnerError,
    WaitTimeoutError,
)

STEADY = PollingPolicy(jitter=0)


@pytest.mark.looptime
@pytest.mark.parametrize("status", [429, 503])
async def test_waits_as_long_as_the_vendor_asks(status: int) -> None:
    """A poll: `Retry-After` in seconds is the least wait before the next check."""
    script = Script.of(busy(status, "20"), GENERATING, READY)
    _, heard = await end_of_wait(script, policy=STEADY)
    assert script.times == pytest.approx([0, 20, 22.8], abs=1e-5)
    assert heard.delays == pytest.approx([20, 2.8, None], abs=1e-5)


@pytest.mark.looptime
async def test_waits_until_the_date_that_the_vendor_gives() -> None:
    """A poll: `Retry-After` may be an HTTP date."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    script = Script.of(busy(503, date), READY)
    await end_of_wait(script, policy=STEADY)
    assert 95 < script.times[1] <= 100


@pytest.mark.looptime
async def test_a_short_wait_does_not_hasten() -> None:
    """A poll: `Retry-After` below the interval leaves the interval as it is."""
    script = Script.of(busy(429, "1"), READY)
    await end_of_wait(script, policy=STEADY)
    assert script.times[1] == pytest.approx(2)


@pytest.mark.looptime
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("odd", ODD_RETRY_AFTERS, ids=lambda odd: odd[:20])
async def test_an_odd_retry_after_is_none(odd: str, status: int) -> None:
    """A poll: a value that is 0, past, negative, infinite or unreadable changes nothing."""
    script = Script.of(busy(status, odd), READY)
    end, _ = await end_of_wait(script, policy=STEADY, timeout=2000)
    if odd in ("9" * 20, "Fri, 31 Dec 9999 23:59:59 GMT"):  # readable, and longer than any wait
        assert isinstance(end, WaitTimeoutError)
    else:
        # Some readers make a number of these; either way is a wait that ends.
        lenient = {"1e3": 1000, "1_000": 1000, "٣": 3}.get(odd, 2)
        assert script.times[1] in (pytest.approx(2), pytest.approx(lenient))


@pytest.mark.looptime
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked_for", ["1000000000", "9" * 20, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_an_endless_wait_sleeps_for_an_hour_at_most(asked_for: str, status: int) -> None:
    """A poll: one absurd `Retry-After` does not end a wait that has no timeout for good."""
    script = Script.of(busy(status, asked_for), READY)
    end, _ = await end_of_wait(script, policy=STEADY, timeout=None)
    assert getattr(end, "state", None) is RentalState.READY
    assert script.times == pytest.approx([0, 3600], abs=1)


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [0, 5, 59.9, 60])
@pytest.mark.parametrize("status", [429, 503])
async def test_gives_up_now_rather_than_wait_past_the_deadline(seconds: float, status: int) -> None:
    """A poll: a `Retry-After` that ends after the deadline ends the wait now, and says why."""
    script = Script.of(busy(status, "60"))
    error, heard = await end_of_wait(script, timeout=seconds)
    assert isinstance(error, WaitTimeoutError)
    assert "The vendor asks to wait 60.0 s more." in str(error)
    assert error.elapsed == pytest.approx(0, abs=1e-5)
    assert len(script.times) == len(heard.events) == 1
    assert isinstance(error.__cause__, SMSPartnerError)


@pytest.mark.looptime
@pytest.mark.parametrize("asked_for", ["9", "9.7"])
async def test_uses_the_little_time_that_the_vendor_leaves(asked_for: str) -> None:
    """A poll: a `Retry-After` that ends just before the deadline leaves one more check."""
    script = Script.of(busy(503, asked_for), READY)
    end, _ = await end_of_wait(script, timeout=10)
    assert getattr(end, "state", None) is RentalState.READY
    assert float(asked_for) - 1e-5 <= script.times[1] < 10


@pytest.mark.looptime
async def test_a_cool_down_past_the_deadline_ends_the_wait_now() -> None:
    """A poll: the `Retry-After` that another request was given ends a wait that it outlasts."""
    async with FaultServer(busy(429, "60"), default=GENERATING) as server:
        async with client_of(server, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(RateLimitError):
                await client.credits()
            with pytest.raises(WaitTimeoutError, match="The vendor asks to wait 60") as caught:
                await client.wait_until_ready(TOKEN, timeout=50)
        assert isinstance(caught.value.__cause__, RateLimitError)
        assert server.count("status") == 0
