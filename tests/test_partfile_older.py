"""What earlier downloads left behind: never overwritten, and deleted only when it is needless.

No network here: a PartFile is opened, written and ended by hand.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from downloads import ANOTHERS, FILE, OLDER, contents, part_files

from smspartner_async import _partfile
from smspartner_async._partfile import PartFile

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture
def final(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "contacts.csv"


@pytest.fixture
def make(final: Path) -> Iterator[Callable[..., PartFile]]:
    with part_files(final) as opened:
        yield opened


@pytest.fixture
def older(final: Path) -> Path:
    """Leave the numbers of two earlier downloads behind, which may not be served again."""
    path = final.with_name("contacts.csv.part")
    path.write_bytes(OLDER)
    path.with_name("contacts.csv.part.1").write_bytes(OLDER[:13])
    return path


@pytest.mark.usefixtures("older")
def test_older_goes_when_a_whole_file_is_there(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: a later whole download replaces what earlier ones left behind of the same file."""
    part = make(write=FILE)
    assert set(contents(final.parent).values()) == {OLDER, OLDER[:13], FILE}
    part.finish(verified=True)
    assert contents(final.parent) == {"contacts.csv": FILE}


@pytest.mark.usefixtures("older")
def test_older_stays_beside_an_unverified_file(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: what earlier downloads left behind outlives one that nothing proves whole."""
    make(write=FILE).finish(verified=False)
    assert contents(final.parent) == {
        "contacts.csv": FILE,
        "contacts.csv.part.1": OLDER[:13],
        "contacts.csv.part.2": OLDER,
    }


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize("end", [PartFile.discard, PartFile.keep], ids=["discard", "keep empty"])
def test_older_is_put_back(
    final: Path, make: Callable[..., PartFile], end: Callable[[PartFile], None]
) -> None:
    """A file: after an attempt that brought nothing, an older `.part` has its name again."""
    before = contents(final.parent)
    end(make())
    assert contents(final.parent) == before


@pytest.mark.usefixtures("older")
def test_older_survives_when_the_final_name_is_taken(
    final: Path, make: Callable[..., PartFile]
) -> None:
    """A file: what cannot get its name, the whole download included, stays."""
    part = make(write=FILE)
    final.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"appeared meanwhile.*kept in .*\.part\."):
        part.finish(verified=True)
    assert set(contents(final.parent).values()) == {b"mine", FILE, OLDER, OLDER[:13]}


@pytest.mark.usefixtures("older")
def test_putting_back_leaves_no_gap(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: at no moment of a discard can another download begin a `.part` and lose it."""
    part = make(write=b'{"success": false}')
    seen = []

    def spy(name: str) -> None:
        really = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            seen.append(part.path.exists())
            result = really(*args, **options)
            seen.append(part.path.exists())
            return result

        monkeypatch.setattr(os, name, call)

    for name in ("unlink", "rename", "replace"):
        spy(name)
    part.discard()
    assert seen
    assert all(seen)
    assert part.path.read_bytes() == OLDER


@pytest.mark.usefixtures("older")
def test_a_finished_download_deletes_nothing_of_the_next_one(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: what another download moves aside while one is tidying up is not tidied away."""
    part = make(write=FILE)
    really_unlink = os.unlink

    def unlink(path: Any, *args: Any, **options: Any) -> None:
        really_unlink(path, *args, **options)
        if str(path).endswith(".part.1"):  # the name is free again, and another process takes it
            Path(path).write_bytes(b"another's")

    monkeypatch.setattr(os, "unlink", unlink)
    part.finish(verified=True)
    assert contents(final.parent) == {"contacts.csv": FILE, "contacts.csv.part.1": b"another's"}


@posix_only
def test_a_finish_that_crashed_between_its_steps(
    final: Path, make: Callable[..., PartFile]
) -> None:
    """A file: both names on one whole file, as a crash leaves them, hinder no later download."""
    final.write_bytes(OLDER)
    final.with_name("contacts.csv.part").hardlink_to(final)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make()
    make(overwrite=True, write=FILE).finish(verified=True)
    assert contents(final.parent) == {"contacts.csv": FILE}


# --- what a whole file makes needless --------------------------------------------------------


@pytest.mark.parametrize(
    "left",
    [
        ANOTHERS,
        FILE[:-1] + b"?",
        b"?" + FILE[1:],
        FILE + b"+33611111111\n",
    ],
    ids=["another rental's", "last byte", "first byte", "longer"],
)
def test_what_the_whole_file_does_not_hold_stays(
    final: Path, make: Callable[..., PartFile], left: bytes
) -> None:
    """A file: paid numbers outlive a whole file that does not begin with them."""
    final.with_name("contacts.csv.part").write_bytes(left)
    make(write=FILE).finish(verified=True)
    assert contents(final.parent) == {"contacts.csv": FILE, "contacts.csv.part.1": left}


@pytest.mark.parametrize("last", [b"7", b"8"], ids=["the same", "not the same"])
def test_long_files_are_compared_to_their_end(
    final: Path, make: Callable[..., PartFile], last: bytes
) -> None:
    """A file: whether an older one is its beginning depends on every byte of the older one."""
    large = FILE * 40 + b"7"
    left = FILE * 40 + last
    final.with_name("contacts.csv.part").write_bytes(left)
    make(write=large + b"more").finish(verified=True)
    kept = {} if last == b"7" else {"contacts.csv.part.1": left}
    assert contents(final.parent) == {"contacts.csv": large + b"more", **kept}


def test_behind_a_gap(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: what an earlier download left goes also where others' stay or have gone before it."""
    left = {"1": OLDER, "3": ANOTHERS, "6": FILE, "07": OLDER, "x": OLDER, "1.x": OLDER}
    for suffix, data in left.items():
        final.with_name(f"contacts.csv.part.{suffix}").write_bytes(data)
    make(write=FILE).finish(verified=True)
    assert contents(final.parent) == {
        "contacts.csv": FILE,
        "contacts.csv.part.3": ANOTHERS,
        "contacts.csv.part.07": OLDER,  # no names that a download gives
        "contacts.csv.part.x": OLDER,
        "contacts.csv.part.1.x": OLDER,
    }


@pytest.mark.usefixtures("older")
def test_its_folder_is_not_listed(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: what it costs does not grow with the files beside it, of which there may be many."""
    part = make(write=FILE)

    def refuse(*_: object) -> Any:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        patch.setattr(os, "scandir", refuse)
        part.finish(verified=True)
    assert contents(final.parent) == {"contacts.csv": FILE}


@posix_only
def test_what_is_no_plain_file_is_left_alone(
    final: Path, make: Callable[..., PartFile], tmp_path: Path
) -> None:
    """A file: a link or a pipe at the name of an older one is neither read nor deleted."""
    (tmp_path / "elsewhere").write_bytes(OLDER)
    link, pipe = (final.with_name(f"contacts.csv.part.{number}") for number in (1, 2))
    link.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(pipe)
    make(write=FILE).finish(verified=True)
    assert final.read_bytes() == FILE
    assert link.is_symlink()
    assert pipe.is_fifo()


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize("call", ["lstat", "open"])
def test_what_cannot_be_read_is_left_alone(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A file: what cannot be compared is kept, and hinders no whole file."""
    part = make(write=FILE)

    def refuse(*_: object) -> Any:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, refuse)
        part.finish(verified=True)
    assert contents(final.parent) == {
        "contacts.csv": FILE,
        "contacts.csv.part.1": OLDER[:13],
        "contacts.csv.part.2": OLDER,
    }


# --- Windows ---------------------------------------------------------------------------------


@pytest.fixture
def _like_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to rename or remove what is open, and let the source take its way for Windows."""
    really_open, really_close = os.open, os.close
    descriptors: dict[int, os.stat_result] = {}

    def tracked_open(path: Any, *args: Any, **options: Any) -> int:
        descriptor = really_open(path, *args, **options)
        descriptors[descriptor] = os.fstat(descriptor)
        return descriptor

    def tracked_close(descriptor: int) -> None:
        really_close(descriptor)
        descriptors.pop(descriptor, None)

    def careful(name: str) -> None:
        really = getattr(os, name)

        def call(path: Any, *args: Any, **options: Any) -> Any:
            found = os.lstat(path)
            if any(os.path.samestat(found, used) for used in descriptors.values()):
                raise PermissionError("The process cannot access the file: it is being used.")
            return really(path, *args, **options)

        monkeypatch.setattr(os, name, call)

    monkeypatch.setattr(os, "open", tracked_open)
    monkeypatch.setattr(os, "close", tracked_close)
    for name in ("rename", "replace", "unlink"):
        careful(name)
    monkeypatch.setattr(_partfile, "sys", SimpleNamespace(platform="win32"))
    no_locks = SimpleNamespace(LK_NBLCK=2, locking=lambda *_: None)
    monkeypatch.setattr(_partfile, "msvcrt", no_locks, raising=False)


@posix_only
@pytest.mark.usefixtures("older", "_like_windows")
@pytest.mark.parametrize("end", ["finish", "discard", "keep"])
def test_no_open_file_is_renamed(final: Path, make: Callable[..., PartFile], end: str) -> None:
    """A file: where an open file cannot be renamed, an older one is moved aside all the same."""
    part = make(write=FILE)
    if end == "finish":
        part.finish(verified=True)
        left = {"contacts.csv": FILE}
    elif end == "discard":
        part.discard()
        left = {"contacts.csv.part.1": OLDER[:13], "contacts.csv.part": OLDER}
    else:
        part.keep()
        left = {
            "contacts.csv.part.1": OLDER[:13],
            "contacts.csv.part.2": OLDER,
            "contacts.csv.part": FILE,
        }
    assert contents(final.parent) == left
