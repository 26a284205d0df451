"""One run of a batch that is kept in a store: what is left to do there, and following it.

The store knows what was paid for. `results.jsonl` repeats it for people, and for the day on which
somebody loses the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field

from ._batch_run import LISTED, Plan, check_unchanged
from ._display_batch import Stage
from ._errors import SMSPartnerError
from ._records import JobState
from ._rental_job import checked_jobs, some
from ._results import Line, order_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ._display import Display
    from ._display_batch import Tally
    from ._records import JobRecord
    from ._rental_job import RentalJob
    from ._results import Results

_LINES: Final = {
    JobState.QUEUED: Line.RENTING,
    JobState.RENTING: Line.RENTING,
    JobState.WAITING: Line.PAID,
    JobState.DONE: Line.DONE,
    JobState.NEEDS_ATTENTION: Line.UNKNOWN,
    JobState.GIVEN_UP: Line.GIVEN_UP,
}
_STAGES: Final = {
    JobState.RENTING: Stage.RENTING,
    JobState.WAITING: Stage.AT_VENDOR,
    JobState.DONE: Stage.DONE,
    JobState.FAILED: Stage.FAILED,
    JobState.NEEDS_ATTENTION: Stage.UNKNOWN,
    JobState.GIVEN_UP: Stage.DONE,
}


class StoreLostError(SMSPartnerError):
    """The results tell of jobs that the store does not know. Nothing was sent."""


def planned_in_store(
    jobs: Iterable[RentalJob], records: Mapping[str, JobRecord], results: Results
) -> Plan:
    """See what is left to do, and that it can be done, before anything is sent.

    Raises:
        StoreLostError: this is not the store that the batch was begun with, or an older copy.
        JobChangedError: a job has changed since it was submitted.
        ValueError: two jobs with one id or one file.
        OSError: the file of a job that is new exists, or cannot be written.
    """
    taken = checked_jobs(jobs)
    changed, lost, to_rent, under_way, in_doubt = [], [], [], [], []
    for job in taken:
        record = records.get(job.id)
        if record is None:
            if results.of(job.id).line is not Line.NOT_RENTED:
                lost.append(job.id)
            else:
                job.check_destination()
                to_rent.append(job)
        # Only max_total may differ: it was lowered to the price that was agreed to.
        elif evolve(record.job, max_total=None) != evolve(job, max_total=None):
            changed.append(job.id)
        elif record.state is JobState.NEEDS_ATTENTION:
            in_doubt.append(job)
        elif record.state is JobState.FAILED and record.token is None:
            to_rent.append(record.job)
        elif record.state is JobState.FAILED or record.state.is_open:
            under_way.append(job)
    if lost:
        raise StoreLostError(
            f"{results.path} tells of jobs that the store does not know: {some(lost)}. Nothing "
            "was sent, since they may be paid for. Use the store that this batch was begun with, "
            "or another folder for another batch."
        )
    check_unchanged(changed)
    return Plan(taken, tuple(to_rent), tuple(under_way), tuple(in_doubt))


@define(eq=False)
class Follower:
    """Writes down, and shows, what workers do to the jobs of a store.

    Attributes:
        ids: the jobs that there is something to do for in this run.
    """

    results: Results
    tally: Tally
    display: Display
    ids: frozenset[str]
    _failures: int = field(default=0, init=False)

    def moved(self, record: JobRecord) -> None:
        """Take note of where a job stands now.

        Raises:
            OSError: `results.jsonl` cannot be written. The store has it all the same.
        """
        known = self.results.of(record.id)
        line = _LINES.get(record.state) or (Line.FAILED if record.token else Line.NOT_RENTED)
        paid = record.price if record.token not in {None, known.token} else None
        if record.id in self.ids and record.state in _STAGES:
            self.tally.moved(record.id, _STAGES[record.state], paid)
        if known.line is line and known.token == record.token:
            return
        order = order_of(record.job)
        if record.token not in {None, known.token}:
            price = record.price
            self.results.add(Line.PAID, record.id, token=record.token, price=price, order=order)
        if line is not Line.PAID:
            self.results.add(line, record.id, order=order, **_facts(record))
        if line is Line.UNKNOWN:
            self.display.note(f"{record.id}: may have been paid for, and is left alone.")
        elif line in {Line.FAILED, Line.NOT_RENTED} and record.error:
            self._failures += 1
            if self._failures <= LISTED:
                self.display.job_failed(record.id, SMSPartnerError(record.error))
            elif self._failures == LISTED + 1:
                self.display.note(f"What else fails is told in {self.results.path} alone.")


def _facts(record: JobRecord) -> Mapping[str, Any]:
    if record.file is None:
        return {"message": record.error}
    file = record.file
    whole = {"size": file.size, "sha256": file.sha256, "verified": file.verified}
    return {"file": file.path, **whole}
