"""What the steps of a rental in this process work with: a client, a journal, a store.

DBOS calls plain functions, and a process has one DBOS: so it has one desk, found here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict, TypeVar

from attrs import define, field

from ._errors import (
    ConfigurationError,
    DownloadInterruptedError,
    FileNotReadyError,
    ResponseError,
    SMSPartnerError,
)
from ._journal import now
from ._ledger import JOBS, Ledger
from ._retry import is_passing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ._client import SMSPartnerClient
    from ._journal import Journal
    from ._ledger import Work
    from ._records import JobState

_T = TypeVar("_T")
_log = logging.getLogger(__package__)

_PAUSES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds
_LONGEST_PAUSE: Final = 60.0
_BALANCE_FOR: Final = 60.0  # seconds for which a known balance will do
_NOBODY_HERE: Final = 10.0  # seconds to wait for a worker in this process
_DRAINING: Final = 0.2  # seconds between two looks at what is still under way


class Job(TypedDict):
    """A job as its workflow gets it."""

    id: str
    run: int
    content: str
    token: str | None
    price: str | None


class Claim(TypedDict):
    """Who is about to rent. Recorded before the request is sent."""

    nonce: str
    worker: str
    journal: str
    claimed_at: str
    balance_before: str | None
    balance_before_at: str | None
    found_by: NotRequired[str]
    """The worker that found this claim of another: from then on its maker may not pay."""


@define(eq=False, kw_only=True)
class Desk:
    """What the steps in this process work with.

    Attributes:
        freed: set after every note: slots may have become free.
        executions: the workflows under way, by their tasks.
        passed_over: the workflows that an error of DBOS's own database has stopped once.
        cancellable: the tasks that may be cancelled now; see `interruptible`.
    """

    client: SMSPartnerClient
    ledger: Ledger
    journal: Journal
    draining: bool = field(default=False, init=False)
    freed: asyncio.Event = field(factory=asyncio.Event, init=False)
    executions: dict[asyncio.Task[Any], str] = field(factory=dict, init=False)
    cancellable: set[asyncio.Task[Any]] = field(factory=set, init=False)
    passed_over: set[str] = field(factory=set, init=False)
    _errands: list[tuple[Work, asyncio.Future[Any]]] = field(factory=list, init=False)
    _writer: asyncio.Task[None] | None = field(default=None, init=False)
    _balance: tuple[str, str, float] | None = field(default=None, init=False)
    _asking: asyncio.Lock = field(factory=asyncio.Lock, init=False)

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
        by = self.journal.worker_id
        note = {"job": job["id"], "in_run": job["run"], "by": by, "new_state": state.value}
        new = {
            "new_token": token,
            "new_price": price,
            "new_facts": json.dumps(facts) if facts else "",
        }
        (kept,) = await self._written(Ledger.note, [note | new])
        self.freed.set()
        if not kept:
            _log.error(
                "job %r was settled otherwise meanwhile: run %s of it ended as %s, with token %s",
                *(job["id"], job["run"], state.value, token),
            )

    async def _written(self, work: Callable[..., Any], *args: Any) -> Any:
        """Write something in one transaction with what others write meanwhile."""
        written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._errands.append(((work, args), written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await asyncio.shield(written)

    async def _write(self) -> None:
        while self._errands:
            batch, self._errands = self._errands, []
            try:
                results = await self.ledger(Ledger.together, [work for work, _ in batch])
            except Exception as error:  # noqa: BLE001 - it is raised where it belongs
                for _, written in batch:
                    written.set_exception(error)
            else:
                for (_, written), result in zip(batch, results, strict=True):
                    written.set_result(result)

    async def claim(
        self, job: Job, before: Claim | None, after: Claim | dict[str, Any] | None
    ) -> Claim | None:
        """Compare and swap the claim in a job's record; the claim that stands there then, if any.

        `None` is no claim. `after` may be a failure, too: then nobody can claim the job any more.
        """
        claims = (json.dumps(claim or {}) for claim in (before, after))
        standing = await self._written(Ledger.claim, job["id"], job["run"], *claims)
        facts: Any = json.loads(standing)
        return facts if "nonce" in facts else None

    async def token_of(self, job: Job, nonce: str) -> str | None:
        """Find the token that was paid for with a claim, in the store or in the journals here."""
        for row in await self.ledger.rows(JOBS.c.id == job["id"], JOBS.c.run == job["run"]):
            if row.token is not None:
                return str(row.token)
        return await asyncio.to_thread(self.journal.token, nonce)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Mark what may be broken off at any time, because another worker can do it again."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - told to the type checker
        if self.draining:
            raise asyncio.CancelledError
        self.cancellable.add(task)
        try:
            yield
        finally:
            self.cancellable.discard(task)

    async def drain(self) -> None:
        """End all executions; what is being paid is seen through, however often cancelled."""
        self.draining, cancelled = True, None
        while self.executions:
            for task in self.cancellable:
                task.cancel()
            try:
                await asyncio.wait(set(self.executions), timeout=_DRAINING)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

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
    """Let the rentals in this process work there.

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


def the_desk() -> Desk:
    """Give the desk of this process."""
    assert _desk is not None  # noqa: S101 - no execution goes on without one
    return _desk


async def at_desk() -> Desk:
    """Wait for a desk: an application's DBOS may recover jobs before there is a worker.

    Raises:
        asyncio.CancelledError: none comes. Workers take the job back.
    """
    try:
        async with asyncio.timeout(_NOBODY_HERE):
            while _desk is None:  # noqa: ASYNC110 - an event would belong to one loop
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise asyncio.CancelledError from None
    return the_desk()


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
