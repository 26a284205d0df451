"""What a batch asks and shows: its price, its doubts, how it ended, and how to continue it."""

from __future__ import annotations

import shlex
import textwrap
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import frozen

from smspartner_async._errors import AuthenticationError, PriceExceededError, SMSPartnerError
from smspartner_async._models import Targeting
from smspartner_async._operations.part_name import leftovers_of
from smspartner_async.cli._display import TO_RENT
from smspartner_async.cli._formats import beginning, jobs_text, money, paid_text, people
from smspartner_async.durable import JobState

from .folder import open_text
from .plan import PricedBatch, is_paid_without_file, price_jobs
from .standing import known_of, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async._models import Credits
    from smspartner_async.batch._job import RentalJob
    from smspartner_async.cli._display import Display
    from smspartner_async.durable import JobRecord

    from .plan import Plan

_DEAREST: Final = 3
_WIDTH: Final = 68
_HOW: Final = (
    "Look into the vendor's web interface. If nothing was charged (it is then RENTED ANEW), if it "
    "was, or to leave it alone for good:"
)


@frozen(kw_only=True)
class RunOptions:
    """The options that `batch run` was given."""

    base_url: str | None
    concurrency: int
    max_requests_per_minute: int
    max_total: Decimal | None
    yes: bool
    dry_run: bool
    moved: bool


async def price_and_ask(
    client: SMSPartnerClient, plan: Plan, options: RunOptions, display: Display
) -> PricedBatch:
    """Price what is to be rented, and have a person agree to it, unless `--yes` was given.

    Raises:
        Exit: the answer was no.
        SMSPartnerError: it costs too much, or there is nobody to ask. Nothing was rented.
    """
    if plan.to_rent and not (options.yes or options.dry_run):
        display.check_can_ask(*TO_RENT)
    account = await balance_of(client)
    if not plan.to_rent:
        return PricedBatch()
    with display.counting("Pricing", len(plan.to_rent)) as one_more:
        priced = await price_jobs(client, plan.to_rent, options.concurrency, one_more)
    display.facts(_price_facts(plan, priced, account), beside=True)
    display.listed(priced.notes)
    display.jobs_failed([(job.id, error) for job, error in priced.refused])
    if priced.jobs:
        _check_limit(priced, options.max_total)
        if not (options.yes or options.dry_run):
            _ask(priced, display)
    return priced


async def balance_of(client: SMSPartnerClient) -> Credits | None:
    """Return the account's balance, or `None` where it cannot be read.

    Raises:
        AuthenticationError: the key is wrong: nothing else would work either.
    """
    try:
        return await client.credits()
    except AuthenticationError:
        raise
    except SMSPartnerError:
        return None


def _check_limit(priced: PricedBatch, limit: Decimal | None) -> None:
    if limit is None:
        return
    if priced.total is None:
        raise PriceExceededError(quote=None, max_total=limit)
    if priced.total > limit:
        raise SMSPartnerError(
            f"All jobs together cost {money(priced.total)}; the limit is {money(limit)}. Nothing "
            "was rented or charged. Raise --max-total, or take jobs out."
        )


def _ask(priced: PricedBatch, display: Display) -> None:
    what = f"Rent {jobs_text(len(priced.jobs))}"
    display.ask(
        f"The vendor gave no price for some. {what} all the same?"
        if priced.total is None
        else f"{what} for {money(priced.total)}?",
        no="Nothing was rented.",
        is_last=False,  # the batch stands as it did
    )


def _price_facts(
    plan: Plan, priced: PricedBatch, account: Credits | None
) -> Iterator[tuple[str, str]]:
    jobs = f"{len(priced.jobs):,} to rent"
    if priced.refused:
        jobs += f", {len(priced.refused):,} that cannot be rented"
    if plan.under_way:
        jobs += f", {len(plan.under_way):,} under way already"
    yield "Jobs", jobs
    yield "Contacts", f"{priced.contacts:,}"
    yield "Price", "not given for all" if priced.total is None else money(priced.total)
    if len(priced.jobs) > 1:
        for number, (price, name) in enumerate(priced.dearest()[:_DEAREST]):
            yield "" if number else "Dearest", f"{money(price)} for {name}"
    if account is not None:
        short = priced.total is not None and priced.total > account.balance
        enough = ": NOT ENOUGH for all" if short else ""
        yield "Balance", money(account.balance, account.currency) + enough


