"""What earlier downloads left behind: never overwritten, and deleted only when it is needless.

No network here: a PartFile is opened, written and ended by hand.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from downloads import ANOTHERS, FILE, OLDER, ROOM, contents, leave_behind, part_files

from smspartner_async import _files
from smspartner_async._operations import final_name, leftover, part_file
from smspartner_async._operations.part_file import PartFile
from smspartner_async._operations.sidecar import Sidecar

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
    leave_behind(path, OLDER)
    leave_behind(path.with_name("contacts.csv.part.1"), OLDER[:13])
    return path


@pytest.mark.usefixtures("older")
def test_older_goes_when_a_whole_file_is_there(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: a later whole download replaces what earlier ones left behind of the same file."""
    part = make(write=FILE)
    assert set(contents(final.parent).values()) == {OLDER, OLDER[:13], FILE}
    part.finish(is_proven=True)
    assert contents(final.parent) == {"contacts.csv": FILE}


@pytest.mark.usefixtures("older")
def test_older_stays_beside_an_unverified_file(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: what earlier downloads left behind outlives one that nothing proves whole."""
    make(write=FILE).finish(is_proven=False)
    assert contents(final.parent) == {
        "contacts.csv": FILE,
        "contacts.csv.part": OLDER,
        "contacts.csv.part.1": OLDER[:13],
    }


@pytest.mark.usefixtures("older")
@pytest.mark.parametrize("end", [PartFile.discard, PartFile.keep], ids=["discard", "keep empty"])
def test_older_stays_after_an_attempt_that_brought_nothing(
    final: Path, make: Callable[..., PartFile], end: Callable[[PartFile], None]
) -> None:
    """A file: an attempt that brought nothing leaves nothing, and what was there as it was."""
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
    with pytest.raises(FileExistsError, match=r"appeared meanwhile.*kept in .*\.part\.2\."):
        part.finish(is_proven=True)
    assert set(contents(final.parent).values()) == {b"mine", FILE, OLDER, OLDER[:13]}


@pytest.mark.usefixtures("older")
def test_a_part_that_another_download_uses_is_not_removed(
    final: Path, make: Callable[..., PartFile]
) -> None:
    """A file: what is needless by now and in use again by another download is let be."""
    part = make(write=FILE)
    busy = Sidecar.open(final.with_name("contacts.csv.part.1"))
    part.finish(is_proven=True)
    busy.close()
    assert contents(final.parent) == {"contacts.csv": FILE, "contacts.csv.part.1": OLDER[:13]}


# --- what a crash left -----------------------------------------------------------------------


def left_whole(final: Path, data: bytes, *lines: dict[str, Any], token: str = "tok") -> Path:  # noqa: S107 - no secret
    """Leave a part whose sidecar has further lines."""
    part = final.with_name("contacts.csv.part")
    leave_behind(part, data, token, *lines)
    return part


def reply(framing: str, length: int | None, encoding: str = "") -> dict[str, Any]:
    return {"status": 200, "framing": framing, "length": length, "encoding": encoding}


def whole(data: bytes, name: str = "whole") -> dict[str, Any]:
    return {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}


@pytest.mark.parametrize(
    ("lines", "is_whole"),
    [
        ([reply("length", 5200)], True),
        ([reply("length", 5200), whole(FILE)], True),
        ([reply("chunked", None), whole(FILE)], True),
        ([reply("chunked", None)], False),
        ([reply("close", None)], False),
        ([reply("length", 5210)], False),
        ([reply("length", 5200), whole(OLDER)], False),
        ([reply("length", 5200), whole(b"?" * 5200)], False),
        ([reply("length", 5200), {"refused": True}], False),
        ([reply("length", 5200), {"token": "another"}], False),
        ([reply("length", 5200), {"token": "tok"}], False),
        ([], False),
    ],
)
def test_what_a_sidecar_proves(final: Path, lines: list[dict[str, Any]], *, is_whole: bool) -> None:
    """A file: a part is taken for whole by its length, or by a note of its digest, alone."""
    path = left_whole(final, FILE, *lines)
    part = PartFile(final, "tok", overwrite=False)
    assert part.resume() is None
    assert (part.reply is not None, part.is_open) == (is_whole, is_whole)
    if not is_whole:
        assert part.open(ROOM) is None
        assert part.path != path
    if is_whole:
        assert part.finish(is_proven=True).sha256 == hashlib.sha256(FILE).hexdigest()
        assert contents(final.parent) == {"contacts.csv": FILE}
    else:
        part.discard()
        assert contents(final.parent) == {path.name: FILE}
        assert [leftover.path for leftover in part.leftovers] == [path]


def test_a_whole_part_of_another_rental(final: Path) -> None:
    """A file: a whole part of another rental is not finished under this one's token."""
    path = left_whole(final, FILE, reply("length", 5200), whole(FILE), token="another")
    part = PartFile(final, "tok", overwrite=False)
    assert part.open(ROOM) is None
    assert part.reply is None
    part.discard()
    assert contents(final.parent) == {path.name: FILE}


@posix_only
@pytest.mark.parametrize("has_both_names", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_crash_after_the_final_name(
    final: Path, *, has_both_names: bool, overwrite: bool
) -> None:
    """A file: what has its name already is returned as whole, and its remains are removed."""
    part = left_whole(final, FILE, reply("chunked", None), whole(FILE))
    final.hardlink_to(part)
    if not has_both_names:
        part.unlink()
    file = PartFile(final, "tok", overwrite).open(ROOM)
    assert file is not None
    assert (file.path, file.size, file.verified) == (final, 5200, True)
    assert list(final.parent.iterdir()) == [final]


@posix_only
def test_a_crash_after_the_final_name_of_an_unproven_file(final: Path) -> None:
    """A file: both names on one file that nothing proves whole hinder no later download."""
    part = left_whole(final, FILE, reply("close", None))
    final.hardlink_to(part)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        PartFile(final, "tok", overwrite=False).open(ROOM)
    again = PartFile(final, "tok", overwrite=True)
    assert again.open(ROOM) is None
    again.write(ANOTHERS)
    again.finish(is_proven=True)
    assert {path: path.read_bytes() for path in final.parent.iterdir()} == {final: ANOTHERS}


def test_a_whole_part_whose_name_is_taken(final: Path) -> None:
    """A file: where the final name is somebody else's, the error names the whole part."""
    part = left_whole(final, FILE, reply("length", 5200))
    final.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"whole file of this rental is kept in .*\.part\."):
        PartFile(final, "tok", overwrite=False).open(ROOM)
    assert contents(final.parent) == {"contacts.csv": b"mine", part.name: FILE}


@posix_only
def test_a_part_that_release_0_1_is_writing(final: Path) -> None:
    """A file: a part that is locked and has no sidecar is another download at work."""
    final.with_name("contacts.csv.part").write_bytes(OLDER)
    with final.with_name("contacts.csv.part").open("rb") as theirs:
        _files.lock(theirs.fileno())
        with pytest.raises(FileExistsError, match="Another download is writing"):
            PartFile(final, "tok", overwrite=False).open(ROOM)
    assert contents(final.parent) == {"contacts.csv.part": OLDER}


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
    leave_behind(final.with_name("contacts.csv.part"), left)
    make(write=FILE).finish(is_proven=True)
    assert contents(final.parent) == {"contacts.csv": FILE, "contacts.csv.part": left}


@pytest.mark.parametrize("last", [b"7", b"8"], ids=["the same", "not the same"])
def test_long_files_are_compared_to_their_end(
    final: Path, make: Callable[..., PartFile], last: bytes
) -> None:
    """A file: whether an older one is its beginning depends on every byte of the older one."""
    large = FILE * 40 + b"7"
    left = FILE * 40 + last
    leave_behind(final.with_name("contacts.csv.part"), left)
    make(write=large + b"more").finish(is_proven=True)
    kept = {} if last == b"7" else {"contacts.csv.part": left}
    assert contents(final.parent) == {"contacts.csv": large + b"more", **kept}


def test_behind_a_gap(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: what an earlier download left goes also where others' stay or have gone before it."""
    left = {"1": OLDER, "3": ANOTHERS, "6": FILE, "07": OLDER, "x": OLDER, "1.x": OLDER}
    for suffix, data in left.items():
        leave_behind(final.with_name(f"contacts.csv.part.{suffix}"), data)
    make(write=FILE).finish(is_proven=True)
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
        part.finish(is_proven=True)
    assert contents(final.parent) == {"contacts.csv": FILE}


@pytest.mark.usefixtures("older")
def test_what_cannot_be_read_is_left_alone(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: what cannot be compared is kept, and hinders no whole file."""
    part = make(write=FILE)

    def refuse(*_: object) -> Any:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(leftover, "open_file", refuse)
        part.finish(is_proven=True)
    assert contents(final.parent) == {
        "contacts.csv": FILE,
        "contacts.csv.part": OLDER,
        "contacts.csv.part.1": OLDER[:13],
    }


# --- Windows ---------------------------------------------------------------------------------


@pytest.fixture
def _like_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to rename or remove what is open, and let the source take its way for Windows."""
    really_open, really_close = os.open, os.close
    descriptors: set[int] = set()

    def tracked_open(path: Any, *args: Any, **options: Any) -> int:
        descriptor = really_open(path, *args, **options)
        descriptors.add(descriptor)
        return descriptor

    def tracked_close(descriptor: int) -> None:
        really_close(descriptor)
        descriptors.discard(descriptor)

    def is_open(found: os.stat_result, descriptor: int) -> bool:
        try:
            return os.path.samestat(found, os.fstat(descriptor))
        except OSError:  # a file object has closed it
            return False

    def careful(name: str) -> None:
        really = getattr(os, name)

        def call(path: Any, *args: Any, **options: Any) -> Any:
            found = os.lstat(path)
            if any(is_open(found, descriptor) for descriptor in descriptors):
                raise PermissionError("The process cannot access the file: it is being used.")
            return really(path, *args, **options)

        monkeypatch.setattr(os, name, call)

    monkeypatch.setattr(os, "open", tracked_open)
    monkeypatch.setattr(os, "close", tracked_close)
    for name in ("rename", "replace", "unlink"):
        careful(name)
    for module in (part_file, final_name, _files):
        monkeypatch.setattr(module, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(part_file, "lock", lambda _: None)
    no_locks = SimpleNamespace(LK_NBLCK=2, locking=lambda *_: None)
    monkeypatch.setattr(_files, "msvcrt", no_locks, raising=False)


@posix_only
@pytest.mark.usefixtures("older", "_like_windows")
@pytest.mark.parametrize("end", ["finish", "discard", "keep"])
def test_no_open_file_is_renamed(final: Path, make: Callable[..., PartFile], end: str) -> None:
    """A file: where an open file cannot be renamed or removed, it is closed before."""
    part = make(write=FILE)
    left = {"contacts.csv.part": OLDER, "contacts.csv.part.1": OLDER[:13]}
    if end == "finish":
        part.finish(is_proven=True)
        left = {"contacts.csv": FILE}
    elif end == "discard":
        part.discard()
    else:
        part.keep()
        left = {"contacts.csv.part.2": FILE}
    assert contents(final.parent) == left
