"""Many rentals in one process: each is priced, rented, waited for and downloaded, many at a time.

    async with SMSPartnerClient() as client, aclosing(run_batch(client, jobs)) as outcomes:
        async for outcome in outcomes:
            print(outcome.job.id, outcome.error or outcome.file)

It knows the client's public methods and nothing below them. What it knows of a rental is lost with
the process, save what `on_event` stores; with the tokens stored, another run continues (`paid`).
"""

from ._job import JobEvent, JobOutcome, JobSkippedError, JobStep, RentalJob
from ._job_file import JobFileError, parse_jobs, read_jobs
from ._runner import run_batch

__all__ = [
    "JobEvent",
    "JobFileError",
    "JobOutcome",
    "JobSkippedError",
    "JobStep",
    "RentalJob",
    "parse_jobs",
    "read_jobs",
    "run_batch",
]
