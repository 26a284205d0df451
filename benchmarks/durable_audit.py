"""What the vendor's books and a store's say of the same jobs, compared. Pure, but for the disk."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from smspartner_async.durable import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smspartner_async.durable import JobRecord


@frozen
class Audit:
    """What the vendor's books and the store's say of a run, and whether they agree."""

    jobs: int
    charges: int
    twice: int
    """Jobs that were charged more than once."""
    orphans: int
    """Charges whose token no job has, and whose job is not listed with its journal."""
    broken: int
    """Files of finished jobs that are not whole."""
    unfinished: int
    """Jobs that are neither done nor listed."""
    attention: int
    lost_files: int
    """Jobs killed in the middle of a download that the vendor serves only once."""
    lost_whole: int
    """Those of them whose file was whole on the disk when they were killed."""
    failures: tuple[str, ...]
    """What is said of the jobs that are unfinished."""

    @property
    def holds(self) -> bool:
        """Whether all that must hold does."""
        wrong = self.twice, self.orphans, self.broken, self.unfinished, self.lost_whole
        return not any(wrong)


def audit(records: Iterable[JobRecord], report: dict[str, Any]) -> Audit:
    """Compare the books."""
    known = {int(record.id.removeprefix("job-")): record for record in records}
    states = Counter(record.state for record in known.values())
    charged = Counter(rental["job"] for rental in report["rentals"])
    digests = {rental["token"]: rental["sha256"] for rental in report["rentals"]}
    served_before = [
        record
        for record in known.values()
        if record.state is JobState.FAILED and "downloaded before" in (record.error or "")
    ]
    ended = {JobState.DONE, JobState.NEEDS_ATTENTION}
    unfinished = [
        record
        for record in known.values()
        if record.state not in ended and record not in served_before
    ]
    return Audit(
        jobs=len(known),
        charges=len(report["rentals"]),
        twice=sum(times > 1 for times in charged.values()),
        orphans=sum(not _accounted(known[r["job"]], r["token"]) for r in report["rentals"]),
        broken=sum(
            record.state is JobState.DONE and not _whole(record, digests)
            for record in known.values()
        ),
        unfinished=len(unfinished),
        attention=states[JobState.NEEDS_ATTENTION],
        lost_files=len(served_before),
        lost_whole=sum(_has_whole_part(record, digests) for record in served_before),
        failures=tuple(f"{record.id} {record.state.name}: {record.error}" for record in unfinished),
    )


def _accounted(record: JobRecord, token: str) -> bool:
    listed = record.state is JobState.NEEDS_ATTENTION and _in_its_journal(record)
    return listed or record.token == token


def _in_its_journal(record: JobRecord) -> bool:
    """Whether the journal that the record names has this job as about to be paid."""
    try:
        journal = Path(record.attention["journal"]).read_text("utf-8")
        nonce = record.attention["nonce"]
    except (KeyError, OSError):
        return False
    lines = (json.loads(line) for line in journal.splitlines() if line.endswith("}"))
    return any(line.get("nonce") == nonce and line["job"] == record.id for line in lines)


def _has_whole_part(record: JobRecord, digests: dict[str, str]) -> bool:
    """Whether all bytes of a job's file came, and lie in a partial file."""
    parts = record.job.path.parent.glob(f"{record.job.path.name}.part*")
    found = {hashlib.sha256(part.read_bytes()).hexdigest() for part in parts if part.is_file()}
    return digests.get(record.token or "") in found


def _whole(record: JobRecord, digests: dict[str, str]) -> bool:
    if record.file is None or record.token is None or not record.job.path.is_file():
        return False
    digest = hashlib.sha256(record.job.path.read_bytes()).hexdigest()
    return digest == record.file.sha256 == digests.get(record.token)
