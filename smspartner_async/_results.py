"""`results.jsonl`: what a batch may have paid for, has paid for, and has fetched.

A line is on the disk before a rent is sent, and another with the token before anything else
happens to the rental. So whenever a run ends, the next one knows what must not be paid again.
Knows the disk and jobs, and nothing of the network.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import define, evolve, field, frozen

from ._errors import SMSPartnerError
from ._partfile import fsync_folder, lock
from ._rental_job import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ._rental_job import RentalJob

NAME: Final = "results.jsonl"
_OPEN_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_OWNER_ONLY: Final = 0o600


class Line(Enum):
    """What a line tells. All but BEGUN and CUT tell it of one job."""

    BEGUN = "begun"
    """A run began: the account's balance, and how often the batch was asked to go on."""
    RENTING = "renting"
    """Written before the rent is sent. With nothing behind it, nobody knows what became of it."""
    PAID = "paid"
    """The token is here: it is paid for, and goes on to its file."""
    UNKNOWN = "unknown"
    """It was sent, and its answer was lost: it may be paid for."""
    NOT_RENTED = "not_rented"
    """It is certain that nothing was paid. The next run tries again."""
    FAILED = "failed"
    """It is paid for, and there is no file yet."""
    DONE = "done"
    """The file is there."""
    GIVEN_UP = "given_up"
    """A person has settled it: it is not looked at any more."""
    CUT = "cut"
    """The line before this one was cut off, and was never relied on."""


class ResultsError(SMSPartnerError):
    """The results of earlier runs cannot be used, so nothing was sent: it might be paid twice."""


@frozen(kw_only=True)
class Known:
    """What is known of one job from its lines.

    Attributes:
        line: what the last of them told.
        order: names what was asked for; another targeting or other volumes have another.
        token: of the paid rental.
        price: what it costs, or might have cost; `None` where nobody told.
        at: when the last rent was sent, or about to be.
        error: what went wrong at last.
    """

    line: Line = Line.NOT_RENTED
    order: str = ""
    token: str | None = None
    price: Decimal | None = None
    at: str = ""
    error: str | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether it may be paid for, and nobody has the token."""
        return self.line in {Line.RENTING, Line.UNKNOWN}

    @property
    def is_paid(self) -> bool:
        """Whether it is paid for, and its file is still to be fetched."""
        return self.line in {Line.PAID, Line.FAILED}

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to do."""
        return self.line in {Line.DONE, Line.GIVEN_UP}

    def and_then(self, line: Line, facts: Mapping[str, Any]) -> Known:
        """Tell what is known after one more line."""
        if line is Line.NOT_RENTED:
            return Known(line=line, error=facts.get("message"))
        price = facts.get("price")
        return evolve(
            self,
            line=line,
            order=facts.get("order", self.order),
            token=facts.get("token", self.token),
            price=self.price if price is None else Decimal(price),
            at=facts["at"] if line is Line.RENTING else self.at,
            error=facts.get("message"),
        )


def wanted_by(job: RentalJob) -> dict[str, Any]:
    """Write what a job asks for, as JSON can hold it."""
    return {"targeting": plain(job.targeting), "volumes": dict(job.volumes or {})}


