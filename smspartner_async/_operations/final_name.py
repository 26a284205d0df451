"""Give a whole file its final name, without replacing another file unless that is allowed."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path


def check_name(final: Path) -> None:
    """Refuse a name that no file can be given.

    Raises:
        IsADirectoryError: it is a folder.
        FileExistsError: it is a FIFO, socket or device, which is never replaced.
        OSError: its folder is missing, or no folder.
    """
    os.stat(f"{final.parent}{os.sep}")  # noqa: PTH116 - a Path ends in none, and may be a file
    if final.is_dir():
        raise IsADirectoryError(f"{final} is a folder; name a file in it.")
    if final.exists() and not final.is_file():
        raise FileExistsError(f"{final} is a FIFO, socket or device; name a file.")


def give_name(source: Path, final: Path, *, overwrite: bool) -> None:
    """Rename `source`, which must be closed on Windows, to `final`.

    Raises:
        FileExistsError: `final` exists and may not be replaced.
        OSError: the disk failed. Either way `source` is still there.
    """
    if overwrite:
        source.replace(final)
    elif sys.platform == "win32":
        source.rename(final)  # never replaces there
    else:
        try:
            final.hardlink_to(source)  # unlike rename(), never replaces
        except OSError:  # the name is taken, or a file system without hard links
            if os.path.lexists(final):
                raise FileExistsError from None
            source.rename(final)
        else:
            with suppress(OSError):  # the file is whole and has its name
                source.unlink()


def create_private(path: Path) -> None:
    """Create an empty file for its owner only, unless something has this name.

    It is closed before it has its name, so that no other user of the file loses POSIX locks by it.

    Raises:
        OSError: the disk failed.
    """
    if os.path.lexists(path):
        return
    fd, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(fd)
    try:
        with suppress(FileExistsError):  # another process was faster
            give_name(Path(name), path, overwrite=False)
    finally:
        Path(name).unlink(missing_ok=True)