def show_doubts(display: Display, doubts: Sequence[JobRecord], where: tuple[str, str]) -> None:
    """Show jobs that may be paid for, and how to settle them. They are left alone until then."""
    if not doubts:
        return
    display.note(
        f"{jobs_text(len(doubts))} may have been paid for, and nobody knows: a run was stopped, "
        "or lost the answer, while it rented. Nothing is sent for that until you settle it."
    )
    show_each(display, [(record.id, known_of(record)) for record in doubts], where)


def show_late_tokens(
    display: Display, records: Iterable[JobRecord], where: tuple[str, str]
) -> None:
    """Show rentals that were paid for beside that of their job: their tokens came late."""
    twice = [one for one in records if one.late_tokens]
    if late := [f"{one.id}  token {token}" for one in twice for token in one.late_tokens]:
        display.note(
            "Paid for a second time, because the token came after the job had been settled. "
            "`smspartner download TOKEN FILE` brings the file:"
        )
        display.listed(late)
        display.note("When you have looked into them, say so for each job:")
        resolve = ("smspartner", "batch", "resolve")
        display.listed([shlex.join([*resolve, one.id, "--give-up", *where]) for one in twice])


def show_lost(display: Display, records: Mapping[str, JobRecord], store: Path) -> None:
    """Show the tokens of what is paid for, where the store that knew them is gone."""
    unfinished = [one for one in records.values() if is_paid_without_file(one)]
    if unfinished and not store.exists():
        display.note(
            f"{store} is gone, and with it what was known. Keep these tokens; "
            "`smspartner download TOKEN FILE` brings the file:"
        )
        display.listed([f"{record.id}  token {record.token}" for record in unfinished])


def show_interrupted(display: Display, records: Mapping[str, JobRecord], line: str) -> None:
    """Show after Ctrl-C what is paid for, and what to type."""
    display.note("Interrupted.")
    if unfinished := [one for one in records.values() if is_paid_without_file(one)]:
        display.note("Paid for, and without a file so far:")
        display.listed([f"{record.id}  token {record.token}" for record in unfinished])
    if parts := [part for one in unfinished for part in leftovers_of(one.job.path, str(one.token))]:
        display.note("What came of their files is kept:")
        display.listed([f"{part.path}  {part.size:,} bytes" for part in parts])
    display.note("Nothing is lost, and nothing will be paid twice. To continue, type again:")
    display.command(line)


def open_notes(folder: Path, records: Mapping[str, JobRecord]) -> list[str]:
    """Return a line with what is paid for without a file, or in doubt; none where nothing is."""
    stands = summary((), records)
    counted = open_text(stands["without_file"], stands["in_doubt"])
    return [f"In {folder}: {counted}."] * bool(counted)


def show_dry_run(display: Display, priced: PricedBatch) -> None:
    """Show what a run would rent: the result of `--dry-run`."""
    if display.as_json:
        display.document(
            {
                "to_rent": [{"id": job.id, "price": job.max_total} for job in priced.jobs],
                "refused": [{"id": job.id, "error": str(error)} for job, error in priced.refused],
                "total": priced.total,
                "contacts": priced.contacts,
                "notes": priced.notes,
            }
        )
    display.note("Nothing was rented: --dry-run.")


def show_what_continues(display: Display, records: Sequence[JobRecord], store: str) -> None:
    """Show at the end of a worker what the next one continues, and what it does not."""
    where = place(store, None)
    still_open = sum(record.state.is_open for record in records)
    failed = [record.id for record in records if record.state is JobState.FAILED]
    doubts = sum(record.state is JobState.NEEDS_ATTENTION for record in records)
    left = (
        f"The next worker continues {jobs_text(still_open)}." if still_open else "No job is open."
    )
    display.note(f"Stopped. {left}")
    show_how_to_resume(display, failed, where)
    if doubts:
        display.note(
            f"{doubts:,} may have been paid for, and wait for you. To see and settle them:"
        )
        display.command(f"smspartner batch status {shlex.join(where)}")


def show_how_to_resume(display: Display, failed: Sequence[str], where: tuple[str, str]) -> None:
    """Show what lets jobs that failed continue: in the folder of a batch, its next run."""
    if failed and "--out" in where:
        display.note(f"{len(failed):,} failed. When the cause is gone, type its `batch run` again.")
    elif failed:
        ids, more = beginning(failed)
        display.note(f"{len(failed):,} failed. When the cause is gone, resume them with:")
        display.command(shlex.join(["smspartner", "batch", "resume", *ids, *where]))
        if more:
            display.note(more)


