"""What the steps of a rental in this process work with: a client, a database, a journal.

DBOS calls plain functions, and a process has one DBOS. So it has one worker context, found here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from smspartner_async._errors import ConfigurationError
from smspartner_async._log import log

from ._account import Account
from ._database.jobs import claim_job, update_jobs
from ._executions import Executions
from ._journal import utc_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async._values.instant import Instant

    from ._database.database import JobDatabase
    from ._journal import Journal
    from ._records import Claim, Job, JobState

_WORKER_TIMEOUT: Final = 10.0  # seconds to wait for a worker in this process


@define(eq=False, kw_only=True)
class WorkerContext:
    """What the steps in this process work with.

    Attributes:
        freed: set after every update of a job: slots may have become free.
        retried: the workflows that an error of DBOS's own database has stopped once.
        priced: when each workflow of this process got its price.
    """

    client: SMSPartnerClient
    database: JobDatabase
    journal: Journal
    account: Account = field(init=False)
    executions: Executions = field(factory=Executions, init=False)
    freed: asyncio.Event = field(factory=asyncio.Event, init=False)
    retried: set[str] = field(factory=set, init=False)
    priced: dict[str, Instant] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.account = Account(self.client)

    async def update_job(
        self,
        job: Job,
        *,
        state: JobState,
        token: str | None = None,
        price: str | None = None,
        facts: dict[str, Any] | None = None,
        claim: Claim | None = None,
    ) -> None:
        """Record the progress of a job; it is in the database at the return.

        With `claim`, that a token was paid with, a payment is recorded.
        """
        payment = {**claim, "price": price, "paid_at": utc_timestamp()} if claim else None
        update = {
            "job": job["id"],
            "in_run": job["run"],
            "by": self.journal.worker_id,
            "new_state": state.value,
            "new_token": token,
            "new_price": price,
            "new_facts": json.dumps(facts) if facts else "",
            "payment": payment and json.dumps(payment),
        }
        (found,) = await self.database.enqueue(update_jobs, [update])
        self.freed.set()
        if not found:
            log.log(
                logging.INFO if token is None else logging.ERROR,
                "job %r was settled otherwise meanwhile: run %s of it ended as %s, with token %s",
                *(job["id"], job["run"], state.value, token),
            )

    async def swap_claim(
        self, job: Job, before: Claim | None, after: Claim | dict[str, Any] | None
    ) -> Claim | None:
        """Compare and swap the claim in a job's row. Return the claim in it after that, if any.

        `None` is no claim. `after` may be a failure, too: then nobody can claim the job any more.
        """
        claims = (json.dumps(claim or {}) for claim in (before, after))
        current = await self.database.enqueue(claim_job, job["id"], job["run"], *claims)
        facts: Any = json.loads(current)
        return facts if "nonce" in facts else None

    async def find_token(self, job: Job, claim_id: str) -> str | None:
        """Return the token that was paid for with a claim, from the store or a journal here."""
        row = await self.database.read_run(job)
        if row is not None and row.token is not None:
            return str(row.token)
        return await asyncio.to_thread(self.journal.token, claim_id)


unfinished: Final[set[str]] = set()
"""The workflows whose execution in this process was cancelled: DBOS counts them as running here."""

_context: WorkerContext | None = None


@contextmanager
def registered(context: WorkerContext) -> Iterator[None]:
    """Make a context the current worker of this process, until the block ends.

    Raises:
        ConfigurationError: there is one already.
    """
    global _context  # noqa: PLW0603 - DBOS calls functions, and is one in a process
    if _context is not None:
        raise ConfigurationError("A worker runs in this process already; one is enough.")
    _context = context
    try:
        yield
    finally:
        _context = None


def current_worker() -> WorkerContext:
    """Return the context of this process's worker."""
    assert _context is not None  # noqa: S101 - no execution runs without one
    return _context


async def wait_for_worker() -> WorkerContext:
    """Wait for a worker: an application's DBOS may recover jobs before there is one.

    Raises:
        asyncio.CancelledError: none starts in time. Workers take the job back.
    """
    try:
        async with asyncio.timeout(_WORKER_TIMEOUT):
            while _context is None:  # noqa: ASYNC110 - an event would belong to one loop
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise asyncio.CancelledError from None
    return current_worker()
