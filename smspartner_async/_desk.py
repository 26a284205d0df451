"""What the steps of a rental in this process work with: a client, a journal, a store.

DBOS calls functions, and is one in a process: so there is one desk, and they find it here.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from attrs import define, field

from ._errors import (
    ConfigurationError,
    DownloadInterruptedError,
    FileNotReadyError,
    ResponseError,
    SMSPartnerError,
)
from ._journal import now
from ._retry import is_passing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ._client import SMSPartnerClient
    from ._journal import Journal
    from ._records import JobState

_T = TypeVar("_T")
_log = logging.getLogger(__package__)

_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds
_LONGEST_PAUSE: Final = 60.0
_BALANCE_FOR: Final = 60.0  # seconds for which a known balance will do


class Job(TypedDict):
    """A job as its workflow gets it."""

    id: str
    run: int
    content: str
    token: str | None
    price: str | None


@define(eq=False, kw_only=True)
class Desk(ABC):
    """What the steps in this process work with. A worker is one."""

    client: SMSPartnerClient
    journal: Journal = field(init=False)
    draining: bool = field(default=False, init=False)
    executions: dict[asyncio.Task[Any], str] = field(factory=dict, init=False)
    idle: set[asyncio.Task[Any]] = field(factory=set, init=False)
    _balance: tuple[str, str, float] | None = field(default=None, init=False)
    _asking: asyncio.Lock = field(factory=asyncio.Lock, init=False)

    @abstractmethod
    async def note(
        self,
        job: Job,
        *,
        state: JobState,
        token: str | None = None,
        price: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Write down how far a job is; it is in the database at the return."""

    @abstractmethod
    async def claim(self, job: Job, nonce: str, *, give_back: bool = False) -> bool:
        """Claim a job in its record, or give the claim back; whether nobody else has one."""

    @abstractmethod
    async def token_of(self, job: Job, nonce: str) -> str | None:
        """Find the token that another execution has paid for with this claim."""

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Mark what may be broken off at any time, because another worker can do it again."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - told to the type checker
        if self.draining:
            raise asyncio.CancelledError
        self.idle.add(task)
        try:
            yield
        finally:
            self.idle.discard(task)

    async def patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try what costs nothing until it succeeds, or fails with what does not pass."""
        ahead = pauses()
        while True:
            try:
                return await attempt()
            except (SMSPartnerError, BlockingIOError) as error:
                if not _passes(error):
                    raise
                pause = next(ahead)
                _log.info("%s It is tried again in %.0f s.", error, pause)
            with self.interruptible():
                await asyncio.sleep(pause)

    async def balance(self, *, at_most: float = _BALANCE_FOR) -> tuple[str | None, str | None]:
        """Tell the account's balance and when it was, or nothing where it cannot be had."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if self._balance is None or loop.time() - self._balance[2] >= at_most:
                try:
                    balance = (await self.client.credits()).balance
                except SMSPartnerError:
                    return None, None
                self._balance = str(balance), now(), loop.time()
            return self._balance[:2]


_desk: Desk | None = None


@contextmanager
def opened(desk: Desk) -> Iterator[None]:
    """Let the steps in this process work there; without one they wait for the next.

    Raises:
        ConfigurationError: there is one already.
    """
    global _desk  # noqa: PLW0603 - DBOS calls functions, and is one in a process
    if _desk is not None:
        raise ConfigurationError("A worker runs in this process already; one is enough.")
    _desk = desk
    try:
        yield
    finally:
        _desk = None


async def at_desk() -> Desk:
    """Wait for a desk: an application's DBOS may recover jobs before there is a worker."""
    while _desk is None:  # noqa: ASYNC110 - an event would belong to one loop
        await asyncio.sleep(0.1)
    return _desk


def workflow_id(job: Job) -> str:
    """Tell the id of the workflow of one run of a job."""
    return f"smspartner:{job['id']}:{job['run']}"


def pauses() -> Iterator[float]:
    """Give the seconds between tries that do not end before they succeed."""
    return chain(_PAUSES, repeat(_LONGEST_PAUSE))


def _passes(error: Exception) -> bool:
    """Whether what was paid for may still be had a little later."""
    kinds = (ResponseError, FileNotReadyError, DownloadInterruptedError, BlockingIOError)
    return is_passing(error) or isinstance(error, kinds)
