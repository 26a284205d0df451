"""Durable rentals: paid once whatever is killed, and what that costs.

Every run has a vendor in a process of its own, whose books are then compared with the store's.
"""

from __future__ import annotations

import signal
import statistics
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from .durable_runs import (
    Audit,
    Cost,
    Postgres,
    PostgresMissingError,
    budget_run,
    cost_of,
    postgres_run,
    scaling_run,
    sqlite_run,
)
from .report import Section, Table, Verdict
from .stats import ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .report import Options

_T = TypeVar("_T")

_AT_A_TIME: Final = 2  # SQLite runs beside one another
_LEAST_THROUGHPUT: Final = 0.6
_MOST_GROWTH: Final = 1.2
_BOOKS: Final = (
    *("runs", "jobs", "kills", "freezes", "charges", "paid twice"),
    *("unaccounted", "broken files", "for a person", "served, then killed", "not finished"),
)


def run(options: Options) -> Section:
    """Run all proofs; `--quick` runs each of them small."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no server is left behind
    quick = options.quick
    books: list[tuple[str, ...]] = []
    audits: list[Audit] = []

    def book(name: str, found: Iterable[tuple[Audit, Audit, int, int]]) -> None:
        row = [*found]
        audits.extend(audit for first, settled, _, _ in row for audit in (first, settled))
        books.append(_row(name, row))
        options.console.print(f"{name}: {dict(zip(_BOOKS, books[-1][1:], strict=True))}")

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        runs = pool.map(_in_a_folder(sqlite_run), range(3 if quick else 100))
        book("SQLite, one worker", ((*each[:2], each[2], 0) for each in runs))
    speed, throughput, growth = _speed(quick=quick)
    verdicts = [throughput, growth]
    tables = [speed]
    try:
        with Postgres.running() as postgres:
            seeds = range(1 if quick else 10)
            jobs, rounds = (24, 5) if quick else (120, 16)
            results = [
                _in_a_folder(
                    lambda folder, seed: postgres_run(
                        postgres, folder, seed, jobs=jobs, rounds=rounds
                    )
                )(seed)
                for seed in seeds
            ]
            book(
                "Postgres, three workers, restarted",
                ((first, last, run.kills, run.freezes) for first, last, run in results),
            )
            tables.append(_scaling(postgres, 60 if quick else 1000, book))
            verdicts.append(_budget(postgres, 10 if quick else 60))
    except PostgresMissingError as missing:
        options.console.print(f"{missing}: the runs on it are left out")
    tables.insert(0, Table("The books of the vendor and of the store", ("", *_BOOKS), (*books,)))
    twice, bad = sum(audit.twice for audit in audits), sum(not audit.holds for audit in audits)
    verdicts[:0] = [
        Verdict("jobs paid twice", "0", str(twice), twice == 0),
        Verdict("runs whose books disagree", "0", str(bad), bad == 0),
    ]
    return Section("Durable rentals", _TEXT, tuple(tables), verdicts=tuple(verdicts))


_TEXT: Final = (
    "Workers are killed with SIGKILL at random moments and started again, frozen for longer than "
    "it takes the others to take over, and cut off from Postgres, which is stopped as if it had "
    "crashed. Afterwards the vendor's books are compared with the store's: every charge belongs "
    "to a job that has its token, or is listed for a person with its journal; every file is whole. "
    "Then what is listed is settled as a person would, and all is compared again. “Served, then "
    "killed” are jobs whose worker died in the middle of a download that is served only once."
)


def _in_a_folder(run: Callable[[Path, int], _T]) -> Callable[[int], _T]:
    def in_a_folder(seed: int) -> _T:
        with tempfile.TemporaryDirectory(prefix="durable-") as folder:
            return run(Path(folder), seed)

    return in_a_folder


def _row(name: str, runs: list[tuple[Audit, Audit, int, int]]) -> tuple[str, ...]:
    sums: Counter[str] = Counter()
    for first, settled, kills, freezes in runs:
        sums["runs"] += 1
        sums["kills"] += kills
        sums["freezes"] += freezes
        sums["jobs"] += settled.jobs
        sums["charges"] += settled.charges
        sums["paid twice"] += settled.twice
        sums["unaccounted"] += first.orphans + settled.orphans
        sums["broken files"] += settled.broken
        sums["for a person"] += first.attention
        sums["served, then killed"] += settled.lost_files
        sums["not finished"] += settled.unfinished + settled.attention
    return (name, *(str(sums[column]) for column in _BOOKS))


def _speed(*, quick: bool) -> tuple[Table, Verdict, Verdict]:
    """Time the whole path beside empty workflows, and jobs in a small and in a full store."""
    jobs, rounds = (50, 2) if quick else (500, 5)
    many = 200 if quick else 10_000
    bare: list[Cost] = []
    whole: list[Cost] = []
    for _ in range(rounds):  # in turn, so that what disturbs one disturbs the other
        bare += _cost("bare", jobs)
        whole += _cost("timed", jobs)
    share = ratios([cost.seconds for cost in bare], [cost.seconds for cost in whole])
    few = [cost for _ in range(rounds) for cost in _cost("timed", 100)]
    slices = _cost("timed", many, slices=many // 100)
    last = slices[-rounds:]
    ends = [statistics.median(cost.cpu / cost.jobs for cost in costs) for costs in (few, last)]
    rows = [
        ("DBOS alone, five empty steps", bare),
        ("price, claim, rent, wait, download", whole),
        ("the same, a store of 100 jobs", few),
        (f"the same, the last of a store of {many:,}", last),
    ]
    table = Table(
        "One job on SQLite, 32 at a time (medians)",
        ("", "ms", "ms of CPU", "jobs a second"),
        tuple((name, *_figures(costs)) for name, costs in rows),
    )
    growth = ends[1] / ends[0]
    return (
        table,
        Verdict(
            "throughput beside DBOS alone",
            f">= {_LEAST_THROUGHPUT:.0%}",
            f"{share.median:.0%}",
            share.median >= _LEAST_THROUGHPUT,
        ),
        Verdict(
            f"CPU of a job with {many:,} in the store beside 100",
            f"<= {_MOST_GROWTH}",
            f"{growth:.2f}",
            growth <= _MOST_GROWTH,
        ),
    )


def _cost(program: str, jobs: int, slices: int = 1) -> list[Cost]:
    with tempfile.TemporaryDirectory(prefix="durable-") as folder:
        url = f"sqlite:///{folder}/rentals.db"
        return cost_of(program, url, Path(folder), jobs=jobs, slices=slices)


def _figures(costs: list[Cost]) -> tuple[str, ...]:
    wall = statistics.median(cost.seconds / cost.jobs for cost in costs)
    cpu = statistics.median(cost.cpu / cost.jobs for cost in costs)
    return f"{wall * 1000:.1f}", f"{cpu * 1000:.1f}", f"{1 / wall:.0f}"


def _scaling(postgres: Postgres, jobs: int, book: Callable[..., None]) -> Table:
    rows = []
    for workers in (1, 2, 4):
        with tempfile.TemporaryDirectory(prefix="durable-") as folder:
            url = postgres.store(f"scaling_{workers}")
            audit, seconds, shares = scaling_run(url, Path(folder), jobs=jobs, workers=workers)
        book(f"Postgres, {workers} worker{'s' * (workers > 1)}", [(audit, audit, 0, 0)])
        spread = " ".join(str(share) for share in sorted(shares.values()))
        rows.append((str(workers), f"{seconds:.1f}", f"{jobs / seconds:.0f}", spread))
    return Table(
        f"{jobs:,} jobs on Postgres, with vendor, database and workers on this machine",
        ("workers", "seconds", "jobs a second", "jobs of each"),
        tuple(rows),
    )


def _budget(postgres: Postgres, seconds: float) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="durable-") as folder:
        url = postgres.store("budget")
        found = budget_run(url, Path(folder), per_minute=360, seconds=seconds)
    return Verdict(
        f"requests in the fullest {seconds / 2:.0f} s, two workers, 360 a minute",
        f"<= {found.allowed}",
        str(found.most),
        found.most <= found.allowed,
    )
