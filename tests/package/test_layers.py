"""The house is built as its README draws it: imports run downwards, and only what does I/O can."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import house
import pytest
from paths import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (PACKAGE / "README.md").read_text("utf-8")
DRAWING = README.partition("```text\n┌")[2].partition("```")[0]
BORDER = "(status, headers, body)"
IO = {"aiohttp", "asyncio", "http", "os", "selectors", "socket", "ssl", "subprocess", "threading"}
ROOMS = sorted({house.room_of(module) for module in house.modules()})
MOST_LINES = 400
MOST_FILES = 15


def drawn() -> Iterator[tuple[int, str]]:
    """The names of rooms with the number of their floor from the top."""
    for floor, line in enumerate(DRAWING.splitlines()):
        if line.startswith("│ "):
            for name in line.split("│")[1].split():
                yield floor, name


def floor_of(room: str) -> int:
    """Where a room stands."""
    fitting = [floor for floor, name in drawn() if fnmatchcase(room, name)]
    assert len(fitting) == 1, f"{room} stands {len(fitting)} times in the drawing"
    return fitting[0]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_downwards_as_drawn(room: str) -> None:
    """Each room is drawn once, and imports only from its own floor or from below."""
    here = floor_of(room)
    used = {other for one, other in house.arrows_between_rooms() if one == room}
    assert {other for other in used if floor_of(other) < here} == set()


def test_nothing_is_drawn_that_is_not_there() -> None:
    """Each name in the drawing is a room's, and the public names stand above the client."""
    assert {name for _, name in drawn()} == set(ROOMS)
    assert floor_of("__init__") < floor_of("_client")


def test_no_modules_import_each_other_in_a_circle() -> None:
    """What runs has no circle; with what is imported for types there is at most one, of the models.

    A model raises an error when it is made, and an error carries models.
    """
    running = {
        (module, other)
        for module in house.modules()
        for other in house.imports(module, for_types=False)
    }
    assert house.circles(running) == set()
    assert house.circles(house.arrows_between_modules()) <= {frozenset({"_errors", "_models"})}


def test_circles_are_found() -> None:
    """The search itself finds a circle of three, and none in a line."""
    assert house.circles({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")}) == {
        frozenset({"a", "b", "c"})
    }
    assert house.circles({("a", "b"), ("b", "c"), ("a", "c")}) == set()


def test_the_sandbox_knows_nothing_of_the_client() -> None:
    """One mistake cannot sit on both sides of a test."""
    assert {other for one, other in house.arrows_between_rooms() if one == "sandbox"} == set()


def stands_on(room: str) -> set[str]:
    """A room, and all that it imports of this package, and so on."""
    found: set[str] = set()
    new = {room}
    while new:
        found |= new
        new = {other for one, other in house.arrows_between_rooms() if one in new} - found
    return found


def test_below_the_border_nothing_does_io() -> None:
    """What reads and writes the vendor's language does so without a network, a disk or a loop."""
    border = next(n for n, line in enumerate(DRAWING.splitlines()) if BORDER in line)
    pure = stands_on("_wire")
    assert all(floor_of(room) > border for room in pure)
    for module, file in house.modules().items():
        if house.room_of(module) in pure:
            assert not set(packages_used(file)) & IO, module


def packages_used(file: Path) -> Iterator[str]:
    """The packages, of the standard library and others, that a module imports when it runs."""
    tree = ast.parse(file.read_text("utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in set(ast.walk(tree)) - for_types:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_a_file_is_read_in_one_sitting() -> None:
    """No file has more lines than a reader takes in: a longer one is two rooms."""
    lines = {
        name: len(file.read_text("utf-8").splitlines()) for name, file in house.modules().items()
    }
    assert {name: many for name, many in lines.items() if many > MOST_LINES} == {}


def test_a_folder_is_seen_at_a_glance() -> None:
    """No folder has more Python files, or more folders, than a reader takes in."""
    folders = [PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))]
    for folder in folders:
        assert len([*folder.glob("*.py")]) <= MOST_FILES, folder
    assert len([*PACKAGE.glob("*/__init__.py")]) <= 11


def test_durable_rentals_stay_small() -> None:
    """What durable rentals need beside DBOS, from the public store to its SQL, is short.

    The bound is there to be noticed: 1,150 lines held what a store does, and another 750 hold what
    keeps money safe when stores, workers, journals and clocks disagree, or disks take no more.
    Another 160 remove what is personal of jobs that have ended, and leave jobs without a limit; 15
    continue a job in a new run where DBOS's database has spoilt its workflow, 35 record in an older
    copy of a store what its journals know, and 10 hand jobs over within an application's process.
    """
    files = (PACKAGE / "durable").rglob("*.py")
    assert sum(house.lines_of_code(file.read_text("utf-8")) for file in files) < 2120
