"""A worker: takes jobs from a store, runs their workflows, takes over from dead workers."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy.exc import DBAPIError

from smspartner_async._completion import run_to_completion
from smspartner_async._errors import (
    AccessDeniedError,
    AuthenticationError,
    ConfigurationError,
    SMSPartnerError,
)
from smspartner_async._log import log
from smspartner_async.batch._job import preview

from ._context import WorkerContext, registered, unfinished
from ._database import agreements
from ._database.jobs import claim_job, requeue, take_jobs
from ._database.permits import reserve_permits
from ._database.tables import JOBS, SECOND, UNLIMITED
from ._database.urls import (
    connect_args,
    create_dbos_engine,
    describe_failure,
    dispose_dbos_engine,
)
from ._database.workers import remove_dead_worker, send_heartbeat, sign_off, take_over
from ._journal import Journal
from ._records import Job, JobState, StoreError, Worker, workflow_id
from ._shared_limit import SharedPermits
from ._workflow import VERSION, WORKFLOW, rental_workflow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from smspartner_async._client import SMSPartnerClient

    from ._database.database import JobDatabase

# DBOS's threads for short database calls. More of them contend: with 32, a job takes a quarter more
# CPU time.
_THREADS: Final = 8
# DBOS's listener, whose sleep its end waits for. It looks into a map in memory, which stays empty.
_LISTENING: Final = 0.1  # seconds
_CHUNK: Final = 1000  # workflows resumed by one statement
_GATHERING: Final = 0.05  # seconds: slots that become free together are filled together
_IDLE: Final = 1.0  # seconds between two reads of an empty queue


@define(eq=False, kw_only=True)
class WorkerRuntime:
    """Work on the jobs of a store for as long as the `async with` block runs."""

    client: SMSPartnerClient
    database: JobDatabase
    folder: Path
    beside_store: bool
    worker_id: str | None
    concurrency: int
    max_requests_per_minute: float | None
    take_over_after: float
    require_max_total: bool
    dbos: DBOS | None
    _block_task: asyncio.Task[Any] | None = field(default=None, init=False)
    _block_cancelled: bool = field(default=False, init=False)
    _context: WorkerContext = field(init=False)
    _exit_stack: AsyncExitStack = field(init=False)
    _heartbeat_at: int | None = field(default=None, init=False)
    _started: set[tuple[str, int]] = field(factory=set, init=False)
    _silent_since: dict[str, int] = field(factory=dict, init=False)
    _orphaned: set[tuple[str, str | None, int]] = field(factory=set, init=False)
    _searched: set[str] = field(factory=set, init=False)
    _left_in_queue: set[str] = field(factory=set, init=False)

    @property
    def id(self) -> str:
        """The worker's id."""
        return self._context.journal.worker_id

    async def __aenter__(self) -> Worker:
        if self.dbos is not None:
            self.worker_id = DBOS.executor_id
            if self.worker_id == "local":
                raise ConfigurationError(
                    "Configure DBOS with a different executor_id for each process. 'local', its "
                    "default, is the same for all, and two processes would do one job."
                )
        async with AsyncExitStack() as stack:  # read from below: how it ends
            stack.callback(self.database.close)
            try:
                journal = await asyncio.to_thread(Journal.open, self.folder, self.worker_id)
            except OSError as error:
                raise StoreError(
                    f"The journal in {self.folder} cannot be written: {error.strerror}. Nothing "
                    "was rented."
                ) from error
            stack.callback(journal.close)
            self._context = WorkerContext(
                client=self.client, database=self.database, journal=journal
            )
            if self.max_requests_per_minute is not None:
                limiter = self.client._pipeline.limiter  # noqa: SLF001 - every request passes it
                permits = SharedPermits(limiter, self._reserve)
                stack.enter_context(limiter.drawing_from(permits))
            await self._check_key()
            # What the journals here know, and the store has lost.
            read = partial(journal.open_claims, beside_store=self.beside_store)
            if lost := await self.database.run(agreements.adopt, read):
                log.error("journals name rents that the store does not know: %s", preview(lost))
            await self._register()
            stack.push_async_callback(self.database.run, sign_off, self.id)
            stack.enter_context(registered(self._context))
            if self.dbos is None:
                self._launch_dbos(stack)
            else:  # which has been launched, and recovers nothing that an earlier worker has left
                await _resume(unfinished & (await _pending(self.id)).keys())
            stack.push_async_callback(_cancel, asyncio.create_task(self._send_heartbeats()))
            stack.push_async_callback(self._context.account.close)
            stack.push_async_callback(self._context.executions.drain)
            stack.push_async_callback(_cancel, asyncio.create_task(self._take_jobs()))
            self._exit_stack = stack.pop_all()
        self._block_task, self.database.on_failure = asyncio.current_task(), self._cancel_block
        account = self._context.account
        return Worker(id=self.id, journal=journal.path, why_paused=lambda: account.paused)

    async def __aexit__(self, *_: object) -> None:
        self.database.on_failure = lambda: None
        try:
            await self._exit_stack.aclose()
        finally:
            task, cancelled = self._block_task, self._block_cancelled
            is_own = cancelled and task is not None and not task.uncancel()
            if self.database.failure is not None and (is_own or not cancelled):
                raise self.database.failure

    def _cancel_block(self) -> None:
        """Cancel the block, once: only a person can make the store writable again."""
        self.database.on_failure = lambda: None
        if self._block_task is not None:
            self._block_cancelled = self._block_task.cancel()

    async def _check_key(self) -> None:
        """Ask for the credits once: a wrong key would fail every job."""
        try:
            await self.client.credits()
        except (AuthenticationError, AccessDeniedError):
            raise
        except SMSPartnerError as error:
            log.warning("the vendor cannot be reached now: %s", error)

    def _launch_dbos(self, stack: AsyncExitStack) -> None:
        """Launch a DBOS of this worker's own, and end it with the stack."""
        logging.getLogger("dbos").addHandler(logging.NullHandler())  # else DBOS prints to stderr
        config: DBOSConfig = {
            "name": "smspartner",  # all workers of a store are one application
            "application_version": VERSION,
            "executor_id": self.id,
            "max_executor_threads": _THREADS,
            "notification_listener_polling_interval_sec": _LISTENING,
        }
        if (engine := create_dbos_engine(self.database.url)) is not None:
            config["system_database_engine"] = engine
            stack.callback(dispose_dbos_engine, engine)
        else:
            url = self.database.url
            config["system_database_url"] = url.render_as_string(hide_password=False)
            config["db_engine_kwargs"] = {"connect_args": connect_args(url)}
        try:
            DBOS(config=config)
        except Exception as error:
            raise StoreError(describe_failure(self.database.url, error)) from error
        if self.id != DBOS.executor_id:
            raise ConfigurationError("DBOS runs in this process already: pass it, as dbos=.")
        loop = asyncio.get_running_loop()  # DBOS leaves it an executor that is shut down
        stack.callback(lambda: loop.set_default_executor(ThreadPoolExecutor()))
        stack.push_async_callback(_destroy_dbos)
        try:
            DBOS.launch()
        except Exception as error:
            raise StoreError(describe_failure(self.database.url, error)) from error

    async def _take_jobs(self) -> None:
        while True:
            self._context.freed.clear()
            try:
                await self._context.account.wait_until_accepted()
                taken = await self.database.run(
                    take_jobs,
                    self.id,
                    self._heartbeat_at,
                    self.concurrency,
                    require_max_total=self.require_max_total,
                )
                await self._start(taken)
                if self.require_max_total:
                    await self._log_unlimited()
            except Exception as error:  # noqa: BLE001 - the next attempt may succeed
                log.exception("no jobs could be taken; trying again")
                if isinstance(error, DBAPIError):  # of DBOS's tables
                    self.database.fail(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE):
                    await self._context.freed.wait()
                    await asyncio.sleep(_GATHERING)

    async def _log_unlimited(self) -> None:
        """Log once each the jobs that are left in the queue, because they have no max_total."""
        queued = JOBS.c.state == JobState.QUEUED.value
        left = {row.id for row in await self.database.read_jobs(queued, UNLIMITED)}
        if new := sorted(left - self._left_in_queue):
            log.warning("left in the queue, without a max_total: %s", preview(new))
        self._left_in_queue = left

    async def _start(self, rows: Sequence[sa.Row[Any]]) -> None:
        """Start a workflow for each job, unless there is one already."""

        async def start(row: sa.Row[Any]) -> None:
            job = Job(id=row.id, run=row.run, content=row.content, token=row.token, price=row.price)
            with SetWorkflowID(workflow_id(job)):
                await DBOS.start_workflow_async(rental_workflow, job)
            self._started.add((row.id, row.run))

        self._started &= {(row.id, row.run) for row in rows}
        new = [row for row in rows if (row.id, row.run) not in self._started]
        await asyncio.gather(*map(start, new))

    async def _register(self) -> None:
        """Send the first heartbeat, unless a living worker has this id.

        A worker sends one every quarter of `take_over_after`, and may be late by as much again.

        Raises:
            ConfigurationError: there is one.
        """
        mine, seen = await self.database.run(send_heartbeat, self.id)
        silent_for = max(0, mine - seen.get(self.id, 0)) / SECOND
        while silent_for < self.take_over_after / 2 and not self.database.is_sqlite:
            await asyncio.sleep(step := self.take_over_after / 20)
            silent_for += step  # no clock is asked: whoever is slow waits longer
            before = mine
            mine, seen = await self.database.run(send_heartbeat, self.id)
            if seen.get(self.id) not in (before, before - 1):  # -1: from `remove_dead_worker`
                raise ConfigurationError(f"A worker with the id {self.id!r} is running already.")
        self._heartbeat_at = mine

    async def _send_heartbeats(self) -> None:
        for number in count(1):
            await asyncio.sleep(self.take_over_after / 4)
            try:
                heartbeat_at, seen = await self.database.run(send_heartbeat, self.id)
                if seen.pop(self.id, None) != self._heartbeat_at:
                    await self._release_lost_jobs()
                self._heartbeat_at = heartbeat_at
                too_old = heartbeat_at - self.take_over_after * SECOND
                silent = {worker: at for worker, at in seen.items() if at < too_old}
                for worker, at in silent.items():
                    # Only if it was as silent before the last heartbeat: after a pause of the
                    # database, all workers look dead. 0 is no silence: the worker has signed off.
                    if at == 0 or self._silent_since.get(worker) == at:
                        await self._take_over(worker, at)
                self._silent_since = silent
                if number % 4 == 0:
                    await self._requeue_orphans(seen.keys())
                await self._reconcile()
            except Exception:  # noqa: BLE001 - without heartbeats, it counts as dead
                log.exception("a heartbeat failed; the next one follows")

    async def _take_over(self, dead: str, seen: int) -> None:
        """Take over the jobs of a worker that was last seen then, unless another one does."""
        taken_at = await self.database.run(take_over, self.id, dead, seen)
        if taken_at is not None:
            log.warning("worker %s has ended; its jobs are taken over", dead)
            await _resume(await _pending(dead))
            await self.database.run(remove_dead_worker, dead, taken_at)

    async def _requeue_orphans(self, others: Collection[str]) -> None:
        """Resume the workflows that no worker executes, if they were orphaned the last time, too.

        DBOS counts them as pending: an application's DBOS gives workflows to processes without a
        worker, too. It begins those of this process one after another, which takes a minute for ten
        thousand: as long as any begins, none that is not known to have ended here is an orphan.
        """
        pending = (await _pending()).items()
        executions = self._context.executions
        here = {*executions.workflows.values()}
        orphaned = {
            (job, at, executions.begun if at == self.id and job not in unfinished else 0)
            for job, at in pending
            if at not in others and job not in here
        }
        lost = orphaned & self._orphaned
        self._orphaned = orphaned - lost
        await _resume(job for job, *_ in lost)

    async def _release_lost_jobs(self) -> None:
        """Cancel the executions of jobs that others have taken over from this worker."""
        log.warning("worker %s counted as dead; it releases the jobs that others took", self.id)
        executions = self._context.executions
        cancellable = set(executions.cancellable)
        still_mine = await _pending(self.id)  # without those started meanwhile
        for task in cancellable & executions.cancellable:
            if executions.workflows.get(task) not in still_mine:
                task.cancel()

    async def _reconcile(self) -> None:
        """Requeue jobs in doubt whose token is known by now; mark the claims that have ended.

        Marked is what this process sends nothing more for: then a person can settle it.
        """
        for row in await self.database.read_jobs(JOBS.c.state == JobState.NEEDS_ATTENTION.value):
            facts = json.loads(row.facts)
            claim = facts.get("attention", {})
            token = row.token or await self._token_in_journal(claim)
            if token is not None:
                log.warning("the token of job %r is known now: %s", row.id, token)
                known = {"token": token, "price": row.price or claim.get("price"), "facts": "{}"}
                await self.database.run(requeue, row.id, [JobState.NEEDS_ATTENTION], known)
            elif self._is_done_with(claim) and not claim.get("holder_done"):
                facts["attention"] = {**claim, "holder_done": True}
                after = json.dumps(facts)
                await self.database.run(claim_job, row.id, row.run, row.facts, after)
        for job, run, text in await self.database.run(agreements.open_runs):
            token = await self._token_in_journal(json.loads(text))
            if token is not None:
                log.error("job %r was settled, and its run %s is paid: token %s", job, run, token)
                late = Job(id=job, run=run, content="", token=None, price=None)
                await self._context.update_job(late, state=JobState.WAITING, token=token)

    async def _token_in_journal(self, claim: dict[str, Any]) -> str | None:
        """Return the token of a claim of this worker's, if its journal has it.

        Each claim that has ended is searched for once: a later token also goes to the database.
        """
        claim_id = claim.get("nonce")
        if claim.get("worker") != self.id or claim_id is None or claim_id in self._searched:
            return None
        token = await asyncio.to_thread(self._context.journal.token, claim_id)
        if token is not None or self._is_done_with(claim):
            self._searched.add(claim_id)
        return token

    def _is_done_with(self, claim: dict[str, Any]) -> bool:
        """Whether a claim is this worker's, and this process sends nothing more for it."""
        paying = self._context.executions.paying
        return claim.get("worker") == self.id and claim.get("nonce") not in paying

    async def _reserve(self, wanted: int) -> list[float]:
        """Reserve up to `wanted` permits. Return their times by the event loop's clock."""
        assert self.max_requests_per_minute is not None  # noqa: S101 - for the type checker
        loop, per_minute = asyncio.get_running_loop(), self.max_requests_per_minute
        if self.database.failure is not None:
            # Requests that wait have to end; no rent is sent without the store.
            return [loop.time()] * wanted
        size, first, now = await self.database.run(reserve_permits, wanted, per_minute)
        begin = loop.time() + (first - now) / SECOND
        return [begin + number * 60 / per_minute for number in range(size)]


async def _pending(*workers: str) -> dict[str, str | None]:
    """Return the pending workflows of some workers, or of all, with the worker of each."""
    found = await DBOS.list_workflows_async(
        status="PENDING",
        executor_id=list(workers) or None,
        name=WORKFLOW,
        load_input=False,
        load_output=False,
    )
    return {workflow.workflow_id: workflow.executor_id for workflow in found}


async def _resume(workflows: Iterable[str]) -> None:
    """Put workflows back into DBOS's queue, for any worker."""
    ids = sorted(workflows)
    for start in range(0, len(ids), _CHUNK):
        await DBOS.resume_workflows_async(ids[start : start + _CHUNK])


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


async def _destroy_dbos() -> None:
    # To its end, however often this is cancelled: what follows takes its threads and engine away.
    await run_to_completion(asyncio.to_thread(DBOS.destroy))
