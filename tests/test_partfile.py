"""The `.part` file on the disk: locked, owner-only, never in the way of an older one.

No network here: a PartFile is opened, written and ended by hand.
"""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from downloads import FILE, OLDER, contents, mode, part_files

from smspartner_async._partfile import DiskError, PartFile

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


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


# --- opening ---------------------------------------------------------------------------------


@posix_only
@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
def test_owner_only(final: Path, make: Callable[..., PartFile], umask: int) -> None:
    """A file: `.part` and the final file have mode 0600, whatever the umask."""
    before = os.umask(umask)
    try:
        part = make(write=FILE)
        assert mode(part.path) == 0o600
        part.finish(verified=True)
    finally:
        os.umask(before)
    assert mode(final) == 0o600


@posix_only
def test_an_empty_part_file_is_taken_over_and_made_private(
    final: Path, make: Callable[..., PartFile]
) -> None:
    """A file: an empty `.part` that others may read is no longer readable to them once in use."""
    planted = final.with_name("contacts.csv.part")
    planted.touch()
    planted.chmod(0o666)
    assert mode(make().path) == 0o600
    assert list(contents(final.parent)) == ["contacts.csv.part"]


@posix_only
@pytest.mark.parametrize("target", ["exists", "missing"])
def test_a_link_planted_at_part_is_refused(
    final: Path, make: Callable[..., PartFile], tmp_path: Path, target: str
) -> None:
    """A file: a symbolic link at `.part` is refused, and nothing is written where it leads."""
    elsewhere = tmp_path / "elsewhere"
    if target == "exists":
        elsewhere.write_bytes(b"")
    final.with_name("contacts.csv.part").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"contacts\.csv\.part"):
        make()
    assert not elsewhere.exists() or elsewhere.read_bytes() == b""