def show_end(
    display: Display,
    jobs: Sequence[RentalJob],
    records: Mapping[str, JobRecord],
    *,
    requests: int,
    store: str,
) -> None:
    """Show how the batch stands: the result of the command."""
    end = {**summary(jobs, records), "requests": requests, "store": store}
    if display.as_json:
        display.document(end)
    else:
        display.facts(_end_facts(end))


def _end_facts(end: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    words = {
        "done": "done",
        "given_up": "given up",
        "without_file": "paid for without a file",
        "in_doubt": "perhaps paid for",
        "not_rented": "not rented",
    }
    stands = [f"{end[name]:,} {word}" for name, word in words.items() if end[name]]
    yield "Jobs", f"{end['jobs']:,}: {', '.join(stands)}" if stands else "none"
    yield "Paid", paid_text(end)
    yield "Requests", f"{end['requests']:,}"
    yield "Store", end["store"]


def place(store: str | None, out: object) -> tuple[str, str]:
    """Return the option that names a batch: its store, without a password, or its folder."""
    if store is None:
        return "--out", str(out)
    parts = urlsplit(store)
    if parts.password is None:
        return "--store", store
    host = parts.netloc.rpartition("@")[2]
    return "--store", parts._replace(netloc=f"{parts.username}@{host}").geturl()


def show_each(
    display: Display,
    doubts: Sequence[tuple[str, Mapping[str, Any]]],
    where: tuple[str, str],
    *,
    beside: bool = True,
) -> None:
    """Show all that is known of each job, by its id, and what settles it."""
    shown, more = beginning(doubts)
    for id, known in shown:  # noqa: A001 - the name of the field
        commands = [
            f"{shlex.join(['smspartner', 'batch', 'resolve', id])} {word} {shlex.join(where)}"
            for word in ("--not-charged", "--token TOKEN", "--give-up")
        ]
        display.doubt([("Job", id), *_facts(known)], _HOW, commands, beside=beside)
    if more:
        all_of_them = f"smspartner batch status --json {shlex.join(where)}"
        display.doubt([], f"{more}. To see them all:", [all_of_them], beside=beside)


def _facts(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if known.get("claimed_at"):
        worker = f", by worker {known['worker']}" if known.get("worker") else ""
        yield "Rent", f"begun {_moment(known['claimed_at'])}{worker}"
    if known.get("targeting"):
        yield from _broken("For", ", ".join(people(Targeting(**known["targeting"]))))
        volumes = (known.get("volumes") or {}).items()
        wanted = ", ".join(f"{number:,} in {area}" for area, number in volumes)
        yield from _broken("Contacts", wanted or "all that match")
    yield "Price", "not known" if known.get("price") is None else money(Decimal(known["price"]))
    yield from _balances(known)
    if known.get("seen_token"):
        yield "Token", f"perhaps {known['seen_token']}, seen in a reply that proves nothing"
    if known.get("journal"):
        yield "Journal", known["journal"]
        yield from (("", _line(line)) for line in known.get("journal_lines", ()))


def _broken(label: str, text: str) -> Iterator[tuple[str, str]]:
    """Break between words what nobody copies."""
    first, *others = textwrap.wrap(text, _WIDTH, break_long_words=False)
    yield label, first
    yield from (("", other) for other in others)


def _balances(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    before, now = (
        None if known.get(name) is None else Decimal(known[name])
        for name in ("balance_before", "balance_now")
    )
    if before is not None:
        yield "Balance", f"{money(before)} before{_at(known.get('balance_before_at'))}"
    if now is not None:
        yield (
            "" if before is not None else "Balance",
            f"{money(now)} afterwards{_at(known.get('balance_now_at'))}"
            + ("" if before is None else f": {_change(before - now, known['balance_spent'])}"),
        )
    if before is None and now is None:
        yield "Balance", "not known"


def _change(fallen: Decimal, spent: str | None) -> str:
    if spent is None:
        return "what this rent cost is not known"
    others = fallen - Decimal(spent)
    beside = f" beside the {money(others)} that others cost" if others else ""
    return f"{money(Decimal(spent))} less{beside}" if Decimal(spent) else f"the same{beside}"


def _line(line: Mapping[str, Any]) -> str:
    """Return a line of a journal, without what stands above it."""
    what = "token" if "token" in line else "about to be sent"
    more = [str(line[name]) for name in ("token", "message") if line.get(name)]
    claim = [f"(claim {line['nonce']})"] if line.get("nonce") else []
    return f"{_moment(line['at'])}  {' '.join([what, *more, *claim])}"


def _at(moment: str | None) -> str:
    return f", {_moment(moment)}" if moment else ""


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
