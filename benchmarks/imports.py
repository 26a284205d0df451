"""What importing the client costs beside importing its four dependencies, which it cannot spare."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from .report import Section, Table, Verdict
from .server import ROOT
from .stats import TIMES, Spread, ratios

if TYPE_CHECKING:
    from .report import Options

_TARGET: Final = 1.1
_PLAIN: Final = "plain Python"
_DEPENDENCIES: Final = "aiohttp, attrs, cattrs, tenacity"
_IMPORTS: Final = {
    _PLAIN: "pass",
    _DEPENDENCIES: f"import {_DEPENDENCIES}",
    "smspartner_async": "import smspartner_async",
}


def _seconds(code: str, bytecode: str) -> float:
    """Add up what `python -X importtime` tells of every module; bytecode is kept in a folder."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-X", "importtime", "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.removeprefix("import time:").split("|") for line in ran.stderr.splitlines()]
    return sum(int(own) for own, *_ in lines if own.strip().isdecimal()) / 1e6


def run(options: Options) -> Section:
    """Measure, and tell."""
    rounds = 3 if options.quick else 30
    seconds: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    with tempfile.TemporaryDirectory(prefix="bytecode-") as bytecode:
        for name, code in [*_IMPORTS.items()] * (rounds + 1):
            seconds[name].append(_seconds(code, bytecode))
    for times in seconds.values():
        del times[0]  # which made the bytecode
    plain = seconds[_PLAIN]
    net = {
        name: [whole - own for whole, own in zip(times, plain, strict=True)]
        for name, times in seconds.items()
        if name != _PLAIN
    }
    base = net[_DEPENDENCIES]
    measured = ratios(net["smspartner_async"], base)
    return Section(
        title="Import",
        text=(
            f"The sums of `python -X importtime` over all modules, in {rounds} rounds that take "
            "turns, without what plain Python imports; with bytecode at hand, as it is after a "
            "first run."
        ),
        tables=(
            Table(
                "Import",
                ("", TIMES, "ms"),
                tuple(
                    (name, ratios(times, base).text(), Spread.of(times).text(".0f", 1e3))
                    for name, times in net.items()
                ),
            ),
        ),
        verdicts=(
            Verdict(
                "Import of the core beside that of its four dependencies",
                f"≤ {_TARGET} {TIMES}",
                f"{measured.text()} {TIMES}",
                measured.median <= _TARGET,
            ),
        ),
    )
