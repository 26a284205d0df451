"""Claim a name for a download's part: the first of `x.part`, `x.part.1` and so on that is usable.

A file at such a name without a sidecar is another program's, or of release 0.1, which wrote none.
It is skipped, and never moved or removed. Blocking calls.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import ExitStack, closing, suppress
from enum import Enum, auto
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field

from smspartner_async._files import PRIVATE, READ, lock, open_file, parse_lines

from .final_name import check_name
from .leftover import Leftover
from .sidecar import LARGEST, SUFFIX, Digest, Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

_GAP: Final = 4  # free names in a row that end the search: downloads leave no such gaps


class PartState(Enum):
    """What lies at a part's name."""

    USABLE = auto()
    """Nothing, or an empty part of this package's."""
    WHOLE = auto()
    """The whole file of this rental."""
    FINISHED = auto()
    """Nothing any more: the whole file of this rental has its final name already."""
    LEFTOVER = auto()
    """A part that nothing proves whole, or of another rental."""
    FOREIGN = auto()
    """A file of another program."""


@define(eq=False)
class Claim:
    """A name whose sidecar this download has locked.

    Attributes:
        part: the name.
        sidecar: the open sidecar.
        state: USABLE, WHOLE or FINISHED.
        leftovers: the files at other names, which stay there.
    """

    part: Path
    sidecar: Sidecar
    state: PartState
    leftovers: list[Leftover]


def claim_part(final: Path, token: str, *, only_known: bool = False) -> Claim | None:
    """Claim the whole part of a rental, where there is one, or else the first name that is free.

    Args:
        final: where the file is to be.
        token: the rental.
        only_known: claim only what is WHOLE or FINISHED; return `None` where there is neither.

    Raises:
        FileExistsError: another download is writing a part of this file right now, or the final
            name is that of something else than a file.
        OSError: the folder is missing or cannot be written to, or a sidecar's name is taken.
    """
    check_name(final)
    while True:
        with closing(_Survey(final, token)) as survey:
            claim = survey.known_claim()
            if claim is not None or only_known:
                return claim
            if (claim := survey.new_claim()) is not None:
                return claim


@define(eq=False)
class _Survey:
    """One look at all names of a file's parts."""

    final: Path
    token: str
    leftovers: list[Leftover] = field(factory=list, init=False)
    usable: Claim | None = field(default=None, init=False)
    free: Path | None = field(default=None, init=False)

    def known_claim(self) -> Claim | None:
        """Check each name; return a claim that is WHOLE or FINISHED, and record the others."""
        for name, has_part, has_sidecar in _names_to_search(self.final):
            if has_sidecar:
                if (claim := self._look_at(Path(name))) is not None:
                    return claim
            elif has_part:
                self._pass_over(Path(name), None)
            else:
                self.free = self.free or Path(name)
        return None

    def new_claim(self) -> Claim | None:
        """Claim the first usable name; `None` where another download took it meanwhile."""
        if self.usable is not None:
            claim, self.usable = self.usable, None
            return claim
        assert self.free is not None  # noqa: S101 - a gap was found
        sidecar = _open(self.free)
        if sidecar.token or sidecar.is_foreign or os.path.lexists(self.free):
            sidecar.close()
            return None
        return Claim(self.free, sidecar, PartState.USABLE, self.leftovers)

    def close(self) -> None:
        """Close the sidecar that was found usable and is not claimed."""
        if self.usable is not None:
            self.usable.sidecar.close()

    def _look_at(self, part: Path) -> Claim | None:
        with ExitStack() as passed:
            sidecar = passed.enter_context(closing(_open(part)))
            state = _state_of(part, sidecar, self.final, self.token)
            claim = Claim(part, sidecar, state, self.leftovers)
            if state in {PartState.WHOLE, PartState.FINISHED}:
                passed.pop_all()  # it stays open
                return claim
            if state is not PartState.USABLE:
                self._pass_over(part, sidecar.token or None)
            elif self.usable is None:
                passed.pop_all()
                self.usable = claim
        return None

    def _pass_over(self, part: Path, token: str | None) -> None:
        try:
            found = part.lstat()
        except FileNotFoundError:
            return
        if token is None:
            _check_not_in_use(part, found)
        self.leftovers.append(Leftover(part, found.st_size, token))


