"""What a batch asks and tells: its price, its doubts, how it ended, and how to go on."""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import typer
from attrs import frozen

from ._batch_doubts import known_in_results, known_in_store, place, tell_each
from ._batch_run import Offer, priced, summary
from ._display_results import money
from ._errors import AuthenticationError, PriceExceededError, SMSPartnerError
from ._results import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ._batch_run import CountingClient, Plan
    from ._display import Display
    from ._models import Credits
    from ._records import JobRecord
    from ._results import Results

_LISTED: Final = 10


@frozen(kw_only=True)
class Wishes:
    """What `batch run` was asked for."""

    concurrency: int
    max_requests_per_minute: int
    max_total: Decimal | None
    yes: bool
    store: str | None


async def agreed(
    client: CountingClient,
    plan: Plan,
    results: Results,
    wishes: Wishes,
    *,
    display: Display,
    store: str | None = None,
    records: Mapping[str, JobRecord] = MappingProxyType({}),
) -> Offer:
    """Price what is to be rented, and have a person agree to it, unless that is not wanted.

    Raises:
        Exit: the answer was no.
        SMSPartnerError: it costs too much, or there is nobody to ask. Nothing was rented.
    """
    if plan.to_rent and not wishes.yes and not display.can_ask:
        raise SMSPartnerError(
            "renting costs money, and there is no terminal to ask on. Nothing was rented. "
            "Give --yes to rent without a question, and --max-total to limit the price."
        )
    account = await account_of(client)
    results.add(Line.BEGUN, balance=account and account.balance, store=store)
    tell_doubts(display, plan, results, wishes, records=records, account=account)
    if not plan.to_rent:
        return Offer((), (), Decimal(0), 0)
    with display.counting("Pricing", len(plan.to_rent)) as one_more:
        offer = await priced(client, plan.to_rent, wishes.concurrency, one_more)
    _agree(display, plan, offer, wishes, account)
    for job, error in offer.refused:
        results.add(Line.NOT_RENTED, job.id, error=type(error).__name__, message=str(error))
    return offer


async def account_of(client: CountingClient) -> Credits | None:
    """Look at the balance, which tells later whether something was charged that nobody knows of."""
    try:
        return await client.credits()
    except AuthenticationError:
        raise
    except SMSPartnerError:
        return None


def _agree(
    display: Display, plan: Plan, offer: Offer, wishes: Wishes, account: Credits | None
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
    if limit is not None and total is None:
        raise PriceExceededError(quote=None, max_total=limit)
    if limit is not None and total is not None and total > limit:
        raise SMSPartnerError(
            f"All jobs together cost {money(total)}; the limit is {money(limit)}. Nothing was "
            "rented or charged. Raise --max-total, or take jobs out."
        )
    if wishes.yes:
        return
    what = f"Rent {len(offer.jobs):,} job{'s' * (len(offer.jobs) != 1)}"
    try:
        answer = display.ask(
            f"The vendor gave no price for some. {what} all the same?"
            if total is None
            else f"{what} for {money(total)}?"
        )
    except KeyboardInterrupt:
        display.note(" Nothing was rented.")  # behind the ^C
        raise
    if not answer:
        display.note("Nothing was rented.")
        raise typer.Exit(1)


def _offer_facts(plan: Plan, offer: Offer, account: Credits | None) -> Iterator[tuple[str, str]]:
    jobs = f"{len(offer.jobs):,} to rent"
    if offer.refused:
        jobs += f", {len(offer.refused):,} that cannot be rented"
    if plan.under_way:
        jobs += f", {len(plan.under_way):,} under way already"
    yield "Jobs", jobs
    yield "Contacts", f"{offer.contacts:,}"
    yield "Price", "not given for all" if offer.total is None else money(offer.total)
    if account is not None:
        short = offer.total is not None and offer.total > account.balance
        enough = ": NOT ENOUGH for all" if short else ""
        yield "Balance", money(account.balance, account.currency) + enough


def tell_doubts(
    display: Display,
    plan: Plan,
    results: Results,
    wishes: Wishes,
    *,
    records: Mapping[str, JobRecord],
    account: Credits | None,
) -> None:
    """Tell of jobs that may be paid for, and how to settle them. They are left alone until then.

    `records` are those of the batch's store, where it has one.
    """
    if not plan.in_doubt:
        return
    display.note(
        f"{len(plan.in_doubt):,} of the jobs may have been paid for, and nobody knows: a run was "
        "stopped, or lost the answer, while it rented. They are left alone."
    )
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
    known = known_in_results(results)
    doubts = [
        (job.id, known_in_store(records[job.id]) if job.id in records else known[job.id])
        for job in plan.in_doubt
    ]
    tell_each(display, doubts, place(wishes.store, results.path.parent))


def tell_how_to_go_on(display: Display, plan: Plan, results: Results, line: str) -> None:
    """Tell after Ctrl-C what is paid for, and what to type."""
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


def tell_the_end(display: Display, plan: Plan, results: Results, requests: int) -> None:
    """Tell how the batch stands: the result of the command."""
    end = {**summary(plan, results), "requests": requests, "results": str(results.path)}
    if display.as_json:
        display.document(end)
    else:
        display.facts(_end_facts(end))


def _end_facts(end: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
