"""Accounts that stop paying: renting pauses, says so, fails no job, and continues by itself."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from fault_server import FaultServer, Received, Reply
from faults import vendor_error
from scripted import Vendor, client_of
from store_jobs import jobs_of
from store_work import end_of
from tenacity import wait_exponential

from smspartner_async import ConfigurationError
from smspartner_async.durable import JobState, Store, _account

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_account, "RETRY_WAIT", wait_exponential(multiplier=0.02, max=0.1))


@define
class Refusing(Vendor):
    """A vendor that refuses an account, in some operations, while `code` is set."""

    code: int | None = None
    operations: tuple[str, ...] = ("price", "rent", "status", "download", "credits")
    asked: list[str] = field(factory=list)

    def __call__(self, received: Received) -> Reply:
        if self.code is not None:
            self.asked.append(received.operation)
            if received.operation in self.operations:
                return vendor_error(self.code, "non")
        return super().__call__(received)


async def until(condition: Any) -> None:
    async with asyncio.timeout(120):  # so as not to hang where it is broken
        while not condition():  # noqa: ASYNC110 - of a worker
            await asyncio.sleep(0.01)


async def test_a_key_that_is_revoked_pauses_renting_and_fails_nothing(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue stays as it is, few requests are made, and all continues when the key works.

    It happens to one worker six times, with each of the vendor's codes for it. From the second time
    on the balance is below zero, as it may be where the vendor bills later.
    """
    jobs = jobs_of(72, tmp_path)
    vendor = Refusing()
    caplog.set_level(logging.WARNING, "smspartner_async")
    async with (
        FaultServer(default=vendor) as server,
        client_of(server, max_requests_per_minute=None) as client,
        store.worker(client, concurrency=3) as worker,
    ):
        for place, code in enumerate((1, 10, 20, 30, 40, 96)):
            assert worker.paused is None
            caplog.clear()
            vendor.asked.clear()
            vendor.code = code
            at_hand = jobs[12 * place : 12 * (place + 1)]
            await store.submit(at_hand)
            await until(lambda: worker.paused is not None)
            await asyncio.sleep(0.5)
            states = {(await store.record(job.id)).state for job in at_hand}
            assert states <= {JobState.QUEUED, JobState.RENTING}
            assert vendor.asked.count("price") <= 9, "the jobs at hand, and no others"
            vendor.code = None
            for job in at_hand:
                assert (await end_of(store, job.id)).state is JobState.DONE
            assert worker.paused is None
            words = [record.getMessage() for record in caplog.records]
            assert sum("renting pauses" in line for line in words) == 1
            assert sum("renting continues" in line for line in words) == 1
    assert vendor.wire == dict.fromkeys(range(1, 73), 1)


async def test_a_balance_that_is_used_up_pauses_renting_until_it_is_higher(
    store: Store, tmp_path: Path
) -> None:
    """The vendor refuses the rent alone; nothing was charged, and no job fails."""
    vendor = Refusing(operations=("rent",), balance=Decimal(1))
    async with (
        FaultServer(default=vendor) as server,
        client_of(server) as client,
        store.worker(client, concurrency=2) as worker,
    ):
        vendor.code = 11
        await store.submit(jobs_of(5, tmp_path))
        await until(lambda: worker.paused is not None)
        assert vendor.asked.count("rent") <= 2, "those at hand"
        vendor.balance = Decimal("1.79")  # less than one of them costs
        await asyncio.sleep(0.5)
        assert vendor.asked.count("rent") <= 2
        assert {r.state for r in await store.records()} <= {JobState.QUEUED, JobState.RENTING}
        vendor.code, vendor.balance = None, Decimal(100)
        for number in range(1, 6):
            assert (await end_of(store, f"job-{number}")).state is JobState.DONE
    assert vendor.wire == dict.fromkeys(range(1, 6), 1)


async def test_what_is_paid_is_waited_for_while_the_account_is_refused(
    store: Store, tmp_path: Path
) -> None:
    """A revoked key does not make a paid job fail: its file comes when the key works again."""
    vendor = Refusing(states={"tok-1": 1})
    await store.submit(jobs_of(1, tmp_path))
    async with (
        FaultServer(default=vendor) as server,
        client_of(server) as client,
        store.worker(client) as worker,
    ):
        while (await store.record("job-1")).token is None:  # noqa: ASYNC110 - a worker
            await asyncio.sleep(0.01)
        vendor.code = 10
        await until(lambda: worker.paused is not None)
        assert (await store.record("job-1")).state is JobState.WAITING
        vendor.states.clear()
        vendor.code = None
        assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_a_worker_ends_while_renting_pauses(store: Store, tmp_path: Path) -> None:
    """It hands its jobs over, and the next one continues them."""
    vendor = Refusing()
    async with FaultServer(default=vendor) as server, client_of(server) as client:
        async with store.worker(client, take_over_after=0.4) as worker, asyncio.timeout(120):
            vendor.code = 30
            await store.submit(jobs_of(3, tmp_path))
            await until(lambda: worker.paused is not None)
        vendor.code = None
        async with store.worker(client, take_over_after=0.4), asyncio.timeout(120):
            for number in (1, 2, 3):
                assert (await end_of(store, f"job-{number}")).state is JobState.DONE
    assert vendor.wire == {1: 1, 2: 1, 3: 1}


async def test_a_balance_is_asked_for_once_a_minute(store: Store) -> None:
    """Jobs that are paid one after another share it; whoever wants one of now asks anew."""
    del store
    async with FaultServer(default=Vendor()) as server, client_of(server) as client:
        account = _account.Account(client)
        first = await account.balance()
        assert [await account.balance() for _ in range(3)] == [first] * 3
        assert (first[0], server.count("credits")) == ("10", 1)
        await account.balance(at_most=0)
        assert server.count("credits") == 2
        await account.close()


async def test_nothing_runs_after_the_end_of_an_account(store: Store) -> None:
    """Whoever closes it waits for its check, which is cancelled."""
    del store
    vendor = Refusing(code=1)
    async with FaultServer(default=vendor) as server, client_of(server) as client:
        account = _account.Account(client)
        account.pause(ConfigurationError("The key is revoked."))
        await until(lambda: "credits" in vendor.asked)
        await account.close()
        assert account._check_task is not None
        assert account._check_task.cancelled()


def test_pauses_double_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often what costs nothing fails, it is tried at least once a minute."""
    monkeypatch.undo()
    pauses = _account.retry_delays()
    assert [next(pauses) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
