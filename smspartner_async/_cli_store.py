"""`smspartner batch submit`, `status`, `resolve`, `resume` and `worker`: batches in a store."""

import asyncio
import logging
import shlex
from collections import Counter, defaultdict
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ._batch_doubts import known_in_results, known_in_store, place, tell_each
from ._cli_batch import (
    STORE,
    Concurrency,
    Jobs,
    PerMinute,
    Store,
    Suffix,
    batch_app,
    has_durable,
    sqlite_url,
)
from ._client import SMSPartnerClient
from ._display import Display
from ._display_results import money
from ._errors import SMSPartnerError
from ._interrupt import first_interrupt_only
from ._options import AsJson
from ._records import JobState
from ._results import NAME, Line, Results
from .batch import read_jobs

if TYPE_CHECKING:
    from ._records import JobRecord
    from .durable import Store as Opened

_LISTED: Final = 10

Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The folder of a batch that was run.")
]


def _url(store: str | None, out: Path | None) -> str | None:
    """Name the store that is meant; `None` is a batch without one, in the folder `out`."""
    if (store is None) == (out is None):
        raise typer.BadParameter("give either --store or --out.")
    if out is not None:
        if (out / STORE).exists():
            store = sqlite_url(out)
        elif not (out / NAME).exists():
            raise SMSPartnerError(f"No batch was run in {out}: there is no {NAME}.")
        elif kept := Results.look(out / NAME).store:
            raise SMSPartnerError(f"this batch is kept in {kept}: give that with --store.")
    _check_installed(store)
    return store


