"""What the disk of a download does not take: kept in memory, saved to the temporary folder."""

import os
import tempfile
from pathlib import Path

import pytest
from downloads import FILE, mode

from smspartner_async._operations.overflow import Overflow

FINAL = Path("contacts.csv")


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_all_is_saved_for_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file: what was kept is one file of mode 0600, fsynced, once; the log says where."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    overflow = Overflow()
    for piece in (FILE[:100], FILE[100:]):
        assert overflow.add(memoryview(piece))
    overflow.save(FINAL)
    overflow.save(FINAL)
    assert overflow.path is not None
    assert list(tmp_path.iterdir()) == [overflow.path]
    assert (overflow.path.read_bytes(), overflow.size, len(synced)) == (FILE, len(FILE), 1)
    assert os.name == "nt" or mode(overflow.path) == 0o600
    assert caplog.messages == [
        f"what the disk did not take of contacts.csv is kept in {overflow.path}"
    ]


def test_memory_is_bounded() -> None:
    """A file: 64 MiB are kept, and not a byte more."""
    overflow = Overflow()
    piece = memoryview(bytes(2**20))
    assert [overflow.add(piece) for _ in range(66)] == [*[True] * 63, False, False, False]
    assert overflow.size == 64 * 2**20


def test_nothing_leaves_nothing(tmp_path: Path) -> None:
    """A file: where the disk took all, the temporary folder sees nothing of it."""
    overflow = Overflow()
    overflow.save(FINAL)
    assert overflow.path is None
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_that_takes_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: what cannot be saved is an OSError, and leaves no half of it behind."""

    def refuse(_: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fsync", refuse)
    overflow = Overflow()
    overflow.add(memoryview(FILE))
    with pytest.raises(OSError, match=r"^$"):
        overflow.save(FINAL)
    assert list(tmp_path.iterdir()) == []
