"""What one request costs in instructions, beside bare aiohttp, as valgrind's cachegrind counts.

CPU time cannot decide a ratio of 1.1 on a machine that does anything else; instructions can. Each
figure is the difference of two runs, with `n` and with `2 n` requests, so that what precedes them
does not count; of several runs the smallest counts, since all that comes between only adds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .report import Section, Table, Verdict
from .server import ROOT, running_server
from .stats import TIMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .report import Options

_OPERATIONS: Final = {
    "status": "`status()`",
    "poll": "one poll in `wait_until_ready()`",
    "price": "`price()`",
    "rent": "`rent()`",
    "download": "`download()`",
}
_TARGETS: Final = {"status": 1.10, "poll": 1.15}
_REQUESTS: Final = 40
_QUICK_REQUESTS: Final = 20
_TOO_LONG: Final = 600.0  # seconds, on a busy machine


@frozen
class Count:
    """Instructions of one request, by the client and by bare aiohttp."""

    operation: str
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        """The client's in terms of bare aiohttp's."""
        return self.ours / self.bare


def _instructions(
    valgrind: str, base: str, requests: int, whats: Iterable[str]
) -> dict[str, float]:
    """Return the instructions of one request of each kind."""
    done = subprocess.run(  # noqa: S603 - our own module
        [
            valgrind,
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            *(sys.executable, "-m", "benchmarks.instructions_process"),
            *(base, str(requests), *whats),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TOO_LONG,
        check=True,
    )
    counted = {
        process: int(count.replace(",", ""))
        for process, count in re.findall(r"==(\d+)== I\s+refs:\s+([\d,]+)", done.stderr)
    }
    forks = [line.split(" ", 2) for line in done.stdout.splitlines()]
    total: dict[tuple[str, int], int] = {}
    for process, count, what in forks:
        known = total.get((what, int(count)), counted[process])
        total[what, int(count)] = min(known, counted[process])
    return {what: (total[what, 2 * requests] - total[what, requests]) / requests for what in whats}


def measure(requests: int, operations: Iterable[str] = _OPERATIONS) -> list[Count]:
    """Count for each operation, the client's and the bare form; nothing without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return []
    whats = [f"{who} {operation}" for operation in operations for who in ("client", "bare")]
    with running_server(_TOO_LONG) as base:
        each = _instructions(valgrind, base, requests, whats)
    return [
        Count(operation, each[f"client {operation}"], each[f"bare {operation}"])
        for operation in operations
    ]


def run(options: Options) -> Section:
    """Measure, and report."""
    counts = measure(_QUICK_REQUESTS if options.quick else _REQUESTS)
    return Section(
        title="Instructions",
        text=(
            "Instructions of the client's process for one request, as valgrind's cachegrind counts "
            "them: unlike CPU time, they are the same on a busy machine. Bare aiohttp has a "
            "timeout and reads the JSON; its rent and its download each open a new connection, "
            "and its download writes the file and syncs it. The client's `rent()` and `download()` "
            "do more: see what is promised about them."
            if counts
            else "Not measured: valgrind is not installed."
        ),
        tables=(
            Table(
                "Thousands of instructions for one request",
                ("", "this client", "bare aiohttp", TIMES),
                tuple(
                    (
                        _OPERATIONS[one.operation],
                        f"{one.ours / 1000:,.0f}",
                        f"{one.bare / 1000:,.0f}",
                        f"{one.ratio:.3f}",
                    )
                    for one in counts
                ),
            ),
        ),
        verdicts=tuple(
            Verdict(
                f"Instructions of {_OPERATIONS[one.operation]} against bare aiohttp",
                f"≤ {_TARGETS[one.operation]:.2f} {TIMES}",
                f"{one.ratio:.3f} {TIMES}",
                one.ratio <= _TARGETS[one.operation],
            )
            for one in counts
            if one.operation in _TARGETS
        ),
    )
