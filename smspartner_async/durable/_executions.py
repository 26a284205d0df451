"""The workflows that run in this process, and how they end with the worker."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from smspartner_async._completion import run_to_completion

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECHECK_EVERY: Final = 0.2  # seconds: a payment that ends makes its task cancellable


@define(eq=False)
class Executions:
    """The tasks that execute workflows, and what may be done to them.

    Attributes:
        workflows: the workflow that each task executes.
        begun: how many executions have begun.
        cancellable: the tasks that may be cancelled now; see `interruptible`.
        paying: the ids of the claims that this process is paying, or is about to.
        draining: whether the worker is ending: nothing starts any more.
    """

    workflows: dict[asyncio.Task[Any], str] = field(factory=dict, init=False)
    begun: int = field(default=0, init=False)
    cancellable: set[asyncio.Task[Any]] = field(factory=set, init=False)
    paying: set[str] = field(factory=set, init=False)
    draining: bool = field(default=False, init=False)

    @contextmanager
    def execution_of(self, workflow_id: str) -> Iterator[None]:
        """Register the current task as executing a workflow, until the block ends.

        Raises:
            asyncio.CancelledError: the worker is ending. Another one continues the workflow.
        """
        task = self._current_task()
        self.workflows[task] = workflow_id
        self.begun += 1
        try:
            yield
        finally:
            del self.workflows[task]

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the current task be cancelled at any time, because another worker can do it again.

        Raises:
            asyncio.CancelledError: the worker is ending.
        """
        task = self._current_task()
        self.cancellable.add(task)
        try:
            yield
        finally:
            self.cancellable.discard(task)

    def _current_task(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        if self.draining:
            raise asyncio.CancelledError
        return task

    async def drain(self) -> None:
        """End all executions. Payments are allowed to finish, however often this is cancelled."""
        await run_to_completion(self._drain())

    async def _drain(self) -> None:
        self.draining = True
        while self.workflows:
            for task in self.cancellable:
                task.cancel()
            await asyncio.wait(set(self.workflows), timeout=_RECHECK_EVERY)