def _check_installed(store: str | None) -> None:
    if store is not None and not has_durable():
        raise SMSPartnerError("a store needs the extra: pip install 'smspartner_async[durable]'.")


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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Add jobs to a store, for `smspartner worker` to rent.

    Workers ask nobody: they rent what is submitted, up to the max_total of each row. Jobs that
    are in the store with the same content are left as they are; one with other content refuses
    all.
    """
    _check_installed(store)
    display = Display()
    todo = read_jobs(jobs, out, suffix=suffix)
    limits = [job.max_total for job in todo if job.max_total is not None]
    if not yes:
        if not display.can_ask:
            raise SMSPartnerError(
                "workers rent what is submitted, and there is no terminal to ask on. Nothing was "
                "submitted. Give --yes to submit without a question."
            )
        without = len(todo) - len(limits)
        display.facts(
            [
                ("Jobs", f"{len(todo):,}"),
                ("Price", f"at most {money(sum(limits, Decimal(0)))}")
                if not without
                else ("Price", f"NO LIMIT: {without:,} rows have no max_total"),
            ],
            beside=True,
        )
        if not display.ask("Have the workers rent them?"):
            display.note("Nothing was submitted.")
            raise typer.Exit(1)
    from .durable import Store as Opened  # noqa: PLC0415 - it takes a second

    async def work() -> int:
        async with Opened(store) as opened:
            return await opened.submit(todo)

    new = asyncio.run(work())
    there = len(todo) - new
    display.facts([("Jobs", f"{new:,} submitted" + (f", {there:,} were there" * (there > 0)))])


@batch_app.command(epilog="Example: smspartner batch status --out autumn", no_args_is_help=True)
def status(*, store: Store = None, out: Out = None, as_json: AsJson = False) -> None:
    """Tell how many jobs stand where, what was paid, and what needs attention."""
    url = _url(store, out)
    display = Display(as_json=as_json)
    if url is not None:
        stand = _stand_in_store(asyncio.run(_records(url)))
    else:
        assert out is not None  # noqa: S101 - told to the type checker
        stand = _stand_in_results(Results.look(out / NAME))
    if as_json:
        display.document(stand)
        return
    display.states(stand["states"], stand["paid"])
    for one in stand["failed"][:_LISTED]:
        display.job_failed(one["id"], SMSPartnerError(one["error"] or "nobody knows why."))
    if (more := len(stand["failed"]) - _LISTED) > 0:
        display.note(f"... and {more:,} more that failed")
    if stand["failed"] and url is not None:
        ids = [one["id"] for one in stand["failed"][:_LISTED]]
        display.note("When the cause is gone, they go on with:")
        display.note(f"  smspartner batch resume {shlex.join([*ids, *place(store, out)])}")
    if doubts := stand["needs_attention"]:
        display.say(f"{len(doubts):,} may have been paid for, and nobody knows:")
        known = [(one["id"], one["attention"]) for one in doubts]
        tell_each(display, known, place(store, out), beside=False)


def _there(url: str) -> "Opened":
    """Name a store that is there already."""
    from .durable import Store as Opened  # noqa: PLC0415 - it takes a second

    store = Opened(url)
    if store.url.get_backend_name() == "sqlite" and not Path(store.url.database or "").exists():
        raise SMSPartnerError(f"there is no store at {url}.")
    return store


async def _records(url: str) -> "tuple[JobRecord, ...]":
    async with _there(url) as opened:
        return await opened.records()


def _stand_in_store(records: "tuple[JobRecord, ...]") -> dict[str, Any]:
    return _stand(
        [
            {
                "id": record.id,
                "state": record.state.value,
                "token": record.token,
                "paid": (record.price or Decimal(0)) if record.token else Decimal(0),
                "error": record.error,
                **(
                    {"attention": known_in_store(record)}
                    if record.state is JobState.NEEDS_ATTENTION
                    else {}
                ),
            }
            for record in records
        ]
    )


def _stand_in_results(results: Results) -> dict[str, Any]:
    doubts = known_in_results(results)
    names = {Line.RENTING: "needs_attention", Line.UNKNOWN: "needs_attention", Line.PAID: "waiting"}
    return _stand(
        [
            {
                "id": job,
                "state": names.get(one.line, one.line.value),
                "token": one.token,
                "paid": (one.price or Decimal(0)) if one.token else Decimal(0),
                "error": one.error,
                **({"attention": doubts[job]} if job in doubts else {}),
            }
            for job, one in results.known.items()
        ]
    )


def _stand(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    paid: defaultdict[str, Decimal] = defaultdict(Decimal)
    for job in jobs:
        paid[job["state"]] += job["paid"]
    counts = Counter(job["state"] for job in jobs)
    return {
        "jobs": len(jobs),
        "states": {state: {"jobs": n, "paid": paid[state]} for state, n in counts.items()},
        "paid": sum(paid.values(), Decimal(0)),
        "failed": [job for job in jobs if job["state"] in {"failed", "not_rented"}],
        "needs_attention": [job for job in jobs if job["state"] == "needs_attention"],
    }


@batch_app.command(
    epilog="Example: smspartner batch resolve north --not-charged --out autumn",
    no_args_is_help=True,
)
def resolve(
    *,
    job: Annotated[str, typer.Argument(metavar="ID", help="The job, by its id.")],
    store: Store = None,
    out: Out = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="It was rented: this is its token.")
    ] = None,
    not_charged: Annotated[
        bool, typer.Option("--not-charged", help="It was not rented: it is RENTED ANEW.")
    ] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up", help="Leave it alone for good, whatever it was.")
    ] = False,
) -> None:
    """Settle a job whose rental may or may not have been charged.

    Look first whether the balance is lower, and whether the vendor's web interface shows a
    rental of that time.
    """
    if [token is not None, not_charged, give_up].count(True) != 1:
        raise typer.BadParameter("give exactly one of --token, --not-charged and --give-up.")
    if token is not None and not token.strip():
        raise typer.BadParameter("a token is not blank.")
    url = _url(store, out)
    if url is not None:
        asyncio.run(_settle(url, job, token=token, not_charged=not_charged, give_up=give_up))
        Display().note(f"{job} is settled.")
        return
    assert out is not None  # noqa: S101 - told to the type checker
    with Results(out / NAME) as results:
        known = results.of(job)
        if not known.is_unknown and not (give_up and known.is_paid):
            raise SMSPartnerError(_no_doubt(job, known.token, results))
        line = Line.GIVEN_UP if give_up else Line.NOT_RENTED if not_charged else Line.PAID
        results.add(line, job, token=token, by="hand")
    Display().note(f"{job} is settled.")


@batch_app.command(
    epilog="Example: smspartner batch resume north south --store sqlite:///rentals.db",
    no_args_is_help=True,
)
def resume(
    *,
    jobs: Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs, by their ids.")],
    store: Store = None,
    out: Out = None,
) -> None:
    """Let jobs of a store that failed go on.

    Each goes on from its token if it is paid for, or else from pricing. A batch without a store
    goes on when `batch run` is typed again.
    """
    url = _url(store, out)
    if url is None:
        raise SMSPartnerError("without a store, a batch goes on with the same `batch run` again.")
    if not asyncio.run(_resumed(url, jobs, Display())):
        raise typer.Exit(1)


async def _resumed(url: str, jobs: list[str], display: Display) -> bool:
    all_resumed = True
    async with _there(url) as opened:
        for job in jobs:
            try:
                await opened.resume(job)
            except (LookupError, ValueError) as error:
                display.job_failed(job, SMSPartnerError(error.args[0]))
                all_resumed = False
            else:
                display.note(f"{job} goes on with the next worker.")
    return all_resumed


async def _settle(url: str, job: str, **how: Any) -> None:
    async with _there(url) as opened:
        try:
            await opened.resolve(job, **how)
        except LookupError as error:
            raise SMSPartnerError(f"{error.args[0]} Nothing was changed.") from None


def _no_doubt(job: str, token: str | None, results: Results) -> str:
    if job not in results.known:
        return f"{results.path} tells nothing of a job {job!r}. Nothing was changed."
    fate = f"it is paid for, token {token}" if token else "it was not rented"
    return f"There is no doubt about {job!r}: {fate}. Nothing was changed."


def add_worker(app: typer.Typer) -> None:
    """Give the program the command `worker`."""
    app.command(
        epilog="Example: smspartner worker --store postgresql://rentals@db/rentals",
        no_args_is_help=True,
    )(worker)


def worker(
    *,
    ctx: typer.Context,
    store: Annotated[str, typer.Option(metavar="URL", help="sqlite:///FILE, or postgresql://…")],
    journal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="This machine's journals of tokens.")
    ] = None,
    worker_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The same after each restart.")
    ] = None,
    concurrency: Concurrency = 10,
    max_requests_per_minute: PerMinute = 360,
    take_over_after: Annotated[
        float, typer.Option(metavar="SECONDS", help="Silence after which a worker is dead.")
    ] = 30.0,
) -> None:
    """Rent, wait for and download the jobs of a store, until SIGTERM or Ctrl-C.

    Any number of workers share a store; concurrency and requests a minute are those of all of
    them together. Stopped, a worker sees through what is being paid or downloaded, and hands the
    rest over to the others.
    """
    _check_installed(store)
    display = Display()
    log = logging.getLogger(__package__)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    from .durable import Store as Opened  # noqa: PLC0415 - it takes a second

    async def work() -> None:
        async with SMSPartnerClient(base_url=ctx.obj) as client, Opened(store) as opened:
            with first_interrupt_only(display):
                async with opened.worker(
                    client,
                    journal=journal,
                    worker_id=worker_id,
                    concurrency=concurrency,
                    max_requests_per_minute=max_requests_per_minute,
                    take_over_after=take_over_after,
                ) as known:
                    display.note(f"Worker {known.id} is at work; its journal is {known.journal}.")
                    await asyncio.Event().wait()

    with suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(work())
    display.note("Stopped. Nothing is lost: the jobs go on with the next worker.")
