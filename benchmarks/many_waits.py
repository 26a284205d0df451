"""What many waits at once cost: memory, the loop's lag, deadlines, and the end by `close()`.

Each size is measured in a separate process, against the server in another.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from attrs import asdict, evolve

from . import plots
from .report import Section, Table, Verdict
from .server import ROOT, running_server
from .stats import TIMES, TO
from .waits_process import KEPT, Measured, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Options

_SIZES: Final = (100, 1_000, 10_000, 100_000)
_MEASURED_SIZE: Final = 10_000
"""The size that is promised something about, and at which a bare loop is measured too."""
_BARE: Final = "bare"
_CLIENT: Final = "client"
_NAMES: Final = {_BARE: "bare aiohttp loops", _CLIENT: "this client"}

_WINDOW: Final = 4.0
_QUICK_WINDOW: Final = 2.0
_SLOWEST_START: Final = 500  # first checks a second
_TOO_LONG: Final = 60.0  # seconds, beside the start
_CLOSE_PATIENCE: Final = 10.0
_COMMON_DEADLINE: Final = 18.0
_QUICK_COMMON_DEADLINE: Final = 4.0
_GC_THRESHOLD: Final = (700, 10, 100)
"""What README advises to a process with thousands of waits."""
_SETTLED: Final = 2_000
_MEMORY_SHOWS: Final = 1_000
_MEMORY_TARGET: Final = 0.8  # of a bare loop's
_STALL_TARGET: Final = 0.6  # of a bare loop's
_LATER_TARGET: Final = 0.25  # seconds, than a bare loop
_LAG_TARGET: Final = 0.05
_CLOSE_TARGET: Final = 2.0


def _interval(waits: int) -> float:
    """Give the mean interval with which so many waits make about 1,000 polls a second.

    Intervals are drawn evenly from 0 to twice the mean. A moment after the start the few have long
    settled at one poll for each mean; of the many half as much falls due at first, then more.
    """
    return waits / (1000 if waits <= _SETTLED else 1800)


def _task(base: str, who: str, waits: int, window: float) -> Task:
    return Task(
        who=who,
        base=base,
        waits=waits,
        interval=_interval(waits),
        window=window,
        deadlines=min(waits // 2, 300),
        start_patience=max(30.0, waits / _SLOWEST_START),
        close_patience=_CLOSE_PATIENCE,
    )


def _measure(task: Task) -> Measured:
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.waits_process", json.dumps(asdict(task))],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_TOO_LONG + task.start_patience,
            check=True,
        )
    except subprocess.TimeoutExpired:  # the machine is too slow, or the client hangs
        unknown = [math.nan] * 3
        return Measured(
            waits=task.waits,
            never_asked=task.waits,
            start_stalls=unknown[:2],
            lag=unknown,
            poll_late=unknown,
            latest_end=math.nan,
        )
    return Measured(**json.loads(done.stdout))


def run(options: Options) -> Section:
    """Measure, and report."""
    sizes = _SIZES[:2] if options.quick else _SIZES
    window = _QUICK_WINDOW if options.quick else _WINDOW
    compared = min(_MEASURED_SIZE, sizes[-1])
    rows: list[tuple[str, Measured]] = []
    for who, size in [(_BARE, compared), *((_CLIENT, size) for size in sizes)]:
        with running_server() as base:
            rows.append((who, _measure(_task(base, who, size, window))))
    together = _QUICK_COMMON_DEADLINE if options.quick else _COMMON_DEADLINE
    ends = [
        (who, threshold, _measure_ends(who, compared, together, threshold))
        for who, threshold in ((_BARE, None), (_CLIENT, None), (_CLIENT, _GC_THRESHOLD))
    ]
    ours = [measured for who, measured in rows if who == _CLIENT]
    bare = rows[0][1]
    plots.many_waits(
        options.out / "waits.svg",
        [(one.waits, one.lag[0], one.lag[1], one.lag[2]) for one in ours],
        # Below that, what the warm-up left free serves them.
        [
            (one.waits, one.bytes_each)
            for one in ours
            if one.bytes_each is not None and one.waits >= _MEMORY_SHOWS
        ],
        bare.bytes_each,
    )
    promised = next(one for one in ours if one.waits == compared)
    return Section(
        title="Many waits",
        text=(
            "Waits on one client, each for another rental that is never ready, all started "
            f"at once, then watched for {window:g} s at about 1,000 polls a second, then "
            "ended by `close()`. Memory is the growth of the process' resident memory once all "
            "have asked, divided by their number; so few as 100 live in what was free before. "
            "Connections are the most at once as the server sees them, those just closed "
            "included. A stall is the CPU time of one turn of the loop while all start: of the "
            "first one above 10 ms, and of the longest. Lag is by how much a 10 ms tick of the "
            "same loop is late, in shares of the time. A poll is late by "
            "the time from when it was announced to its answer. Deadlines are those of more waits "
            f"that come in meanwhile, each with its own; kept within {KEPT:.0%}, the client's last "
            "check ahead of a deadline included. Latest end is that of the wait which ran over its "
            "deadline by most."
        ),
        tables=(_costs(rows), _ends(rows), _common_ends(ends, together)),
        plots=(("waits.svg", "Memory for one wait and lag of the loop, by number of waits"),),
        verdicts=(
            *_verdicts_beside(bare, promised, [measured for *_, measured in ends]),
            *_verdicts(promised, ours),
        ),
    )


def _measure_ends(
    who: str, waits: int, deadline: float, threshold: tuple[int, int, int] | None
) -> Measured:
    with running_server() as base:
        task = _task(base, who, waits, 0.0)
        return _measure(evolve(task, common_deadline=deadline, gc_threshold=threshold))


def _costs(rows: Sequence[tuple[str, Measured]]) -> Table:
    return Table(
        "While they wait",
        (
            "",
            "waits",
            "KiB each",
            "connections",
            "all asked after s",
            "never asked",
            "failed",
            "first stall CPU s",
            "longest",
            "polls/s",
            "lag p50 ms",
            "p99",
            "longest",
            "poll late p50 ms",
            "p99",
        ),
        tuple(
            (
                _NAMES[who],
                f"{one.waits:,}",
                TO if one.bytes_each is None else f"{one.bytes_each / 1024:.1f}",
                f"{one.most_connections}",
                f"{one.start_seconds:.1f}",
                f"{one.never_asked:,}",
                f"{one.failed_checks:,}",
                *(f"{stall:.2f}" for stall in one.start_stalls),
                f"{one.polls_per_second:,.0f}",
                *(f"{lag * 1000:.1f}" for lag in one.lag),
                *(f"{late * 1000:.1f}" for late in one.poll_late[:2]),
            )
            for who, one in rows
        ),
    )


def _ends(rows: Sequence[tuple[str, Measured]]) -> Table:
    return Table(
        "How they end",
        (
            "",
            "waits",
            "deadlines kept",
            "latest end, ms",
            "all ended after close(), s",
            "not ended",
            "ended by",
        ),
        tuple(
            (
                _NAMES[who],
                f"{one.waits:,}",
                f"{one.deadlines_kept} of {one.deadlines}",
                f"{one.latest_end * 1000:+.0f}",
                TO if one.left_after_close else f"{one.close_seconds:.2f}",
                f"{one.left_after_close:,}",
                ", ".join(f"{name} {count:,}" for name, count in sorted(one.ends.items())),
            )
            for who, one in rows
        ),
    )


def _common_ends(
    ends: Sequence[tuple[str, tuple[int, int, int] | None, Measured]], deadline: float
) -> Table:
    return Table(
        f"One deadline for all, {deadline:g} s after the start",
        ("", "waits", "gc.set_threshold", "last end, ms after it"),
        tuple(
            (
                _NAMES[who],
                f"{one.waits:,}",
                TO if threshold is None else ", ".join(map(str, threshold)),
                f"{one.latest_end * 1000:+.0f}",
            )
            for who, threshold, one in ends
        ),
    )


def _verdicts_beside(
    bare: Measured, ours: Measured, ends: Sequence[Measured]
) -> tuple[Verdict, ...]:
    size = f"{ours.waits:,} waits"
    memory = math.nan
    if ours.bytes_each is not None and bare.bytes_each:
        memory = ours.bytes_each / bare.bytes_each
    stall = ours.start_stalls[1] / bare.start_stalls[1]
    later = ends[1].latest_end - ends[0].latest_end
    return (
        Verdict(
            f"{size}: memory for each against a bare loop's",
            f"≤ {_MEMORY_TARGET} {TIMES}",
            f"{memory:.2f} {TIMES}",
            memory <= _MEMORY_TARGET,
        ),
        Verdict(
            f"{size} at once: longest stall of the loop, CPU, against bare loops'",
            f"≤ {_STALL_TARGET} {TIMES}",
            f"{stall:.2f} {TIMES}",
            stall <= _STALL_TARGET,
        ),
        Verdict(
            f"{size} with one deadline: last end after it, against bare loops'",
            f"≤ {_LATER_TARGET * 1000:g} ms later",
            f"{later * 1000:+.0f} ms",
            later <= _LATER_TARGET,
        ),
    )


def _verdicts(promised: Measured, ours: Sequence[Measured]) -> tuple[Verdict, ...]:
    size = f"{promised.waits:,} waits"
    upto = [one for one in ours if one.waits <= promised.waits]  # more is shown, not promised
    deadlines = sum(one.deadlines for one in upto)
    kept = sum(one.deadlines_kept for one in upto)
    never = sum(one.never_asked for one in ours)
    failed = sum(one.failed_checks for one in ours)
    ended = not promised.left_after_close and not promised.unclear_ends
    return (
        Verdict(
            f"{size}: p99 of the loop's lag",
            f"≤ {_LAG_TARGET * 1000:g} ms",
            f"{promised.lag[1] * 1000:.1f} ms",
            promised.lag[1] <= _LAG_TARGET,
        ),
        Verdict(
            f"{size}: ended by close() with an error of the client's own",
            f"all in {_CLOSE_TARGET:g} s",
            f"{promised.left_after_close:,} not ended, {promised.unclear_ends:,} otherwise, "
            f"{promised.close_seconds:.2f} s",
            ended and promised.close_seconds <= _CLOSE_TARGET,
        ),
        Verdict(
            f"Up to {size}: deadlines kept within {KEPT:.0%}",
            "all",
            f"{kept} of {deadlines}",
            kept == deadlines,
        ),
        Verdict(
            f"Up to {ours[-1].waits:,} waits at once: first checks that are not made, or fail",
            "none",
            f"{never:,} and {failed:,}",
            never == failed == 0,
        ),
    )
