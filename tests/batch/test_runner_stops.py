"""A batch that stops: no rents after an unknown outcome, and no token lost by leaving early."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from batches import KEY, Diary, PaperClient, Vendor, after, by_number, client_of, jobs_of, rented
from fault_server import FaultServer
from faults import busy, close_before_head, vendor_error

from smspartner_async import (
    InsufficientCreditError,
    RentOutcomeUnknownError,
    RetryPolicy,
)
from smspartner_async.batch import JobEvent, JobOutcome, JobSkippedError, JobStep, run_batch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

BROKEN = close_before_head()
NO = vendor_error(11, "Crédit insuffisant")


def now() -> float:
    return asyncio.get_running_loop().time()


def tasks_of_jobs() -> list[asyncio.Task[object]]:
    """What a batch has left running."""
    return [task for task in asyncio.all_tasks() if "rental job" in task.get_name()]


async def all_of(outcomes: AsyncGenerator[JobOutcome, None]) -> dict[int, JobOutcome]:
    return by_number([outcome async for outcome in outcomes])


@pytest.fixture
def broken_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the application's log a filter that raises."""

    def fail(_: logging.LogRecord) -> bool:
        raise RuntimeError("no room left")

    monkeypatch.setattr(logging.getLogger("smspartner_async"), "filters", [fail])


# --- an unknown outcome ----------------------------------------------------------------------


async def test_an_unknown_outcome_stops_further_rents() -> None:
    """After a rent with an unknown outcome nobody is asked for anything new, and it is reported."""
    vendor, diary = Vendor({2: BROKEN}), Diary()
    async with FaultServer(vendor) as server, client_of(server) as client:
        found = await all_of(run_batch(client, jobs_of(5), concurrency=1, on_event=diary))
        assert server.count("price") == server.count("rent") == 2
    assert found[1].file is not None
    assert isinstance(found[2].error, RentOutcomeUnknownError)
    for number in (3, 4, 5):
        error = found[number].error
        assert isinstance(error, JobSkippedError)
        assert (error.job_id, error.unknown_id) == (str(number), "2")
        assert found[number].rental is None
        assert diary.steps(number) == [JobStep.SKIPPED]
    assert diary.steps(2) == [JobStep.PRICED, JobStep.FAILED]


async def test_an_unknown_outcome_stops_nobody_where_that_is_wanted() -> None:
    """With `stop_on_unknown=False` it is one job's error among others."""
    async with FaultServer(Vendor({2: BROKEN})) as server, client_of(server) as client:
        jobs = jobs_of(4)
        found = await all_of(run_batch(client, jobs, concurrency=1, stop_on_unknown=False))
        assert server.count("rent") == 4
    assert isinstance(found[2].error, RentOutcomeUnknownError)
    assert [number for number, one in found.items() if one.file] == [1, 3, 4]


@pytest.mark.looptime
async def test_a_rent_that_waits_to_be_sent_again_is_not_sent_after_an_unknown_outcome() -> None:
    """What was refused before (429) and would be tried again later is called off."""
    vendor = Vendor({1: after(1, BROKEN), 2: busy(429)})
    retry = RetryPolicy(first_delay=60, max_delay=60)
    async with FaultServer(vendor) as server, client_of(server, retry=retry) as client:
        found = await all_of(run_batch(client, jobs_of(2)))
        assert now() < 2
    assert isinstance(found[2].error, JobSkippedError)
    assert vendor.wire == {1: 1, 2: 1}


@pytest.mark.looptime
async def test_rents_on_their_way_finish_after_an_unknown_outcome() -> None:
    """What is paid gets its file; a clear no and a second unknown outcome stay what they are.

    A job that is only being priced at that moment is not rented.
    """
    vendor, diary = Vendor({1: after(1, BROKEN)}), Diary()
    vendor.rents = {**vendor.rents, 2: after(3, rented(2)), 3: after(2, NO), 4: after(2, BROKEN)}

    async def on_event(event: JobEvent) -> None:
        diary(event)
        if event.job.id == "5":
            await asyncio.sleep(2)  # so it is still being priced

    async with FaultServer(vendor) as server, client_of(server) as client:
        found = await all_of(run_batch(client, jobs_of(5), on_event=on_event))
    assert found[2].file is not None
    assert found[2].rental is not None
    assert isinstance(found[3].error, InsufficientCreditError)
    for number in (1, 4):
        error = found[number].error
        assert isinstance(error, RentOutcomeUnknownError)
        assert error.__cause__ is error.cause
    assert isinstance(found[5].error, JobSkippedError)
    assert diary.steps(5) == [JobStep.PRICED, JobStep.SKIPPED]
    assert vendor.wire == {1: 1, 2: 1, 3: 1, 4: 1}


