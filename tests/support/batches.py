"""What the tests of batches share: numbered jobs, a vendor that answers by number, a diary."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from fault_server import FaultServer, Received, Reply, Stall
from faults import json_reply

from smspartner_async import ContactFile, RetryPolicy, SMSPartnerClient, Targeting
from smspartner_async.batch import JobEvent, JobOutcome, JobStep, RentalJob

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "batch-test-key"
PRICE = {"quantity": 20, "total": "1.80", "cost_unity": 0.09}
NOWHERE = Path(os.devnull).parent
"""A folder that exists, for jobs whose files are not written."""


def jobs_of(count: int, folder: Path = NOWHERE, **more: Any) -> list[RentalJob]:
    """Make jobs 1 to `count`; the interest of each is its number."""
    return [
        RentalJob(
            id=f"{number}",
            targeting=Targeting(
                gender="mixed", min_age=25, max_age=35, interest=number, zipcodes="06200"
            ),
            path=folder / f"{number}.csv",
            **more,
        )
        for number in range(1, count + 1)
    ]


def after(seconds: float, reply: Reply) -> Reply:
    """Answer late."""
    return Reply((Stall(seconds), *reply.steps))


def rented(number: int) -> Reply:
    """Answer a rent with the token `tok-<number>`."""
    return json_reply({"success": True, "token": f"tok-{number}", "cost": PRICE})


@define
class Vendor:
    """What a FaultServer answers. Prices and states come at once, and a rental is ready at once.

    `rents` holds the replies to a job's rents, by its number: one, or several in turn.
    """

    rents: Mapping[int, Reply | list[Reply]] = field(factory=dict)
    state: int = 2
    wire: Counter[int] = field(factory=Counter)
    """How many rents came for each number."""

    def __call__(self, received: Received) -> Reply:
        if received.operation == "price":
            return json_reply({"success": True, "op": "price", "datas": [], "cost": PRICE})
        if received.operation == "status":
            return json_reply({"success": True, "status": self.state})
        number = int(json.loads(received.body)["parameters"]["interest"])
        self.wire[number] += 1
        found = self.rents.get(number, rented(number))
        return found if isinstance(found, Reply) else found.pop(0)


class PaperClient(SMSPartnerClient):
    """A client whose files are not written, since a disk does not know of virtual time."""

    async def download(self, token: Any, path: Any, **_: Any) -> ContactFile:
        del token
        return ContactFile(path=Path(path), size=0, sha256="", verified=True)


def client_of(server: FaultServer, **options: Any) -> SMSPartnerClient:
    """Make a client without a disk, which tries again at once by default."""
    options = {"retry": RetryPolicy(first_delay=0), "request_timeout": 5, **options}
    return PaperClient(KEY, base_url=server.base_url, **options)


@define
class Diary:
    """An `on_event` that keeps its events."""

    events: list[JobEvent] = field(factory=list)

    def __call__(self, event: JobEvent) -> None:
        self.events.append(event)

    def steps(self, number: int) -> list[JobStep]:
        return [event.step for event in self.events if event.job.id == f"{number}"]

    def tokens(self) -> list[str]:
        """The tokens of the RENTED events."""
        rentals = [event.rental for event in self.events if event.step is JobStep.RENTED]
        return [rental.token for rental in rentals if rental is not None]


def by_number(outcomes: list[JobOutcome]) -> dict[int, JobOutcome]:
    """Sort outcomes by the number of their job; there is one for each."""
    found = {int(outcome.job.id): outcome for outcome in outcomes}
    assert len(found) == len(outcomes)
    return found