@posix_only
def test_a_pipe_planted_at_part_is_refused(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: a named pipe at `.part`, whose reader would get the numbers, is refused."""
    os.mkfifo(final.with_name("contacts.csv.part"))
    with pytest.raises(FileExistsError, match="no plain file; remove it"):
        make()


def test_locked_while_open(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: while one download writes a `.part` file, another one is refused, in one process."""
    part = make(write=FILE)
    with pytest.raises(FileExistsError, match="Another download is writing"):
        make()
    part.keep()
    assert contents(final.parent) == {"contacts.csv.part": FILE}
    make()


def test_renamed_by_another_before_it_was_locked(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: whoever opened a `.part` that got its final name meanwhile starts a new one."""
    other = make(write=FILE)
    really_open = os.open

    def open_late(path: Any, *args: Any, **options: Any) -> int:
        descriptor = really_open(path, *args, **options)
        if other.path != final and str(path).endswith(".part"):
            other.finish(verified=True)
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    late = PartFile(final, overwrite=False)
    late.open()
    late.write(b"late")
    late.keep()
    assert contents(final.parent) == {"contacts.csv": FILE, "contacts.csv.part": b"late"}


def test_moved_aside_by_another_before_it_was_locked(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: whoever opened an older `.part` that was moved aside meanwhile lets it be."""
    final.with_name("contacts.csv.part").write_bytes(OLDER)
    really_open = os.open
    late: list[PartFile] = []

    def open_late(path: Any, *args: Any, **options: Any) -> int:
        descriptor = really_open(path, *args, **options)
        if not late and str(path).endswith(".part"):
            late.append(PartFile(final, overwrite=False))
            late[0].open()
            late[0].write(FILE)
            late[0].keep()
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    make(write=b"new")
    assert contents(final.parent) == {
        "contacts.csv.part": b"new",
        "contacts.csv.part.1": OLDER,
        "contacts.csv.part.2": FILE,
    }


@pytest.mark.parametrize("length", [250, 251, 255])
def test_very_long_names(final: Path, make: Callable[..., PartFile], length: int) -> None:
    """A file: a name too long for its `.part` is refused at once, and the longest one works."""
    longest = final.with_name("é" * (length // 2) + "x" * (length % 2))
    if length > 250:
        with pytest.raises(OSError, match="name too long"):
            make(longest)
        assert contents(final.parent) == {}
    else:
        make(longest, write=FILE).finish(verified=True)
        assert contents(final.parent) == {longest.name: FILE}


# --- writing and finishing -------------------------------------------------------------------


def test_short_writes(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: an operating system that takes a few bytes at a time gets them all, in order."""
    part = make()
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: really_write(fd, bytes(data[:7])))
    part.write(FILE)
    part.write(OLDER)
    part.finish(verified=True)
    assert contents(final.parent) == {"contacts.csv": FILE + OLDER}
    assert part.size == len(FILE + OLDER)
    assert part.sha256 == hashlib.sha256(FILE + OLDER).hexdigest()


@posix_only
@pytest.mark.parametrize("overwrite", [False, True])
def test_safe_before_it_has_its_name(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch, *, overwrite: bool
) -> None:
    """A file: it is fsynced before it gets its name, and its folder afterwards."""
    if overwrite:
        final.write_bytes(b"old")
    steps: list[str] = []

    def spy(name: str, label: Callable[..., str]) -> None:
        really = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            steps.append(label(*args))
            return really(*args, **options)

        monkeypatch.setattr(os, name, call)

    part = make(overwrite=overwrite, write=FILE)
    spy("fsync", lambda fd: "folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
    for name in ("link", "rename", "replace", "unlink"):
        spy(name, lambda *args, name=name: f"{name} {Path(args[-1]).name}")
    part.finish(verified=True)
    new = (
        ["replace contacts.csv"] if overwrite else ["link contacts.csv", "unlink contacts.csv.part"]
    )
    assert steps == ["file", *new, "folder"]
    assert contents(final.parent) == {"contacts.csv": FILE}


@posix_only
@pytest.mark.parametrize("taken", [False, True])
def test_without_hard_links(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    """A file: without hard links it is renamed, and still replaces nothing that has appeared."""
    part = make(write=FILE)
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    if taken:
        final.write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="appeared meanwhile"):
            part.finish(verified=True)
        assert contents(final.parent) == {"contacts.csv": b"mine", "contacts.csv.part": FILE}
    else:
        part.finish(verified=True)
        assert contents(final.parent) == {"contacts.csv": FILE}


@posix_only
@pytest.mark.parametrize("call", ["unlink", "open", "fsync"])
def test_trouble_after_the_file_has_its_name(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A file: what fails once the whole file has its name does not call it broken."""
    part = make(write=FILE)
    really_link = os.link

    def link(*args: Any, **options: Any) -> None:
        really_link(*args, **options)
        monkeypatch.setattr(os, call, failing(errno.EINVAL))

    monkeypatch.setattr(os, "link", link)
    part.finish(verified=True)
    assert final.read_bytes() == FILE
    assert part.path == final


def test_what_is_kept_is_safe(
    make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: what arrived of a broken transfer is fsynced too."""
    part = make(write=FILE)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    part.keep()
    assert len(synced) == 1


def test_a_broken_disk_at_the_end(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: what arrived is kept also when it cannot be made safe."""
    part = make(write=FILE)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    part.keep()
    part.keep()  # twice does no harm
    assert contents(final.parent) == {"contacts.csv.part": FILE}


def test_a_beginning_that_cannot_be_read(
    make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: a disk that does not give back what it took is told as a failure of the disk."""
    part = make(write=FILE)
    monkeypatch.setattr(os, "read", failing(errno.EIO))
    with pytest.raises(DiskError, match="Input/output error"):
        part.beginning(100)


def test_disk_errors_without_a_text() -> None:
    """A file: an error of the disk always says something."""
    assert str(DiskError(OSError())) == "OSError"
    assert str(DiskError(OSError(errno.ENOSPC, "No space left on device"))) == (
        "No space left on device"
    )
