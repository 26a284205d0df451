"""The tests mirror the package: whoever looks for the tests of a module finds them by its name."""

from __future__ import annotations

import mirror
from paths import TESTS

MOST_FILES = 15


def test_each_module_has_tests_of_its_name() -> None:
    """The tests of `_x/y.py` stand in `tests/x/test_y.py`, or in files whose names begin so."""
    assert {module for module in mirror.mirrored() if not mirror.test_files(module)} == set()


def test_a_folder_of_tests_is_seen_at_a_glance() -> None:
    """No folder of tests has more Python files than a reader takes in."""
    for folder in {path.parent for path in TESTS.rglob("*.py")}:
        assert len([*folder.glob("*.py")]) <= MOST_FILES, folder


def test_what_is_excepted_is_there() -> None:
    """No module that is gone stays on the list of those that need no tests."""
    assert set(mirror.EXCEPTED) <= set(mirror.mirrored())
