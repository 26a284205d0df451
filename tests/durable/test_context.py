"""What the steps of one process share: updates of jobs, claims, one worker."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from store_work import job_of

from smspartner_async import ConfigurationError
from smspartner_async.durable import JobState, _context
from smspartner_async.durable._context import WorkerContext, registered, wait_for_worker

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable import Store
    from smspartner_async.durable._records import Claim

CLAIM: Claim = {
    "nonce": "mine",
    "worker": "me",
    "journal": "/srv/me.jsonl",
    "claimed_at": "2026-01-01T00:00:00.000+00:00",
    "balance_before": "10",
    "balance_before_at": None,
}


async def test_a_token_of_another_run_is_logged_as_an_error(
    context: WorkerContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is money that a record does not show: whoever reads the log learns the token."""
    await context.update_job(
        {**job_of(tmp_path), "run": 7}, state=JobState.WAITING, token="tok-late"
    )
    (entry,) = [entry for entry in caplog.records if "settled otherwise" in entry.message]
    assert entry.levelno == logging.ERROR
    assert "tok-late" in entry.message


async def test_what_is_known_of_a_job_is_replaced_by_facts_alone(
    context: WorkerContext, store: Store, tmp_path: Path
) -> None:
    """An update without facts keeps the claim in the row; one with facts is how the job ended."""
    job = job_of(tmp_path)
    await context.swap_claim(job, None, CLAIM)
    await context.update_job(job, state=JobState.WAITING, token="tok-1")
    assert await context.swap_claim(job, None, None) == CLAIM
    await context.update_job(job, state=JobState.FAILED, facts={"error": "expired"})
    assert (await store.record("job-1")).error == "expired"


# --- claims ---------------------------------------------------------------------------------


async def test_a_claim_is_compared_and_swapped(context: WorkerContext, tmp_path: Path) -> None:
    """The first one stands until it is given back; a failure in its place is no claim."""
    job = job_of(tmp_path)
    other: Claim = {**CLAIM, "nonce": "another"}
    assert await context.swap_claim(job, None, CLAIM) == CLAIM
    assert await context.swap_claim(job, None, other) == CLAIM
    assert await context.swap_claim(job, CLAIM, None) is None
    assert await context.swap_claim(job, None, other) == other
    assert await context.swap_claim(job, other, {"error": "failed"}) is None
    assert await context.swap_claim(job, None, CLAIM) is None, (
        "a job that is being failed was claimed"
    )


async def test_a_token_is_found_in_the_store_or_in_the_journal(
    context: WorkerContext, tmp_path: Path
) -> None:
    """The store first; the journal knows by the claim alone."""
    job = job_of(tmp_path)
    assert await context.find_token(job, "mine") is None
    context.journal.write(nonce="mine", token="tok-journal")
    assert await context.find_token(job, "mine") == "tok-journal"
    assert await context.find_token(job, "another") is None
    await context.update_job(job, state=JobState.WAITING, token="tok-store")
    assert await context.find_token(job, "mine") == "tok-store"


# --- one in a process -----------------------------------------------------------------------


async def test_a_process_has_one_worker(context: WorkerContext) -> None:
    """A second one is refused, and the first one stays; behind it there is room again."""
    assert await wait_for_worker() is context
    with pytest.raises(ConfigurationError, match="one is enough"), registered(context):
        pass
    assert await wait_for_worker() is context


async def test_without_a_worker_a_job_is_handed_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds no worker in this process is cancelled, so that another takes the job."""
    monkeypatch.setattr(_context, "_WORKER_TIMEOUT", 0.05)
    with pytest.raises(asyncio.CancelledError):
        await wait_for_worker()
