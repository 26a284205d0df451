"""README's figures are those of the last benchmark run that is kept, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import (
    Section,
    Table,
    Verdict,
    for_readme,
    in_readme,
    markdown,
    with_results,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
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


def test_readme_tells_what_the_last_run_told() -> None:
    """README's block of figures equals what is kept of the benchmarks, word for word."""
    assert in_readme(README) == for_readme(RESULTS), (
        "README.md and benchmarks/results differ. `python -m benchmarks` writes both."
    )


def test_a_run_rewrites_the_block_and_nothing_else(tmp_path: Path) -> None:
    """The run's machine, its verdicts, kept or not, and its plots take the old ones' place."""
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "report.md").write_text(markdown([SECTION], quick=False), "utf-8")
    readme = with_results(README, results)
    told = in_readme(readme)
    assert told == for_readme(results)
    assert readme.split(told) == README.split(in_readme(README))
    assert "CPython" in told
    assert "| Memory for each | ≤ 12 KiB | 1.2 KiB | yes |" in told
    assert "| Lag of the loop | ≤ 50 ms | 99.9 ms | NO |" in told
    assert "![Memory for one wait](benchmarks/results/waits.svg)" in told
    assert "(benchmarks/results/report.md)" in told
    assert "1,234" not in told
    assert with_results(readme, results) == readme
    assert with_results(readme, tmp_path / "empty") == with_results(README, tmp_path / "empty")


def test_each_report_is_told(tmp_path: Path) -> None:
    """A proof that is run on its own stands beside the whole run, and behind it."""
    for name in ("durability.md", "report.md"):
        (tmp_path / name).write_text(markdown([SECTION], quick=False), "utf-8")
    told = for_readme(tmp_path)
    assert 0 < told.index("/report.md)") < told.index("/durability.md)")
    assert told.count("| Memory for each |") == 2


def test_a_quick_run_is_told_as_such(tmp_path: Path) -> None:
    """Figures that are too short to count do not stand in README as if they did."""
    (tmp_path / "report.md").write_text(markdown([SECTION], quick=True), "utf-8")
    assert "too short" in for_readme(tmp_path)
    (tmp_path / "report.md").write_text(markdown([SECTION], quick=False), "utf-8")
    assert "too short" not in for_readme(tmp_path)


def test_a_part_is_told_as_such(tmp_path: Path) -> None:
    """A run of which something is missing does not stand in README as if it were whole."""
    (tmp_path / "durability.md").write_text(
        markdown([SECTION], quick=False, missing=("speed", "budget")), "utf-8"
    )
    assert "**Only a part: without speed, budget.**" in for_readme(tmp_path)


def test_a_readme_without_the_block_is_an_error(tmp_path: Path) -> None:
    """A run does not lose its figures without a word."""
    with pytest.raises(ValueError, match="no block"):
        with_results("# A README\n", tmp_path)
