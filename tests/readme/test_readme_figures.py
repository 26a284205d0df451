"""README's figures are those of the last benchmark run that is kept, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from paths import ROOT

from benchmarks.report import (
    Section,
    Table,
    Verdict,
    for_readme,
    in_readme,
    in_short,
    markdown,
    with_results,
)

if TYPE_CHECKING:
    from pathlib import Path

FRONT = (ROOT / "README.md").read_text("utf-8")
README = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
RESULTS = ROOT / "benchmarks" / "results"

SECTION = Section(
    title="Waits",
    text="How much memory a wait takes.",
    tables=(Table("Memory", ("waits", "bytes"), (("10", "1,234"),)),),
    plots=(("waits.svg", "Memory for one wait"),),
    verdicts=(
        Verdict("Memory for each", "≤ 12 KiB", "1.2 KiB", kept=True),
        Verdict("Lag of the loop", "≤ 50 ms", "99.9 ms", kept=False),
    ),
)


def test_readme_has_what_the_last_run_measured() -> None:
    """README's block of figures equals what is kept of the benchmarks, word for word."""
    assert in_readme(README) == for_readme(RESULTS), (
        "benchmarks/README.md and benchmarks/results differ. `python -m benchmarks` writes both."
    )


def test_the_first_readme_has_five_of_the_figures() -> None:
    """The front page's figures equal those of the kept report."""
    assert in_readme(FRONT) == in_short(RESULTS)


def test_the_five_figures_are_those_of_the_report(tmp_path: Path) -> None:
    """Each of the five is found by how its promise begins, and stands with what was promised."""
    promises = (
        "Instructions of `status()` against bare aiohttp",
        "Instructions of one poll in `wait_until_ready()` against bare aiohttp",
        "10,000 waits: memory for each against a bare loop's",
        "10,000 waits at once: longest stall of the loop, CPU, against bare loops'",
        "1,000 rentals, 360 requests a minute, all at once, long tail: mean lateness",
    )
    others = ("10,000 waits: p99 of the loop's lag", "Instructions of `rent()`")
    verdicts = [
        Verdict(promise, f"≤ 1.{number}", f"1.0{number}", kept=True)
        for number, promise in enumerate((*promises, *others))
    ]
    section = evolve(SECTION, verdicts=tuple(reversed(verdicts)))
    (tmp_path / "report.md").write_text(markdown([section], quick=False), "utf-8")
    assert in_short(tmp_path).splitlines()[2:] == [
        f"| {promise} | 1.0{number} | ≤ 1.{number} |" for number, promise in enumerate(promises)
    ]


def test_a_run_rewrites_the_block_and_nothing_else(tmp_path: Path) -> None:
    """The run's machine, its verdicts, kept or not, and its plots take the old ones' place."""
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "report.md").write_text(markdown([SECTION], quick=False), "utf-8")
    readme = with_results(README, for_readme(results))
    section = in_readme(readme)
    assert section == for_readme(results)
    assert readme.split(section) == README.split(in_readme(README))
    assert "CPython" in section
    assert "| Memory for each | ≤ 12 KiB | 1.2 KiB | yes |" in section
    assert "| Lag of the loop | ≤ 50 ms | 99.9 ms | NO |" in section
    assert "![Memory for one wait](results/waits.svg)" in section
    assert "(results/report.md)" in section
    assert "1,234" not in section
    assert with_results(readme, for_readme(results)) == readme
    nothing = for_readme(tmp_path / "empty")
    assert with_results(readme, nothing) == with_results(README, nothing)


def test_each_report_has_its_figures(tmp_path: Path) -> None:
    """A proof that is run on its own stands beside the whole run, and behind it."""
    for name in ("durability.md", "report.md"):
        (tmp_path / name).write_text(markdown([SECTION], quick=False), "utf-8")
    section = for_readme(tmp_path)
    assert 0 < section.index("/report.md)") < section.index("/durability.md)")
    assert section.count("| Memory for each |") == 2


def test_a_quick_run_is_marked_as_such(tmp_path: Path) -> None:
    """Figures that are too short to count do not stand in README as if they did."""
    (tmp_path / "report.md").write_text(markdown([SECTION], quick=True), "utf-8")
    assert "too short" in for_readme(tmp_path)
    (tmp_path / "report.md").write_text(markdown([SECTION], quick=False), "utf-8")
    assert "too short" not in for_readme(tmp_path)


def test_a_part_is_section_as_such(tmp_path: Path) -> None:
    """A run of which something is missing does not stand in README as if it were whole."""
    (tmp_path / "durability.md").write_text(
        markdown([SECTION], quick=False, missing=("speed", "budget")), "utf-8"
    )
    assert "**Only a part: without speed, budget.**" in for_readme(tmp_path)


def test_a_readme_without_the_block_is_an_error(tmp_path: Path) -> None:
    """A run does not lose its figures without a word."""
    with pytest.raises(ValueError, match="no block"):
        with_results("# A README\n", for_readme(tmp_path))
