"""A file that arrives once: what has come is in `<path>.part`, and `<path>` is only ever whole.

Blocking calls, to be made in a worker thread. Knows the disk, and nothing of the network.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_OPEN_FLAGS: Final = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)  # a link planted there would send personal data elsewhere
    | getattr(os, "O_BINARY", 0)
)
_OWNER_ONLY: Final = 0o600
_CHUNK: Final = 2**16
_GAP: Final = 4  # free names in a row: a look at each costs, and downloads leave no such gaps


class DiskError(Exception):
    """The disk, not the network, failed; its `OSError` is the cause."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or type(error).__name__)


@define(eq=False, repr=False)
class PartFile:
    """The `.part` file of one download, locked against any other for as long as it is open.

    A `.part` file that an earlier download left behind may hold numbers that were paid for and
    will not be served again: it is moved aside, not overwritten, and goes only when a whole file
    is there that begins with the same bytes. Another one may be the file of another rental.

    Attributes:
        path: where what arrived is: the `.part` file, and after `finish` the final one.
        size: bytes written.
    """

    final: Path
    _overwrite: bool
    path: Path = field(init=False)
    size: int = field(default=0, init=False)
    _aside: Path | None = field(default=None, init=False)
    _fd: int = field(default=-1, init=False)
    _digest: hashlib._Hash = field(factory=hashlib.sha256, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.path = Path(f"{self.final}.part")

    @property
    def sha256(self) -> str:
        """Of all that was written, in hexadecimal."""
        return self._digest.hexdigest()

    def open(self) -> None:
        """Make an empty `.part` file, readable by its owner only.

        Raises:
            FileExistsError: the final file exists and may not be replaced, or another download is
                writing this `.part` file right now.
            OSError: the folder is missing or cannot be written to.
        """
        if self.final.is_dir():
            raise IsADirectoryError(f"{self.final} is a folder; name a file in it.")
        if not self._overwrite and os.path.lexists(self.final):
            raise FileExistsError(f"{self.final} exists; pass overwrite=True to replace it.")
        while self._fd < 0:
            self._fd = os.open(self.path, _OPEN_FLAGS, _OWNER_ONLY)
            taken = False
            try:
                taken = self._take()
            finally:
                if not taken:
                    self._close()

    def write(self, data: bytes) -> None:
        """Hand all of `data` over to the operating system.

        Raises:
            DiskError: it did not take all, as on a full disk.
        """
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                self._digest.update(view[:written])
                self.size += written
                view = view[written:]
        except OSError as error:
            raise DiskError(error) from error

    def beginning(self, length: int) -> bytes:
        """Read back what was written first."""
        try:
            os.lseek(self._fd, 0, os.SEEK_SET)
            return os.read(self._fd, length)
        except OSError as error:
            raise DiskError(error) from error

    def finish(self, *, verified: bool) -> None:
        """Make the file safe on the disk, and give it its final name.

        What earlier downloads left behind goes where it is the beginning of this whole file.

        Raises:
            FileExistsError: the final file has appeared meanwhile and may not be replaced.
            DiskError: the disk did not take it. Either way the whole file stays in `.part`.
        """
        try:
            os.fsync(self._fd)
            # Listed before the lock goes with the old name: nobody moves a file to a name in use.
            needless = self._needless() if verified else ()
            self._rename()
        except FileExistsError:
            raise FileExistsError(
                f"{self.final} has appeared meanwhile. The whole file is kept in {self.path}."
            ) from None
        except OSError as error:
            raise DiskError(error) from error
        finally:
            self._close()
        self.path = self.final
        fsync_folder(self.final)
        for name in needless:
            with suppress(OSError):
                name.unlink()

    def keep(self) -> None:
        """End without a whole file: what arrived stays in `.part`."""
        if self._fd < 0:
            return
        if not self.size:
            self.discard()
            return
        with suppress(OSError):  # a broken disk: what can be kept is kept
            os.fsync(self._fd)
        self._close()

    def discard(self) -> None:
        """End with nothing worth keeping; what an earlier download left behind is put back."""
        if sys.platform == "win32":
            self._close()  # an open file cannot be removed there
        with suppress(OSError):
            if self._aside is None:
                self.path.unlink()
            else:  # in one step: in between, another download could begin, and lose its file
                self._aside.replace(self.path)
        self.size = 0
        self._close()

    def _take(self) -> bool:
        """Lock what is at `.part`; whether it is empty, and ours. Else try again."""
        try:
            lock(self._fd)
        except BlockingIOError:
            raise FileExistsError(
                f"Another download is writing {self.path} right now; wait for it to end."
            ) from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):  # a pipe would hand personal data to others
            raise FileExistsError(f"{self.path} is no plain file; remove it.")
        if not self._is_at(self._fd, self.path):
            return False  # moved away by another download before it was locked
        if not found.st_size:
            self.path.chmod(_OWNER_ONLY)
            return True
        self._aside = self._free_name()
        if sys.platform == "win32":
            self._close()  # an open file cannot be renamed there, and rename() never replaces
        self.path.rename(self._aside)
        return False

    def _needless(self) -> list[Path]:
        """What earlier downloads left behind and is the beginning of this file.

        Their names are tried one by one: to list a folder of ten thousand files takes longer than
        to write one.
        """
        needless, free = [], 0
        for name in self._asides():
            if not os.path.lexists(name):
                free += 1
                if free == _GAP:
                    break
                continue
            free = 0
            if self._begins_with(older := Path(name)):
                needless.append(older)
        return needless

    def _begins_with(self, older: Path) -> bool:
        with suppress(OSError):  # one that cannot be read is left alone
            if not stat.S_ISREG(older.lstat().st_mode):
                return False
            with older.open("rb") as theirs, os.fdopen(self._fd, "rb", closefd=False) as ours:
                ours.seek(0)
                while chunk := theirs.read(_CHUNK):
                    if ours.read(len(chunk)) != chunk:
                        return False
                return True
        return False

    def _rename(self) -> None:
        if sys.platform == "win32":
            self._close()  # an open file cannot be renamed there, and rename() never replaces
            (self.path.replace if self._overwrite else self.path.rename)(self.final)
        elif self._overwrite:
            self.path.replace(self.final)
        else:
            try:
                self.final.hardlink_to(self.path)  # unlike rename(), never replaces
            except OSError:  # the name is taken, or a file system without hard links
                if os.path.lexists(self.final):
                    raise FileExistsError from None
                self.path.rename(self.final)
            else:
                with suppress(OSError):  # the file is whole and has its name
                    self.path.unlink()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _asides(self) -> Iterator[str]:
        return (f"{self.path}.{number}" for number in count(1))

    def _free_name(self) -> Path:
        return Path(next(name for name in self._asides() if not os.path.lexists(name)))

    @staticmethod
    def _is_at(fd: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), path.stat())
        except FileNotFoundError:
            return False


def lock(fd: int) -> None:
    """Lock an open file until it is closed, or raise `BlockingIOError`."""
    if sys.platform == "win32":
        os.lseek(fd, 2**31 - 2, os.SEEK_SET)  # far behind the data, which stays readable
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        os.lseek(fd, 0, os.SEEK_SET)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def fsync_folder(path: Path) -> None:
    """Make a new name in a folder survive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # some file systems cannot; the file is whole and has its name
        fd = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
