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
from downloads import FILE, OLDER, ROOM, contents, mode, part_files, sidecar_of

from smspartner_async._operations import part_file
from smspartner_async._operations.disk_errors import DiskError
from smspartner_async._operations.part_file import PartFile
from smspartner_async._operations.sidecar import ReplyFacts

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
        part.finish(is_proven=True)
    finally:
        os.umask(before)
    assert mode(final) == 0o600


def test_locked_while_open(final: Path, make: Callable[..., PartFile]) -> None:
    """A file: while one download writes a `.part` file, another one is refused, in one process."""
    part = make(write=FILE)
    with pytest.raises(FileExistsError, match="Another download is writing"):
        make()
    part.keep()
    assert contents(final.parent) == {"contacts.csv.part": FILE}
    make()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fails_before_anything_is_sent_is_named(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A file: "No space left on device" alone would not say which of them is full."""
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No space left on device: .*contacts\.csv\.part\.json"):
        make()
    assert contents(final.parent) == {}


def test_a_part_that_cannot_be_made_leaves_nothing(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: where no more files can be open, nothing stays in the folder, and nothing is sent."""
    monkeypatch.setattr(part_file, "open_file", failing(errno.EMFILE))
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        make()
    assert contents(final.parent) == {}


def test_finished_by_another_before_it_was_locked(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: whoever finds the sidecar of a download that has ended meanwhile begins a new one."""
    other = make(write=FILE)
    really_open = os.open
    lefts: list[str] = []

    def open_late(path: Any, *args: Any, **options: Any) -> int:
        descriptor = really_open(path, *args, **options)
        if not lefts and str(path).endswith(".json"):
            lefts.append(path)
            other.finish(is_proven=True)
        return descriptor

    monkeypatch.setattr(os, "open", open_late)
    late = PartFile(final, "tok", overwrite=True)
    late.open(ROOM)
    late.write(b"late")
    late.keep()
    assert contents(final.parent) == {"contacts.csv": FILE, "contacts.csv.part": b"late"}


@pytest.mark.parametrize("length", [245, 246, 255])
def test_very_long_names(final: Path, make: Callable[..., PartFile], length: int) -> None:
    """A file: a name too long for its `.part` is refused at once, and the longest one works."""
    longest = final.with_name("é" * (length // 2) + "x" * (length % 2))
    if length > 245:
        with pytest.raises(OSError, match="name too long"):
            make(longest)
        assert contents(final.parent) == {}
    else:
        make(longest, write=FILE).finish(is_proven=True)
        assert contents(final.parent) == {longest.name: FILE}


def kind_of(fd: int) -> str:
    """What an open file is."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return "folder"
    return "sidecar" if os.pread(fd, 2, 0) == b'{"' else "part"


@posix_only
def test_what_is_on_the_disk_before_the_first_byte(
    final: Path, make: Callable[..., PartFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file: the rental is fsynced, with the names, before any byte; the head's facts are kept.

    A killed process keeps what it has written: framing and length are written before the first
    bytes, and synced behind them, which a socket that is still unread would lose.
    """
    steps: list[str] = []
    fsync, write = os.fsync, os.write
    sidecars: list[list[dict[str, object]]] = []

    def spy(fd: int) -> None:
        steps.append(kind_of(fd))
        fsync(fd)

    def spy_write(fd: int, data: bytes) -> int:
        if kind_of(fd) == "part":
            sidecars.append(sidecar_of(part.path))
        return write(fd, data)

    part = make()
    monkeypatch.setattr(os, "write", spy_write)
    part.write_first(ReplyFacts.of(200, {"Content-Length": "5200"}), FILE[:7])
    part.write(FILE[7:])
    assert mode(final.with_name("contacts.csv.part.json")) == 0o600
    facts = {"status": 200, "framing": "length", "length": 5200, "encoding": ""}
    assert sidecars == [[{"token": "tok"}, facts]] * 2
    assert steps == []
    monkeypatch.setattr(os, "fsync", spy)
    make(final.with_name("other.csv")).write_first(ReplyFacts.of(200, {}), FILE)
    assert steps == ["sidecar", "folder", "sidecar"]


@posix_only
@pytest.mark.parametrize(
    ("head", "first", "synced"),
    [
        ({"Content-Length": "5200"}, FILE[:7], True),
        ({"Content-Length": "5200"}, FILE, False),  # its end syncs more, at once
        ({"Transfer-Encoding": "chunked"}, FILE, True),
        ({}, FILE, True),
    ],
)
def test_the_facts_of_a_head_are_synced_unless_the_end_follows(
    make: Callable[..., PartFile],
    monkeypatch: pytest.MonkeyPatch,
    head: dict[str, str],
    first: bytes,
    *,
    synced: bool,
) -> None:
    """A file: framing and length are synced behind the first bytes of a body that has more."""
    part = make()
    steps: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append(kind_of(fd)))
    part.write_first(ReplyFacts.of(200, head), first)
    assert steps == ["sidecar"] * synced
    part.write(b"more")
    assert steps == ["sidecar"] * synced


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
    part.finish(is_proven=True)
    assert contents(final.parent) == {"contacts.csv": FILE + OLDER}
    assert part.size == len(FILE + OLDER)
    assert part.digest.sha256 == hashlib.sha256(FILE + OLDER).hexdigest()


@pytest.mark.parametrize(
    ("number", "is_kept"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)]
)
def test_the_room_that_was_reserved_is_used_when_the_disk_is_full(
    final: Path,
    make: Callable[..., PartFile],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    *,
    is_kept: bool,
) -> None:
    """A file: it is given back, and the write is tried again; a broken disk is not."""
    part = make()
    really_write, errors = os.write, [OSError(number, os.strerror(number))]

    def write(fd: int, data: bytes) -> int:
        if errors:
            raise errors.pop()
        return really_write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        part.write(FILE)
    assert (part.failure is None) is is_kept
    assert final.with_name("contacts.csv.part").read_bytes() == (FILE if is_kept else b"")


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_part_that_is_no_contact_file_says_so(
    final: Path, make: Callable[..., PartFile], *, is_kept: bool
) -> None:
    """A file: to who would finish it; it stays where it may hold numbers."""
    part = make(write=FILE)
    part.refuse(is_kept)
    assert part.is_refused
    assert contents(final.parent) == ({"contacts.csv.part": FILE} if is_kept else {})


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

    part = make(overwrite=overwrite)
    part.write_first(ReplyFacts.of(200, {"Content-Length": "5200"}), FILE)
    spy("fsync", kind_of)
    for name in ("link", "rename", "replace", "unlink"):
        spy(name, lambda *args, name=name: f"{name} {Path(args[-1]).name}")
    part.finish(is_proven=True)
    new = (
        ["replace contacts.csv"] if overwrite else ["link contacts.csv", "unlink contacts.csv.part"]
    )
    # The part, then in its sidecar that it is whole, and that sidecar goes as the last thing.
    assert steps == ["part", "sidecar", *new, "folder", "unlink contacts.csv.part.json"]
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
            part.finish(is_proven=True)
        assert contents(final.parent) == {"contacts.csv": b"mine", "contacts.csv.part": FILE}
    else:
        part.finish(is_proven=True)
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
    part.finish(is_proven=True)
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
    """A file: a disk that does not give back what it took is raised as a failure of the disk."""
    part = make(write=FILE)
    monkeypatch.setattr(os, "dup", failing(errno.EIO))
    with pytest.raises(DiskError, match="Input/output error"):
        part.beginning("")


def test_disk_errors_without_a_text() -> None:
    """A file: an error of the disk always says something."""
    assert str(DiskError(OSError())) == "OSError"
    assert str(DiskError(OSError(errno.ENOSPC, "No space left on device"))) == (
        "No space left on device"
    )
