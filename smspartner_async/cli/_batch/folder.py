"""The folder of one batch: its lock, its store, and what release 0.1 left in it.

Knows the disk, and neither the network nor the store's contents.
"""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from smspartner_async._errors import SMSPartnerError
from smspartner_async._files import JsonLines, naming, parse_lines, read_file
from smspartner_async.batch._job import case_folded, preview
from smspartner_async.cli._exit_codes import ExitCode
from smspartner_async.cli._formats import jobs_text

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable

    from smspartner_async.batch._job import RentalJob

STORE: Final = "batch.db"
"""The store of a batch, in its folder."""
LOCK: Final = "batch.lock"
RESULTS: Final = "results.jsonl"
"""What release 0.1 wrote beside the store, or in its place; its runs lock this file."""


_PAID: Final = {"paid", "failed"}
_SETTLED: Final = {"done", "given_up", "not_rented"}  # any other may be paid


class BatchFolderError(SMSPartnerError):
    """The folder cannot be used for this batch now. Nothing was sent, and nothing was charged.

    Attributes:
        exit_code: what earlier runs have left in the folder, as far as that is known.
    """

    def __init__(self, text: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.exit_code = exit_code


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
    with _disk_advice():
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name in (LOCK, RESULTS):
            if name == LOCK or (folder / name).exists():
                try:
                    with _disk_advice():
                        stack.callback(JsonLines.open(folder / name).close)
                except BlockingIOError:
                    raise BatchFolderError(
                        f"Another run works in {folder} right now. Nothing was sent. Wait for it "
                        "to end."
                    ) from None
        check_contents(folder)
        yield


@contextmanager
def _disk_advice() -> Generator[None, None, None]:
    """Add to an error of a disk that takes nothing what it means, and what to do."""
    try:
        yield
    except FileExistsError as error:
        raise BatchFolderError(
            f"{error.filename} is no folder. Nothing was sent. Give --out another name."
        ) from None
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}:
            raise
        advice = "Make the folder writable, with room on its disk, and type it again"
        text = f"{error.strerror}. Nothing was sent. {advice}"
        raise OSError(error.errno, text, error.filename) from None


def check_contents(folder: Path) -> None:
    """Refuse a folder whose paid jobs are known elsewhere: in a lost store, or to release 0.1.

    Raises:
        BatchFolderError: with the one way to continue.
    """
    if (folder / STORE).exists():
        return
    lines = _results(folder / RESULTS)
    states = {str(line["id"]): str(line.get("state")) for line in lines if "id" in line}
    stores = [str(line["store"]) for line in lines if line.get("store")]
    if stores and not _is_gone(stores[-1]):
        raise _refusal(
            f"The jobs of this batch are in the store {stores[-1]}",
            states.values(),
            f"Run them with: smspartner worker --store {stores[-1]}",
        )
    if stores or (folder / f"{STORE}.journal").exists():
        states |= _journaled(folder)
        raise _refusal(
            f"{folder / STORE} is gone, and it knows what is paid for",
            states.values(),
            "Put it back from a copy; for another batch, use another folder.",
        )
    left = {*states.values()} - {"not_rented"}
    if left:
        finish = (
            "Finish it with that release (pip install 'smspartner_async<0.2', then the same "
            "command); for another batch, use another folder."
        )
        finished = (
            "Whatever it paid for has its file, or was given up. To rent other rows, use another "
            "folder and list them alone: what is rented here would be paid for again there."
        )
        raise _refusal(
            f"{folder} holds a batch that release 0.1 ran without a store",
            states.values(),
            finished if left <= _SETTLED else finish,
        )


def check_own_names(folder: Path, jobs: Iterable[RentalJob]) -> None:
    """Refuse jobs whose files would be what a batch keeps in its folder.

    Raises:
        SMSPartnerError: there are some.
    """
    own = {STORE, LOCK, RESULTS, f"{STORE}.journal"}
    if taken := [job.id for job in jobs if case_folded(job.path.name) in own]:
        raise SMSPartnerError(
            f"The files of these jobs would have the names of what a batch keeps in {folder}: "
            f"{preview(taken)}. Nothing was sent. Give them other ids, or another --suffix."
        )


