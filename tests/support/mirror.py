"""Which test file stands for which module: the tests mirror the package, folder by folder.

`pytest --cov --cov-context=test`, and `python tests/support/mirror.py` after it, report whether
each module is covered for 60 % at least by the tests in the files of its name alone.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Final

import house
from paths import ROOT, TESTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LEAST: Final = 0.6
# Modules that are not held to it, and why: what a separate process runs has no test's name.
EXCEPTED: Final[Mapping[str, str]] = {
    "testing._plugin": "its tests run pytest in a separate process, as its users do",
}


def mirrored() -> list[str]:
    """The modules that have a test file: all but the faces of packages and the starters."""
    files = house.modules().items()
    return [module for module, file in files if file.name not in {"__init__.py", "__main__.py"}]


def test_files(module: str) -> list[Path]:
    """The test files of a module: `test_<its name>*.py`, in the mirrored folder or one below it.

    A module at the top of the package has its tests in tests/modules, or in a folder of its name.
    """
    *folders, name = (part.lstrip("_") for part in module.split("."))
    places = [TESTS.joinpath(*folders)] if folders else [TESTS / "modules", TESTS / name]
    return sorted(file for place in places for file in place.rglob(f"test_{name}*.py"))


def lines_that_run(file: Path) -> set[int]:
    """The lines of a module's functions that a test has to reach: those of statements in them."""
    tree = ast.parse(file.read_text("utf-8"))
    return {
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in function.body
        for node in ast.walk(statement)
        if isinstance(node, ast.stmt) and not _is_text(node)
    }


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def shares() -> dict[str, float]:
    """How much of each module the tests of its name cover, by the data that coverage has kept."""
    from coverage import CoverageData  # noqa: PLC0415 - the rest needs no coverage

    data = CoverageData(str(ROOT / ".coverage"))
    data.read()
    found = {}
    for module in mirrored():
        file = house.modules()[module]
        wanted = lines_that_run(file)
        names = tuple(f"{path.relative_to(ROOT)}::" for path in test_files(module))
        contexts = data.contexts_by_lineno(str(file))
        reached = {
            line
            for line, tests in contexts.items()
            if any(test.startswith(names) for test in tests)
        }
        found[module] = len(wanted & reached) / len(wanted) if wanted else 1.0
    return found


def _judge() -> None:
    measured = {module: share for module, share in shares().items() if module not in EXCEPTED}
    poor = {module: share for module, share in measured.items() if share < LEAST}
    for module, share in sorted(poor.items()):
        print(f"{share:4.0%}  {module}")  # noqa: T201 - what it is for
    print(f"{len(poor)} modules are covered for less than {LEAST:.0%} by their own tests")  # noqa: T201
    sys.exit(bool(poor))


if __name__ == "__main__":
    _judge()
