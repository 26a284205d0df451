"""What an earlier download left behind: compared, and removed only if it is this package's."""

import os
from pathlib import Path

import pytest
from downloads import FILE, OLDER, contents, leave_behind

from smspartner_async._operations.leftover import Leftover
from smspartner_async._operations.sidecar import Sidecar


@pytest.mark.parametrize(
    ("older", "agrees"),
    [
        (OLDER, True),
        (FILE, True),
        (FILE * 20, True),
        (b"", True),
        (b"?" + OLDER[1:], False),
        (OLDER[:-1] + b"?", False),
        (FILE[:-1] + b"?", False),
    ],
)
def test_beginnings(tmp_path: Path, older: bytes, *, agrees: bool) -> None:
    """A file: of two parts, one is the beginning of the other, or they differ."""
    leave_behind(tmp_path / "a.part", older)
    (tmp_path / "whole").write_bytes(FILE)
    with (tmp_path / "whole").open("rb") as file:
        assert Leftover(tmp_path / "a.part", len(older), "tok").begins_like(file.fileno()) is agrees


def test_removed_with_its_sidecar(tmp_path: Path) -> None:
    """A file: what is needless goes, and its sidecar with it."""
    leave_behind(tmp_path / "a.part", OLDER)
    Leftover(tmp_path / "a.part", len(OLDER), "tok").remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", [None, "another"])
def test_what_is_not_ours_stays(tmp_path: Path, token: str | None) -> None:
    """A file: a part of release 0.1, or of another rental by now, is not removed."""
    leave_behind(tmp_path / "a.part", OLDER)
    before = sorted(os.listdir(tmp_path))  # noqa: PTH208 - the names alone
    Leftover(tmp_path / "a.part", len(OLDER), token).remove()
    assert contents(tmp_path) == {"a.part": OLDER}
    assert sorted(os.listdir(tmp_path)) == before  # noqa: PTH208 - so here


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    """A file: a part that another download has claimed meanwhile is not removed."""
    leave_behind(tmp_path / "a.part", OLDER)
    busy = Sidecar.open(tmp_path / "a.part")
    Leftover(tmp_path / "a.part", len(OLDER), "tok").remove()
    busy.close()
    assert contents(tmp_path) == {"a.part": OLDER}
