"""A worker: takes jobs out of a store, runs their workflows, and takes over those of the dead."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field
from dbos import DBOS, SetWorkflowID

from ._budget import Budget, shared
from ._desk import Desk, Job, opened, workflow_id
from ._errors import AccessDeniedError, AuthenticationError, ConfigurationError, SMSPartnerError
from ._journal import Journal
from ._ledger import JOBS, SECOND, Ledger
from ._records import JobState
from ._rental import VERSION, rental

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    import sqlalchemy as sa


_log = logging.getLogger(__package__)

_NAME: Final = "smspartner"  # of DBOS's application: all workers of a store are one
# For DBOS's own short errands to the database. More of them get into each other's way: with 32 a
# job takes a quarter more CPU time.
_THREADS: Final = 8
_CHUNK: Final = 1000
_DRAINING: Final = 0.2  # seconds between two looks at what is still under way
_GATHERING: Final = 0.05  # seconds in which more slots may become free, for one transaction
_IDLE: Final = 1.0  # seconds between two looks at an empty queue


@define(eq=False, kw_only=True)
class Workplace(Desk):
    """Where the jobs of a store are worked on, for as long as its `async with` block runs."""

    ledger: Ledger
    folder: Path
    worker_id: str | None
    concurrency: int
    max_requests_per_minute: float | None
    take_over_after: float
    dbos: DBOS | None
    _at_the_end: AsyncExitStack = field(init=False)
    _freed: asyncio.Event = field(factory=asyncio.Event, init=False)
    _notes: list[tuple[dict[str, Any], asyncio.Future[bool]]] = field(factory=list, init=False)
    _writer: asyncio.Task[None] | None = field(default=None, init=False)
    _begun: set[tuple[str, int]] = field(factory=set, init=False)
    _silent: dict[str, int] = field(factory=dict, init=False)
    _searched: dict[str, int] = field(factory=dict, init=False)

    @property
    def id(self) -> str:
        """The worker's id."""
        return self.journal.worker_id

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
            self.journal = await asyncio.to_thread(Journal.open, self.folder, self.worker_id)
            stack.callback(self.journal.close)
            if self.max_requests_per_minute is not None:
                stack.enter_context(shared(self.client, Budget(self._reserve)))
            await self._see_the_key()
            await self.ledger(Ledger.beat, self.id, self.take_over_after)
            stack.push_async_callback(self.ledger, Ledger.leave, self.id)
            stack.enter_context(opened(self))
            if self.dbos is None:
                await stack.enter_async_context(self._own_dbos())
            stack.push_async_callback(_cancelled, asyncio.create_task(self._beat()))
            stack.push_async_callback(self._drain)
            if self.dbos is not None:
                await self._resume(self.id)
            stack.push_async_callback(_cancelled, asyncio.create_task(self._feed()))
            self._at_the_end = stack.pop_all()
        return self.journal

    async def __aexit__(self, *_: object) -> None:
        await self._at_the_end.aclose()

    async def _see_the_key(self) -> None:
        try:
            await self.client.credits()
        except (AuthenticationError, AccessDeniedError):
            raise  # it would fail every job that it takes
        except SMSPartnerError as error:
            _log.warning("the vendor cannot be reached now: %s", error)

    @asynccontextmanager
    async def _own_dbos(self) -> AsyncGenerator[None, None]:
        logging.getLogger("dbos").addHandler(logging.NullHandler())  # it would print otherwise
        DBOS(
            config={
                "name": _NAME,
                "system_database_url": self.ledger.url.render_as_string(hide_password=False),
                "application_version": VERSION,
                "executor_id": self.id,
                "max_executor_threads": _THREADS,
            }
        )
        if self.id != DBOS.executor_id:
            raise ConfigurationError("DBOS runs in this process already: pass it, as dbos=.")
        try:
            DBOS.launch()
            yield
        finally:
            try:
                await asyncio.to_thread(DBOS.destroy)
            finally:  # DBOS leaves the loop with an executor that takes no more work
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())

    async def _drain(self) -> None:
        """End all executions; what is being paid is seen through, however often cancelled."""
        self.draining, cancelled = True, None
        while self.executions:
            for task in self.idle:
                task.cancel()
            try:
                await asyncio.wait(set(self.executions), timeout=_DRAINING)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def note(
        self,
        job: Job,
        *,
        state: JobState,
        token: str | None = None,
        price: str | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Write down how far a job is, in one transaction with what others write meanwhile."""
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        note = {"job": job["id"], "in_run": job["run"], "by": self.id, "new_state": state.value}
        new = {"new_token": token, "new_price": price, "new_facts": facts and json.dumps(facts)}
        self._notes.append((note | new, kept))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        if not await asyncio.shield(kept):
            _log.error(
                "job %r was settled otherwise meanwhile: run %s of it ended as %s, with token %s",
                *(job["id"], job["run"], state.value, token),
            )

    async def claim(self, job: Job, nonce: str, *, give_back: bool = False) -> bool:
        """Claim a job in its row, or give the claim back; whether nobody else has one."""
        free, claimed = "{}", json.dumps({"claim": nonce})
        before, after = (claimed, free) if give_back else (free, claimed)
        return await self.ledger(Ledger.claim, job["id"], job["run"], before, after)

    async def token_of(self, job: Job, nonce: str) -> str | None:
        """Find the token in the job's record, or in the journals of this machine."""
        for row in await self.ledger.rows(JOBS.c.id == job["id"], JOBS.c.run == job["run"]):
            if row.token is not None:
                return str(row.token)
        return await asyncio.to_thread(self.journal.token, nonce)

    async def _write(self) -> None:
        while self._notes:
            batch, self._notes = self._notes, []
            try:
                kept = await self.ledger(Ledger.note, [note for note, _ in batch])
            except Exception as error:  # noqa: BLE001 - it is raised where it belongs
                for _, future in batch:
                    future.set_exception(error)
            else:
                for (_, future), was_kept in zip(batch, kept, strict=True):
                    future.set_result(was_kept)
            self._freed.set()

    async def _feed(self) -> None:
        while True:
            self._freed.clear()
            try:
                await self._start(await self.ledger(Ledger.feed, self.id, self.concurrency))
            except Exception:  # noqa: BLE001 - the next look may go well
                _log.exception("a look for jobs failed; it is taken again")
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE):
                    await self._freed.wait()
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

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.take_over_after / 4)
            try:
                known, silent = await self.ledger(Ledger.beat, self.id, self.take_over_after)
                if not known:
                    await self._let_go()
                for worker, seen in silent.items():
                    # Seen twice as silent, for after a pause of the database all look dead.
                    if seen == 0 or self._silent.get(worker) == seen:
                        await self._take_over(worker, seen)
                self._silent = silent
                await self._reconcile()
            except Exception:  # noqa: BLE001 - without beats, others take this worker for dead
                _log.exception("a look at the other workers failed; it is taken again")

    async def _take_over(self, dead: str, seen: int) -> None:
        if await self.ledger(Ledger.inherit, self.id, dead, seen):
            _log.warning("worker %s has ended; its jobs are taken over", dead)
            await self._resume(dead)
            await self.ledger(Ledger.bury, dead)

    async def _resume(self, worker: str) -> None:
        here = set(self.executions.values()) if worker == self.id else set()
        ids = sorted(await _pending(worker) - here)
        for start in range(0, len(ids), _CHUNK):
            await DBOS.resume_workflows_async(ids[start : start + _CHUNK])

    async def _let_go(self) -> None:
        """End what others have taken over, while this worker was thought dead."""
        idle = set(self.idle)
        still_mine = await _pending(self.id)  # what is begun meanwhile is not in it
        for task in idle & self.idle:
            if self.executions.get(task) not in still_mine:
                task.cancel()

    async def _reconcile(self) -> None:
        """Go on with jobs whose token has turned up after all."""
        for row in await self.ledger.rows(JOBS.c.state == JobState.NEEDS_ATTENTION.value):
            claim = json.loads(row.facts).get("attention", {})
            token = row.token
            if token is None and claim.get("worker") == self.id:
                size = self.journal.path.stat().st_size
                if self._searched.get(claim["nonce"]) != size:
                    self._searched[claim["nonce"]] = size
                    token = await asyncio.to_thread(self.journal.token, claim["nonce"])
            if token is not None:
                _log.warning("the token of job %r has turned up: %s", row.id, token)
                known = {"token": token, "price": row.price or claim.get("price"), "facts": "{}"}
                await self.ledger(Ledger.again, row.id, [JobState.NEEDS_ATTENTION], known)

    async def _reserve(self, wanted: int) -> list[float]:
        assert self.max_requests_per_minute is not None  # noqa: S101 - told to the type checker
        count, first, now = await self.ledger(Ledger.reserve, wanted, self.max_requests_per_minute)
        begin = asyncio.get_running_loop().time() + (first - now) / SECOND
        return [begin + number * 60 / self.max_requests_per_minute for number in range(count)]


async def _pending(worker: str) -> set[str]:
    """List the workflows that DBOS has running in a worker, dead or alive."""
    found = await DBOS.list_workflows_async(
        status="PENDING",
        executor_id=worker,
        name="smspartner.rental",
        load_input=False,
        load_output=False,
    )
    return {workflow.workflow_id for workflow in found}


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
