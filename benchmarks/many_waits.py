"""What many waits at once cost: memory, the loop's lag, deadlines, and the end by `close()`.

Each size is measured in a process of its own, against the server in another.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from attrs import asdict

from . import plots
from .report import Section, Table, Verdict
from .server import ROOT, running_server
from .stats import TO
from .waits_process import KEPT, Measured, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Options

_SIZES: Final = (100, 1_000, 10_000, 30_000)
_MEASURED_SIZE: Final = 10_000
"""The size that is promised something about, and at which a bare loop is measured too."""
_BARE: Final = "bare"
_CLIENT: Final = "client"
_NAMES: Final = {_BARE: "bare aiohttp loops", _CLIENT: "this client"}

_WINDOW: Final = 4.0
_QUICK_WINDOW: Final = 2.0
_START_PATIENCE: Final = 30.0
_TOO_LONG: Final = 60.0
_CLOSE_PATIENCE: Final = 3.0
_SETTLED: Final = 2_000
_MEMORY_SHOWS: Final = 1_000
_MEMORY_TARGET: Final = 12 * 1024
_LAG_TARGET: Final = 0.05
_CLOSE_TARGET: Final = 2.0


def _interval(waits: int) -> float:
    """Give the mean interval with which so many waits make about 1,000 polls a second.

    Intervals are drawn evenly from 0 to twice the mean. A moment after the start the few have long
    settled at one poll for each mean; of the many half as much falls due at first, then more.
    """
    return waits / (1000 if waits <= _SETTLED else 1800)


def _measure(base: str, who: str, waits: int, window: float) -> Measured:
    task = Task(
        who=who,
        base=base,
        waits=waits,
        interval=_interval(waits),
        window=window,
        deadlines=min(waits // 2, 300),
        start_patience=_START_PATIENCE,
        close_patience=_CLOSE_PATIENCE,
    )
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.waits_process", json.dumps(asdict(task))],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_TOO_LONG,
            check=True,
        )
    except subprocess.TimeoutExpired:  # the machine is too slow, or the client hangs
        unknown = [math.nan] * 3
        return Measured(waits=waits, never_asked=waits, lag=unknown, poll_late=unknown)
    return Measured(**json.loads(done.stdout))


def run(options: Options) -> Section:
    """Measure, and tell."""
    sizes = _SIZES[:2] if options.quick else _SIZES
    window = _QUICK_WINDOW if options.quick else _WINDOW
    compared = min(_MEASURED_SIZE, sizes[-1])
    rows: list[tuple[str, Measured]] = []
    for who, size in [(_BARE, compared), *((_CLIENT, size) for size in sizes)]:
        with running_server() as base:
            rows.append((who, _measure(base, who, size, window)))
    ours = [measured for who, measured in rows if who == _CLIENT]
    plots.many_waits(
        options.out / "waits.svg",
        [(one.waits, one.lag[0], one.lag[1], one.lag[2]) for one in ours],
        # Below that, what the warm-up left free serves them.
        [
            (one.waits, one.bytes_each)
            for one in ours
            if one.bytes_each is not None and one.waits >= _MEMORY_SHOWS
        ],
    )
    promised = next(one for one in ours if one.waits == compared)
    return Section(
        title="Many waits",
        text=(
            "Waits on one client, each for a rental of its own that is never ready, started as "
            f"fast as they will, then watched for {window:g} s at about 1,000 polls a second, then "
            "ended by `close()`. Memory is the growth of the process' resident memory once all "
            "have asked, divided by their number; so few as 100 live in what was free before. "
            "Connections are the most at once as the server sees them, those just closed "
            "included. Lag is by how much a 10 ms tick of the same loop is late. A poll is late by "
            "the time from when it was announced to its answer. Deadlines are those of more waits "
            f"that come in meanwhile, each with its own; kept within {KEPT:.0%}, the client's last "
            "look ahead of a deadline included. Latest end is that of the wait which ran over its "
            "deadline by most."
        ),
        tables=(_costs(rows), _ends(rows)),
        plots=(("waits.svg", "Memory for one wait and lag of the loop, by number of waits"),),
        verdicts=_verdicts(promised, ours),
    )


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


def _verdicts(promised: Measured, ours: Sequence[Measured]) -> tuple[Verdict, ...]:
    size, each = f"{promised.waits:,} waits", promised.bytes_each
    upto = [one for one in ours if one.waits <= promised.waits]  # more is shown, not promised
    deadlines = sum(one.deadlines for one in upto)
    kept = sum(one.deadlines_kept for one in upto)
    never = sum(one.never_asked for one in upto)
    ended = not promised.left_after_close and not promised.unclear_ends
    return (
        Verdict(
            f"{size}: memory for each",
            f"≤ {_MEMORY_TARGET / 1024:g} KiB",
            "not measured" if each is None else f"{each / 1024:.1f} KiB",
            each is not None and each <= _MEMORY_TARGET,
        ),
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
        Verdict(f"Up to {size}: those that never asked", "none", f"{never:,}", never == 0),
    )
