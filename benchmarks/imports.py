"""What importing the client costs beside importing its four dependencies, which it cannot spare."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from .report import Section, Table, Verdict
from .server import ROOT
from .stats import TIMES, Spread

if TYPE_CHECKING:
    from .report import Options

_TARGET: Final = 1.1
_CLIENT: Final = "from smspartner_async import SMSPartnerClient"
_DEPENDENCIES: Final = "aiohttp, attrs, cattrs, tenacity"


def _seconds(code: str, bytecode: str) -> dict[str, float]:
    """Return the seconds of every module, by `python -X importtime`; `bytecode` is a folder."""
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
    return {name.strip(): int(own) / 1e6 for own, _, name in lines if own.strip().isdecimal()}


def run(options: Options) -> Section:
    """Measure, and report."""
    rounds = 3 if options.quick else 40
    dependencies: list[float] = []
    wholes: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bytecode-") as bytecode:
        plain = _seconds("pass", bytecode).keys()
        theirs = _seconds(f"import {_DEPENDENCIES}", bytecode).keys() - plain
        _seconds(_CLIENT, bytecode)  # which makes the rest of the bytecode
        for _ in range(rounds):
            seconds = _seconds(_CLIENT, bytecode)
            whole = {name: own for name, own in seconds.items() if name not in plain}
            wholes.append(sum(whole.values()))
            dependencies.append(sum(own for name, own in whole.items() if name in theirs))
    measured = Spread.of([a / b for a, b in zip(wholes, dependencies, strict=True)])
    return Section(
        title="Import",
        text=(
            f"What `python -X importtime` measures of `{_CLIENT}`, with bytecode at "
            "hand, as it is after a first run: the sum over all modules, beside the sum over those "
            f"of them that `import {_DEPENDENCIES}` loads as well, in one and the same process. "
            f"Without what plain Python imports. {rounds} rounds."
        ),
        tables=(
            Table(
                "Import",
                ("", TIMES, "ms"),
                (
                    (_DEPENDENCIES, "1.00", Spread.of(dependencies).text(".0f", 1e3)),
                    ("smspartner_async", measured.text(), Spread.of(wholes).text(".0f", 1e3)),
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
