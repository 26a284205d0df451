"""`smspartner batch run`: many rentals from one file, gone on with after whatever stopped them.

Knows the command and its two ways: with a store (extra `durable`), and without. What a run does
stands in `_batch_run` and `_batch_store`, what it tells in `_batch_talk`.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from attrs import define, evolve, field

from ._batch_run import BatchRun, CountingClient, Offer, Plan, planned
from ._batch_talk import Wishes, account_of, agreed, tell_doubts, tell_how_to_go_on, tell_the_end
from ._display import Display
from ._display_batch import Tally
from ._errors import SMSPartnerError
from ._interrupt import INTERRUPTED, first_interrupt_only
from ._models import Credits
from ._options import AsJson, amount, typed_line
from ._polling import PollingPolicy
from ._rental_job import RentalJob
from ._results import NAME, Line, Results, order_of
from .batch import read_jobs

if TYPE_CHECKING:
    from ._records import JobRecord

_POLLING: Final = PollingPolicy()
_REPORT_EVERY: Final = 10.0
_LOOK_EVERY: Final = 0.5
STORE: Final = "batch.db"
"""The store of a batch, in its folder, where no other one is named."""

Jobs = Annotated[Path, typer.Argument(metavar="JOBS", help="A .csv file, or .jsonl.")]
Store = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="sqlite:///FILE, or postgresql://USER@HOST/NAME."),
]
Suffix = Annotated[
    str, typer.Option("--suffix", metavar="SUFFIX", help="The file of a job is DIR/<id>.SUFFIX.")
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, metavar="N", help="Rents at a time.")
]
PerMinute = Annotated[
    int, typer.Option("--max-requests-per-minute", min=1, metavar="N", help="Of all kinds.")
]

batch_app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Rent many targetings that a CSV or JSON Lines file lists."
)


@batch_app.command(
    epilog="Example: smspartner batch run jobs.csv --out autumn --max-total 500.00",
    no_args_is_help=True,
)
def run(
    *,
    ctx: typer.Context,
    jobs: Jobs,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of this batch.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: spend the money.")] = False,
    max_total: Annotated[
        Decimal | None,
        typer.Option(parser=amount, metavar="AMOUNT", help="Refuse all above this price of all."),
    ] = None,
    store: Store = None,
    suffix: Suffix = "csv",
    concurrency: Concurrency = 10,
    max_requests_per_minute: PerMinute = 360,
    timeout: Annotated[
        int,
        typer.Option(min=1, metavar="SECONDS", help="Without a store: wait no longer for a file."),
    ] = 3600,
    as_json: AsJson = False,
) -> None:
    """Price all jobs, ask once, then rent, wait for and download each of them.

    JOBS has the columns id, gender, min_age, max_age, interest, sub_interest, category,
    departments, zipcodes, volumes and max_total; several areas are parted by spaces, volumes are
    written 60200:20 06200:10. A bad row is named by its line and field before anything is sent.

    Whatever stops the command, type it again: what is paid for goes on to its file, and is never
    paid for again. DIR/results.jsonl tells what was rented, each token as soon as it is known.
    With the extra `durable` the jobs are kept in a store, by default DIR/batch.db.
    """
    display = Display(as_json=as_json)
    todo = read_jobs(jobs, out, suffix=suffix)
    client = CountingClient(
        base_url=ctx.obj,
        polling=evolve(_POLLING, timeout=timeout),
        max_requests_per_minute=max_requests_per_minute,
    )
    wishes = Wishes(
        concurrency=concurrency,
        max_requests_per_minute=max_requests_per_minute,
        max_total=max_total,
        yes=yes,
        store=store,
    )
    with Results(out / NAME) as results:
        url = _store(store, results, display)
        one = _Run(client, results, wishes, display)
        try:
            asyncio.run(one.without_store(todo) if url is None else one.in_store(url, todo))
        except (KeyboardInterrupt, asyncio.CancelledError):
            tell_how_to_go_on(display, one.plan, results, typed_line(ctx))
            raise typer.Exit(INTERRUPTED) from None
        one.tell_new_doubts()
        tell_the_end(display, one.plan, results, client.requests)
        if any(not results.of(job.id).is_settled for job in one.plan.jobs):
            raise typer.Exit(1)


def has_durable() -> bool:
    """Whether the extra `durable` is installed. It is not imported: that takes a second."""
    return find_spec("dbos") is not None


def sqlite_url(folder: Path) -> str:
    """Name the store in a batch's folder."""
    return f"sqlite:///{(folder / STORE).absolute()}"


