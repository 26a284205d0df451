"""How the jobs of a store stand: the numbers and rows that the commands show, and the exit code.

Pure: knows records, and neither a store nor a terminal.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from smspartner_async.batch._job import targeting_to_dict
from smspartner_async.cli._exit_codes import ExitCode
from smspartner_async.durable import JobState

from .plan import is_paid_without_file, is_unpaid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from smspartner_async.batch._job import RentalJob
    from smspartner_async.durable import JobRecord

# At the end of a run, what is still RENTING was claimed by a worker that has not said how it ended.
_IN_DOUBT: Final = {JobState.NEEDS_ATTENTION, JobState.RENTING}
_COLUMNS: Final = (
    *("id", "state", "run", "token", "late_tokens", "paid", "file", "error", "changed_at"),
)


def job_row(record: JobRecord) -> dict[str, Any]:
    """Return what is known of one job, as JSON and CSV can hold it.

    `paid` is `None`, and empty in CSV, where a journal of release 0.1, a person, or the vendor gave
    a token without a price.
    """
    return {
        "id": record.id,
        "state": record.state.value,
        "run": record.run,
        "token": record.token,
        "late_tokens": " ".join(record.late_tokens),
        "paid": record.price if record.token else Decimal(0),
        "file": record.file and str(record.file.path),
        "error": record.error,
        "changed_at": record.changed_at.isoformat(timespec="seconds"),
    }


def standing(records: Sequence[JobRecord]) -> dict[str, Any]:
    """Return how many jobs are in each state, what was paid, and what is known of each job."""
    in_state: defaultdict[str, list[JobRecord]] = defaultdict(list)
    rows, failed, doubts = [], [], []
    for record in records:
        row = job_row(record)
        rows.append(row)
        in_state[record.state.value].append(record)
        if record.state is JobState.FAILED:
            failed.append(row)
        elif record.state is JobState.NEEDS_ATTENTION:
            doubts.append({**row, "attention": known_of(record)})
    return {
        "jobs": len(rows),
        "states": {state: {"jobs": len(of), **_paid(of)} for state, of in in_state.items()},
        **_paid(records),
        "failed": failed,
        "needs_attention": doubts,
        "records": rows,
    }


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows of `job_row` as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def known_of(record: JobRecord) -> dict[str, Any]:
    """Return all that is known of a job that may have been paid for, and what it asks for."""
    targeting, volumes = targeting_to_dict(record.job.targeting), dict(record.job.volumes or {})
    return {**record.attention, "targeting": targeting, "volumes": volumes}


def summary(jobs: Sequence[RentalJob], records: Mapping[str, JobRecord]) -> dict[str, Any]:
    """Return how a batch stands: the jobs of its list, and what its store must not forget.

    A job that is not in the list any more is counted where it is paid and has no file, or may be
    paid.
    """
    counted = {job.id: records.get(job.id) for job in jobs}
    counted |= {one.id: one for one in records.values() if _is_open_question(one)}
    stands = Counter(map(_stand, counted.values()))
    names = ("done", "given_up", "without_file", "in_doubt", "not_rented")
    return {
        "jobs": len(counted),
        **{name: stands[name] for name in names},
        "paid_twice": sum(bool(one.late_tokens) for one in records.values()),
        **_paid([one for one in counted.values() if one]),
    }


def exit_code(jobs: Sequence[RentalJob], records: Mapping[str, JobRecord]) -> ExitCode:
    """Return the gravest of what a batch leaves behind."""
    stands = summary(jobs, records)
    if stands["in_doubt"]:
        return ExitCode.MAYBE_PAID
    if stands["without_file"] or stands["paid_twice"]:
        return ExitCode.PAID_WITHOUT_FILE
    return ExitCode.FAILED if stands["not_rented"] else ExitCode.SUCCESS


def _stand(record: JobRecord | None) -> str:
    if record is None or is_unpaid(record):
        return "not_rented"
    if record.state in _IN_DOUBT:
        return "in_doubt"
    if is_paid_without_file(record):
        return "without_file"
    return "given_up" if record.state is JobState.GIVEN_UP else "done"


def _is_open_question(record: JobRecord) -> bool:
    return record.state in _IN_DOUBT or is_paid_without_file(record)


def _paid(records: Sequence[JobRecord]) -> dict[str, Any]:
    """Return the sum of what was paid for jobs, and the number of payments of unknown price."""
    prices = [one.price for one in records if one.token]
    late = sum(len(one.late_tokens) for one in records)
    return {
        "paid": sum((price for price in prices if price is not None), Decimal(0)),
        "paid_unknown": prices.count(None) + late,
    }
