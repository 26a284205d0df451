"""`smspartner batch`: many rentals from one file, gone on with after whatever stopped them.

Knows the commands, and what they ask and tell; what a run does stands in `_batch_run`, and how it
looks in `_display_batch`.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from attrs import evolve, frozen

from ._batch_run import BatchRun, CountingClient, Offer, planned, priced, summary
from ._display import Display
from ._display_batch import Tally
from ._display_results import money
from ._errors import AuthenticationError, PriceExceededError, SMSPartnerError
from ._interrupt import INTERRUPTED, first_interrupt_only
from ._options import AsJson, amount, typed_line
from ._polling import PollingPolicy
from ._results import NAME, Line, Results
from .batch import read_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ._batch_run import Plan
    from ._models import Credits

_POLLING: Final = PollingPolicy()
_REPORT_EVERY: Final = 10.0
_LISTED: Final = 10

batch_app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Rent many targetings that a CSV or JSON Lines file lists."
)

Jobs = Annotated[Path, typer.Argument(metavar="JOBS", help="A .csv file, or .jsonl.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of this batch.")]


@frozen(kw_only=True)
class _Wishes:
    """What `batch run` was asked for."""

    concurrency: int
    max_total: Decimal | None
    yes: bool


@batch_app.command(
    epilog="Example: smspartner batch run jobs.csv --out autumn --max-total 500.00",
    no_args_is_help=True,
)
def run(
    *,
    ctx: typer.Context,
    jobs: Jobs,
    out: Out,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: spend the money.")] = False,
    max_total: Annotated[
        Decimal | None,
        typer.Option(parser=amount, metavar="AMOUNT", help="Refuse all above this price of all."),
    ] = None,
    suffix: Annotated[
        str, typer.Option(metavar="SUFFIX", help="The file of a job is DIR/<id>.SUFFIX.")
    ] = "csv",
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rents, or downloads, at a time.")
    ] = 10,
    max_requests_per_minute: Annotated[
        int, typer.Option(min=1, metavar="N", help="To the vendor, of all kinds.")
    ] = 360,
    timeout: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="Give up waiting for a file after.")
    ] = 3600,
    as_json: AsJson = False,
) -> None:
    """Price all jobs, ask once, then rent, wait for and download each of them.

    JOBS has the columns id, gender, min_age, max_age, interest, sub_interest, category,
    departments, zipcodes, volumes and max_total; several areas are parted by spaces, volumes are
    written 60200:20 06200:10. A bad row is named by its line and field before anything is sent.

    DIR/results.jsonl tells what was rented, each token as soon as it is known. Whatever stops the
    command, type it again: what is paid for goes on to its file, and is never paid for again.
    """
    display = Display(as_json=as_json)
    wishes = _Wishes(concurrency=concurrency, max_total=max_total, yes=yes)
    todo = read_jobs(jobs, out, suffix=suffix)
    with Results(out / NAME) as results:
        plan = planned(todo, results)
        client = CountingClient(
            base_url=ctx.obj,
            polling=evolve(_POLLING, timeout=timeout),
            max_requests_per_minute=max_requests_per_minute,
        )
        try:
            asyncio.run(_run(client, plan, results, wishes, display))
        except (KeyboardInterrupt, asyncio.CancelledError):
            _tell_how_to_go_on(display, plan, results, typed_line(ctx))
            raise typer.Exit(INTERRUPTED) from None
        _tell_the_end(display, plan, results, client.requests)
        if any(not results.of(job.id).is_settled for job in plan.jobs):
            raise typer.Exit(1)


async def _run(
    client: CountingClient, plan: Plan, results: Results, wishes: _Wishes, display: Display
) -> None:
    if not plan.to_rent and not plan.to_fetch and not plan.in_doubt:
        display.note("There is nothing left to do, and nothing was sent.")
        return
    async with client:
        if plan.to_rent and not wishes.yes and not display.can_ask:
            raise SMSPartnerError(
                "renting costs money, and there is no terminal to ask on. Nothing was rented. "
                "Give --yes to rent without a question, and --max-total to limit the price."
            )
        account = await _account(client)
        results.add(Line.BEGUN, balance=account and account.balance)
        _tell_doubts(display, plan, results, account)
        offer = Offer((), (), Decimal(0), 0)
        if plan.to_rent:
            with display.counting("Pricing", len(plan.to_rent)) as one_more:
                offer = await priced(client, plan.to_rent, wishes.concurrency, one_more)
            _agree(display, plan, offer, wishes, account)
        for job, error in offer.refused:
            results.add(Line.NOT_RENTED, job.id, error=type(error).__name__, message=str(error))
        tally = Tally(len(plan.to_fetch) + len(offer.jobs), offer.total, lambda: client.requests)
        if not tally.jobs:
            return
        with first_interrupt_only(display), display.live(tally):
            reporter = asyncio.create_task(_report(display, tally))
            try:
                await BatchRun(client, results, tally, display).work(
                    plan, offer, wishes.concurrency
                )
            finally:
                reporter.cancel()


async def _account(client: CountingClient) -> Credits | None:
    """Look at the balance, which tells later whether something was charged that nobody knows of."""
    try:
        return await client.credits()
    except AuthenticationError:
        raise
    except SMSPartnerError:
        return None


async def _report(display: Display, tally: Tally) -> None:
    while not display.is_live:
        await asyncio.sleep(_REPORT_EVERY)
        display.note(tally.line())


def _agree(
    display: Display, plan: Plan, offer: Offer, wishes: _Wishes, account: Credits | None
) -> None:
    """Show what all costs, and ask for it, once."""
    display.facts(_offer_facts(plan, offer, account), beside=True)
    for job, error in offer.refused[:_LISTED]:
        display.job_failed(job.id, error)
    if len(offer.refused) > _LISTED:
        display.note(f"... and {len(offer.refused) - _LISTED:,} more")
    if not offer.jobs:
        return
    limit, total = wishes.max_total, offer.total
    if limit is not None and (total is None or total > limit):
        raise (
            PriceExceededError(quote=None, max_total=limit)
            if total is None
            else SMSPartnerError(
                f"All jobs together cost {money(total)}; the limit is {money(limit)}. Nothing was "
                "rented or charged. Raise --max-total, or take jobs out."
            )
        )
    if wishes.yes:
        return
    what = f"Rent {len(offer.jobs):,} job{'s' * (len(offer.jobs) != 1)}"
    try:
        agreed = display.ask(
            f"The vendor gave no price for some. {what} all the same?"
            if total is None
            else f"{what} for {money(total)}?"
        )
    except KeyboardInterrupt:
        display.note(" Nothing was rented.")  # behind the ^C
        raise
    if not agreed:
        display.note("Nothing was rented.")
        raise typer.Exit(1)


def _offer_facts(plan: Plan, offer: Offer, account: Credits | None) -> Iterator[tuple[str, str]]:
    jobs = f"{len(offer.jobs):,} to rent"
    if offer.refused:
        jobs += f", {len(offer.refused):,} that cannot be rented"
    if plan.to_fetch:
        jobs += f", {len(plan.to_fetch):,} paid for already"
    yield "Jobs", jobs
    yield "Contacts", f"{offer.contacts:,}"
    yield "Price", "not given for all" if offer.total is None else money(offer.total)
    if account is not None:
        short = offer.total is not None and offer.total > account.balance
        yield (
            "Balance",
            money(account.balance, account.currency) + (": NOT ENOUGH for all" if short else ""),
        )


def _tell_doubts(display: Display, plan: Plan, results: Results, account: Credits | None) -> None:
    """Tell of jobs that may be paid for, and how to settle them. They are left alone until then."""
    if not plan.in_doubt:
        return
    display.note(
        f"{len(plan.in_doubt):,} of the jobs may have been paid for, and nobody knows: an earlier "
        "run was stopped, or lost the answer, while it rented. They are left alone:"
    )
    for job in plan.in_doubt[:_LISTED]:
        known = results.of(job.id)
        price = "" if known.price is None else f", {money(known.price)}"
        display.note(f"  {job.id}{price}, at {known.at}")
    if account is not None and results.balance is not None:
        paid = summary(plan, results)["paid"]
        gone = results.balance - account.balance - paid
        display.note(
            f"The balance was {money(results.balance)} when the batch began, and is "
            f"{money(account.balance)} now; known as paid are {money(paid)}. So "
            + (
                "nothing else was charged, if this batch alone uses the account."
                if gone == 0
                else f"{money(gone)} more is gone, to these jobs or to others of the account."
            )
        )
    one = shlex.join(["smspartner", "batch", "resolve", plan.in_doubt[0].id])
    out = shlex.join(["--out", str(results.path.parent)])
    display.note("Look into the vendor's web interface, then settle each of them with one of:")
    for word in ("--not-charged", "--token TOKEN", "--give-up"):
        display.command(f"{one} {word} {out}")


def _tell_how_to_go_on(display: Display, plan: Plan, results: Results, line: str) -> None:
    open_ones = [job.id for job in plan.jobs if results.of(job.id).is_paid]
    display.note("Interrupted.")
    if open_ones:
        display.note(f"Paid for, and without a file so far; so says {results.path} too:")
        for job in open_ones[:_LISTED]:
            display.command(f"{job}  token {results.of(job).token}")
        if len(open_ones) > _LISTED:
            display.note(f"... and {len(open_ones) - _LISTED:,} more")
    display.note("Nothing is lost, and nothing will be paid twice. To go on, type again:")
    display.command(line)


def _tell_the_end(display: Display, plan: Plan, results: Results, requests: int) -> None:
    end = {**summary(plan, results), "requests": requests, "results": str(results.path)}
    if display.as_json:
        display.document(end)
    else:
        display.facts(_end_facts(end))


def _end_facts(end: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    words = {
        "done": "done",
        "without_file": "paid for without a file",
        "in_doubt": "perhaps paid for",
        "not_rented": "not rented",
    }
    stands = [f"{end[name]:,} {word}" for name, word in words.items() if end[name]]
    yield "Jobs", f"{end['jobs']:,}: {', '.join(stands)}" if stands else "none"
    yield "Paid", money(end["paid"])
    yield "Requests", f"{end['requests']:,}"
    yield "Results", end["results"]


@batch_app.command(
    epilog="Example: smspartner batch resolve north --not-charged --out autumn",
    no_args_is_help=True,
)
def resolve(
    *,
    job: Annotated[str, typer.Argument(metavar="ID", help="The job, by its id.")],
    out: Out,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="It was rented: this is its token.")
    ] = None,
    not_charged: Annotated[
        bool, typer.Option("--not-charged", help="It was not rented: the next run rents it.")
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
    display = Display()
    with suppress(FileNotFoundError), Results(out / NAME, must_exist=True) as results:
        known = results.of(job)
        if not known.is_unknown and not (give_up and known.is_paid):
            raise SMSPartnerError(_no_doubt(job, known.token, results))
        line = Line.GIVEN_UP if give_up else Line.NOT_RENTED if not_charged else Line.PAID
        results.add(line, job, token=token, by="hand")
        display.note(f"{job} is settled: {line.value.replace('_', ' ')}.")
        return
    raise SMSPartnerError(f"There is no {out / NAME}: no batch was run in {out}.")


def _no_doubt(job: str, token: str | None, results: Results) -> str:
    if job not in results.known:
        return f"{results.path} tells nothing of a job {job!r}. Nothing was changed."
    fate = f"it is paid for, token {token}" if token else "it was not rented"
    return f"There is no doubt about {job!r}: {fate}. Nothing was changed."
