"""What a benchmark reports, as rich tables for the terminal and as one Markdown file."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich.table
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

PACKAGES: Final = (
    "aiohttp",
    "attrs",
    "cattrs",
    "tenacity",
    "azure-core",
    "httpx",
    "openai",
    "looptime",
    "dbos",
)
_QUICK: Final = "**A quick run, to see that it runs: too short for its figures to count.**"
_PART: Final = "**Only a part: without"
_BEGIN: Final = "<!-- begin: written by python -m benchmarks -->"
_END: Final = "<!-- end: written by python -m benchmarks -->"


@frozen
class Options:
    """What the command line asks for."""

    quick: bool
    out: Path
    console: Console


@frozen
class Table:
    """Texts in rows; the first column names the row, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def for_terminal(self) -> rich.table.Table:
        """Make a table for rich."""
        table = rich.table.Table(title=self.title, title_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Write it in Markdown."""
        rules = ("---", *("---:" for _ in self.columns[1:]))
        lines = (self.columns, rules, *self.rows)
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in lines)


@frozen
class Verdict:
    """Something promised, and whether it held."""

    promise: str
    target: str
    measured: str
    kept: bool

    def row(self) -> tuple[str, ...]:
        """Make a row of a table."""
        return (self.promise, self.target, self.measured, "yes" if self.kept else "NO")


@frozen
class Section:
    """All that one benchmark reports. `plots` are file names and what they show."""

    title: str
    text: str
    tables: tuple[Table, ...]
    plots: tuple[tuple[str, str], ...] = ()
    verdicts: tuple[Verdict, ...] = ()


def version_of(*packages: str) -> str:
    """Return the version of the first of some packages; no package at all is plain Python."""
    if not packages:
        return platform.python_version()
    try:
        return version(packages[0])
    except PackageNotFoundError:
        return _own_version() if packages[0] == "smspartner_async" else "not installed"


def _own_version() -> str:
    """Read the version of a tree that is run without being installed."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    lines = project.read_text("utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


def machine() -> str:
    """Describe what it ran on, without naming the machine."""
    return (
        f"{os.cpu_count()} cores ({_processor()}), {_system()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def summary(sections: Sequence[Section]) -> Table:
    """Gather the verdicts of all sections."""
    return Table(
        "What is promised",
        ("", "target", "measured", "kept"),
        tuple(verdict.row() for section in sections for verdict in section.verdicts),
    )


def markdown(
    sections: Sequence[Section],
    *,
    quick: bool,
    missing: Sequence[str] = (),
    command: str = "python -m benchmarks",
    packages: Sequence[str] = PACKAGES,
) -> str:
    """Write the whole report; or as much of it as there is, with the names of what is missing."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in packages)
    parts = [
        "# Benchmarks",
        (
            f"{datetime.now(UTC):%Y-%m-%d}, smspartner_async {version_of('smspartner_async')}. "
            f"{machine()}. {versions}."
        ),
        f"Made by `{command}`; all peers were run in the same run.",
    ]
    if missing:
        parts.append(f"{_PART} {', '.join(missing)}.**")
    if quick:
        parts.append(_QUICK)
    parts.append(summary(sections).markdown())
    for section in sections:
        parts += [f"## {section.title}", section.text]
        parts += [table.markdown() for table in section.tables]
        parts += [f"![{shows}]({name})" for name, shows in section.plots]
    return "\n\n".join(parts) + "\n"


def for_readme(results: Path) -> str:
    """Return in short what the reports in `results` say: where they ran, what held, the plots."""
    parts = []
    for report in sorted(results.glob("*.md"), key=lambda path: (path.stem != "report", path)):
        text = report.read_text("utf-8")
        _, facts, *others = text.strip().split("\n\n")
        where = results.name
        parts.append(f"{facts} [The whole report]({where}/{report.name}).")
        parts += [part for part in others if part == _QUICK or part.startswith(_PART)]
        parts += [part for part in others if part.startswith("| ")][:1]
        plots = re.findall(r"^!\[(.*)\]\((.*)\)$", text, re.MULTILINE)
        parts += [f"![{shows}]({where}/{name})" for shows, name in plots]
    return "\n\n".join(parts) or "No results are kept here yet."


_HEADLINES: Final = (
    "Instructions of `status()`",
    "Instructions of one poll",
    "10,000 waits: memory",
    "10,000 waits at once: longest stall",
    "1,000 rentals, 360 requests a minute, all at once, long tail: mean lateness",
)
"""How the promises begin whose figures stand in the first README."""


def in_short(results: Path) -> str:
    """Give the five figures of the first README, as `report.md` in `results` has them."""
    report = results / "report.md"
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    figures = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for start in _HEADLINES
        for line in lines
        if line.startswith(f"| {start}")
    ]
    rows = (f"| {promise} | {measured} | {target} |" for promise, target, measured, *_ in figures)
    return "\n".join(("| | measured | promised |", "|---|---:|---:|", *rows))


def in_readme(readme: str) -> str:
    """Cut out of a README what a run has written there."""
    return readme.partition(f"{_BEGIN}\n\n")[2].partition(f"\n\n{_END}")[0]


def with_results(readme: str, results: str) -> str:
    """Put what a run has measured into a README, in place of what stands there."""
    before, begin, rest = readme.partition(f"{_BEGIN}\n\n")
    _, end, after = rest.partition(f"\n\n{_END}")
    if not begin or not end:
        raise ValueError(f"README has no block between {_BEGIN!r} and {_END!r}.")
    return f"{before}{begin}{results}{end}{after}"
