"""Rentals that survive crashes: a store of jobs in SQLite or Postgres, and workers on DBOS.

    async with Store("sqlite:///rentals.db") as store, SMSPartnerClient() as client:
        await store.submit(jobs)
        async with store.worker(client):
            async for record in store.watch():
                print(record.id, record.state.name, record.error or record.file or "")

You fill, read and settle a store without an API key and without a worker. It needs the extra
`durable`.
"""

try:
    import dbos  # noqa: F401 - SQLAlchemy alone is not enough
    import sqlalchemy  # noqa: F401 - the extra has both
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError(
        "A store needs the extra: pip install 'smspartner_async[durable]'", name=_missing.name
    ) from _missing

from ._cleaning import Cleaned
from ._records import JobConflictError, JobRecord, JobState, StoreError, Worker
from ._store import Store

__all__ = [
    "Cleaned",
    "JobConflictError",
    "JobRecord",
    "JobState",
    "Store",
    "StoreError",
    "Worker",
]
