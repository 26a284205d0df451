"""Files on disk: locks with and without `flock`, lines that survive a crash, what is fsynced."""

from __future__ import annotations

import errno
import json
import os
import runpy
import socket
import stat
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspartner_async import _files
from smspartner_async._files import JsonLines, acquire_lock, parse_lines, read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="flock and permissions of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lines.jsonl"


@pytest.fixture(params=["flock", "no flock"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the file system have locks, or none."""
    if request.param == "no flock":
        without_flock(monkeypatch)
    return str(request.param)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def without_flock(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOTSUP) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_files, "lock", refuse)


def plant_fifo(path: Path) -> None:
    os.mkfifo(path)


def plant_socket(path: Path) -> None:
    os.chdir(path.parent)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as planted:
        planted.bind(path.name)


@posix_only
@pytest.mark.parametrize("plant", [plant_fifo, plant_socket, os.mkdir])
def test_what_is_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path], None]
) -> None:
    """What is no file is refused at once, and never waited for or written to."""
    monkeypatch.chdir(path.parent)
    plant(path)
    for use in (JsonLines.open, read_file):
        with pytest.raises(OSError, match=r"lines\.jsonl") as caught:
            use(path)
        assert not isinstance(caught.value, BlockingIOError)  # which says that it is in use
    path.rmdir() if plant is os.mkdir else path.unlink()
    without_flock(monkeypatch)
    plant(path.with_name("lines.jsonl.lock"))
    with pytest.raises(BlockingIOError):
        JsonLines.open(path)
    assert sorted(names(path.parent)) == ["lines.jsonl", "lines.jsonl.lock"]


@posix_only
def test_what_a_user_links_to_is_read(path: Path, tmp_path: Path) -> None:
    """A file that is only read may be a link."""
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    path.symlink_to(tmp_path / "elsewhere")
    assert read_file(path) == b"theirs"


# --- locks -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("locks")
def test_one_holder_at_a_time(path: Path) -> None:
    """A file that is open for appending is refused to a second one, until it is closed."""
    first = JsonLines.open(path)
    with pytest.raises(BlockingIOError):
        JsonLines.open(path)
    first.append({"n": 1})
    first.close()
    first.close()  # twice does no harm
    second = JsonLines.open(path)
    assert second.read() == [{"n": 1}]
    second.close()
    assert names(path.parent) == [path.name]


@posix_only
@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP]
)
def test_a_lock_file_where_there_are_no_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """However a file system says that it has no locks, a lock file stands for them."""
    without_flock(monkeypatch, number)
    lines = JsonLines.open(path)
    lock_file = path.with_name("lines.jsonl.lock")
    assert stat.S_IMODE(lock_file.stat().st_mode) == 0o600
    with pytest.raises(BlockingIOError, match=r"remove this lock file.*lines\.jsonl\.lock"):
        JsonLines.open(path)
    lines.remove()
    assert names(path.parent) == []


def test_a_failing_lock_is_no_missing_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails while a file is locked is not taken for one without locks."""
    without_flock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        JsonLines.open(path)
    assert names(path.parent) == [path.name]


@posix_only
def test_the_lock_file_of_a_dead_process_is_taken_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks, a process that was killed locks nobody out."""
    code = (
        "import os, sys, errno; from pathlib import Path; from smspartner_async import _files\n"
        "def refuse(fd): raise OSError(errno.ENOTSUP, 'no locks')\n"
        "_files.lock = refuse\n"
        "_files.JsonLines.open(Path(sys.argv[1])).append({'n': 1}); os._exit(9)"
    )
    ran = subprocess.run((sys.executable, "-c", code, str(path)), check=False)  # noqa: S603 - ours
    assert ran.returncode == 9
    assert path.with_name("lines.jsonl.lock").exists()
    without_flock(monkeypatch)
    lines = JsonLines.open(path)
    assert lines.read() == [{"n": 1}]
    lines.close()
    assert names(path.parent) == [path.name]


HOST = socket.gethostname()


@posix_only
@pytest.mark.parametrize(
    ("holder", "is_held"),
    [
        (b"", True),
        (b'{"host": "', True),
        (json.dumps({"host": f"not-{HOST}", "pid": 2**22 + 1, "started": ""}).encode(), True),
        (json.dumps({"host": HOST, "pid": 2**22 + 1, "started": ""}).encode(), False),
        (json.dumps({"host": HOST, "pid": os.getpid(), "started": "-1"}).encode(), False),
    ],
    ids=["not yet written", "cut short", "another machine", "ended", "number used again"],
)
def test_whose_lock_file_is_taken_over(
    path: Path, monkeypatch: pytest.MonkeyPatch, holder: bytes, *, is_held: bool
) -> None:
    """Only a process that has certainly ended loses its lock file."""
    without_flock(monkeypatch)
    lock_file = path.with_name("lines.jsonl.lock")
    lock_file.write_bytes(holder)
    if is_held:
        with pytest.raises(BlockingIOError):
            JsonLines.open(path)
        assert lock_file.read_bytes() == holder
    else:
        JsonLines.open(path).close()
        assert not lock_file.exists()


@posix_only
def test_two_that_find_one_dead_lock_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one process takes a dead lock file over, another one does not: it is refused."""
    without_flock(monkeypatch)
    lock_file = path.with_name("lines.jsonl.lock")
    lock_file.write_text(json.dumps({"host": HOST, "pid": 2**22 + 1, "started": ""}))
    path.with_name("lines.jsonl.lock.takeover").mkdir()
    with pytest.raises(BlockingIOError):
        JsonLines.open(path)
    assert lock_file.exists()


@posix_only
def test_removed_between_opening_and_locking(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its last user removes just before it is locked is made anew."""
    other = JsonLines.open(path)
    calls: list[Any] = []

    def late(fd: int, where: Path) -> Path | None:
        calls.append(fd)
        if len(calls) == 1:
            other.remove()
        return acquire_lock(fd, where)

    monkeypatch.setattr(_files, "acquire_lock", late)
    lines = JsonLines.open(path)
    lines.append({"n": 2})
    assert (len(calls), parse_lines(path.read_bytes())) == (2, [{"n": 2}])
    lines.close()


@posix_only
def test_windows_locks_far_behind_the_data(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a byte that no file has is locked, so that others can still read the data."""
    path.write_bytes(b"data")
    fd = os.open(path, os.O_RDWR)
    locked: list[int] = []

    class Locks:
        LK_NBLCK = 2

        @staticmethod
        def locking(descriptor: int, _: int, length: int) -> None:
            locked.append(os.lseek(descriptor, 0, os.SEEK_CUR))
            if len(locked) > length:
                raise OSError(errno.EACCES, "in use")

    class Windows:
        platform = "win32"

    monkeypatch.setattr(_files, "sys", Windows)
    monkeypatch.setattr(_files, "msvcrt", Locks, raising=False)
    _files.lock(fd)
    assert os.read(fd, 4) == b"data"
    with pytest.raises(BlockingIOError):
        _files.lock(fd)
    os.close(fd)
    assert locked == [2**31 - 2] * 2


@posix_only
def test_a_file_system_without_locks_on_windows(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where msvcrt cannot lock at all, as on some network drives, a lock file stands for it."""

    def locking(*_: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    windows = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
    monkeypatch.setattr(_files, "sys", types.SimpleNamespace(platform="win32"))
    monkeypatch.setattr(_files, "msvcrt", windows, raising=False)
    lines = JsonLines.open(path)
    assert path.with_name(f"{path.name}.lock").exists()
    with pytest.raises(BlockingIOError, match="remove this lock file"):
        JsonLines.open(path)
    lines.close()
    assert list(path.parent.iterdir()) == [path]


@posix_only
def test_windows_needs_none_of_the_calls_of_posix(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without fcntl and POSIX' own flags, lines are written, and a folder is not synced."""
    locks = types.ModuleType("msvcrt")
    locks.LK_NBLCK = 2  # type: ignore[attr-defined]  # made here
    locks.locking = lambda *_: None  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"):
        monkeypatch.delattr(os, name)
    windows = runpy.run_path(_files.__file__)
    really_open = os.open

    def open_files(name: Path, *options: Any) -> int:
        assert not name.is_dir()  # Windows opens no folder
        return really_open(name, *options)

    monkeypatch.setattr(os, "open", open_files)
    lines = windows["JsonLines"].open(path)
    lines.append({"n": 1})
    lines.sync()
    assert lines.read() == [{"n": 1}]
    lines.remove()
    assert not path.exists()


@posix_only
def test_windows_takes_over_no_lock_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its process lives cannot be asked there: os.kill would end it."""
    without_flock(monkeypatch)
    dead = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": ""}
    path.with_name(f"{path.name}.lock").write_text(json.dumps(dead))
    monkeypatch.setattr(_files, "sys", types.SimpleNamespace(platform="win32"))
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("asked"))
    with pytest.raises(BlockingIOError, match="remove this lock file"):
        JsonLines.open(path)


# --- lines -----------------------------------------------------------------------------------


@given(lines=st.lists(st.dictionaries(st.text(), st.text() | st.none())), cut=st.integers(0, 20))
def test_lines_that_were_cut_short(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]], cut: int
) -> None:
    """Whatever a crash cuts off, whole lines are read, and the next one is a separate line."""
    path = tmp_path_factory.mktemp("cut") / "lines.jsonl"
    written = JsonLines.open(path)
    for line in lines:
        written.append(line)
    written.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut] if cut else whole)
    left = JsonLines.open(path)
    before = left.read()
    assert before == lines[: len(before)]
    assert len(lines) - len(before) <= cut
    left.append({"next": "line"})
    assert left.read() == [*before, {"next": "line"}]
    left.close()


@pytest.mark.parametrize("data", [b"not mine", b'{"a": 1}', b"[1]\n2\n\xff\n", b""])
def test_a_file_that_is_only_read_is_not_changed(path: Path, data: bytes) -> None:
    """A file that turns out to be somebody else's is left as it was."""
    path.write_bytes(data)
    path.chmod(0o644)
    lines = JsonLines.open(path)
    assert lines.read() == ([{"a": 1}] if data.startswith(b"{") else [])
    assert lines.size == len(data)
    lines.close()
    assert path.read_bytes() == data
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o644


@posix_only
def test_lines_are_private_and_their_name_lasts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file is its owner's only, and a sync makes it and its name survive a power cut."""
    path.touch(0o666)
    synced = []
    really = os.fsync

    def fsync(fd: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        really(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    lines = JsonLines.open(path)
    for n in range(3):
        lines.append({"n": n})
    lines.sync()
    lines.close()
    assert synced == ["file", "folder"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_disk_that_takes_half_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is appended whole or not at all: on a full disk the file stays as it was."""
    lines = JsonLines.open(path)
    lines.append({"n": 1})
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        with pytest.raises(OSError, match=rf"No space left on device: '.*{path.name}'"):
            lines.append({"n": 2})
    assert path.read_bytes() == b'{"n": 1}\n'
    lines.append({"n": 3})
    assert lines.read() == [{"n": 1}, {"n": 3}]
    lines.close()


@posix_only
def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """A link planted at the name of a file is refused: it would send its lines elsewhere."""
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"lines\.jsonl"):
        JsonLines.open(path)
    assert not (tmp_path / "elsewhere").exists()
