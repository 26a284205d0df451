"""A program with a mistake fails under a type checker; one without passes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

HERE = Path(__file__).parent
MISTAKES = HERE / "typed_mistakes.py"
CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-incremental", "--no-error-summary"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_each_mistake_is_seen(checker: str, tmp_path: Path) -> None:
    """Types: mypy and pyright refuse each of the first mistakes, and nothing in right programs."""
    pytest.importorskip(checker, reason="the type checkers are in the dependency group lint")
    lines = MISTAKES.read_text("utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# type: ignore" in line}
    program = tmp_path / "program.py"
    program.write_text(re.sub(r"  # (type: ignore|noqa).*", "", "\n".join(lines) + "\n"), "utf-8")
    checked = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *CHECKERS[checker], str(program), str(HERE / "typed_api.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    reported = re.findall(r"^ *(\S+\.py):(\d+)\S* (?:- )?error", checked.stdout, re.MULTILINE)
    assert {(Path(file).name, int(line)) for file, line in reported} == {
        ("program.py", line) for line in wrong
    }, checked.stdout + checked.stderr
