"""One run of a batch: plan, price, ask, rent, and follow the store until nothing is open.

Rentals are made by a worker of the store in the batch's folder. What a person sees stands in
`prompts`, how far it is in `progress`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field
from sqlalchemy.exc import DBAPIError

from smspartner_async._client import SMSPartnerClient
from smspartner_async._errors import RentOutcomeUnknownError, SMSPartnerError
from smspartner_async._log import shown_by
from smspartner_async._policies import PollingPolicy
from smspartner_async.batch._job import preview
from smspartner_async.cli._exit_codes import ExitCode, exit_code_of, gravest
from smspartner_async.cli._formats import LISTED
from smspartner_async.cli._interrupt import first_interrupt_only
from smspartner_async.durable import JobState, Store, StoreError
from smspartner_async.durable._claims import claims_in
from smspartner_async.durable._database.agreements import adopt, agree, move, withdraw_all
from smspartner_async.durable._records import dump_job

from . import prompts
from .folder import (
    STORE,
    check_own_names,
    copy_store,
    is_moved,
    settle_in,
    sqlite_url,
    with_journals,
)
from .plan import Plan, PricedBatch, make_plan, with_known_ids
from .progress import Progress, RepeatedTrouble
from .standing import exit_code

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any

    from smspartner_async._http.rate_limiter import RateLimiter
    from smspartner_async.batch._job import RentalJob
    from smspartner_async.cli._display import Display
    from smspartner_async.durable import JobRecord

    from .prompts import RunOptions

_POLLING: Final = PollingPolicy()
_REPORT_EVERY: Final = 60.0  # seconds, where no table can move
_POLL_EVERY: Final = 0.5
_LEAST_SPACE: Final = 8 * 2**20  # bytes


async def records_in_copy(database: Path, display: Display) -> tuple[JobRecord, ...]:
    """Return the records of a store that cannot be written, with what its journals know."""
    with TemporaryDirectory() as temporary:
        if not copy_store(database, Path(temporary)):
            return ()
        async with Store(sqlite_url(Path(temporary))) as store:
            await adopt_from_journals(store, database, display)
            return await store.records()


@contextmanager
def reporting_what_is_open(out: Path | None, display: Display) -> Generator[None, None, None]:
    """Let the error of a batch's folder that cannot be used say what is paid or in doubt in it."""
    try:
        yield
    except (StoreError, OSError) as error:
        if out is None:
            raise
        try:
            known = {one.id: one for one in asyncio.run(records_in_copy(out / STORE, display))}
        except (SMSPartnerError, OSError):
            raise with_journals(out, error) from None
        for note in prompts.open_notes(out, known):
            error.add_note(note)
        vars(error)["exit_code"] = exit_code((), known)
        raise


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a warning says what neither a job's record nor the run's error shows."""
    errors = [*(record.args if isinstance(record.args, tuple) else ())]
    errors += (record.exc_info or ())[1:2]
    errors += [getattr(error, "__cause__", None) for error in errors]
    shown = RentOutcomeUnknownError | StoreError | DBAPIError
    is_shown = any(isinstance(error, shown) for error in errors)
    return not (is_shown or str(record.msg).startswith("job "))


async def adopt_from_journals(store: Store, database: Path, display: Display) -> None:
    """Record what the journals beside a store know of its jobs, and it does not: an older copy."""
    read = partial(claims_in, Path(f"{database}.journal"), beside_store=True)
    if lost := await store._database.run(adopt, read):  # noqa: SLF001 - its workers' transaction
        display.note(
            f"The journal names rents that the store, perhaps an older copy, does not know: "
            f"{preview(lost)}. None is rented again."
        )


@define(eq=False)
class BatchRun:
    """A run of the batch in a folder.

    Attributes:
        jobs: the list of this run: nothing else is rented.
        plan: what earlier runs left to do; empty before it is known.
        priced: what was agreed to.
        records: what the store knows, as last read: at the end, how everything stands.
    """

    folder: Path
    options: RunOptions
    display: Display
    jobs: tuple[RentalJob, ...] = field(default=(), init=False)
    client: SMSPartnerClient = field(init=False)
    plan: Plan = field(factory=Plan, init=False)
    priced: PricedBatch = field(factory=PricedBatch, init=False)
    records: dict[str, JobRecord] = field(factory=dict, init=False)
    _failures: int = field(default=0, init=False)
    _no_space: OSError | None = field(default=None, init=False)
    _limiter: RateLimiter | None = field(default=None, init=False)

    @property
    def requests(self) -> int:
        """How many requests were sent so far, repeated ones included."""
        return 0 if self._limiter is None else self._limiter.sent

    async def work(self) -> None:
        """Do all there is to do. A job's failure is in its record, and not raised.

        Raises:
            SMSPartnerError: the batch cannot be run as it is, or costs too much.
            CancelledError: after the rents in flight were answered and written down.
        """
        check_own_names(self.folder, self.jobs)
        self.client = SMSPartnerClient(
            base_url=self.options.base_url,
            polling=_POLLING,
            max_requests_per_minute=self.options.max_requests_per_minute,
        )
        self._limiter = self.client._pipeline.limiter  # noqa: SLF001 - every request passes it
        async with self.client:
            if self.options.dry_run and not (self.folder / STORE).exists():
                await self._agree()
                return
            async with Store(sqlite_url(self.folder)) as store:
                await self._read(store)
                self._check_space()
                if not self.options.dry_run:
                    # What an earlier run agreed to, and a kill kept from being taken back.
                    await self._do(store, withdraw_all)
                await adopt_from_journals(store, self.folder / STORE, self.display)
                await self._read(store)
                await self._agree(store)
                if self.options.dry_run:
                    return
                if self.priced.jobs:
                    settle_in(self.folder)
                if self.priced.jobs or self.plan.under_way:
                    with first_interrupt_only(self.display):
                        await self._rent(store)

    async def _agree(self, store: Store | None = None) -> None:
        """Find out what is left to do, and what may be spent on it."""
        self.jobs = with_known_ids(self.jobs, self.records.values())
        self.plan = make_plan(self.jobs, self.records)
        self._show_cleaned()
        await self._check_place(store)
        if self.plan.is_idle():
            self.display.note("There is nothing left to do, and nothing was sent.")
            return
        self._show_doubts(self.plan.in_doubt)
        self.priced = await prompts.price_and_ask(
            self.client, self.plan, self.options, self.display
        )

    def _show_cleaned(self) -> None:
        """Say which rows are not compared with what was paid under their ids: it was removed."""
        rows = (self.records.get(job.id) for job in self.jobs)
        if cleaned := [one.id for one in rows if one and one.cleaned and one.token]:
            self.display.note(
                f"Paid and cleaned before, and not rented again: {preview(cleaned)}. Whether the "
                "list still asks for the same cannot be known; what is new needs a new id."
            )

    async def _check_place(self, store: Store | None) -> None:
        """Rent nothing in a folder that may have a twin elsewhere, until a person has said so.

        What is paid already still gets its file, in this folder.
        """
        files = {record.id: record.job.path for record in self.records.values()}
        if not is_moved(self.folder, files.values()):
            return
        if self.plan.to_rent and not self.options.moved:
            raise SMSPartnerError(
                f"{self.folder} was moved or copied since this batch was last run. If it runs "
                "in two places, rows are paid twice. Nothing was sent. If this is the only place "
                "from now on, give --moved."
            )
        here = self.folder.absolute()
        moved = {
            id: evolve(self.records[id].job, path=here / path.name)
            for id, path in files.items()  # noqa: A001 - the field
            if path.parent.resolve() != here.resolve()
        }
        if store is not None and moved and not self.options.dry_run:
            await self._do(store, move, {job.id: dump_job(job) for job in moved.values()})
            await self._read(store)
            self.plan = make_plan(self.jobs, self.records)

    async def _rent(self, store: Store) -> None:
        """Queue what was agreed to, and follow all open jobs to their ends.

        However it ends, what no worker has claimed by then is taken back: no agreement outlives
        its run.
        """
        open_ids = {job.id for job in self.priced.jobs}
        open_ids |= {record.id for record in self.plan.under_way}
        progress = Progress(
            len(open_ids),
            None if self.plan.under_way else self.priced.total,
            lambda: self.requests,
            {record.id for record in self.plan.under_way if record.token},
        )
        guard = asyncio.create_task(self._guard_space(asyncio.current_task()))
        try:
            await self._do(store, agree, {job.id: dump_job(job) for job in self.priced.jobs})
            for record in self.plan.under_way:
                if record.state is JobState.FAILED:
                    await store.resume(record.id)
            worker = store.worker(
                self.client,
                concurrency=self.options.concurrency,
                max_requests_per_minute=self.options.max_requests_per_minute,
            )
            with self._shown(progress), self._warnings_shown():
                async with worker:
                    async for record in store.watch(open_ids, interval=_POLL_EVERY):
                        progress.update(record)
                        self._show_failure(record)
        except asyncio.CancelledError:
            if self._no_space is not None:
                raise self._no_space from None
            raise
        finally:
            guard.cancel()
            try:
                await self._do(store, withdraw_all)
            finally:
                await self._read(store)

    def _check_space(self) -> None:
        """Refuse a disk that could not take what is paid: tokens, records and files."""
        if shutil.disk_usage(self.folder).free < _LEAST_SPACE:
            raise OSError(
                errno.ENOSPC,
                "The disk is nearly full, and nothing more is rented; make room, and type it again",
                str(self.folder),
            )

    async def _guard_space(self, run: asyncio.Task[Any] | None) -> None:
        """End the run in order while the disk can still take what it has paid for."""
        while run is not None:
            await asyncio.sleep(_POLL_EVERY)
            try:
                self._check_space()
            except OSError as error:
                self._no_space = error
                run.cancel()
                return

    async def _do(self, store: Store, work: Callable[..., Any], *args: Any) -> None:
        """Do one piece of work of the store in one transaction."""
        await store._database.run(work, *args)  # noqa: SLF001 - its workers' transactions

    def _read_copy(self, error: Exception | None) -> Exception | None:
        """Read the records, where none are known, from a copy: the store's disk may be full.

        Returns the error of the run, if there is one; where a copy is as unreadable, one that says
        what journals know.
        """
        if self.records:
            return error
        try:
            records = asyncio.run(records_in_copy(self.folder / STORE, self.display))
        except (SMSPartnerError, OSError) as unreadable:
            return with_journals(self.folder, error or unreadable)
        self.records = {record.id: record for record in records}
        return error

    async def _read(self, store: Store) -> None:
        self.records = {record.id: record for record in await store.records()}

    def _show_failure(self, record: JobRecord) -> None:
        if record.state is JobState.NEEDS_ATTENTION:
            self.display.note(f"{record.id}: may have been paid for, and is left alone.")
        elif record.state is JobState.FAILED and record.error:
            self._failures += 1
            if self._failures <= LISTED:
                self.display.failed(record.id, SMSPartnerError(record.error))
            elif self._failures == LISTED + 1:
                self.display.note("What else fails is shown by `smspartner batch status` alone.")

    def show_end(self, ended: ExitCode, failed: Exception | None, line: str) -> ExitCode:
        """Show how the run has ended and how the batch stands. Return the exit code.

        `line` is what continues it. That nobody can see all this changes nothing of the money.
        """
        if ended is not ExitCode.SUCCESS or failed is not None:
            failed = self._read_copy(failed)
        if failed is not None:
            ended = gravest(ended, exit_code_of(failed))
        code = gravest(ended, self.exit_code())
        try:
            self._show_end(failed, code, line if ended is ExitCode.INTERRUPTED else None)
        except OSError as error:  # the terminal is closed, or the disk of a log is full
            code = gravest(code, ExitCode.FAILED)
            with suppress(OSError):
                self.display.failed("Error", error)
        return code

    def _show_end(self, failed: Exception | None, code: ExitCode, line: str | None) -> None:
        if line is not None:
            prompts.show_interrupted(self.display, self.records, line)
        if failed is not None:
            self.display.error(failed, code)
        self._show_new_doubts()
        store = self.folder / STORE
        prompts.show_lost(self.display, self.records, store)
        prompts.show_late_tokens(self.display, self.records.values(), ("--out", str(self.folder)))
        if failed is not None and (self.display.as_json or not self.records):
            pass  # the error says it all
        elif self.options.dry_run:
            for note in prompts.open_notes(self.folder, self.records):
                self.display.note(note)
            prompts.show_dry_run(self.display, self.priced)
        else:
            sent = self.requests
            prompts.show_end(self.display, self.jobs, self.records, requests=sent, store=str(store))

    def exit_code(self) -> ExitCode:
        """Return the gravest of what the run leaves behind, as far as it has read the store."""
        if not self.options.dry_run:
            return exit_code(self.jobs, self.records)
        refused = ExitCode.FAILED if self.priced.refused else ExitCode.SUCCESS
        return gravest(refused, exit_code((), self.records))

    def _show_new_doubts(self) -> None:
        """Show what came into doubt in this run, and how to settle it."""
        old = {record.id for record in self.plan.in_doubt}
        doubts = [one for one in self.records.values() if one.state is JobState.NEEDS_ATTENTION]
        self._show_doubts([one for one in doubts if one.id not in old])

    def _show_doubts(self, doubts: Sequence[JobRecord]) -> None:
        prompts.show_doubts(self.display, doubts, ("--out", str(self.folder)))

    def _warnings_shown(self) -> AbstractContextManager[None]:
        """Show what the worker warns of, such as a pause of renting; jobs are shown by records."""
        handler = logging.Handler()
        handler.addFilter(_is_news)
        handler.addFilter(RepeatedTrouble())
        handler.emit = lambda record: self.display.note(record.getMessage())  # type: ignore[method-assign]
        return shown_by(handler, logging.WARNING)

    @contextmanager
    def _shown(self, progress: Progress) -> Generator[None, None, None]:
        """Show the progress for as long as the block runs."""
        reporter = asyncio.create_task(self._report(progress))
        try:
            with self.display.live(progress):
                yield
        finally:
            reporter.cancel()

    async def _report(self, progress: Progress) -> None:
        while not self.display.is_live:
            await asyncio.sleep(_REPORT_EVERY)
            self.display.note(progress.line())