def _names_to_search(final: Path) -> Iterator[tuple[str, bool, bool]]:
    """Yield part names up to the gap, and whether a part and a sidecar of each are there."""
    gap = 0
    for name in chain([f"{final}.part"], (f"{final}.part.{number}" for number in count(1))):
        there = os.path.lexists(name), os.path.lexists(f"{name}{SUFFIX}")
        yield name, *there
        gap = 0 if any(there) else gap + 1
        if gap == _GAP:
            return


def leftovers_of(final: Path, token: str) -> Iterator[Leftover]:
    """Give the parts of a file that are of one rental, as their sidecars say. Locks nothing."""
    for name, has_part, _ in _names_to_search(final):
        part = Path(name)
        with suppress(OSError):
            with os.fdopen(open_file(Sidecar.path_of(part), READ), "rb") as file:
                is_ours = os.fstat(file.fileno()).st_size <= LARGEST
                lines = parse_lines(file.read()) if is_ours else []
            if [line["token"] for line in lines if "token" in line][-1:] == [token]:
                yield Leftover(part, part.lstat().st_size if has_part else 0, token)


def digest_of(path: Path) -> Digest:
    """Read a file, and return its size and SHA-256."""
    with os.fdopen(open_file(path, READ), "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(file.tell(), sha256)


def _open(part: Path) -> Sidecar:
    try:
        return Sidecar.open(part)
    except BlockingIOError as error:
        stands_for_it = f" {error.strerror}: {error.filename}." if error.filename else ""
        raise _in_use(part, stands_for_it) from None


def _in_use(part: Path, more: str = "") -> FileExistsError:
    return FileExistsError(
        f"Another download is writing {part} right now; wait for it to end.{more}"
    )


def _state_of(part: Path, sidecar: Sidecar, final: Path, token: str) -> PartState:
    is_ours = sidecar.token == token
    if is_ours and _is_finished(final, sidecar):
        part.unlink(missing_ok=True)  # a crash came before this last step
        return PartState.FINISHED
    try:
        found = part.lstat()
    except FileNotFoundError:
        return PartState.FOREIGN if sidecar.is_foreign else PartState.USABLE
    if not sidecar.token or not stat.S_ISREG(found.st_mode):
        return PartState.FOREIGN  # somebody's file, beside a sidecar that is empty or not ours
    if _has_both_names(found, final):
        part.unlink()  # its second name, left by a crash during the rename
        return PartState.USABLE
    if is_ours and _is_whole(part, found.st_size, sidecar):
        return PartState.WHOLE
    return PartState.LEFTOVER if found.st_size else PartState.USABLE


def _has_both_names(found: os.stat_result, final: Path) -> bool:
    try:
        return os.path.samestat(found, final.lstat())
    except OSError:
        return False


def _is_finished(final: Path, sidecar: Sidecar) -> bool:
    """Return whether the final file is the file that the sidecar describes."""
    known = [digest for digest in (sidecar.whole, sidecar.plain) if digest is not None]
    try:
        found = final.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size not in {one.size for one in known}:
            return False
        return digest_of(final) in known
    except OSError:
        return False


def _is_whole(part: Path, size: int, sidecar: Sidecar) -> bool:
    if not size or sidecar.is_refused:
        return False
    if sidecar.whole is not None:
        return size == sidecar.whole.size and digest_of(part) == sidecar.whole
    reply = sidecar.reply
    return reply is not None and reply.framing == "length" and size == reply.length


def _check_not_in_use(part: Path, found: os.stat_result) -> None:
    """Refuse a part that release 0.1, which knows no sidecars, is writing at this moment."""
    if not stat.S_ISREG(found.st_mode):
        return
    try:
        with os.fdopen(open_file(part, os.O_RDWR | PRIVATE), "rb") as file:
            lock(file.fileno())
    except BlockingIOError:
        raise _in_use(part) from None
    except OSError:
        return  # this user cannot open it, so is not writing it; or the file system has no locks