def order_of(job: RentalJob) -> str:
    """Name what a job asks for: the same for the same targeting and volumes, and for no other."""
    wanted = wanted_by(job)
    text = json.dumps((wanted["targeting"], wanted["volumes"]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@define
class Results:
    """The file in a batch's folder, locked against any other run while it is open.

    Attributes:
        path: where it is.
        known: what is known of each job, by its id.
        balance: of the account, when the first run began; `None` where nobody told.
        store: where the batch is kept, without a password; `None` where it is kept here alone.
    """

    path: Path
    known: dict[str, Known] = field(factory=dict, init=False)
    balance: Decimal | None = field(default=None, init=False)
    store: str | None = field(default=None, init=False)
    _fd: int = field(default=-1, init=False)
    _cut: bool = field(default=False, init=False)

    @classmethod
    def look(cls, path: Path) -> Self:
        """Read them while another run may be writing.

        Raises:
            ResultsError: a line cannot be read.
            OSError: the file cannot be read.
        """
        results = cls(path)
        results._read(path.read_bytes())
        return results

    def __enter__(self) -> Self:
        """Make the folder and the file where they are missing, and read what is there.

        Raises:
            ResultsError: another run has it open, or a line of it cannot be read.
            OSError: the disk does not let us.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, _OPEN_FLAGS, _OWNER_ONLY)
        try:
            lock(self._fd)
            with os.fdopen(os.dup(self._fd), "rb") as file:
                self._read(file.read())
        except BlockingIOError:
            self.close()
            raise ResultsError(
                f"Another run is writing {self.path} right now, so nothing was sent. Wait for it "
                "to end."
            ) from None
        except BaseException:
            self.close()
            raise
        fsync_folder(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def of(self, job: str) -> Known:
        """Tell what is known of a job; of a new one, nothing."""
        return self.known.get(job, Known())

    def add(self, line: Line, job: str | None = None, **facts: Any) -> None:
        """Write one line, and return when it is safe on the disk.

        Raises:
            OSError: it is not. What was to happen next must not.
        """
        named = {} if job is None else {"id": job}
        told = {name: value for name, value in facts.items() if value is not None}
        when = datetime.now(UTC).isoformat(timespec="seconds")
        whole = {**named, "state": line.value, **told, "at": when}
        self._take(line, whole)
        data = json.dumps(whole, default=str).encode() + b"\n"
        if self._cut:  # what did not fit may be there in part
            data = b'\n{"state": "cut"}\n' + data
        self._cut = True
        if os.write(self._fd, data) != len(data):
            raise OSError(errno.ENOSPC, f"{self.path} did not take a whole line")
        os.fsync(self._fd)
        self._cut = False

    def lines(self) -> dict[str, list[dict[str, Any]]]:
        """Find what was written of each job that may be paid for, since its rent was begun.

        Raises:
            OSError: the file cannot be read.
        """
        lines: dict[str, list[dict[str, Any]]] = {}
        for line in map(_parsed, self.path.read_bytes().split(b"\n")):
            if line is not None and self.of(line.get("id", "")).is_unknown:
                if line["state"] == Line.RENTING.value:
                    lines[line["id"]] = []
                lines.setdefault(line["id"], []).append(line)
        return lines

    def _read(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        # The machine stopped while the rest was written, so nothing was done that relies on it;
        # but where only its line end is missing, it is true.
        self._cut = bool(rest)
        if _parsed(rest) is not None:
            lines.append(rest)
        read = [_parsed(line) for line in lines]
        for number, facts in enumerate(read, 1):
            follower = read[number] if number < len(read) else None
            if facts is not None:
                self._take(Line(facts["state"]), facts)
            elif follower is None or follower["state"] != Line.CUT.value:
                raise ResultsError(
                    f"Line {number} of {self.path} cannot be read, and it may tell of something "
                    "that is paid for. Nothing was sent. Put the line right, or take it out if "
                    "you are certain."
                )

    def _take(self, line: Line, facts: Mapping[str, Any]) -> None:
        if line is Line.BEGUN:
            self.store = facts.get("store", self.store)
            balance = facts.get("balance")
            if self.balance is None and balance is not None:
                self.balance = Decimal(balance)
        elif line is not Line.CUT:
            self.known[facts["id"]] = self.of(facts["id"]).and_then(line, facts)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Read a line; `None` for what is none of ours."""
    try:
        facts = json.loads(line)
        state = Line(facts["state"])
        whole = state in {Line.BEGUN, Line.CUT} or isinstance(facts["id"], str)
        Known().and_then(state, facts)
        Decimal(facts.get("balance", 0))
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return None
    return facts if whole else None
