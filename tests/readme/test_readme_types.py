"""The Python in the READMEs is typed: the programs that users copy pass their own type checkers."""

from __future__ import annotations

import re
import subprocess
import sys
from textwrap import indent
from typing import TYPE_CHECKING

import pytest
from paths import READMES, ROOT
from sybil.parsers.markdown import PythonCodeBlockParser

from .test_readme import blocks_of, is_service

if TYPE_CHECKING:
    from pathlib import Path

CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-error-summary"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable],
}
# What the READMEs take from those before them, and the function that their `await` stands in. It
# fits above the first block of each, so that a checker's line is the line in the README.
PREAMBLE = """\
from decimal import Decimal
from smspartner_async import SMSPartnerClient, Targeting
from smspartner_async.batch import RentalJob
targeting: Targeting; volumes: dict[str, int]; jobs: list[RentalJob]
async def readme() -> None:
"""


def is_program(source: str) -> bool:
    """Whether a block is a whole program, which nothing builds on."""
    return is_service(source) or "asyncio.run(" in source


def programs() -> dict[str, str]:
    """Return the programs of all READMEs by the names of their files.

    Each line stands where it stands in its README. The blocks of a README that build on one another
    are one function.
    """
    made: dict[str, str] = {}
    for readme, line, source in blocks_of(PythonCodeBlockParser(), *READMES):
        name = "_".join(readme.relative_to(ROOT).with_suffix("").parts)
        if is_program(source):
            made[f"{name}_{line}.py"] = "\n" * line + source
        else:
            above = made.get(f"{name}.py", PREAMBLE)
            blank = line - above.count("\n")
            assert blank >= 0, f"{readme}:{line}: the preamble has no room above it"
            made[f"{name}.py"] = above + "\n" * blank + indent(source, "    ")
    return made


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_python_block_is_typed(checker: str, tmp_path: Path) -> None:
    """Types: neither mypy --strict nor pyright objects to any Python of the READMEs."""
    pytest.importorskip(checker, reason="the type checkers are in the dependency group lint")
    for name, source in programs().items():
        (tmp_path / name).write_text(source, "utf-8")
    checked = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *CHECKERS[checker], *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    errors = re.findall(r"^.*\berror\b.*$", checked.stdout, re.MULTILINE)
    assert (checked.returncode, errors) == (0, []), checked.stdout + checked.stderr