def _store(given: str | None, results: Results, display: Display) -> str | None:
    """Choose the store of a run: the one that it was begun with, or none if without."""
    folder = results.path.parent
    if given is None and not (folder / STORE).exists():
        if results.store is not None:
            raise SMSPartnerError(
                f"this batch is kept in {results.store}: name it with --store. Nothing was sent."
            )
        if results.known:
            return None  # begun without a store, and gone on with so
        if not has_durable():
            display.note(
                "Without the extra 'durable' the jobs are kept in results.jsonl alone: if this "
                "is interrupted, type it again."
            )
            return None
    if not has_durable():
        raise SMSPartnerError(
            "a store needs the extra: pip install 'smspartner_async[durable]'. Nothing was sent."
        )
    return given or sqlite_url(folder)


@define(eq=False)
class _Run:
    """One run of a batch, with what it works with, and its plan once there is one."""

    client: CountingClient
    results: Results
    wishes: Wishes
    display: Display
    plan: Plan = field(factory=lambda: Plan((), (), (), ()))
    records: "dict[str, JobRecord]" = field(factory=dict)
    account: Credits | None = None

    async def without_store(self, jobs: Iterable[RentalJob]) -> None:
        self.plan = planned(jobs, self.results)
        if self._is_idle():
            return
        async with self.client:
            offer = await agreed(
                self.client, self.plan, self.results, self.wishes, display=self.display
            )
            async with self._shown(offer) as tally:
                if tally.jobs:
                    work = BatchRun(self.client, self.results, tally, self.display)
                    await work.work(self.plan, offer, self.wishes.concurrency)
            if any(self.results.of(job.id).is_unknown for job in offer.jobs):
                self.account = await account_of(self.client)

    async def in_store(self, url: str, jobs: Iterable[RentalJob]) -> None:
        from ._batch_store import Follower, planned_in_store  # noqa: PLC0415 - they take a second
        from .durable import JobState, Store  # noqa: PLC0415 - as above

        async with self.client, Store(url) as store:
            known = self.records = {record.id: record for record in await store.records()}
            plan = self.plan = planned_in_store(jobs, known, self.results)
            if not self._is_idle():
                name = str(store.url)  # without its password
                offer = await agreed(
                    *(self.client, plan, self.results, self.wishes),
                    display=self.display,
                    store=name,
                    records=known,
                )
                async with self._shown(offer) as tally:
                    await store.submit(job for job in offer.jobs if job.id not in known)
                    for job in offer.jobs:
                        self.results.add(Line.RENTING, job.id, order=order_of(job))
                    for job in (*plan.under_way, *offer.jobs):
                        if job.id in known and known[job.id].state is JobState.FAILED:
                            await store.resume(job.id)
                    ids = {job.id for job in (*plan.under_way, *offer.jobs)}
                    follower = Follower(self.results, tally, self.display, frozenset(ids))
                    worker = store.worker(
                        self.client,
                        concurrency=self.wishes.concurrency,
                        max_requests_per_minute=self.wishes.max_requests_per_minute,
                    )
                    try:
                        if tally.jobs:
                            async with worker:
                                async for record in store.watch(ids, interval=_LOOK_EVERY):
                                    follower.moved(record)
                    finally:
                        mine = {job.id for job in plan.jobs}
                        self.records = {record.id: record for record in await store.records()}
                        for record in self.records.values():
                            if record.id in mine:
                                follower.moved(record)

    def tell_new_doubts(self) -> None:
        """Tell of what came into doubt in this run."""
        old = {job.id for job in self.plan.in_doubt}
        unknown = [job for job in self.plan.jobs if self.results.of(job.id).is_unknown]
        plan = evolve(self.plan, in_doubt=tuple(job for job in unknown if job.id not in old))
        tell_doubts(
            *(self.display, plan, self.results, self.wishes),
            records=self.records,
            account=self.account,
        )

    def _is_idle(self) -> bool:
        plan = self.plan
        idle = not plan.to_rent and not plan.under_way and not plan.in_doubt
        if idle:
            self.display.note("There is nothing left to do, and nothing was sent.")
        return idle

    @asynccontextmanager
    async def _shown(self, offer: Offer) -> AsyncGenerator[Tally, None]:
        """Show how far it is for as long as the block runs, and let it end in order."""
        jobs = len(self.plan.under_way) + len(offer.jobs)
        agreed_to = None if self.plan.under_way else offer.total
        tally = Tally(jobs, agreed_to, lambda: self.client.requests)
        with first_interrupt_only(self.display):
            reporter = asyncio.create_task(self._report(tally))
            try:
                with self.display.live(tally):
                    yield tally
            finally:
                reporter.cancel()

    async def _report(self, tally: Tally) -> None:
        while tally.jobs and not self.display.is_live:
            await asyncio.sleep(_REPORT_EVERY)
            self.display.note(tally.line())
