"""Work that runs to its end, whoever cancels its caller, and by whatever means."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from smspartner_async._completion import run_to_completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Canceller = Callable[[], object]


async def work(seconds: float = 2.0) -> str:
    await asyncio.sleep(seconds)
    return "done"


async def failing_work() -> None:
    await asyncio.sleep(1)
    raise ValueError("failed")


async def cancelled_later(task: asyncio.Task[object], message: str | None = None) -> None:
    await asyncio.sleep(0.1)
    task.cancel(message)


@pytest.fixture
async def turns() -> AsyncIterator[list[int]]:
    """Count the turns of the loop, in a list of one number."""
    count, loop = [0], asyncio.get_running_loop()

    def turn() -> None:
        count[0] += 1
        original()

    original = loop._run_once  # type: ignore[attr-defined]
    loop._run_once = turn  # type: ignore[attr-defined]
    yield count
    loop._run_once = original  # type: ignore[attr-defined]


async def test_a_caller_that_nobody_cancels_gets_the_result() -> None:
    """The result is returned, and a failure raised."""
    assert await run_to_completion(work(0)) == "done"
    with pytest.raises(ValueError, match="failed"):
        await run_to_completion(failing_work())


@pytest.mark.looptime
async def test_a_cancellation_is_raised_when_the_work_has_ended() -> None:
    """It is the caller's own, with its message; the work has run to its end."""
    inner = asyncio.ensure_future(work())
    task = asyncio.create_task(run_to_completion(inner))
    await cancelled_later(task, "by scope 7f")
    await asyncio.sleep(1)
    assert not task.done()
    with pytest.raises(asyncio.CancelledError, match="by scope 7f"):
        await task
    assert inner.result() == "done"


@pytest.mark.looptime
async def test_a_failure_is_the_cause_of_the_cancellation() -> None:
    """Neither is lost."""
    task: asyncio.Task[object] = asyncio.create_task(run_to_completion(failing_work()))
    await cancelled_later(task)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert str(caught.value.__cause__) == "failed"


@pytest.mark.looptime
async def test_work_that_is_given_up_ends_at_once() -> None:
    """Whoever hears of the cancellation may cancel the work itself."""
    begun = asyncio.get_running_loop().time()
    task: asyncio.Task[object] = asyncio.create_task(
        run_to_completion(work(), on_cancelled=lambda inner: inner.cancel())
    )
    await cancelled_later(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - begun == pytest.approx(0.1, abs=0.05)


async def test_a_scope_of_anyios_does_not_make_the_loop_spin(turns: list[int]) -> None:
    """It cancels again at each turn; the work ends all the same, in a handful of turns."""
    inner = asyncio.ensure_future(work(0.3))
    with anyio.move_on_after(0.05) as scope:
        await run_to_completion(inner)
    assert scope.cancelled_caught
    assert inner.result() == "done"
    assert turns[0] < 50


async def test_nested_scopes_and_native_cancellations_come_through(turns: list[int]) -> None:
    """An inner scope, an outer one, and a timeout of asyncio's end the work at their own places."""
    inner = asyncio.ensure_future(work(0.3))

    async def nested() -> None:
        async with asyncio.timeout(0.15):
            with anyio.move_on_after(0.1), anyio.move_on_after(0.05):
                await run_to_completion(inner)

    with pytest.raises(TimeoutError):
        await nested()
    assert inner.result() == "done"
    assert turns[0] < 80


@pytest.mark.looptime
async def test_scopes_of_asyncios_wait_too_with_anyio_loaded() -> None:
    """A TaskGroup that fails waits for the end of the work, also through an `asyncio.timeout`."""
    inner = asyncio.ensure_future(work())

    async def timed() -> None:
        async with asyncio.timeout(0.1):
            await run_to_completion(inner)

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(timed())
            group.create_task(failing_work())

    with pytest.raises(ExceptionGroup) as caught:
        await grouped()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert inner.result() == "done"


@pytest.mark.looptime
async def test_without_anyio_a_cancelled_caller_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is needed of a library that is not there."""
    monkeypatch.delitem(__import__("sys").modules, "anyio")
    inner = asyncio.ensure_future(work())
    task = asyncio.create_task(run_to_completion(inner))
    for _ in range(3):
        await cancelled_later(task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.result() == "done"


def test_the_end_of_the_loop_waits_for_the_work() -> None:
    """asyncio.run() cancels every task at its end, but not work that somebody waits for."""
    ended: list[str] = []

    async def recorded() -> None:
        ended.append(await work(0.05))

    async def main() -> asyncio.Task[None]:
        caller = asyncio.create_task(run_to_completion(recorded()))
        await asyncio.sleep(0.01)
        return caller

    assert asyncio.run(main()).cancelled()
    assert ended == ["done"]
