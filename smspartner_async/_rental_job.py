"""One job of a batch: what is wanted, checked before anything is sent; its steps; its end."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, field, frozen
from attrs.validators import instance_of

from ._checks import check_price, checked_limit
from ._errors import SMSPartnerError
from ._models import Targeting, checked_volumes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from ._models import ContactFile, Quote, Rental, RentalStatus

# What Windows does not take in a file name. The other systems refuse less.
_NOT_IN_NAMES: Final = frozenset('<>:"/\\|?*')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_LISTED: Final = 10
_LONGEST_ID: Final = 200  # bytes; a file name has 255, with its suffix, and ".part.1" behind it


def checked_id(id: object) -> str:  # noqa: A002 - the name of the field
    """Let an id through that can name a file on any system, or raise `ValueError`."""
    if not isinstance(id, str) or not id.strip():
        raise ValueError("must be text, and not blank")
    if id != id.strip() or id.endswith(".") or not id.isprintable() or _NOT_IN_NAMES & {*id}:
        raise ValueError(
            f"{id!r} cannot name a file on every system: no spaces around it, no point at its "
            f"end, no control character, none of {' '.join(sorted(_NOT_IN_NAMES))}"
        )
    if _DEVICE.fullmatch(id) or len(id.encode()) > _LONGEST_ID:
        raise ValueError(
            f"{id!r} cannot name a file on every system: it is the name of a device, or longer "
            f"than {_LONGEST_ID} bytes"
        )
    return id


def _id(id: str) -> str:  # noqa: A002 - the name of the field
    try:
        return checked_id(id)
    except ValueError as error:
        raise ValueError(f"id: {error}") from None


def plain(targeting: Targeting) -> dict[str, Any]:
    """Write a targeting as JSON can hold it; `Targeting(**plain)` is the same again."""
    return {name: getattr(value, "value", value) for name, value in asdict(targeting).items()}


def _limit(max_total: Decimal | int | None) -> Decimal | None:
    return None if max_total is None else checked_limit(max_total)


def _absolute(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute()  # the working directory may change before the file is there


@frozen(kw_only=True)
class RentalJob:
    """One rental of a batch: whom to reach, for how much at most, and where the file goes.

    Args:
        id: names the job within its batch. Text that can be a file name on any system.
        targeting: whom to reach.
        volumes: wanted number of contacts for a post code or department; `None` rents all that
            match.
        max_total: the price above which nothing is rented; `None` is no limit.
        path: where the file goes. It is made absolute; its folder must exist when the job runs.

    Raises:
        ValueError: an id that cannot name a file, or a `max_total` that is negative or not finite.
        TargetingError: volumes that cannot be right.
        TypeError: a `max_total` that is not exact, or something else than a `Targeting`.
    """

    id: str = field(converter=_id)
    targeting: Targeting = field(validator=instance_of(Targeting))
    volumes: Mapping[str, int] | None = field(default=None, converter=checked_volumes, hash=False)
    max_total: Decimal | None = field(default=None, converter=_limit)
    path: Path = field(converter=_absolute)

    def check_price(self, quote: Quote) -> None:
        """Raise `PriceExceededError` for a quote above `max_total`, or one without a price."""
        if self.max_total is not None:
            check_price(quote, self.max_total)

    def check_destination(self) -> None:
        """See before any money is spent that the file can be written.

        Raises:
            FileExistsError: there is something at `path`.
            OSError: its folder is missing, or cannot be written to.
        """
        if os.path.lexists(self.path):
            raise FileExistsError(
                f"{self.path} exists, so nothing was rented. Move it away, or choose another path."
            )
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"{self.path.parent} is no folder, so nothing was rented.")
        if not os.access(self.path.parent, os.W_OK):
            raise PermissionError(
                f"{self.path.parent} cannot be written to, so nothing was rented."
            )


class JobStep(Enum):
    """What has just happened to a job. The last three are ends."""

    PRICED = "priced"
    RENTED = "rented"
    STATE = "state"
    """The vendor told the rental's state. Every such check is told, also if nothing changed."""
    DOWNLOADED = "downloaded"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen(kw_only=True)
class JobEvent:
    """One step of one job, as `on_event` is told of it.

    Attributes:
        job: the job.
        step: what happened.
        quote: the price, at PRICED.
        rental: the paid rental with its token, from RENTED on, also at FAILED.
        status: where the rental stands, at STATE.
        file: the file, at DOWNLOADED.
        error: why it ended, at FAILED and SKIPPED.
    """

    job: RentalJob
    step: JobStep
    quote: Quote | None = None
    rental: Rental | None = None
    status: RentalStatus | None = None
    file: ContactFile | None = None
    error: Exception | None = None


@frozen(kw_only=True)
class JobOutcome:
    """How a job ended: with its file, or with an error.

    Attributes:
        job: the job.
        rental: the paid rental; `None` where nothing was rented, or nobody knows (then the error
            is a `RentOutcomeUnknownError`). With its token the wait and the download go on.
        file: the file; `None` where there is none.
        error: why there is none: an `SMSPartnerError`, or an `OSError` of the disk.
    """

    job: RentalJob
    rental: Rental | None
    file: ContactFile | None
    error: Exception | None


class JobSkippedError(SMSPartnerError):
    """A job was not rented, because the outcome of another one's rental is not known.

    Attributes:
        job_id: the job that was skipped.
        unknown_id: the job whose rental may or may not have been charged.
    """

    def __init__(self, *, job_id: str, unknown_id: str) -> None:
        super().__init__(
            f"Job {job_id!r} was not rented, and nothing was charged for it: whether job "
            f"{unknown_id!r} was rented is not known. Settle that one first, as its error says; "
            f"then run {job_id!r} again."
        )
        self.job_id = job_id
        self.unknown_id = unknown_id


def checked_jobs(jobs: Iterable[RentalJob]) -> tuple[RentalJob, ...]:
    """Take all jobs; two with one id, or with one file between them, are a `ValueError`."""
    taken = tuple(jobs)
    ids = Counter(job.id for job in taken)
    if twice := [id for id, times in ids.items() if times > 1]:  # noqa: A001 - what it is
        raise ValueError(f"Several jobs have the same id: {some(twice)}.")
    paths = Counter(folded(os.path.normpath(job.path)) for job in taken)
    if twice := [path for path, times in paths.items() if times > 1]:
        raise ValueError(
            f"Several jobs have the same file, where upper and lower case are one: {some(twice)}."
        )
    return taken


def some(names: Sequence[str]) -> str:
    """List the first of some names."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more


def folded(name: str) -> str:
    """Tell the one name for all that some file system takes for the same: case, accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
