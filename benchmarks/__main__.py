"""Run the benchmarks: `python -m benchmarks [NAME] [--quick] [--out DIR]`.

`python -m benchmarks durability` is a separate proof, which takes longer than all of them. Its
parts can be run alone: `--only sqlite|postgres|scaling|speed|waiting|budget`. Its exit code says
whether all that it promises was kept.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.console import Console

from . import budget, imports, instructions, many_waits, request_cost
from .lanes import bytecode_at_hand, end_in_order
from .report import (
    PACKAGES,
    Options,
    Section,
    for_readme,
    in_short,
    markdown,
    summary,
    with_results,
)
from .server import ROOT

_BENCHMARKS: Final = {
    "imports": imports.run,
    "requests": request_cost.run,
    "instructions": instructions.run,
    "waits": many_waits.run,
    "budget": budget.run,
}
_ALONE: Final = "durability"  # it needs the extra `durable`, and is no part of a whole run
_RESULTS: Final = ROOT / "benchmarks/results"


def main() -> None:
    """Run what is asked for, print it, and write the report; a whole run writes READMEs, too."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "benchmark", nargs="?", choices=[*_BENCHMARKS, _ALONE], help="by default all of them"
    )
    parser.add_argument("--only", metavar="PART", help=f"one part of {_ALONE}")
    parser.add_argument("--quick", action="store_true", help="only see that it runs")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of the report; by default benchmarks/results for a whole run, "
        "build/benchmarks for any other",
    )
    given = parser.parse_args()
    end_in_order()  # no server is left behind
    benchmarks, command, packages = _BENCHMARKS, "python -m benchmarks", PACKAGES
    report, names = "report.md", [given.benchmark] if given.benchmark else [*_BENCHMARKS]
    if given.benchmark == _ALONE:
        durability = import_module(".durability", __package__)
        benchmarks, command, packages = durability.PARTS, f"{command} {_ALONE}", durability.PACKAGES
        report, names = "durability.md", [given.only] if given.only else [*benchmarks]
    if not {*names} <= {*benchmarks} or (given.only and benchmarks is _BENCHMARKS):
        parser.error(f"--only is for {_ALONE}, and one of its parts: see --help")
    whole = len(names) == len(benchmarks) and not given.quick
    out: Path = given.out or (_RESULTS if whole else ROOT / "build/benchmarks")
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    options = Options(quick=given.quick, out=out, console=console)
    started = time.monotonic()
    sections: list[Section] = []
    missing = [*benchmarks]
    for name in names:
        console.rule(name)
        begun = time.monotonic()
        try:
            with bytecode_at_hand():
                section = benchmarks[name](options)
        except Exception:  # noqa: BLE001 - it is printed, and the others are not lost
            console.print_exception()
        else:
            missing.remove(name)
            sections.append(section)
            for table in section.tables:
                console.print(table.for_terminal())
        console.print(f"{name}: {time.monotonic() - begun:.0f} s")
        # After each of them, so that the report holds all that has come to an end.
        text = markdown(
            sections, quick=given.quick, missing=missing, command=command, packages=packages
        )
        (out / report).write_text(text, "utf-8")
    console.rule("in short")
    console.print(summary(sections).for_terminal())
    if out.resolve() == _RESULTS:
        for part in out.glob(f"{Path(report).stem}-*.md"):
            part.unlink()  # it was run alone, before this whole run
        for readme, figures in (
            (ROOT / "benchmarks" / "README.md", for_readme(out)),
            (ROOT / "README.md", in_short(out)),
        ):
            readme.write_text(with_results(readme.read_text("utf-8"), figures), "utf-8")
    console.print(f"{time.monotonic() - started:.0f} s; the report is {out / report}")
    kept = all(verdict.kept for section in sections for verdict in section.verdicts)
    sys.exit(len(sections) < len(names) or (benchmarks is not _BENCHMARKS and not kept))


if __name__ == "__main__":
    main()
