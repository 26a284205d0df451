"""Run work to its end, however often the caller is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


async def run_to_completion(
    work: Coroutine[Any, Any, _T] | asyncio.Future[_T],
    *,
    on_cancelled: Callable[[asyncio.Future[_T]], object] | None = None,
) -> _T:
    """Wait until `work` has ended, and return its result.

    A cancellation of the caller is raised once the work has ended. A failure of the work is then
    its cause.

    Args:
        work: a coroutine, which becomes a separate task, or a future.
        on_cancelled: called with the work's task at each cancellation of the caller. It may cancel
            the task, which gives the work up.
    """
    task = asyncio.ensure_future(work)
    if isinstance(task, asyncio.Task):
        # When its loop shuts down, asyncio.run() cancels every registered task. This one ends by
        # itself: its caller, which is registered, waits for it.
        asyncio._unregister_task(task)  # noqa: SLF001 - asyncio's documented extension interface
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            with anyio_shield() if cancelled is not None else nullcontext():
                await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
            if on_cancelled is not None:
                on_cancelled(task)
    if cancelled is None:
        return task.result()
    # The caller's own cancellation, with the message by which its canceller knows it.
    if not task.cancelled() and (failure := task.exception()) is not None:
        raise cancelled from failure
    raise cancelled


def anyio_shield() -> AbstractContextManager[object]:
    """Return a scope that keeps anyio from cancelling the running task again in every loop turn.

    Only in a scope of anyio's that was cancelled: elsewhere there is nothing to shield from.
    """
    anyio = sys.modules.get("anyio")
    if anyio is None or anyio.current_effective_deadline() != -math.inf:
        return nullcontext()
    shield: AbstractContextManager[object] = anyio.CancelScope(shield=True)
    return shield
