"""Durable rentals: paid once whatever is killed, and what that costs.

Every run has a vendor in a separate process, whose books are then compared with the store's.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from .durable_figures import Cost, cost_of, waiting_run
from .durable_processes import AT_ONCE, MOMENTS
from .durable_runs import Postgres, budget_run, postgres_run, scaling_run, sqlite_run
from .lanes import beside_one_another
from .report import Section, Table, Verdict
from .stats import TIMES, TO, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .durable_audit import Audit
    from .report import Options

PACKAGES: Final = ("aiohttp", "attrs", "cattrs", "tenacity", "dbos", "sqlalchemy", "psycopg")

_LANES: Final = 3  # runs beside one another: they mostly wait
_LONGEST: Final = 600.0  # seconds until the next run of them has ended
_LEAST_THROUGHPUT: Final = 0.6
_MOST_GROWTH: Final = 1.2
_LEAST_USE: Final = 0.75  # of a budget: one that lets nothing through is kept, too
_WARM: Final = 100  # jobs in a store before any is measured


@frozen
class Proof:
    """One run: its books at rest, those after a person has settled them, and what was done."""

    first: Audit
    settled: Audit
    kills: int = 0
    freezes: int = 0
    restarts: int = 0
    deaths: Counter[str] = field(factory=Counter)
    """How many workers died at which of the `MOMENTS`."""

    @property
    def unended(self) -> int:
        """Jobs that came to no end. Only a kill excuses a file that is served no second time."""
        stopped = self.kills + self.freezes + self.deaths.total()
        lost = 0 if stopped else self.settled.lost_files
        unfinished = max(self.first.unfinished, self.settled.unfinished)
        return unfinished + self.settled.attention + lost


def sqlite(options: Options) -> Section:
    """Kill workers on SQLite at random times."""
    seeds = range(3 if options.quick else 100)
    found = [*beside_one_another(_on_sqlite, seeds, lanes=_LANES, longest=_LONGEST)]
    return _section("SQLite: one worker, killed", _KILLED, {"SQLite": found}, options)


def postgres(options: Options) -> Section:
    """Kill and freeze workers on Postgres at random, and Postgres itself in the middle."""
    runs = [(seed, *((24, 5) if options.quick else (120, 16))) for seed in range(10)]
    runs = runs[: 2 if options.quick else None]
    found = [*beside_one_another(_on_postgres, runs, lanes=_LANES, longest=_LONGEST)]
    title = "Postgres: three workers, killed and frozen, and the database too"
    return _section(title, _FROZEN, {"Postgres": found}, options)


def scaling(options: Options) -> Section:
    """Take many jobs through one worker, two, and four."""
    jobs = 60 if options.quick else 1000
    found: dict[str, list[Proof | str]] = {}
    rows = []
    with Postgres.running() as server:
        for workers in (1, 2, 4):
            with tempfile.TemporaryDirectory(prefix="durable-") as folder:
                url = server.store(f"scaling_{workers}")
                audit, seconds, shares = scaling_run(url, Path(folder), jobs=jobs, workers=workers)
            name = f"{workers} worker{'s' * (workers > 1)}"
            found[name] = [Proof(audit, audit)]
            spread = " ".join(str(share) for share in sorted(shares.values()))
            rows.append((name, f"{seconds:.1f}", f"{jobs / seconds:.0f}", spread))
    table = Table("Speed", ("", "seconds", "jobs a second", "jobs of each"), tuple(rows))
    title = f"Postgres: {jobs:,} jobs over 1, 2 and 4 workers"
    return _section(title, _SHARED, found, options, table)


def speed(options: Options) -> Section:
    """Time the whole path beside empty workflows, and jobs in a small and in a full store."""
    rounds, jobs = (2, 50) if options.quick else (9, 300)
    turns, measured, many = (2, 50, 300) if options.quick else (5, 150, 10_000)
    bare: list[Cost] = []
    whole: list[Cost] = []
    small: list[Cost] = []
    full: list[Cost] = []
    for _ in range(rounds):  # in turn, so that what disturbs one disturbs the other
        bare.append(_cost("bare", jobs + AT_ONCE, warm=AT_ONCE))
        whole.append(_cost("timed", jobs + AT_ONCE, warm=AT_ONCE))
    with tempfile.TemporaryDirectory(prefix="durable-") as folder:
        filling = _cost("timed", many, folder=folder)
        there = many
        for _ in range(turns):
            each = _WARM + measured
            small.append(_cost("timed", each, warm=_WARM))
            full.append(_cost("timed", each, warm=_WARM, folder=folder, first=there + 1))
            there += each
    share = ratios([cost.seconds for cost in bare], [cost.seconds for cost in whole])
    growth = ratios([cost.cpu for cost in full], [cost.cpu for cost in small])
    rows = [
        ("DBOS alone, five empty steps", bare),
        ("price, claim, rent, wait, download", whole),
        (f"the same, {_WARM} to {_WARM + measured} jobs in the store", small),
        (f"the same, {many:,} to {there:,} jobs in the store", full),
        (f"the same, {many:,} jobs submitted at once to an empty store", [filling]),
    ]
    table = Table(
        f"One job on SQLite, {AT_ONCE} at a time (medians)",
        ("", "ms", "ms of CPU", "jobs a second"),
        tuple((name, *_figures(costs)) for name, costs in rows),
    )
    text = (
        f"{rounds} rounds of {jobs} jobs, in which DBOS alone and the whole path take turns; then "
        f"{turns} rounds of {measured} jobs, in which a small store and a full one do. Each time "
        "it is a new process, whose start is not counted, nor are its first "
        f"{AT_ONCE} jobs, or in a store its first {_WARM}. The vendor answers at once, from "
        "another process; CPU time is that of the worker's process alone. Verdicts are medians of "
        f"the ratios of the rounds, with p10{TO}p90."
    )
    verdicts = (
        Verdict(
            "Durable: jobs a second beside DBOS alone, with as many empty steps",
            f"≥ {_LEAST_THROUGHPUT:.0%}",
            share.text(".0%"),
            share.median >= _LEAST_THROUGHPUT,
        ),
        Verdict(
            f"Durable: CPU of a job with {many:,} in the store against {_WARM}",
            f"≤ {_MOST_GROWTH} {TIMES}",
            f"{growth.text()} {TIMES}",
            growth.median <= _MOST_GROWTH,
        ),
    )
    return Section("What a job costs", text, (table,), verdicts=verdicts)


def waiting(options: Options) -> Section:
    """Let thousands of jobs wait in one worker."""
    counts = (20, 60) if options.quick else (1000, 3000)
    with tempfile.TemporaryDirectory(prefix="durable-") as folder:
        found = waiting_run(Path(folder), counts, seconds=5 if options.quick else 20)
    few, most = found[0], found[-1]
    more = max(most.waiting - few.waiting, 1)
    table = Table(
        "One worker on SQLite, ten jobs priced and rented at a time",
        ("jobs waiting", "MiB in RAM", "rows in the database", "polls a second", "% of a core"),
        tuple(
            (
                *(f"{each.waiting:,}", f"{each.memory / 2**20:.0f}", f"{each.rows:,}"),
                *(f"{each.requests:.1f}", f"{each.cpu:.1%}".removesuffix("%")),
            )
            for each in found
        ),
    )
    text = (
        "Rentals whose files are not ready for hours, with the default `PollingPolicy`. Nothing "
        "is done but polling when memory, rows and CPU time are looked at. One more job that waits "
        f"takes {(most.memory - few.memory) / more / 1024:.1f} KiB in RAM and "
        f"{(most.rows - few.rows) / more:.1f} rows."
    )
    wanted = counts[-1]
    verdict = Verdict(
        "Durable: rented by a worker that rents ten at a time, while all before them wait",
        f"{wanted:,} of {wanted:,}",
        f"{min(most.waiting, most.charges):,}",
        most.waiting == most.charges == wanted,
    )
    return Section("What a wait costs", text, (table,), verdicts=(verdict,))


def budget(options: Options) -> Section:
    """Let two workers wait under one budget."""
    with Postgres.running() as server, tempfile.TemporaryDirectory(prefix="durable-") as folder:
        url = server.store("budget")
        seconds = 10 if options.quick else 60
        found = budget_run(url, Path(folder), per_minute=360, seconds=seconds)
    least = int(found.window * 6 * _LEAST_USE)
    verdict = Verdict(
        f"Durable: requests of two workers in the fullest {found.window:.0f} s, at 360 a minute",
        f"{least}{TO}{found.allowed}",
        str(found.most),
        least <= found.most <= found.allowed,
    )
    text = (
        "Two workers poll for 60 rentals, far more often than their `max_requests_per_minute` "
        f"allows: {found.requests} requests in {seconds} s. The least that is wanted shows that "
        "the budget is used."
    )
    return Section("A budget of two workers", text, (), verdicts=(verdict,))


PARTS: Final = {
    "sqlite": sqlite,
    "postgres": postgres,
    "scaling": scaling,
    "speed": speed,
    "waiting": waiting,
    "budget": budget,
}

_BOOKS: Final = (
    "Afterwards the vendor's books are compared with the store's: every charge belongs to a job "
    "that has its token, or is listed for a person with the journal that has its line; every "
    "finished job's file is whole. What is listed is then settled as a person would do it, and "
    "all is compared again."
)
_KILLED: Final = (
    "Each run is a new store of 8 jobs, and a worker that dies (SIGKILL) between the price and the "
    "claim, in the pause of a 429, or between the last byte of a file and its name; then it is "
    f"killed one to four times at random moments, and started again. {_BOOKS}"
)
_FROZEN: Final = (
    "Each run has three workers with separate journals, as on three machines. At "
    "random one of them is killed with SIGKILL and started again, often to die once more at one "
    "of the moments of the runs on SQLite, or frozen (SIGSTOP) for up to "
    "three times as long as it takes the others to think it dead. In the middle Postgres is "
    f"stopped as if it had crashed, and started again. {_BOOKS}"
)
_SHARED: Final = (
    "Nothing is killed; vendor, database and workers share one machine, whose cores bound the "
    f"speed. {_BOOKS}"
)


def _on_sqlite(seed: int) -> Proof:
    with tempfile.TemporaryDirectory(prefix="durable-") as folder:
        first, last, done = sqlite_run(Path(folder), seed)
        return Proof(first, last, done.kills, deaths=done.deaths)


def _on_postgres(run: tuple[int, int, int]) -> Proof:
    seed, jobs, rounds = run
    with Postgres.running() as server, tempfile.TemporaryDirectory(prefix="durable-") as folder:
        first, last, done = postgres_run(server, Path(folder), seed, jobs=jobs, rounds=rounds)
        deaths = done.deaths
    return Proof(first, last, done.kills, done.freezes, 1, deaths)


def _section(
    title: str,
    text: str,
    groups: dict[str, list[Proof | str]],
    options: Options,
    *more: Table,
) -> Section:
    """Report what the books say. A run that raised something counts among those that failed."""
    raised = [found for group in groups.values() for found in group if isinstance(found, str)]
    for error in raised:
        options.console.print(error, markup=False)
    proofs = {
        name: [found for found in group if not isinstance(found, str)]
        for name, group in groups.items()
    }
    table = Table("The books of vendor and store", ("", *groups), _rows([*proofs.values()]))
    every = [proof for group in proofs.values() for proof in group]
    jobs = sum(proof.settled.jobs for proof in every)
    twice = sum(proof.settled.twice for proof in every)
    orphans = sum(proof.first.orphans + proof.settled.orphans for proof in every)
    broken = sum(proof.settled.broken + proof.settled.lost_whole for proof in every)
    unended = sum(proof.unended for proof in every)
    whole = bool(jobs) and not raised
    failed = f", {len(raised)} runs failed" if raised else ""
    verdicts = (
        Verdict(
            f"{title}: jobs paid twice", "0", f"{twice} of {jobs:,}{failed}", whole and not twice
        ),
        Verdict(
            "The same: charges unaccounted for, files not whole, jobs without an end",
            "0, 0, 0",
            f"{orphans}, {broken}, {unended}{failed}",
            whole and not orphans + broken + unended,
        ),
    )
    return Section(title, text, (table, *more), verdicts=verdicts)


def _rows(groups: Sequence[Sequence[Proof]]) -> tuple[tuple[str, ...], ...]:
    """Sum up runs, a column for each group of them."""
    facts: tuple[tuple[str, Callable[[Proof], int]], ...] = (
        ("runs", lambda _: 1),
        ("jobs", lambda proof: proof.settled.jobs),
        ("workers killed", lambda proof: proof.kills),
        *((f"workers that died {moment}", partial(_deaths, moment)) for moment in MOMENTS),
        ("workers frozen", lambda proof: proof.freezes),
        ("databases crashed", lambda proof: proof.restarts),
        ("charges", lambda proof: proof.settled.charges),
        ("jobs listed for a person", lambda proof: proof.first.attention),
        ("files lost: killed while it was served, once", lambda proof: proof.settled.lost_files),
        ("files lost that had come whole", lambda proof: proof.settled.lost_whole),
        ("jobs paid twice", lambda proof: proof.settled.twice),
        ("charges unaccounted for", lambda proof: proof.first.orphans + proof.settled.orphans),
        ("files not whole", lambda proof: proof.settled.broken),
        ("jobs without an end", lambda proof: proof.unended),
    )
    sums = [(name, [sum(map(fact, group)) for group in groups]) for name, fact in facts]
    return tuple((name, *(f"{each:,}" for each in row)) for name, row in sums)


def _deaths(moment: str, proof: Proof) -> int:
    return proof.deaths[moment]


def _cost(
    program: str, jobs: int, *, folder: str | None = None, first: int = 1, warm: int = 0
) -> Cost:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="durable-") as new:
            return _cost(program, jobs, folder=new, first=first, warm=warm)
    url = f"sqlite:///{folder}/rentals.db"
    return cost_of(program, url, Path(folder), jobs=jobs, first=first, warm=warm)


def _figures(costs: list[Cost]) -> tuple[str, ...]:
    wall = statistics.median(cost.seconds / cost.jobs for cost in costs)
    cpu = statistics.median(cost.cpu / cost.jobs for cost in costs)
    return f"{wall * 1000:.1f}", f"{cpu * 1000:.1f}", f"{1 / wall:.0f}"
