"""Thousands of rents under mixed faults and cancellations: none is done twice, no token is lost."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from attrs import define, field, frozen
from fault_server import FaultServer, Received, Reply
from fault_table import FAULTS
from faults import busy, good, stall_before_head, stall_within_body
from renting import client_of, interest_of, receipt, turns

from smspartner_async import (
    RateLimitError,
    Rental,
    RentOutcomeUnknownError,
    RetryPolicy,
    Targeting,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspartner_async import SMSPartnerClient

RENTS = 1000
AT_A_TIME = 50


@frozen
class Answer:
    """A way to answer: whether the token in it comes through whole, or the rent is refused."""

    make: Callable[[bytes], Reply]
    whole: bool = False
    refusal: bool = False


SPOILT = [fault for fault in FAULTS.values() if fault.arrives]
UNREAD = [fault.make(b"") for fault in FAULTS.values() if not fault.arrives]
# Good answers, slow ones and refusals are more frequent than any one fault.
ANSWERS = (
    *(Answer(fault.make, fault.whole, refusal=fault.status == 429) for fault in SPOILT),
    *[Answer(good, whole=True)] * 15,
    *[Answer(lambda body: stall_before_head(body, 3), whole=True)] * 15,
    *[Answer(lambda body: stall_within_body(body, 3), whole=True)] * 5,
    *[Answer(lambda _: busy(429), refusal=True)] * 8,
    Answer(lambda _: busy(429, "2"), refusal=True),
)


@define
class Vendor:
    """Answers every request at random, each with another token, and remembers."""

    dice: random.Random
    whole: dict[str, Received] = field(factory=dict)  # by token
    arrivals: Counter[int] = field(factory=Counter)  # by rent
    refusals: Counter[int] = field(factory=Counter)

    def script(self) -> list[Reply | Callable[[Received], Reply]]:
        return [
            self.dice.choice(UNREAD) if self.dice.random() < 0.06 else self.answer
            for _ in range(RENTS)
        ]

    def answer(self, received: Received) -> Reply:
        if received.method == "GET":  # the status of a token that was seen in a broken answer
            return good(receipt())
        rent = interest_of(received)
        self.arrivals[rent] += 1
        token = f"token-{rent}-{self.arrivals[rent]}"
        answer = self.dice.choice(ANSWERS)
        self.refusals[rent] += answer.refusal
        if answer.whole:
            self.whole[token] = received
        return answer.make(receipt(token))


@define
class Caller:
    """Rents once, is perhaps cancelled, and keeps all that it hears."""

    number: int
    dice: random.Random
    reported: list[str] = field(factory=list)  # tokens, through on_rented
    heard: list[str] = field(factory=list)  # tokens, in the result or the note of a cancellation
    end: BaseException | None = None

    async def rent(self, client: SMSPartnerClient) -> None:
        targeting = Targeting(gender="mixed", min_age=20, max_age=30, interest=self.number)
        wants_to_be_told = self.dice.random() < 0.7
        task = asyncio.create_task(
            client.rent(targeting, on_rented=self.keep if wants_to_be_told else None)
        )
        if self.dice.random() < 0.5:
            await self.cancel(task)
        try:
            self.heard.append((await task).token)
        except (RentOutcomeUnknownError, RateLimitError, asyncio.CancelledError) as error:
            self.end = error
            notes = getattr(error, "__notes__", ())
            self.heard += [note.rpartition("its token is ")[2].rstrip(".") for note in notes]

    def keep(self, rental: Rental) -> None:
        self.reported.append(rental.token)

    async def cancel(self, task: asyncio.Task[Rental]) -> None:
        if self.dice.random() < 0.5:
            await turns(self.dice.randrange(40))
        else:
            await asyncio.sleep(self.dice.uniform(0, 4))
        for _ in range(self.dice.choice((1, 1, 2, 20))):
            task.cancel()
            await asyncio.sleep(0)

    @property
    def knows_that_it_may_have_been_charged(self) -> bool:
        ends = (self.end, self.end.__cause__ if self.end else None)
        return bool(self.heard) or any(isinstance(e, RentOutcomeUnknownError) for e in ends)


async def many_rents(seed: int) -> tuple[Vendor, list[Caller]]:
    """Let many callers rent at random moments, and wait for all of them."""
    vendor = Vendor(random.Random(seed))
    callers = [Caller(number, vendor.dice) for number in range(1, RENTS + 1)]
    queue = iter(callers)

    async def work() -> None:
        for caller in queue:
            await caller.rent(client)

    async with (
        FaultServer(*vendor.script(), default=vendor.answer) as server,
        client_of(server, retry=RetryPolicy(first_delay=0.1)) as client,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_A_TIME):
            group.create_task(work())
    assert len(asyncio.all_tasks()) == 1
    return vendor, callers


@pytest.mark.looptime
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2] if os.environ.get("CI_LONG") else [1])
async def test_thousands_of_random_rents(seed: int) -> None:
    """A paid request: whatever happens, each is done once at most, and no token is lost."""
    vendor, callers = await many_rents(seed)
    # The run is worth something only if all of this happened often.
    ends = Counter(type(caller.end) for caller in callers)
    assert min(ends[kind] for kind in (type(None), RentOutcomeUnknownError)) > RENTS / 10
    assert min(ends[asyncio.CancelledError], len(vendor.whole)) > RENTS / 10
    assert ends[RateLimitError] + vendor.refusals.total() > RENTS / 20

    done = vendor.arrivals - vendor.refusals
    assert set(done.values()) == {1}
    assert done.total() < RENTS

    issued = {token for token, received in vendor.whole.items() if received.replied}
    reported = [token for caller in callers for token in caller.reported]
    heard = [token for caller in callers for token in caller.heard]
    made = {
        f"token-{rent}-{n}" for rent, count in vendor.arrivals.items() for n in range(count + 1)
    }
    assert issued <= {*reported, *heard} <= made
    assert len(reported) == len(set(reported))
    assert len(heard) == len(set(heard))

    charged = {caller.number for caller in callers if caller.knows_that_it_may_have_been_charged}
    assert set(done) <= charged
