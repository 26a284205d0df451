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
    """Return what is known of one job, as JSON and CSV can hold it."""
    return {
        "id": record.id,
        "state": record.state.value,
        "run": record.run,
        "token": record.token,
        "late_tokens": " ".join(record.late_tokens),
        "paid": _paid(record),
        "file": record.file and str(record.file.path),
        "error": record.error,
        "changed_at": record.changed_at.isoformat(timespec="seconds"),
    }


def standing(records: Iterable[JobRecord]) -> dict[str, Any]:
    """Return how many jobs are in each state, what was paid, and what is known of each job."""
    counts: Counter[str] = Counter()
    paid: defaultdict[str, Decimal] = defaultdict(Decimal)
    rows, failed, doubts = [], [], []
    for record in records:
        row = job_row(record)
        rows.append(row)
        counts[record.state.value] += 1
        paid[record.state.value] += row["paid"]
        if record.state is JobState.FAILED:
            failed.append(row)
        elif record.state is JobState.NEEDS_ATTENTION:
            doubts.append({**row, "attention": known_of(record)})
    return {
        "jobs": len(rows),
        "states": {state: {"jobs": n, "paid": paid[state]} for state, n in counts.items()},
        "paid": sum(paid.values(), Decimal(0)),
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
    names = ("done", "without_file", "in_doubt", "not_rented")
    return {
        "jobs": len(counted),
        **{name: stands[name] for name in names},
        "paid_twice": sum(bool(one.late_tokens) for one in records.values()),
        "paid": sum((_paid(one) for one in counted.values() if one), Decimal(0)),
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
    return "done"


def _is_open_question(record: JobRecord) -> bool:
    return record.state in _IN_DOUBT or is_paid_without_file(record)


def _paid(record: JobRecord) -> Decimal:
    return (record.price or Decimal(0)) if record.token else Decimal(0)
