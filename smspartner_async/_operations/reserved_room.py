"""Reserve room on the disk for a file before it is requested: it may be served only once.

Blocking calls.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from pathlib import Path

LEAST_ROOM: Final = 2**16
"""Bytes reserved for a file of unknown size."""

_PIECE: Final = 2**16
# Where the system cannot reserve, up to so much is reserved by writing; the rest is only checked.
_MOST_WRITTEN: Final = 2**20
# What posix_fallocate() fails with where the file system, or the C library, cannot do it.
_CANNOT: Final = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV}


@define(eq=False)
class ReservedRoom:
    """Room in one folder, reserved by a file without a name, which ends with the process.

    Attributes:
        size: bytes reserved.
    """

    size: int = field(default=0, init=False)
    _file: IO[bytes] | None = field(default=None, init=False)

    def hold(self, folder: Path, size: int) -> None:
        """Reserve `size` bytes in all, those already reserved included.

        Raises:
            OSError: there is not so much room, or the folder cannot be written to.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - kept
            if size > self.size:
                _allocate(self._file.fileno(), self.size, size, folder)
                self.size = size
        except OSError as error:
            raise OSError(
                error.errno,
                f"There is no room for the file ({size} bytes: {error.strerror}), and it may be "
                "served only once. Nothing was sent. Make room",
                str(folder),
            ) from error

    def give_back(self, size: int) -> None:
        """Release `size` bytes: on the disk, in pieces of 64 KiB."""
        if self._file is None:
            return
        before, self.size = self.size, max(self.size - size, 0)
        left = -(-self.size // _PIECE)
        if not left:
            self.release()
        elif left < -(-before // _PIECE):
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), left * _PIECE)

    def release(self) -> None:
        """Release everything."""
        if self._file is not None:
            self._file.close()
        self._file, self.size = None, 0


def check_room(folder: Path) -> None:
    """Check that a folder has room for a file, before its rental is paid for.

    Raises:
        OSError: it has too little.
    """
    room = ReservedRoom()
    try:
        room.hold(folder, LEAST_ROOM)
    finally:
        room.release()


def _allocate(fd: int, start: int, end: int, folder: Path) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, start, end - start)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        else:
            return
    if shutil.disk_usage(folder).free < end - start:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    os.lseek(fd, start, os.SEEK_SET)
    left = min(end - start, _MOST_WRITTEN)
    while left > 0:
        # Random, since zeros take no room on a file system that compresses.
        left -= os.write(fd, os.urandom(min(left, _PIECE)))
