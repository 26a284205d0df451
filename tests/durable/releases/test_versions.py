"""Rolling upgrades: what stands in a database is read by other versions of this package."""

from __future__ import annotations

import base64
import pickle
import shutil
from typing import TYPE_CHECKING, Any, cast

import pytest
from dbos import DBOSClient
from store_jobs import jobs_of
from store_work import end_of, until_waiting

from benchmarks.durable_runs import ROOT, VendorProcess, WorkerProcess
from smspartner_async import PollingPolicy, SMSPartnerClient
from smspartner_async._rental import StepFailedError
from smspartner_async.durable import JobState, Store

if TYPE_CHECKING:
    from pathlib import Path

RULE = (
    "Databases of users hold these names, in this order, with these results. Do not change them: "
    "add a workflow with another name beside this one, and keep this one for as long as any store "
    "may have jobs under way."
)


async def test_what_is_written_down_of_a_rental_never_changes(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """Names, order and shape of the steps are those of version 1, whose jobs may be under way."""
    await store.submit(jobs_of(1, tmp_path))
    async with store.worker(client):
        await end_of(store, "job-1")
    database = DBOSClient(system_database_url=f"sqlite:///{tmp_path}/rentals.db")
    (workflow,) = await database.list_workflows_async()
    steps = await database.list_workflow_steps_async("smspartner:job-1:1")
    database.destroy()
    assert workflow.name == "smspartner.rental", RULE
    assert workflow.workflow_id == "smspartner:job-1:1", RULE
    assert workflow.app_version == "smspartner-1", RULE
    assert workflow.input is not None
    (job,) = workflow.input["args"]
    assert {name: type(value) for name, value in job.items()} == {
        "id": str,
        "run": int,
        "content": str,
        "token": type(None),
        "price": type(None),
    }, RULE
    assert [step["function_name"] for step in steps] == [
        "smspartner.price",
        "smspartner.claim",
        "smspartner.rent",
        "smspartner.wait",
        "smspartner.download",
    ], RULE
    price, claim, rent, wait, download = (cast("Any", step["output"]) for step in steps)
    assert (type(price), type(rent["price"])) == (str, str), RULE
    assert set(claim) == {
        *("nonce", "worker", "journal", "claimed_at"),
        *("balance_before", "balance_before_at"),
    }, RULE
    assert set(rent) == {"token", "price"}, RULE
    assert wait is None, RULE
    assert set(download) == {"path", "size", "sha256", "verified"}, RULE


# What DBOS wrote down of a step that failed in version 0.1.0.
FAILURE = (
    "gASVpwAAAAAAAACMGHNtc3BhcnRuZXJfYXN5bmMuX2Vycm9yc5SMCF9yZWJ1aWxklJOUjBhzbXNwYXJ0bmVyX2Fz"
    "eW5jLl9yZW50YWyUjA9TdGVwRmFpbGVkRXJyb3KUk5SMEnRoZSB2ZW5kb3IgaXMgYnVzeZSFlIaUUpR9lCiMBXN0"
    "YXRllIwGZmFpbGVklIwFYWdhaW6UiIwFZmFjdHOUfZSMBWVycm9ylGgGc3ViLg=="
)


def test_a_failure_that_another_release_wrote_down_is_read() -> None:
    """A job that tried again after it replays how it failed, by the names in the pickle."""
    failure = pickle.loads(base64.b64decode(FAILURE))  # noqa: S301 - our own
    assert type(failure) is StepFailedError, RULE
    assert (failure.state, failure.again) == ("failed", True), RULE
    assert failure.facts == {"error": "the vendor is busy"}, RULE


@pytest.mark.usefixtures("quick_processes")
async def test_jobs_of_another_release_continue(store: Store, tmp_path: Path) -> None:
    """A worker of a release whose source differs is killed; this one continues its jobs.

    By its default DBOS would hash the source of the workflows, and leave the jobs alone for ever.
    """
    other = tmp_path / "other-release"
    for package in ("smspartner_async", "benchmarks"):
        shutil.copytree(ROOT / package, other / package)
    source = other / "smspartner_async" / "durable" / "_workflow.py"
    text = source.read_text("utf-8")
    changed = text.replace(
        "    total = await price(job)", "    # Another release.\n    total = await price(job)"
    )
    assert changed != text
    source.write_text(changed, "utf-8")

    await store.submit(jobs_of(2, tmp_path))
    log = tmp_path / "errors.log"
    with VendorProcess.running(log, speed=1.0) as vendor:
        options = {
            "vendor": vendor.url,
            "store": f"sqlite:///{tmp_path}/rentals.db",
            "journal": str(tmp_path / "elsewhere"),
            "worker": {"take_over_after": 1.0},
        }
        old = WorkerProcess(options, log, root=other)
        old.start()
        try:
            await until_waiting(store, 2)
        finally:
            old.end()
        quick = PollingPolicy(first_interval=0.05, max_interval=0.2)
        async with (
            SMSPartnerClient(vendor.key, base_url=vendor.url, polling=quick) as client,
            store.worker(client, take_over_after=1.0),
        ):
            for number in (1, 2):
                assert (await end_of(store, f"job-{number}")).state is JobState.DONE
        assert len(vendor.report()["rentals"]) == 2