def _is_gone(store: str) -> bool:
    """Return whether a store that release 0.1 names was the folder's own, under its old path."""
    prefix, _, path = store.partition("sqlite:///")
    return not prefix and Path(path).name == STORE and not Path(path).exists()


def _refusal(what: str, states: Collection[str], advice: str) -> BatchFolderError:
    """Return an error that counts what is paid without a file, or in doubt, and has its code."""
    paid = sum(state in _PAID for state in states)
    doubts = sum(state not in _PAID | _SETTLED for state in states)
    code = ExitCode.PAID_WITHOUT_FILE if paid else ExitCode.FAILED
    left = f" ({counted})" if (counted := open_text(paid, doubts)) else ""
    text = f"{what.removesuffix('.')}{left}. Nothing was sent. {advice}"
    return BatchFolderError(text, ExitCode.MAYBE_PAID if doubts else code)


def open_text(paid: int, doubts: int) -> str:
    """Return how many jobs are in doubt, and paid for without a file; empty where none is."""
    counts = [f"{jobs_text(doubts)} may have been paid for"] * bool(doubts)
    return ", ".join(counts + [f"{jobs_text(paid)} paid for without a file"] * bool(paid))


def with_journals(folder: Path, error: Exception) -> Exception:
    """Return the error of a store that nothing can read, with what its journals have paid for."""
    refusal = _refusal(
        f"{error}",
        _journaled(folder).values(),
        "Put the store back from a copy; for another batch, use another folder.",
    )
    return error if refusal.exit_code is ExitCode.FAILED else refusal


def _journaled(folder: Path) -> dict[str, str]:
    """Return the states of the jobs that the journals of a lost store name, as 0.1 calls them."""
    from smspartner_async.durable._claims import claims_in  # noqa: PLC0415 - it takes a second
    from smspartner_async.durable._records import load_job  # noqa: PLC0415 - it takes a second

    claims = claims_in(folder / f"{STORE}.journal", "", beside_store=True)
    found = filter(None, (claims.unknown(name, 0, ()) for name in claims.job_ids()))
    return {
        one.job: "renting"
        if one.token is None
        else "done"
        if (folder / load_job(one.job, one.content).path.name).exists()
        else "paid"
        for one in found
    }


def copy_store(database: Path, into: Path) -> bool:
    """Copy a store, with what is not yet in its file, to `into`. Return whether there is one.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        if (path := Path(f"{database}{suffix}")).exists():
            shutil.copyfile(path, into / f"{STORE}{suffix}")
    return (into / STORE).exists()


def is_moved(folder: Path, files: Iterable[Path]) -> bool:
    """Return whether the folder was moved or copied since `settle_in`.

    A folder of release 0.1 says nothing of itself: there the `files` of its jobs do.
    """
    if (folder / LOCK).exists() and (known := parse_lines(read_file(folder / LOCK))):
        return known[0] != _identity(folder)
    here = folder.resolve()
    return any(file.parent.resolve() != here for file in files)


def settle_in(folder: Path) -> None:
    """Write down where the folder is, and which one, for `is_moved`."""
    with naming(folder / LOCK):
        (folder / LOCK).write_text(json.dumps(_identity(folder)))


def _identity(folder: Path) -> dict[str, Any]:
    return {"path": str(folder.resolve()), "inode": folder.stat().st_ino}


def _results(path: Path) -> list[dict[str, Any]]:
    """Return the lines of `results.jsonl`; one that cannot be read may be of a payment."""
    if not path.exists():
        return []
    lines = [parse_lines(line) for line in read_file(path).split(b"\n")]
    unreadable = {"id": "", "state": "unreadable"}
    for line, following in pairwise(lines):  # the last one was cut off, and never relied on
        if not line and (not following or following[0].get("state") != "cut"):
            line.append(unreadable)
    return [line for one in lines for line in one]
