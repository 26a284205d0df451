"""One job of a batch: what is wanted, checked before anything is sent; its steps; its end."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, field, frozen

from smspartner_async._errors import SMSPartnerError
from smspartner_async._models import check_targeting
from smspartner_async._operations.reserved_room import check_room
from smspartner_async._validation import check_price, check_type, checked_limit, checked_path
from smspartner_async._values.listing import listed
from smspartner_async._values.volumes import checked_volumes

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from decimal import Decimal

    from smspartner_async._models import ContactFile, Quote, Rental, RentalStatus, Targeting

# What Windows does not take in a file name. The other systems refuse less.
_NOT_IN_NAMES: Final = frozenset('<>:"/\\|?*')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_PART: Final = re.compile(r"\.part(?=\.|$)")
_LONGEST_SUFFIX: Final = ".part.1.json"
_LONGEST_ID: Final = 200  # bytes; a file name has 255, with all suffixes


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


def targeting_to_dict(targeting: Targeting) -> dict[str, Any]:
    """Write a targeting as JSON can hold it; `Targeting(**plain)` is the same again."""
    return {name: getattr(value, "value", value) for name, value in asdict(targeting).items()}


def _limit(max_total: Decimal | int | None) -> Decimal | None:
    return None if max_total is None else checked_limit(max_total)


def _absolute(path: str | os.PathLike[str]) -> Path:
    # The working directory may change before the file is there.
    return checked_path("path", path).absolute()


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
    targeting: Targeting = field(validator=lambda _, __, value: check_targeting(value))
    volumes: Mapping[str, int] | None = field(default=None, converter=checked_volumes, hash=False)
    max_total: Decimal | None = field(default=None, converter=_limit)
    path: Path = field(converter=_absolute)

    def check_price(self, quote: Quote) -> None:
        """Raise `PriceExceededError` for a quote above `max_total`, or one without a price.

        >>> job.check_price(await client.price(job.targeting, job.volumes))
        """
        if self.max_total is not None:
            check_price(quote, self.max_total)

    def check_destination(self) -> None:
        """See before any money is spent that the file can be written.

        >>> job.check_destination()

        Raises:
            FileExistsError: there is something at `path`.
            OSError: its folder is missing, cannot be written to or has no room, or the file system
                cannot hold a file of this name.
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
        try:
            os.lstat(f"{self.path}{_LONGEST_SUFFIX}")
        except FileNotFoundError:
            pass  # as it should be
        except (OSError, UnicodeEncodeError) as error:
            number = getattr(error, "errno", None) or errno.EINVAL
            raise OSError(
                number,
                f"The file system cannot hold a file named {self.path.name!r} "
                f"({os.strerror(number)}), so nothing was rented. Choose another id or path.",
            ) from None
        check_room(self.path.parent)


class JobStep(Enum):
    """What has just happened to a job. The last three are ends."""

    PRICED = "priced"
    RENTED = "rented"
    STATE = "state"
    """The vendor reported the rental's state. Every check is an event, also if nothing changed."""
    DOWNLOADED = "downloaded"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen(kw_only=True)
class JobEvent:
    """One step of one job, as passed to `on_event`.

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
            is a `RentOutcomeUnknownError`). Its token is all that the wait and the download need.
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
    """Take all jobs; two with one id, or whose files would meet, are a `ValueError`.

    What is no iterable of jobs is a `TypeError`.
    """
    if not isinstance(jobs, Iterable):
        raise TypeError(f"jobs must be an iterable of RentalJob, not {type(jobs).__name__}.")
    taken = tuple(jobs)
    for job in taken:
        check_type("each of the jobs", job, RentalJob)
    ids = Counter(job.id for job in taken)
    if twice := [id for id, times in ids.items() if times > 1]:  # noqa: A001 - what it is
        raise ValueError(f"Several jobs have the same id: {preview(twice)}.")
    check_files(job.path for job in taken)
    return taken


def check_files(
    paths: Iterable[str | os.PathLike[str]], others: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Refuse files that meet each other, or those of `others`, while they are downloaded.

    Raises:
        ValueError: two are one file, or one has the name of another's part.
    """
    new, there = (
        Counter(case_folded(os.path.normpath(path)) for path in some) for some in (paths, others)
    )
    if twice := [path for path, times in new.items() if times > 1 or path in there]:
        raise ValueError(
            "Several jobs have the same file, where upper and lower case are one: "
            f"{preview(twice)}."
        )
    both = new | there
    clashing = [path for path in new if _is_part_of_another(path, both)]
    if clashing := clashing + [path for path in there if _is_part_of_another(path, new)]:
        raise ValueError(
            f"While these files are downloaded, parts of other jobs' files have their names: "
            f"{preview(clashing)}. Choose names that do not continue another job's with .part."
        )


def _is_part_of_another(path: str, paths: Container[str]) -> bool:
    """Return whether a download to one of `paths` may name a part file like this.

    Its names are `<path>.part`, and that with a number and further suffixes behind it.
    """
    whole = Path(path)
    ends = (found.start() for found in _PART.finditer(whole.name))
    return any(str(whole.with_name(whole.name[:end])) in paths for end in ends if end)


def preview(names: Sequence[str]) -> str:
    """List the first of some names."""
    return listed([repr(name) for name in names])


def case_folded(name: str) -> str:
    """Return one form of all names that some file system takes for the same: case, accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
