"""The structure of the package, read from its source: rooms, the arrows between them, circles.

A room is a module at the top of the package, or a folder there; an arrow is an import, also one for
types alone. Nothing is imported, so no extra needs to be installed.

    python tests/support/house.py    prints the figures
"""

from __future__ import annotations

import ast
import io
import tokenize
from functools import cache
from typing import TYPE_CHECKING, Final

from paths import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

NAME: Final = PACKAGE.name


@cache
def modules() -> Mapping[str, Path]:
    """All modules of the package by their dotted names, such as `_http.transport`.

    A package stands under its own name, and the whole one under `__init__`.
    """
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        inner = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(inner)] = file
    return found


@cache
def imports(module: str, *, for_types: bool = True) -> frozenset[str]:
    """What a module imports of this package; without `for_types` only what runs."""
    known = modules()
    tree = ast.parse(known[module].read_text("utf-8"))
    skipped = set() if for_types else set(_nodes_for_types(tree))
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (base := _base(node, module, known[module])):
            found |= {_nearest(f"{base}.{alias.name}", known) for alias in node.names}
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found |= {_nearest(name, known) for name in names if name.startswith(f"{NAME}.")}
    return frozenset(found - {module})


def _nodes_for_types(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                yield from ast.walk(statement)


def _base(node: ast.ImportFrom, module: str, file: Path) -> str | None:
    """The dotted name that an import begins with; `None` for one of another package."""
    if not node.level:
        return node.module if (node.module or "").split(".")[0] == NAME else None
    here = [NAME, *module.split(".")] if module != "__init__" else [NAME]
    if file.name != "__init__.py":
        here.pop()
    here = here[: len(here) - (node.level - 1)]
    return ".".join([*here, *([node.module] if node.module else [])])


def _nearest(name: str, known: Mapping[str, Path]) -> str:
    """The module that a dotted name is in: its last parts may be things in it."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or "__init__"


def room_of(module: str) -> str:
    """The room at the top of the package that a module is in."""
    return module.partition(".")[0]


@cache
def arrows_between_modules() -> frozenset[tuple[str, str]]:
    """All pairs of modules of which the first imports the second."""
    return frozenset((module, other) for module in modules() for other in imports(module))


def arrows_between_rooms() -> set[tuple[str, str]]:
    """All pairs of rooms of which the first imports from the second."""
    pairs = {(room_of(one), room_of(other)) for one, other in arrows_between_modules()}
    return {(one, other) for one, other in pairs if one != other}


def circles(arrows: Iterable[tuple[str, str]]) -> set[frozenset[str]]:
    """The groups of nodes that lead to one another."""
    leads: dict[str, set[str]] = {}
    for one, other in arrows:
        leads.setdefault(one, set()).add(other)
        leads.setdefault(other, set())

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        new = set(leads[start])
        while new:
            found |= new
            new = {further for node in new for further in leads[node]} - found
        return found

    all_reached = {node: reached(node) for node in leads}
    return {
        frozenset(other for other in all_reached[node] if node in all_reached[other])
        for node in leads
        if node in all_reached[node]
    }


def lines_of_code(source: str) -> int:
    """Lines with code on them: without docstrings, comments and imports."""
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


def _print_figures() -> None:
    files = [file.read_text("utf-8") for file in modules().values()]
    folders = [folder for folder in (PACKAGE, *PACKAGE.rglob("*/")) if folder.is_dir()]
    figures = {
        "rooms": len({room_of(module) for module in modules()}),
        "arrows between rooms": len(arrows_between_rooms()),
        "modules": len(files),
        "arrows between modules": len(arrows_between_modules()),
        "lines of code": sum(map(lines_of_code, files)),
        "lines of the longest file": max(len(file.splitlines()) for file in files),
        "files of the fullest folder": max(len([*folder.glob("*.py")]) for folder in folders),
    }
    for name, figure in figures.items():
        print(f"{name:>28}: {figure:,}")  # noqa: T201 - what it is for


if __name__ == "__main__":
    _print_figures()
