"""Run the benchmarks: `python -m benchmarks [imports|requests|waits|budget] [--quick] [--out DIR]`.

`python -m benchmarks durability` is a proof of its own, which takes longer than all of them.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.console import Console

from . import budget, imports, many_waits, request_cost
from .report import Options, markdown, summary, with_results
from .server import ROOT

_BENCHMARKS: Final = {
    "imports": imports.run,
    "requests": request_cost.run,
    "waits": many_waits.run,
    "budget": budget.run,
}
_ALONE: Final = "durability"  # it needs the extra `durable`, and is no part of a whole run
_RESULTS: Final = ROOT / "benchmarks/results"


def main() -> None:
    """Run what is asked for, print it, and write the report with its plots; README shows them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "only", nargs="?", choices=[*_BENCHMARKS, _ALONE], help="by default all of them"
    )
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the report; by default benchmarks/results for a whole run, "
        "build/benchmarks for any other",
    )
    given = parser.parse_args()
    whole = given.only in (None, _ALONE) and not given.quick
    if given.only == _ALONE:
        _BENCHMARKS[_ALONE] = import_module(".durability", __package__).run
    report = "durability.md" if given.only == _ALONE else "report.md"
    out: Path = given.out or (_RESULTS if whole else ROOT / "build/benchmarks")
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    options = Options(quick=given.quick, out=out, console=console)
    started = time.monotonic()
    sections = []
    for name in [given.only] if given.only else _BENCHMARKS:
        console.rule(name)
        section = _BENCHMARKS[name](options)
        for table in section.tables:
            console.print(table.for_terminal())
        sections.append(section)
    console.rule("in short")
    console.print(summary(sections).for_terminal())
    (out / report).write_text(markdown(sections, quick=given.quick), "utf-8")
    if out.resolve() == _RESULTS:
        readme = ROOT / "README.md"
        readme.write_text(with_results(readme.read_text("utf-8"), out), "utf-8")
    console.print(f"{time.monotonic() - started:.0f} s; the report is {out / report}")


if __name__ == "__main__":
    main()
