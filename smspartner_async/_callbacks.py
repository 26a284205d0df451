"""One rule for calling a user's callback: plain or async, what it raises, what cancels it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from ._log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


async def call_or_log(
    callback: Callable[..., object],
    *args: object,
    failed: str,
    extra: Mapping[str, Any] | None = None,
) -> bool:
    """Call a plain or async callback; return whether it succeeded.

    What it raises is logged as an error with the text `failed` and the fields `extra`, for callers
    that have more to lose than the callback's work. So is a `CancelledError` of something that the
    callback waited for.

    Raises:
        CancelledError: the running task itself was cancelled meanwhile.
    """
    requests = cancel_requests()
    try:
        result = callback(*args)
        if inspect.isawaitable(result):
            await result
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and cancel_requests() > requests:
            raise
        log.exception("%s", failed, extra=extra)
        return False
    return True


def call_plain_or_log(callback: Callable[..., object], *args: object, failed: str) -> None:
    """Call a plain callback; log what it raises as an error with the text `failed`.

    A `CancelledError` is logged too: nothing is awaited here, so it comes from something that the
    callback looked at. A cancellation of the running task arrives at the task's next `await`.
    """
    try:
        callback(*args)
    except (Exception, asyncio.CancelledError):  # noqa: BLE001 - the user's own callback
        log.exception("%s", failed)


def cancel_requests() -> int:
    """Return how often somebody asked the running task to end.

    Where the count has grown, the task itself was cancelled, and not something that a callback
    waited for: both are a `CancelledError`.
    """
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0
