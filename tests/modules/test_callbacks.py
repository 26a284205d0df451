"""A user's callback: plain or async, what it raises, and what cancels it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from smspartner_async._callbacks import call_or_log, call_plain_or_log

if TYPE_CHECKING:
    from collections.abc import Callable


async def called_with(value: object, given: list[object]) -> None:
    given.append(value)


async def broken(_: object) -> None:
    raise ValueError("broken")


def broken_at_once(_: object) -> None:
    raise ValueError("broken")


async def waits_for_something_cancelled(_: object) -> None:
    other = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


@pytest.mark.parametrize("plain", [True, False])
async def test_a_callback_may_be_plain_or_async(plain: bool) -> None:  # noqa: FBT001 - pytest's
    """Both are called with their arguments, and both have ended at the return."""
    given: list[object] = []
    callback: Callable[..., object] = given.append if plain else lambda v: called_with(v, given)
    assert await call_or_log(callback, 1, failed="it failed")
    assert given == [1]


@pytest.mark.parametrize("callback", [broken, broken_at_once, waits_for_something_cancelled])
async def test_what_a_callback_raises_is_logged(
    callback: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    """An error, or a cancellation that is not the task's, is one record with its traceback."""
    assert not await call_or_log(callback, 1, failed="it failed", extra={"operation": "rent"})
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "it failed")
    assert record.exc_info is not None
    assert vars(record)["operation"] == "rent"


async def test_a_cancelled_task_leaves_its_callback(caplog: pytest.LogCaptureFixture) -> None:
    """A cancellation of the task itself is no failure of the callback."""
    task = asyncio.create_task(call_or_log(lambda _: asyncio.sleep(60), 1, failed="it failed"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not caplog.records


def cancelled_at_once(_: object) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("callback", [broken_at_once, cancelled_at_once])
async def test_a_plain_callback_never_raises(
    callback: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    """What it raises is logged, a cancellation too: nothing is awaited that could be cancelled."""
    call_plain_or_log(callback, 1, failed="it failed")
    assert [record.getMessage() for record in caplog.records] == ["it failed"]
