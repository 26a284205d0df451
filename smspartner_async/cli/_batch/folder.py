"""The folder of one batch: its lock, its store, and what release 0.1 left in it.

Knows the disk, and neither the network nor the store's contents.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from smspartner_async._errors import SMSPartnerError
from smspartner_async._files import PRIVATE, FileLock, open_file, read_file

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

STORE: Final = "batch.db"
"""The store of a batch, in its folder."""
LOCK: Final = "batch.lock"
RESULTS: Final = "results.jsonl"
"""What release 0.1 wrote beside the store, or in its place; its runs lock this file."""


class BatchFolderError(SMSPartnerError):
    """The folder cannot be used for this batch now. Nothing was sent, and nothing was charged."""


def sqlite_url(folder: Path) -> str:
    """Return the URL of the store in a batch's folder."""
    return f"sqlite:///{(folder / STORE).absolute()}"


@contextmanager
def locked(folder: Path) -> Generator[None, None, None]:
    """Make the folder where it is missing, and keep every other run out of it for the block.

    Raises:
        BatchFolderError: another run has it, or it is not to be used; see `check_contents`.
        OSError: the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name in (LOCK, RESULTS):
            if name == LOCK or (folder / name).exists():
                fd = open_file(folder / name, os.O_RDWR | os.O_CREAT | PRIVATE)
                stack.callback(os.close, fd)
                try:
                    stack.callback(FileLock.acquire(fd, folder / name).release)
                except BlockingIOError:
                    raise BatchFolderError(
                        f"Another run works in {folder} right now. Nothing was sent. Wait for it "
                        "to end."
                    ) from None
        check_contents(folder)
        yield


def check_contents(folder: Path) -> None:
    """Refuse a folder whose paid jobs are known elsewhere: in a lost store, or to release 0.1.

    Raises:
        BatchFolderError: with the one way to continue.
    """
    if (folder / STORE).exists():
        return
    lines = [*_lines(folder / RESULTS)]
    stores = [str(line["store"]) for line in lines if line.get("store")]
    if stores and not stores[-1].endswith(f"/{STORE}"):
        raise BatchFolderError(
            f"The jobs of this batch are in the store {stores[-1]}. Nothing was sent. Run them "
            f"with: smspartner worker --store {stores[-1]}"
        )
    if stores or (folder / f"{STORE}.journal").exists():
        raise BatchFolderError(
            f"{folder / STORE} is gone, and it knows what is paid for. Nothing was sent. Put it "
            "back from a copy; for another batch, use another folder."
        )
    last_states = {line["id"]: line.get("state") for line in lines if "id" in line}
    if {*last_states.values()} - {"not_rented"}:
        raise BatchFolderError(
            f"{folder} holds a batch that release 0.1 ran without a store. Nothing was sent. "
            "Finish it with that release (pip install 'smspartner_async<0.2', then the same "
            "command); for another batch, use another folder."
        )


def copy_store(folder: Path, into: Path) -> bool:
    """Copy the store of a batch, with what is not yet in its file. Return whether there is one."""
    for path in folder.glob(f"{STORE}*"):
        if path.is_file():
            shutil.copy(path, into)
    return (into / STORE).exists()


def is_moved(folder: Path, files: Iterable[Path]) -> bool:
    """Return whether the folder was moved or copied since `settle_in`.

    A folder of release 0.1 says nothing of itself: there the `files` of its jobs do.
    """
    known = next(_lines(folder / LOCK), None)
    if known is not None:
        return known != _identity(folder)
    here = folder.resolve()
    return any(file.parent.resolve() != here for file in files)


def settle_in(folder: Path) -> None:
    """Write down where the folder is, and which one, for `is_moved`."""
    (folder / LOCK).write_text(json.dumps(_identity(folder)))


def _identity(folder: Path) -> dict[str, Any]:
    return {"path": str(folder.resolve()), "inode": folder.stat().st_ino}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for text in read_file(path).splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut off, and never relied on
            continue
        if isinstance(line, dict):
            yield line
