"""What the tests of downloads share: where the file goes, and that nothing is left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from downloads import check_nothing_is_left


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    yield
    check_nothing_is_left()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    return path


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "contacts.csv"
