"""A worker: takes jobs out of a store, runs their workflows, and takes over those of the dead."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from dbos import DBOS, SetWorkflowID

from ._budget import Budget, shared
from ._desk import Desk, Job, opened, workflow_id
from ._errors import AccessDeniedError, AuthenticationError, ConfigurationError, SMSPartnerError
from ._journal import Journal
from ._ledger import JOBS, SECOND, Ledger
from ._records import JobState
from ._rental import VERSION, WORKFLOW, rental

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from ._client import SMSPartnerClient

_log = logging.getLogger(__package__)

# For DBOS's own short errands to the database. More of them get into each other's way: with 32 a
# job takes a quarter more CPU time.
_THREADS: Final = 8
_CHUNK: Final = 1000
_GATHERING: Final = 0.05  # seconds in which more slots may become free, for one transaction
_IDLE: Final = 1.0  # seconds between two looks at an empty queue


@define(eq=False, kw_only=True)
class Workplace:
    """Where the jobs of a store are worked on, for as long as its `async with` block runs."""

    client: SMSPartnerClient
    ledger: Ledger
    folder: Path
    worker_id: str | None
    concurrency: int
    max_requests_per_minute: float | None
    take_over_after: float
    dbos: DBOS | None
    _desk: Desk = field(init=False)
    _at_the_end: AsyncExitStack = field(init=False)
    _beat_at: int | None = field(default=None, init=False)
    _begun: set[tuple[str, int]] = field(factory=set, init=False)
    _silent: dict[str, int] = field(factory=dict, init=False)
    _adrift: set[tuple[str, str | None]] = field(factory=set, init=False)
    _searched: set[str] = field(factory=set, init=False)

    @property
    def id(self) -> str:
        """The worker's id."""
        return self._desk.journal.worker_id

    async def __aenter__(self) -> Journal:
        if self.dbos is not None:
            self.worker_id = DBOS.executor_id
            if self.worker_id == "local":
                raise ConfigurationError(
                    "Configure DBOS with an executor_id of its own for each process. 'local', its "
                    "default, is the same for all, and two processes would do one job."
                )
        async with AsyncExitStack() as stack:  # read from below: how it ends
            stack.callback(self.ledger.close)
            journal = await asyncio.to_thread(Journal.open, self.folder, self.worker_id)
            stack.callback(journal.close)
            self._desk = Desk(client=self.client, ledger=self.ledger, journal=journal)
            if self.max_requests_per_minute is not None:
                stack.enter_context(shared(self.client, Budget(self._reserve)))
            await self._see_the_key()
            await self._sign_in()
            stack.push_async_callback(self.ledger, Ledger.leave, self.id)
            stack.enter_context(opened(self._desk))
            if self.dbos is None:
                self._launch(stack)
            stack.push_async_callback(_cancelled, asyncio.create_task(self._beat()))
            stack.push_async_callback(self._desk.drain)
            stack.push_async_callback(_cancelled, asyncio.create_task(self._feed()))
            self._at_the_end = stack.pop_all()
        return journal

    async def __aexit__(self, *_: object) -> None:
        await self._at_the_end.aclose()

    async def _see_the_key(self) -> None:
        try:
            await self.client.credits()
        except (AuthenticationError, AccessDeniedError):
            raise  # it would fail every job that it takes
        except SMSPartnerError as error:
            _log.warning("the vendor cannot be reached now: %s", error)

    def _launch(self, stack: AsyncExitStack) -> None:
        """Run a DBOS of this worker's own until the end."""
        logging.getLogger("dbos").addHandler(logging.NullHandler())  # it would print otherwise
        DBOS(
            config={
                "name": "smspartner",  # all workers of a store are one application
                "system_database_url": self.ledger.url.render_as_string(hide_password=False),
                "application_version": VERSION,
                "executor_id": self.id,
                "max_executor_threads": _THREADS,
            }
        )
        if self.id != DBOS.executor_id:
            raise ConfigurationError("DBOS runs in this process already: pass it, as dbos=.")
        loop = asyncio.get_running_loop()  # DBOS leaves it with an executor that takes no more work
        stack.callback(lambda: loop.set_default_executor(ThreadPoolExecutor()))
        stack.push_async_callback(asyncio.to_thread, DBOS.destroy)
        DBOS.launch()

    async def _feed(self) -> None:
        while True:
            self._desk.freed.clear()
            try:
                taken = self.ledger(Ledger.feed, self.id, self._beat_at, self.concurrency)
                await self._start(await taken)
            except Exception:  # noqa: BLE001 - the next look may go well
                _log.exception("a look for jobs failed; it is taken again")
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE):
                    await self._desk.freed.wait()
                    await asyncio.sleep(_GATHERING)

    async def _start(self, rows: Sequence[sa.Row[Any]]) -> None:
        """Start the workflows of jobs, once; where there is one already, nothing happens."""

        async def start(row: sa.Row[Any]) -> None:
            job = Job(id=row.id, run=row.run, content=row.content, token=row.token, price=row.price)
            with SetWorkflowID(workflow_id(job)):
                await DBOS.start_workflow_async(rental, job)
            self._begun.add((row.id, row.run))

        self._begun &= {(row.id, row.run) for row in rows}
        new = [row for row in rows if (row.id, row.run) not in self._begun]
        await asyncio.gather(*map(start, new))

    async def _sign_in(self) -> None:
        """Begin to beat, if nobody else does under this id."""
        beat_at, seen = await self.ledger(Ledger.beat, self.id)
        patience = self.take_over_after / 3
        if seen.get(self.id, 0) > beat_at - patience * SECOND and not self.ledger.is_file:
            await asyncio.sleep(patience)  # a living one would beat meanwhile
            before, (beat_at, seen) = beat_at, await self.ledger(Ledger.beat, self.id)
            if seen.get(self.id) not in (before, before - 1):  # one less is what `bury` has written
                raise ConfigurationError(f"A worker with the id {self.id!r} is running already.")
        self._beat_at = beat_at

    async def _beat(self) -> None:
        for number in count(1):
            await asyncio.sleep(self.take_over_after / 4)
            try:
                beat_at, seen = await self.ledger(Ledger.beat, self.id)
                if seen.pop(self.id, None) != self._beat_at:
                    await self._let_go()
                self._beat_at = beat_at
                too_old = beat_at - self.take_over_after * SECOND
                silent = {worker: at for worker, at in seen.items() if at < too_old}
                for worker, at in silent.items():
                    # Only if it was as silent at the last look: after a pause of the database, all
                    # look dead. 0 is no silence: it has said that it ended.
                    if at == 0 or self._silent.get(worker) == at:
                        await self._take_over(worker, at)
                self._silent = silent
                if number % 4 == 0:
                    await self._sweep(seen.keys())
                await self._reconcile()
            except Exception:  # noqa: BLE001 - without beats, others take this worker for dead
                _log.exception("a look at the other workers failed; it is taken again")

    async def _take_over(self, dead: str, seen: int) -> None:
        taken_at = await self.ledger(Ledger.inherit, self.id, dead, seen)
        if taken_at is not None:
            _log.warning("worker %s has ended; its jobs are taken over", dead)
            await _resume(await _pending(dead))
            await self.ledger(Ledger.bury, dead, taken_at)

    async def _sweep(self, others: Collection[str]) -> None:
        """Resume the jobs that run for DBOS, but at no worker, in two looks one after the other.

        An application's DBOS hands jobs to processes without a worker, too.
        """
        held = (await _pending()).items()
        here = {*self._desk.executions.values()}
        adrift = {(job, at) for job, at in held if at not in others and job not in here}
        lost = adrift & self._adrift
        self._adrift = adrift - lost
        await _resume(job for job, _ in lost)

    async def _let_go(self) -> None:
        """End what others have taken over, while this worker was thought dead."""
        _log.warning("worker %s was thought dead; it lets go of what others have taken", self.id)
        desk = self._desk
        cancellable = set(desk.cancellable)
        still_mine = await _pending(self.id)  # what is begun meanwhile is not in it
        for task in cancellable & desk.cancellable:
            if desk.executions.get(task) not in still_mine:
                task.cancel()

    async def _reconcile(self) -> None:
        """Go on with jobs whose token has turned up after all."""
        for row in await self.ledger.rows(JOBS.c.state == JobState.NEEDS_ATTENTION.value):
            claim = json.loads(row.facts).get("attention", {})
            token, nonce = row.token, claim.get("nonce")
            # Searched once for each claim: a token that comes later is written into the row, too.
            if token is None and claim.get("worker") == self.id and nonce not in self._searched:
                self._searched.add(nonce)
                token = await asyncio.to_thread(self._desk.journal.token, nonce)
            if token is not None:
                _log.warning("the token of job %r has turned up: %s", row.id, token)
                known = {"token": token, "price": row.price or claim.get("price"), "facts": "{}"}
                await self.ledger(Ledger.again, row.id, [JobState.NEEDS_ATTENTION], known)

    async def _reserve(self, wanted: int) -> list[float]:
        assert self.max_requests_per_minute is not None  # noqa: S101 - told to the type checker
        size, first, now = await self.ledger(Ledger.reserve, wanted, self.max_requests_per_minute)
        begin = asyncio.get_running_loop().time() + (first - now) / SECOND
        return [begin + number * 60 / self.max_requests_per_minute for number in range(size)]


async def _pending(*workers: str) -> dict[str, str | None]:
    """List the workflows that DBOS has running, in some workers or anywhere, and who has them."""
    found = await DBOS.list_workflows_async(
        status="PENDING",
        executor_id=list(workers) or None,
        name=WORKFLOW,
        load_input=False,
        load_output=False,
    )
    return {workflow.workflow_id: workflow.executor_id for workflow in found}


async def _resume(workflows: Iterable[str]) -> None:
    """Let DBOS give workflows to whoever has time for them."""
    ids = sorted(workflows)
    for start in range(0, len(ids), _CHUNK):
        await DBOS.resume_workflows_async(ids[start : start + _CHUNK])


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
