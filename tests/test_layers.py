"""The house is built as README draws it: imports run downwards, and only what does I/O can."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "smspartner_async"
README = (ROOT / "README.md").read_text("utf-8")
DRAWING = README.partition("## How it is built")[2].partition("```text\n")[2].partition("```")[0]
BORDER = "(status, headers, body)"
IO = {"aiohttp", "asyncio", "http", "os", "selectors", "socket", "ssl", "subprocess", "threading"}


def rooms(drawing: str) -> Iterator[tuple[int, str]]:
    """The names of rooms, some with a `*`, with the number of their floor from the top."""
    for floor, line in enumerate(drawing.splitlines()):
        if line.startswith("│ "):
            for name in line.split("│")[1].split():
                yield floor, name


def modules() -> list[str]:
    """The package's modules; a folder is one."""
    found = [path.stem for path in PACKAGE.glob("*.py")]
    return sorted({*found, *(path.parent.name for path in PACKAGE.glob("*/__init__.py"))})


def floor_of(module: str) -> int:
    """Where a module stands; drawn by its name, or else by the one pattern that fits."""
    drawn = list(rooms(DRAWING))
    fitting = [floor for floor, name in drawn if name == module] or [
        floor for floor, name in drawn if fnmatchcase(module, name)
    ]
    assert len(fitting) == 1, f"{module} stands {len(fitting)} times in README's drawing"
    return fitting[0]


def imports(module: str) -> set[str]:
    """What a module imports of this package, also for its types alone."""
    folder = PACKAGE / module
    files = folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{module}.py"]
    return {name for file in files for name in imported(file.read_text("utf-8"), folder.is_dir())}


def imported(source: str, inside: bool) -> Iterator[str]:  # noqa: FBT001 - of a folder
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 1 + inside:
            yield from [node.module] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
            yield (node.module or "").partition(".")[2] or "__init__"


@pytest.mark.parametrize("module", modules())
def test_imports_run_downwards_as_drawn(module: str) -> None:
    """Each module is drawn once, and imports only from its own floor or from below."""
    here = floor_of(module)
    above = {name for name in imports(module) if floor_of(name.partition(".")[0]) < here}
    assert above == set()


def test_nothing_is_drawn_that_is_not_there() -> None:
    """Each name in the drawing is a module's, or fits one."""
    for _, name in rooms(DRAWING):
        assert any(fnmatchcase(module, name) for module in modules()), name


def test_the_sandbox_knows_nothing_of_the_client() -> None:
    """One mistake cannot sit on both sides of a test."""
    assert imports("sandbox") == set()


def stands_on(module: str) -> set[str]:
    """A module, and all that it imports of this package, and so on."""
    found, new = set(), {module}
    while new:
        found |= new
        new = {other for name in new for other in imports(name)} - found
    return found


@pytest.mark.parametrize("name", sorted(stands_on("_wire")))
def test_below_the_border_nothing_does_io(name: str) -> None:
    """What reads and writes the vendor's language does so without a network, a disk or a loop."""
    border = next(n for n, line in enumerate(DRAWING.splitlines()) if BORDER in line)
    assert floor_of(name) > border
    tree = ast.parse((PACKAGE / f"{name}.py").read_text("utf-8"))
    typing_only = [
        child
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    ]
    used = {
        re.split(r"\.", line)[0]
        for node in ast.walk(tree)
        if node not in typing_only
        for line in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    assert not used & IO


def lines_of_code(module: str) -> int:
    """Lines with code on them: without docstrings, comments and imports."""
    source = (PACKAGE / f"{module}.py").read_text("utf-8")
    left_out = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {
        line
        for token in tokens
        if token.type not in {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}
        and token.string.strip()
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - left_out)


def test_what_is_not_dboss_own_stays_small() -> None:
    """What durable rentals need beside the engine, save the steps and the public API, is short."""
    assert sum(map(lines_of_code, ("_worker", "_ledger", "_journal", "_budget"))) < 500
