"""Write a file that may be served once: to `<path>.part`, and to `<path>` only when it is whole.

Blocking calls, to be made in a worker thread. Nothing here depends on the network.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

from smspartner_async._files import OWNER_ONLY, PRIVATE, fsync_folder, is_at, lock, open_file
from smspartner_async._models import ContactFile

from . import decompression
from .disk_errors import OVERWRITE_ADVICE, DiskError, NameTakenError, loss_text
from .final_name import give_name
from .overflow import Overflow, save_to_temporary
from .part_name import Claim, PartState, claim_part
from .reserved_room import ReservedRoom
from .sidecar import Digest, Sidecar

if TYPE_CHECKING:
    from typing import IO

    from .leftover import Leftover
    from .sidecar import ReplyFacts

_CHUNK: Final = 2**16
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@define(eq=False, repr=False)
class PartFile:
    """The `.part` file of one download, locked against any other for as long as it is open.

    Attributes:
        final: where the file is to be.
        path: of an open part, where the received bytes are: the `.part` file, and after `finish`
            the final one.
        size: bytes in it.
        rest: the file with the bytes that came after those, which the disk refused.
        rest_size: bytes in `rest`.
        reply: the facts of the reply, for a part that an earlier process left whole.
        failure: the error of the disk.
        is_refused: whether the part is known to be no contact file.
        lost: why the rest, or with a size of 0 all, could not be kept anywhere; else empty.
        leftovers: parts of earlier downloads that nothing proves whole.
    """

    final: Path
    _token: str
    _overwrite: bool
    path: Path = field(init=False)
    size: int = field(default=0, init=False)
    rest: Path | None = field(default=None, init=False)
    rest_size: int = field(default=0, init=False)
    reply: ReplyFacts | None = field(default=None, init=False)
    failure: DiskError | None = field(default=None, init=False)
    is_refused: bool = field(default=False, init=False)
    lost: str = field(default="", init=False)
    leftovers: list[Leftover] = field(factory=list, init=False)
    _sidecar: Sidecar = field(init=False)  # of a part that was claimed; closing it twice is no harm
    _fd: int = field(default=-1, init=False)
    _room: ReservedRoom = field(factory=ReservedRoom, init=False)
    _digest: hashlib._Hash = field(factory=hashlib.sha256, init=False)
    _overflow: Overflow = field(factory=Overflow, init=False)

    @property
    def is_open(self) -> bool:
        """Whether the part is open for writing."""
        return self._fd >= 0

    @property
    def received(self) -> int:
        """Bytes that arrived."""
        return self.size + (self._overflow.size if self._fd >= 0 else self.rest_size)

    @property
    def digest(self) -> Digest:
        """Size and SHA-256 of all that was written."""
        return Digest(self.size, self._digest.hexdigest())

    def resume(self) -> ContactFile | None:
        """Open a part that an earlier process left whole (`reply`), where there is one.

        Returns:
            The finished file, where an earlier process ended just before it could say so.

        Raises:
            NameTakenError: the final file exists, and is another one.
            FileExistsError: another download is writing a part of this file right now.
            OSError: the folder is missing or cannot be written to.
        """
        claim = claim_part(self.final, self._token, only_known=True)
        return None if claim is None else self._take(claim)

    def open(self, room: int) -> ContactFile | None:
        """Begin a part, with room reserved on the disk; or do as `resume` where it finds one.

        Args:
            room: bytes that must fit on the disk.

        Returns:
            As `resume`.

        Raises:
            FileExistsError: the final file exists and may not be replaced, or another download is
                writing a part of it right now.
            OSError: the folder is missing or cannot be written to, or there is too little room.
        """
        claim = claim_part(self.final, self._token, only_known=self._is_taken())
        if claim is None:
            raise FileExistsError(f"{self.final} exists; {OVERWRITE_ADVICE}")
        if claim.state is not PartState.USABLE:
            return self._take(claim)
        self.leftovers = claim.leftovers
        self.path, self._sidecar = claim.part, claim.sidecar
        self._begin(room)
        return None

    def write_first(self, reply: ReplyFacts, data: bytes) -> None:
        """Record what a head said, reserve room for the announced length, and `write` the data.

        The record is synced after the data, which a killed process loses until it is written; and
        not at all if `finish` follows at once. If the disk fails at the record, the file is only
        not proven whole after a crash.

        Raises:
            DiskError: as `write`.
        """
        with suppress(OSError):
            self._sidecar.note_reply(reply)
        with suppress(OSError):  # `write` keeps what does not fit in memory
            self._room.hold(self.final.parent, reply.length or 0)
        self.write(data)
        if reply.length is None or self.size < reply.length:
            with suppress(OSError):
                self._sidecar.sync()

    def write(self, data: bytes) -> None:
        """Write `data` to the part; once that fails, keep the rest in memory.

        Raises:
            DiskError: the disk has failed, and no more can be kept in memory.
        """
        view = memoryview(data)
        while view and self.failure is None:
            piece = view[:_CHUNK]
            self._room.give_back(len(piece))
            try:
                written = os.write(self._fd, piece)
            except OSError as error:
                if error.errno in _FULL and self._room.size:
                    self._room.release()
                    continue
                self.failure = DiskError(error)
                self.failure.__cause__ = error
                break
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]
        if self.failure is not None and not self._overflow.add(view):
            raise self.failure

    def beginning(self, encoding: str) -> bytes:
        """Return the first bytes of the part, decompressed where it came compressed.

        Raises:
            DiskError: it cannot be read.
        """
        try:
            with self._reader() as file:
                return decompression.beginning(file, encoding)
        except OSError as error:
            raise DiskError(error) from error

    def refuse(self, is_kept: bool) -> None:  # noqa: FBT001 - called in a thread, by position
        """Close a part that is no contact file; it stays in `.part` if it may hold numbers."""
        self.is_refused = True
        if not is_kept:
            self.discard()
            return
        with suppress(OSError):
            self._sidecar.note_refused()
        self.keep()

    def finish(self, is_proven: bool, encoding: str = "") -> ContactFile:  # noqa: FBT001 - so too
        """Sync the file to the disk, and give it its final name.

        Parts of earlier downloads that are the beginning of this whole file are removed.

        Args:
            is_proven: whether the framing of the reply proves that the file is whole.
            encoding: how it is compressed; empty where it is not. A copy that can be decompressed
                to its end gets the final name, or else the file as it came, unverified.

        Raises:
            NameTakenError: the final file has appeared meanwhile and may not be replaced.
            DiskError: the disk failed. Either way the whole file stays in `.part`.
        """
        try:
            os.fsync(self._fd)
            if is_proven:
                with suppress(OSError):  # a full disk: this process does not need the proof
                    self._sidecar.note_whole(self.digest)
            needless = self._beginnings() if is_proven else []
            copy = self._decompressed(encoding) if encoding else None
            if copy is None:
                file = self._contact_file(self.digest, is_verified=is_proven and not encoding)
                self._rename(self.path)
            else:
                file = self._contact_file(copy[1], is_verified=is_proven)
                self._rename(copy[0])
                with suppress(OSError):
                    self.path.unlink()
            self.path = self.final
            fsync_folder(self.final)
            self._sidecar.remove()
        except FileExistsError:
            raise NameTakenError(
                f"{self.final} has appeared meanwhile. The whole file is kept in {self.path}."
            ) from None
        except OSError as error:
            self._save_if_gone()
            raise DiskError(error) from error
        finally:
            self._end()
        for leftover in needless:
            leftover.remove()
        return file

    def keep(self) -> None:
        """Close a part that is not whole: what arrived stays in `.part`, in one copy.

        What the disk refused is written to the temporary folder; so is a part that was removed.
        """
        if self._fd < 0:
            return
        self._room.release()
        self._save_if_gone()
        self._save_rest()
        if self._fd < 0:
            return
        if not self.size:
            self.discard()
            return
        with suppress(OSError):  # a broken disk: the part stays as it is
            os.fsync(self._fd)
        with suppress(OSError):
            self._drop_duplicates()
        self._end()

    def discard(self) -> None:
        """Remove the part and its sidecar."""
        if sys.platform == "win32":
            self._close()  # an open file cannot be removed there
        with suppress(OSError):
            self.path.unlink()
        self.size = 0
        self._sidecar.remove()
        self._end()

    def _is_taken(self) -> bool:
        return not self._overwrite and os.path.lexists(self.final)

    def _take(self, claim: Claim) -> ContactFile | None:
        sidecar, self.leftovers = claim.sidecar, claim.leftovers
        if claim.state is PartState.FINISHED:
            digest = sidecar.plain or sidecar.whole
            assert digest is not None  # noqa: S101 - what FINISHED means
            sidecar.remove()
            is_raw = sidecar.plain is None and sidecar.reply is not None and sidecar.reply.encoding
            return self._contact_file(digest, is_verified=not is_raw)
        if self._is_taken():
            sidecar.close()
            raise NameTakenError(
                f"{self.final} exists, and the whole file of this rental is kept in {claim.part}. "
                f"Move the first one away, or {OVERWRITE_ADVICE}"
            )
        self.path, self._sidecar, self.reply = claim.part, sidecar, sidecar.reply
        self._fd = open_file(self.path, os.O_RDWR | PRIVATE)
        with self._reader() as file:
            while chunk := file.read(_CHUNK):
                self._digest.update(chunk)
                self.size += len(chunk)
        return None

    def _begin(self, room: int) -> None:
        try:
            self._sidecar.begin(self._token)
            with suppress(FileNotFoundError):
                self.path.unlink()  # an empty one that a crash left
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | PRIVATE
            self._fd = open_file(self.path, flags)
            self.path.chmod(OWNER_ONLY)  # whatever the umask takes away
            with suppress(OSError):
                lock(self._fd)  # release 0.1 knows no sidecars
            self._room.hold(self.final.parent, room)
            # Both names are on the disk before the request, which leaves no time for it later.
            self._sidecar.sync()
        except BaseException:
            self.discard()
            raise

    def _reader(self) -> IO[bytes]:
        file = os.fdopen(os.dup(self._fd), "rb")
        file.seek(0)
        return file

    def _contact_file(self, digest: Digest, *, is_verified: bool) -> ContactFile:
        return ContactFile(
            path=self.final, size=digest.size, sha256=digest.sha256, verified=is_verified
        )

    def _decompressed(self, encoding: str) -> tuple[Path, Digest] | None:
        """Make a decompressed copy beside the part; `None` where that cannot be done."""
        copy = Path(f"{self.path}.plain")
        if self.reply is not None:  # resumed: an existing copy is of the process that crashed
            copy.unlink(missing_ok=True)
        self._room.release()
        with self._reader() as source:
            digest = decompression.decompressed_copy(source, copy, encoding)
        if digest is None:
            return None
        with suppress(OSError):  # a full disk: this process does not need the proof
            self._sidecar.note_plain(digest)
        return copy, digest

    def _rename(self, source: Path) -> None:
        if sys.platform == "win32":
            self._close()  # an open file cannot be renamed there
        give_name(source, self.final, overwrite=self._overwrite)

    def _save_if_gone(self) -> None:
        """Copy a part that is at its path no more: its folder was removed, or its disk unmounted.

        Until it is closed it can be read.
        """
        try:
            if self._fd >= 0 and self.size and not is_at(self._fd, self.path):
                with self._reader() as file:
                    pieces = iter(partial(file.read, _CHUNK), b"")
                    self.path = save_to_temporary(pieces, self.final)
        except OSError as error:
            self.lost, self.size = loss_text(error), 0

    def _save_rest(self) -> None:
        """Save what the disk refused; if the part is empty, the saved file takes its place."""
        try:
            self._overflow.save(self.final)
        except OSError as error:
            self.lost = loss_text(error)
        if self._overflow.path is None:
            return
        if self.size:
            self.rest, self.rest_size = self._overflow.path, self._overflow.size
        else:
            self.discard()
            self.path, self.size = self._overflow.path, self._overflow.size

    def _beginnings(self) -> list[Leftover]:
        """Return the leftovers that are the beginning of this file."""
        return [
            leftover
            for leftover in self.leftovers
            if leftover.token is not None
            and leftover.size <= self.size
            and leftover.begins_like(self._fd)
        ]

    def _drop_duplicates(self) -> None:
        """Keep one of several parts of one rental that begin with the same bytes: the longest."""
        for leftover in self.leftovers:
            if leftover.token != self._token or not leftover.begins_like(self._fd):
                continue
            if leftover.size >= self.size:
                self.discard()
                self.path, self.size = leftover.path, leftover.size
                return
            leftover.remove()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _end(self) -> None:
        self._room.release()
        self._close()
        self._sidecar.close()