@pytest.mark.looptime
async def test_a_cancellation_right_after_an_unknown_outcome_is_raised() -> None:
    """Called off and cancelled at once, a rent on its way reports its token and then ends."""
    vendor, diary = Vendor({1: after(1, BROKEN), 2: after(3, rented(2))}), Diary()
    async with FaultServer(vendor) as server, client_of(server) as client:
        task = asyncio.create_task(all_of(run_batch(client, jobs_of(2), on_event=diary)))
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not tasks_of_jobs()
    assert diary.tokens() == ["tok-2"]
    assert diary.steps(2) == [JobStep.PRICED, JobStep.RENTED]


# --- leaving early ---------------------------------------------------------------------------


@pytest.mark.looptime
@pytest.mark.parametrize("times", [1, 50])
async def test_a_cancelled_batch_reports_the_tokens_of_the_rents_in_flight(
    times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A paid request: however often cancelled, what is on its way is reported; then it ends.

    The token stands in a note of the `CancelledError` and in the log, too. What is not yet sent
    is not sent, and waits end at once.
    """
    vendor, diary = Vendor({2: after(3, rented(2))}, state=1), Diary()
    vendor.rents = {**vendor.rents, 3: busy(429)}
    retry = RetryPolicy(first_delay=60, max_delay=60)
    async with FaultServer(vendor) as server, client_of(server, retry=retry) as client:
        task = asyncio.create_task(
            all_of(run_batch(client, jobs_of(9), concurrency=3, on_event=diary))
        )
        await asyncio.sleep(1)
        waiting = set(diary.tokens())
        for _ in range(times):
            task.cancel("enough")
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        assert now() == pytest.approx(3, abs=0.2)
        assert not tasks_of_jobs()
        rents = server.count("rent")
        await asyncio.sleep(1000)
        assert server.count("rent") == rents
    assert {*diary.tokens()} - waiting == {"tok-2"}
    assert waiting == {f"tok-{number}" for number in (1, 4, 5, 6, 7, 8, 9)}
    (note,) = cancelled.value.__notes__
    for token in diary.tokens():
        assert f"rental {token}" in note
    assert [r.getMessage() for r in caplog.records if "broken off" in r.getMessage()] == [note]


@pytest.mark.looptime
@pytest.mark.usefixtures("broken_log")
async def test_a_log_that_fails_loses_no_token_of_a_cancelled_batch() -> None:
    """A paid request: the tokens stand in the note, even if nothing can be logged."""
    async with FaultServer(Vendor(state=1)) as server, client_of(server) as client:
        task = asyncio.create_task(all_of(run_batch(client, jobs_of(3))))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
    (note,) = cancelled.value.__notes__
    assert [token for token in ("tok-1", "tok-2", "tok-3") if token not in note] == []


@pytest.mark.usefixtures("broken_log")
async def test_a_log_that_fails_ends_no_job_whose_callback_fails() -> None:
    """The batch continues when `on_event` raises and that cannot be logged."""

    def on_event(_: JobEvent) -> None:
        raise RuntimeError("full")

    async with FaultServer(Vendor()) as server, client_of(server) as client:
        found = await all_of(run_batch(client, jobs_of(3), on_event=on_event))
    assert [found[number].error for number in (1, 2, 3)] == [None, None, None]


@pytest.mark.looptime
async def test_an_unknown_outcome_of_a_cancelled_batch_is_reported() -> None:
    """A rent in flight that ends unknown is passed to `on_event` and noted, like a token."""
    vendor, diary = Vendor({1: after(2, BROKEN)}), Diary()
    async with FaultServer(vendor) as server, client_of(server) as client:
        task = asyncio.create_task(all_of(run_batch(client, jobs_of(1), on_event=diary)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
    (_, failed) = diary.events
    assert isinstance(failed.error, RentOutcomeUnknownError)
    assert f"job '1' ({jobs_of(1)[0].path}): {failed.error}" in cancelled.value.__notes__[0]


@pytest.mark.looptime
async def test_a_closed_batch_reports_its_tokens_and_leaves_nothing_running(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A paid request: `aclose()` lets rents in flight finish, and returns when all ended."""
    vendor, diary = Vendor({1: NO, 2: after(3, rented(2))}, state=1), Diary()
    async with FaultServer(vendor) as server, client_of(server) as client:
        outcomes = run_batch(client, jobs_of(3), on_event=diary)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                assert outcome.job.id == "1"
                break
        assert not tasks_of_jobs()
        assert now() == pytest.approx(3, abs=0.2)
        assert server.count("rent") == 3
    assert {*diary.tokens()} == {"tok-2", "tok-3"}
    (warning,) = [r.getMessage() for r in caplog.records if "broken off" in r.getMessage()]
    assert "rental tok-2" in warning
    assert "rental tok-3" in warning
    assert "job '1'" not in warning  # nothing was paid for it


@pytest.mark.looptime
async def test_closing_passes_a_cancellation_on() -> None:
    """Cancelled while it closes, the closing task is cancelled, after all has ended."""
    vendor, diary = Vendor({1: NO, 2: after(3, rented(2))}), Diary()
    async with FaultServer(vendor) as server, client_of(server) as client:
        outcomes = run_batch(client, jobs_of(2), on_event=diary)
        await anext(outcomes)
        closing = asyncio.ensure_future(outcomes.aclose())
        await asyncio.sleep(1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await closing
        assert not tasks_of_jobs()
    assert diary.tokens() == ["tok-2"]
    assert "rental tok-2" in cancelled.value.__notes__[0]


async def test_a_break_ends_the_batch_soon() -> None:
    """Without `aclosing` a `break` leaves nothing running a few turns of the loop later."""
    vendor = Vendor({1: NO}, state=1)
    async with FaultServer(vendor) as server, client_of(server) as client:
        async for _ in run_batch(client, jobs_of(3)):
            break
        async with asyncio.timeout(0.3):
            await asyncio.wait(tasks_of_jobs())


@pytest.mark.looptime
async def test_an_outcome_that_was_not_yielded_any_more_is_in_the_note() -> None:
    """A paid job that failed before the batch was left is reported, like those under way."""
    vendor = Vendor({1: NO}, state=3)
    async with FaultServer(vendor) as server, client_of(server) as client:
        outcomes = run_batch(client, jobs_of(2))
        await anext(outcomes)
        await asyncio.sleep(5)  # job 2 fails meanwhile
        with pytest.raises(asyncio.CancelledError) as thrown:
            await outcomes.athrow(asyncio.CancelledError())
    assert "job '2'" in thrown.value.__notes__[0]
    assert "rental tok-2" in thrown.value.__notes__[0]


@pytest.mark.looptime
async def test_a_callback_is_cancelled_with_its_batch() -> None:
    """An `on_event` that is waited for when the batch is cancelled ends, and nothing is rented."""
    ended: list[str] = []

    async def on_event(event: JobEvent) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(event.job.id)

    async with FaultServer(Vendor()) as server, client_of(server) as client:
        task = asyncio.create_task(all_of(run_batch(client, jobs_of(2), on_event=on_event)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        assert now() < 2
        assert server.count("rent") == 0
    assert sorted(ended) == ["1", "2"]
    assert not hasattr(cancelled.value, "__notes__")  # nothing was paid


async def test_the_end_of_the_loop_loses_no_token() -> None:
    """A paid request: a program that ends in the middle of a batch still reports its tokens."""
    diary = Diary()

    async def program(base_url: str) -> None:
        async with PaperClient(KEY, base_url=base_url) as client:
            outcomes = run_batch(client, jobs_of(2), on_event=diary)
            await anext(outcomes)  # and never looks at the others

    async with FaultServer(Vendor({1: NO, 2: after(0.1, rented(2))})) as server:
        await asyncio.to_thread(asyncio.run, program(server.base_url))
        assert server.count("rent") == 2
    assert diary.tokens() == ["tok-2"]
