"""What a rent in doubt cost: computed where it can be, and never wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from scripted import Vendor
from store_jobs import jobs_of
from store_work import LOST, at_work, end_of

from smspartner_async.durable import JobState, Store
from smspartner_async.durable._balances import LONG_AGO, NOT_YET, Charge, other_charges, spent
from smspartner_async.durable._database.jobs import update_jobs
from smspartner_async.durable._database.tables import RUNS

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async.durable._database.database import JobDatabase


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-01T{clock}+00:00")


# 10.00 was read at 12:00:00, and 6.40 a minute later.
READ: dict[str, Any] = {
    "balance_before": "10.00",
    "balance_before_at": "2026-01-01T12:00:00+00:00",
    "balance_now": "6.40",
    "balance_now_at": "2026-01-01T12:01:00+00:00",
}
PRICE = Decimal("1.80")
PAID_BEFORE = Charge(at("11:59:10"), at("11:59:20"), PRICE)
PAID_BETWEEN = Charge(at("12:00:00"), at("12:00:20"), PRICE)
PAID_AFTER = Charge(at("12:01:01"), at("12:01:20"), PRICE)
CLAIMED_BEFORE = Charge(at("11:59:59"), at("12:00:01"), PRICE)
ANSWERED_AFTER = Charge(at("12:00:50"), at("12:01:01"), PRICE)
DOUBT = Charge(at("12:00:10"), at("12:00:20"), None)


@pytest.mark.parametrize(
    ("known", "others", "cost"),
    [
        ({}, [], "3.60"),
        ({"balance_now": "10.00"}, [], "0.00"),  # it was not charged, or something else was repaid
        ({}, [PAID_BETWEEN], "1.80"),
        ({}, [PAID_BETWEEN, PAID_BETWEEN], "0.00"),
        ({}, [PAID_BETWEEN, PAID_BEFORE, PAID_AFTER], "1.80"),
        # before was read before its predecessors were paid, and they were claimed before that
        ({}, [CLAIMED_BEFORE], None),
        ({}, [ANSWERED_AFTER], None),
        # at the moment of a reading
        ({}, [Charge(at("12:00:00"), at("12:01:00"), PRICE)], "1.80"),
        ({}, [Charge(at("11:59:10"), at("12:00:00"), PRICE)], None),
        ({}, [Charge(at("12:01:00"), at("12:01:20"), PRICE)], None),
        ({}, [Charge(LONG_AGO, NOT_YET, PRICE)], None),
        ({}, [Charge(LONG_AGO, at("11:59:59"), PRICE)], "3.60"),
        ({}, [Charge(LONG_AGO, at("12:00:30"), PRICE)], None),
        # negative: a top-up, or more was paid elsewhere than the balance fell by
        ({"balance_now": "10.01"}, [], None),
        ({}, [PAID_BETWEEN, PAID_BETWEEN, PAID_BETWEEN], None),
        # a read failed
        ({"balance_before": None, "balance_before_at": None}, [], None),
        ({"balance_now": None, "balance_now_at": None}, [], None),
        # two doubts at once, and doubts of another time
        ({}, [DOUBT], None),
        ({}, [Charge(at("12:00:10"), NOT_YET, None)], None),
        ({}, [Charge(at("11:59:10"), at("11:59:20"), None)], "3.60"),
        ({}, [Charge(at("12:01:10"), NOT_YET, None)], "3.60"),
        # a clock was set back between the two readings, or while another one was paid
        ({"balance_now_at": "2026-01-01T11:00:00+00:00"}, [], "3.60"),
        ({"balance_now_at": "2026-01-01T11:00:00+00:00"}, [DOUBT], None),
        ({"balance_now_at": "2026-01-01T11:00:00+00:00"}, [PAID_BEFORE], None),
        ({}, [Charge(at("12:00:10"), at("11:00:00"), PRICE)], None),
        # a price that nobody knows matters in between alone
        ({}, [Charge(at("12:00:10"), at("12:00:20"), None), PAID_BETWEEN], None),
        ({}, [Charge(at("11:00:00"), at("11:00:01"), None), PAID_BETWEEN], "1.80"),
    ],
)
def test_the_balance_less_what_others_cost(
    known: dict[str, Any], others: list[Charge], cost: str | None
) -> None:
    """Before - now - what was claimed and answered in between; else it is not known."""
    assert spent(READ | known, others) == (None if cost is None else Decimal(cost))


def job(name: str, facts: dict[str, Any], **more: Any) -> SimpleNamespace:
    changed = int(at("12:00:30").timestamp() * 1_000_000)
    row = {"id": name, "run": 1, "worker": "w", "token": None, "price": None, "changed": changed}
    return SimpleNamespace(**row | {"facts": json.dumps(facts)} | more)


def run(name: str, token: str | None = None, **claim: Any) -> SimpleNamespace:
    claim = {"nonce": name, "worker": "w", "claimed_at": READ["balance_before_at"], **claim}
    return SimpleNamespace(job=name, run=1, token=token, claim=json.dumps(claim))


CLAIM = {"nonce": "other", "worker": "w", "claimed_at": "2026-01-01T12:00:10+00:00"}
IN_DOUBT = {**CLAIM, "balance_now_at": "2026-01-01T12:00:20+00:00"}
OWN = {"nonce": "own", "worker": "w", **READ}
AT_PAYMENT = {"paid_at": "2026-01-01T12:00:20+00:00", "price": "1.80"}


@pytest.mark.parametrize(
    ("jobs", "runs", "found"),
    [
        ([], [], []),
        ([job("doubt", {"attention": OWN})], [run("own")], []),  # the doubt itself
        # paid, with its record; the row of the job says the same
        (
            [job("paid", {"file": {}}, token="tok", price="1.80")],
            [run("paid", "tok", **AT_PAYMENT)],
            [Charge(at("12:00:00"), at("12:00:20"), PRICE)],
        ),
        # left out of the list, or continued in another run: the record stays
        ([], [run("paid", "tok", **AT_PAYMENT)], [Charge(at("12:00:00"), at("12:00:20"), PRICE)]),
        # by a worker on another machine, whose clock may differ
        (
            [],
            [run("paid", "tok", worker="elsewhere", **AT_PAYMENT)],
            [Charge(at("11:59:55"), at("12:00:25"), PRICE)],
        ),
        # by a vendor who gives no price
        (
            [],
            [run("paid", "tok", **AT_PAYMENT | {"price": None})],
            [Charge(at("12:00:00"), at("12:00:20"), None)],
        ),
        # of release 0.1, which keeps no such record: while it waits, and when it is done
        (
            [job("old", CLAIM, token="tok", price="1.80")],
            [],
            [Charge(at("12:00:10"), at("12:00:30"), PRICE)],
        ),
        (
            [job("old", {"file": {}}, token="tok", price="1.80")],
            [],
            [Charge(LONG_AGO, at("12:00:35"), PRICE)],
        ),
        # being paid at this moment
        ([job("now", CLAIM)], [], [Charge(at("12:00:10"), NOT_YET, None)]),
        # another doubt: of a worker that has said so itself, and of one that was killed
        (
            [job("doubt-2", {"attention": IN_DOUBT | {"holder_done": True}})],
            [],
            [Charge(at("12:00:10"), at("12:00:20"), None)],
        ),
        (
            [job("doubt-2", {"attention": IN_DOUBT})],
            [],
            [Charge(at("12:00:10"), at("12:10:20"), None)],
        ),
        # settled since, whatever was said of it; and one whose token came late
        ([], [run("doubt-2", **IN_DOUBT)], [Charge(at("12:00:10"), at("12:10:20"), None)]),
        (
            [],
            [run("doubt-2", "late", **IN_DOUBT, price="1.80")],
            [Charge(at("12:00:10"), at("12:10:20"), PRICE)],
        ),
        # refused clearly, or never claimed
        ([job("failed", {"error": "no"})], [], []),
    ],
)
def test_what_else_was_or_may_have_been_charged(
    jobs: list[Any], runs: list[Any], found: list[Charge]
) -> None:
    """From rows of jobs and of their runs, those of release 0.1 too."""
    doubt = job("doubt", {"attention": OWN})
    assert list(other_charges(doubt, jobs, runs)) == found


def test_two_workers_of_one_doubt_are_two_clocks() -> None:
    """Whoever found a claim has read the second balance: then no time is compared as it is."""
    doubt = job("doubt", {"attention": OWN}, worker="finder")
    (charge,) = other_charges(doubt, [job("now", CLAIM)], [])
    assert charge.since == at("12:00:05")


async def test_a_rent_in_doubt_behind_others_that_were_paid(store: Store, tmp_path: Path) -> None:
    """One balance was read for all; they are done when the doubt is recorded, and still count."""
    await store.submit(jobs_of(4, tmp_path))
    async with at_work(store, Vendor({3: [LOST]}), concurrency=1):
        ends = [(await end_of(store, f"job-{number}")).state for number in (1, 2, 3, 4)]
    assert ends == [JobState.DONE, JobState.DONE, JobState.NEEDS_ATTENTION, JobState.DONE]
    known = (await store.record("job-3")).attention
    assert (known["balance_before"], known["balance_now"]) == ("10", "4.60")
    assert known["balance_spent"] == "1.80"
    (record,) = await store.records(JobState.NEEDS_ATTENTION)
    assert record.attention == known
    (watched,) = [record async for record in store.watch(["job-3"])]
    assert watched.attention == known

    def forget(_: JobDatabase, connection: sa.Connection) -> None:
        connection.execute(sa.delete(RUNS))

    await store._database.run(forget)  # as release 0.1 would have left it
    assert (await store.record("job-3")).attention["balance_spent"] is None


async def test_two_doubts_at_once_cannot_be_separated(store: Store, tmp_path: Path) -> None:
    """Settling one of them does not make the other one's cost known."""
    await store.submit(jobs_of(2, tmp_path))
    async with at_work(store, Vendor({1: [LOST], 2: [LOST]}), concurrency=1):
        for number in (1, 2):
            await end_of(store, f"job-{number}")
    first, second = await store.records()
    assert first.attention["balance_spent"] == "1.80"  # the second began when it had been recorded
    assert second.attention["balance_spent"] is None
    await store.resolve("job-1", not_charged=True)
    assert (await store.record("job-2")).attention["balance_spent"] is None


async def test_what_is_paid_is_recorded_once_and_is_no_late_token(
    store: Store, tmp_path: Path
) -> None:
    """A rent that is written down again by another worker stays as it was."""
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        await end_of(store, "job-1")
    _, (paid,) = await store._database.read_payments()
    claim = json.loads(paid.claim)
    assert (paid.job, paid.run, paid.token, claim["price"]) == ("job-1", 1, "tok-1", "1.80")
    assert claim["claimed_at"] <= claim["paid_at"] <= datetime.now(UTC).isoformat()
    again = {"job": "job-1", "in_run": 1, "by": "another", "new_state": "waiting"}
    again |= {"new_token": "tok-1", "new_price": None, "new_facts": "", "payment": "{}"}
    assert await store._database.run(update_jobs, [again]) == [True]
    assert json.loads((await store._database.read_payments())[1][0].claim) == claim
    assert (await store.record("job-1")).late_tokens == ()
