"""Files on disk: an exclusive lock, a name that survives a power cut, append-only JSON lines.

All calls block, and belong in a worker thread. Knows nothing of rentals or of the network.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

OWNER_ONLY: Final = 0o600
PRIVATE: Final = (
    getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)  # a link planted there would send personal data elsewhere
    | getattr(os, "O_BINARY", 0)
)
"""Flags for every file that this package makes."""

READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Flags for every file that it reads: one that a user has put there may be a link."""

_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_APPEND: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | PRIVATE
# What flock() fails with on file systems that have no locks: some NFS, SMB, FUSE and overlays.
_NO_LOCKS: Final = {
    errno.ENOLCK,
    errno.ENOSYS,
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
}


def open_file(path: Path, flags: int) -> int:
    """Open a regular file, which is created for its owner only; return its descriptor.

    Opening a FIFO, or reading one, would wait for whoever is at its other end.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    try:
        fd = os.open(path, flags | _AT_ONCE, OWNER_ONLY)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.EOPNOTSUPP, errno.ENODEV}:  # a socket, or a device
            raise _irregular(path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _irregular(path)
    return fd


def check_writable(path: Path) -> None:
    """Raise `OSError` unless a path is a regular file that may be written. It is not opened."""
    if not path.is_file():
        raise _irregular(path)
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def read_file(path: Path) -> bytes:
    """Return what is in a regular file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with os.fdopen(open_file(path, READ), "rb") as file:
        return file.read()


def _irregular(path: Path) -> OSError:
    words = "This is a folder, FIFO, socket or device, and no file: move it away"
    return OSError(errno.EINVAL, words, str(path))


def fsync_folder(path: Path) -> None:
    """Make the name of a new file survive a power cut, on systems that can sync a folder."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # some file systems cannot
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an error of the disk: the system does not, where an open one is written."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def is_at(fd: int, path: Path) -> bool:
    """Return whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def acquire_lock(fd: int, path: Path) -> Path | None:
    """Lock the open file `fd`, which is at `path`, until it is closed, or its process ends.

    Where the file system has no locks, a file `<path>.lock` stands for it, and is returned: it is
    to be removed when the file is closed. It names the process that holds it, so that the lock of a
    dead process of this machine is taken over. The lock of another machine's process is not: that
    file is for a person to remove.

    Raises:
        BlockingIOError: it is locked, by this process or another one.
        OSError: it cannot be locked at all.
    """
    try:
        lock(fd)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        lock_file = Path(f"{path}.lock")
        _create_lock_file(lock_file)
        return lock_file
    return None


def lock(fd: int) -> None:
    """Lock an open file until it is closed, where its file system can.

    Raises:
        BlockingIOError: it is locked already.
        OSError: its file system has no locks.
    """
    if sys.platform == "win32":
        os.lseek(fd, 2**31 - 2, os.SEEK_SET)  # far behind the data, which stays readable
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise BlockingIOError from error
            raise
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _create_lock_file(path: Path) -> None:
    holder = json.dumps(_process(os.getpid())).encode()
    while True:
        try:
            fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PRIVATE)
        except FileExistsError:
            if not _remove_stale(path):
                raise BlockingIOError(
                    errno.EAGAIN,
                    "The file is in use. If no process uses it, remove this lock file",
                    str(path),
                ) from None
            continue
        with os.fdopen(fd, "wb") as file:
            file.write(holder)
        return


def _remove_stale(path: Path) -> bool:
    """Remove a lock file whose process has ended; return whether to try again."""
    takeover = Path(f"{path}.takeover")
    try:
        takeover.mkdir()  # one process at a time: a second one would remove the lock of the first
    except FileExistsError:
        return False
    try:
        if _is_held(path):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        takeover.rmdir()


def _is_held(path: Path) -> bool:
    try:
        holder = json.loads(read_file(path))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True  # no file of ours, or its process has not yet written down who it is
    if sys.platform == "win32" or holder["host"] != socket.gethostname():
        return True  # cannot be known
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return bool(holder == _process(holder["pid"]))  # else its number belongs to another by now


def _process(pid: int) -> dict[str, Any]:
    """Describe a process so that, on Linux, a later one of the same number is another one."""
    try:
        # Behind the name, which may hold blanks and brackets: the 20th field is the start time.
        started = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = ""
    return {"host": socket.gethostname(), "pid": pid, "started": started}


@define(eq=False)
class JsonLines:
    """An append-only file of JSON objects, a line each, locked while it is open.

    A line that a crash has cut short is passed over by readers, and is not continued by the next
    one. A file that is only read is not changed.

    Attributes:
        path: where it is.
    """

    path: Path
    _fd: int
    _lock_file: Path | None
    _is_prepared: bool = field(default=False, init=False)
    _is_new: bool = field(default=False, init=False)

    @classmethod
    def open(cls, path: Path) -> JsonLines:
        """Open and lock a file, which is created for its owner only where it is missing.

        Raises:
            BlockingIOError: it is in use.
            OSError: it cannot be opened.
        """
        while True:
            fd = open_file(path, _APPEND)
            try:
                lock_file = acquire_lock(fd, path)
            except OSError:
                os.close(fd)
                raise
            lines = cls(path, fd, lock_file)
            if is_at(fd, path):
                return lines
            lines.close()  # removed by its last user between the opening and the lock

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._fd).st_size

    def read(self) -> list[dict[str, Any]]:
        """Return the lines that are whole JSON objects, the oldest first."""
        return parse_lines(read_file(self.path))

    def append(self, line: dict[str, Any]) -> None:
        """Append a line. It outlives the process at once, and a power cut after `sync`.

        Raises:
            OSError: the disk did not take it; the file is as it was before.
        """
        data = json.dumps(line).encode() + b"\n"
        with naming(self.path):
            self._prepare()
            if (written := os.write(self._fd, data)) < len(data):
                os.ftruncate(self._fd, self.size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Make what was appended so far, and the file's name, survive a power cut.

        Raises:
            OSError: the disk failed.
        """
        with naming(self.path):
            os.fsync(self._fd)
        if self._is_new:
            fsync_folder(self.path)
            self._is_new = False

    def close(self) -> None:
        """Close the file and give up its lock. Closing it twice does no harm."""
        if self._fd >= 0:
            if self._lock_file is not None:
                with suppress(OSError):
                    self._lock_file.unlink()
            os.close(self._fd)
            self._fd = -1  # the next file to be opened may get its number

    def remove(self) -> None:
        """Remove the file, and close it."""
        if sys.platform == "win32":
            self.close()  # an open file cannot be removed there
        with suppress(OSError):
            self.path.unlink()
        self.close()

    def _prepare(self) -> None:
        """Make the file private and its last line end. Once, before a line is appended."""
        if self._is_prepared:
            return
        self.path.chmod(OWNER_ONLY)  # it may come from a backup
        data = read_file(self.path) if self.size else b""
        if b"\n" not in data and not parse_lines(data):  # new, or cut short in its first line
            os.ftruncate(self._fd, 0)
            self._is_new = True
        elif not data.endswith(b"\n"):
            os.write(self._fd, b"\n")
        self._is_prepared = True


def parse_lines(data: bytes) -> list[dict[str, Any]]:
    """Return the lines that are whole JSON objects. One that was cut short is none."""
    found = []
    for line in data.split(b"\n"):
        with suppress(ValueError, RecursionError):
            if isinstance(value := json.loads(line), dict):
                found.append(value)
    return found
