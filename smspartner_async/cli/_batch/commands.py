"""The commands of `smspartner batch`, and the options that they share with `smspartner worker`.

What takes a second to import (DBOS) is imported where it is used.
"""

import asyncio
from contextlib import suppress
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smspartner_async._errors import SMSPartnerError
from smspartner_async.batch import read_jobs
from smspartner_async.batch._job import preview
from smspartner_async.cli._display import Display
from smspartner_async.cli._exit_codes import ExitCode
from smspartner_async.cli._formats import jobs_text, money
from smspartner_async.cli._interrupt import without_interrupts
from smspartner_async.cli._options import PAYING, AsJson, Yes, amount, rental_token, typed_line

from .folder import STORE, BatchFolderError, check_contents, locked, sqlite_url, with_journals

if TYPE_CHECKING:
    from smspartner_async.durable import JobRecord, Store

Jobs = Annotated[Path, typer.Argument(metavar="JOBS", help="A .csv file, or .jsonl.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The folder of a batch that was run.")
]
StoreUrl = Annotated[
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
NoLimit = Annotated[
    bool, typer.Option("--no-limit", help="Rent rows without a max_total at any price.")
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
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be rented and its price; rent none.")
    ] = False,
    max_total: Annotated[
        Decimal | None,
        typer.Option(parser=amount, metavar="AMOUNT", help="Refuse all above this price of all."),
    ] = None,
    suffix: Suffix = "csv",
    concurrency: Concurrency = 10,
    max_requests_per_minute: PerMinute = 360,
    moved: Annotated[
        bool, typer.Option("--moved", help="The folder was moved here, and is used here alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Price all jobs, ask once, then rent, wait for and download each of them.

    JOBS has the columns id, gender, min_age, max_age, interest, sub_interest, category,
    departments, zipcodes, volumes and max_total; several areas are parted by spaces, volumes are
    written 60200:20 06200:10. A bad row is named by its line and field before anything is sent.

    Whatever stops the command, type it again: what is paid for gets its file, and is never
    paid for again. DIR/batch.db knows what was rented; `batch status` shows it.
    """
    display = Display(as_json=as_json)
    check_installed()
    from . import prompts  # noqa: PLC0415 - it takes a second
    from .run import BatchRun  # noqa: PLC0415 - it takes a second

    options = prompts.RunOptions(
        base_url=ctx.obj,
        concurrency=concurrency,
        max_requests_per_minute=max_requests_per_minute,
        max_total=max_total,
        yes=yes,
        dry_run=dry_run,
        moved=moved,
    )
    ended = ExitCode.SUCCESS
    failed: Exception | None = None
    one = BatchRun(out, options, display)
    try:
        check_contents(out)  # first: what is paid is reported, whatever the list is
        one.jobs = read_jobs(jobs, out, suffix=suffix)
        if not Path(out, STORE).exists():  # a list may be emptied to rent nothing more
            _check_any(one.jobs, jobs)
        with locked(out):
            asyncio.run(one.work())
    except (KeyboardInterrupt, asyncio.CancelledError):
        ended = ExitCode.INTERRUPTED
    except typer.Exit:  # the answer was no
        ended = ExitCode.FAILED
    except BatchFolderError:
        raise
    except (SMSPartnerError, OSError, ValueError) as error:
        failed = error
    finally:
        ctx.meta[PAYING] = bool(one.priced.jobs)
    with without_interrupts():
        raise typer.Exit(one.show_end(ended, failed, typed_line(ctx)))


def _check_any(todo: tuple[object, ...], file: Path) -> None:
    if not todo:
        raise SMSPartnerError(
            f"{file.name} lists no jobs, so nothing was sent. Add a row for each rental."
        )


def check_installed() -> None:
    """Refuse what needs a store where there is none to be had. Imports nothing."""
    if find_spec("dbos") is None:
        raise SMSPartnerError(
            "a store of jobs needs the extra: pip install 'smspartner_async[durable]'. Nothing "
            "was sent."
        )


@batch_app.command(
    epilog="Example: smspartner batch submit jobs.csv --out /data --store sqlite:///rentals.db",
    no_args_is_help=True,
)
def submit(
    *,
    jobs: Jobs,
    store: Annotated[str, typer.Option(metavar="URL", help="sqlite:///FILE, or postgresql://…")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the workers put the files.")],
    suffix: Suffix = "csv",
    no_limit: NoLimit = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add jobs to a store, for `smspartner worker` to rent.

    Workers ask nobody: they rent what is submitted, up to the max_total of each row; a row without
    one is refused, unless --no-limit is given. Jobs that are in the store with the same content are
    left as they are; one with other content refuses all. DIR is made on this machine; a worker on
    another one needs it there, too.
    """
    check_installed()
    display = Display(as_json=as_json)
    todo = read_jobs(jobs, out, suffix=suffix)
    _check_any(todo, jobs)
    limits = [job.max_total for job in todo if job.max_total is not None]
    without = [job.id for job in todo if job.max_total is None]
    if without and not no_limit:
        raise SMSPartnerError(
            f"These rows have no max_total: {preview(without)}. Nothing was submitted. Workers ask "
            "nobody: give each row a max_total, or --no-limit to rent at any price."
        )
    if not yes:
        no = "Nothing was submitted."
        display.check_can_ask("workers rent what is submitted", no, "submit without a question")
        price = f"at most {money(sum(limits, Decimal(0)))}"
        if without:
            price = f"NO LIMIT: {len(without):,} rows have no max_total"
        display.facts([("Jobs", f"{len(todo):,}"), ("Price", price)], beside=True)
        display.ask("Have the workers rent them?", no=no)
    from smspartner_async.durable import Store  # noqa: PLC0415 - it takes a second

    out.mkdir(parents=True, exist_ok=True)

    async def work() -> int:
        async with Store(store) as opened:
            return await opened.submit(todo)

    new = asyncio.run(work())
    there = len(todo) - new
    if as_json:
        display.document({"submitted": new, "there": there})
        return
    display.facts([("Jobs", f"{new:,} submitted" + (f", {there:,} were there" * (there > 0)))])


@batch_app.command(epilog="Example: smspartner batch status --out autumn", no_args_is_help=True)
def status(
    *,
    store: StoreUrl = None,
    out: Out = None,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Write a CSV with a row for each job.")
    ] = False,
) -> None:
    """Show how many jobs stand where, what was paid, and what needs attention.

    What a run was renting when it was killed may have been paid for; this is said.
    """
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv.")
    url = url_of_store(store, out)
    from . import standing  # noqa: PLC0415 - it takes a second
    from .prompts import (  # noqa: PLC0415 - it takes a second
        place,
        show_each,
        show_how_to_resume,
        show_late_tokens,
    )

    display = Display(as_json=as_json)
    records = asyncio.run(_records(url, out, display))
    stand = standing.standing(records)
    if out is not None and (left := stand["states"].get("renting")):
        with suppress(BatchFolderError, OSError), locked(out):  # a run at work knows better
            display.note(
                f"{jobs_text(left['jobs'])} may have been paid for: the run was killed while it "
                "rented. Type its `batch run` again to find out; nothing is paid for twice."
            )
    if as_json:
        display.document(stand)
        return
    if as_csv:
        typer.echo(standing.as_csv(stand["records"]), nl=False)
        return
    display.states(stand["states"], stand)
    show_late_tokens(display, records, place(store, out))
    failed = [one["id"] for one in stand["failed"]]
    causes = [SMSPartnerError(one["error"] or "no cause is known.") for one in stand["failed"]]
    display.jobs_failed([*zip(failed, causes, strict=True)])
    show_how_to_resume(display, failed, place(store, out))
    if doubts := stand["needs_attention"]:
        display.say(f"{len(doubts):,} may have been paid for, and nobody knows:")
        known = [(one["id"], one["attention"]) for one in doubts]
        show_each(display, known, place(store, out), beside=False)


@batch_app.command(
    epilog="Example: smspartner batch resolve north --not-charged --out autumn",
    no_args_is_help=True,
)
def resolve(
    *,
    job: Annotated[str, typer.Argument(metavar="ID", help="The job, by its id.")],
    store: StoreUrl = None,
    out: Out = None,
    token: Annotated[
        str | None,
        typer.Option(parser=rental_token, metavar="TOKEN", help="It was rented; its token."),
    ] = None,
    not_charged: Annotated[
        bool, typer.Option("--not-charged", help="It was not rented: it is RENTED ANEW.")
    ] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Leave it, or its second payments, alone for good.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="The worker that was paying for it has ended for sure.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Settle a job whose rental may or may not have been charged.

    Look first whether the balance is lower, and whether the vendor's web interface shows a
    rental of that time.
    """
    if [token is not None, not_charged, give_up].count(True) != 1:
        raise typer.BadParameter("give exactly one of --token, --not-charged and --give-up.")
    if force and not not_charged:
        raise typer.BadParameter("--force goes with --not-charged alone.")
    how = {"token": token, "not_charged": not_charged, "give_up": give_up, "force": force}
    url = url_of_store(store, out)
    from .run import reporting_what_is_open  # noqa: PLC0415 - it takes a second

    display = Display(as_json=as_json)
    with reporting_what_is_open(out, display):
        asyncio.run(_resolve(url, job, **how))
    display.note(f"{job} is settled.")
    if as_json:
        display.document({"settled": job})


@batch_app.command(
    epilog="Example: smspartner batch resume north south --store sqlite:///rentals.db",
    no_args_is_help=True,
)
def resume(
    *,
    jobs: Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs, by their ids.")],
    store: StoreUrl = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Resume jobs of a store that failed.

    Each resumes from its token if it is paid for, or else from pricing.
    """
    display = Display(as_json=as_json)
    url = url_of_store(store, out)
    from .run import reporting_what_is_open  # noqa: PLC0415 - it takes a second

    with reporting_what_is_open(out, display):
        refused = asyncio.run(_resume(url, jobs, display))
    if as_json:
        resumed = [job for job in jobs if job not in refused]
        display.document({"resumed": resumed, "refused": refused})
    if refused:
        raise typer.Exit(1)


def url_of_store(store: str | None, out: Path | None) -> str:
    """Return the URL of the store that is meant, by itself or by the folder of a batch."""
    if (store is None) == (out is None):
        raise typer.BadParameter("give either --store or --out.")
    check_installed()
    if out is None:
        return str(store)
    check_contents(out)
    if not (out / STORE).exists():
        raise SMSPartnerError(f"No batch was run in {out}: there is no {STORE}.")
    return sqlite_url(out)


def existing_store(url: str) -> "Store":
    """Return a store that is there already."""
    from smspartner_async.durable import Store  # noqa: PLC0415 - it takes a second

    store = Store(url)
    if store.url.get_backend_name() == "sqlite" and not Path(store.url.database or "").exists():
        raise SMSPartnerError(f"there is no store at {url}.")
    return store


async def _records(url: str, out: Path | None, display: Display) -> "tuple[JobRecord, ...]":
    """Return all records; those of a batch, in the folder `out`, with its journals.

    Those of a SQLite file that cannot be written are read from a copy.
    """
    from .run import adopt_from_journals, records_in_copy  # noqa: PLC0415 - it takes a second

    store = existing_store(url)
    database = Path(store.url.database or "")
    try:
        async with store:
            if out is not None:
                await adopt_from_journals(store, database, display)
            return await store.records()
    except SMSPartnerError as error:
        try:
            records = await records_in_copy(database, display)
        except (SMSPartnerError, OSError):
            raise (error if out is None else with_journals(out, error)) from None
        if not records:
            raise
        display.note(f"{error} What follows is read from a copy.")
        return records


async def _resume(url: str, jobs: list[str], display: Display) -> dict[str, str]:
    """Resume jobs, and return why those that were refused were."""
    refused: dict[str, str] = {}
    async with existing_store(url) as opened:
        for job in jobs:
            try:
                await opened.resume(job)
            except (LookupError, ValueError) as error:
                display.failed(job, SMSPartnerError(error.args[0]))
                refused[job] = error.args[0]
            else:
                display.note(f"{job} resumes with the next worker, or `batch run`.")
    return refused


async def _resolve(url: str, job: str, **how: Any) -> None:
    async with existing_store(url) as opened:
        try:
            await opened.resolve(job, **how)
        except LookupError as error:
            raise SMSPartnerError(f"{error.args[0]} Nothing was changed.") from None
