"""A vendor that answers as scripted, for durable rentals: by the number of the job."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from attrs import define, field
from faults import good, json_reply, vendor_error

from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fault_server import FaultServer, Received, Reply

KEY = "durable-test-key"
FILE = b"+33639980001\n+33639980002\n"
_PRICE = {"quantity": 20, "total": "1.80", "cost_unity": 0.09}


def rented(number: int) -> Reply:
    """Answer a rent with the token `tok-<number>`."""
    return json_reply({"success": True, "token": f"tok-{number}", "cost": _PRICE})


@define
class Vendor:
    """What a FaultServer answers.

    `rents` and `prices` hold replies in turn, by the number of the job; then all goes well. Every
    rent that comes costs 1.80, whatever the reply is.
    """

    rents: Mapping[int, list[Reply]] = field(factory=dict)
    prices: list[Reply] = field(factory=list)
    states: dict[str, int] = field(factory=dict)
    unknown: Collection[str] = ()
    """Tokens that the vendor does not know."""
    balance: Decimal = Decimal(10)
    wire: Counter[int] = field(factory=Counter)
    """How many rents came for each job."""
    served: Counter[str] = field(factory=Counter)
    """How often the file of each token was served."""

    def __call__(self, received: Received) -> Reply:
        if received.operation == "credits":
            credit = {"balance": str(self.balance), "currency": "EUR"}
            return json_reply({"success": True, "user": {}, "credits": credit})
        if received.operation == "price":
            price = json_reply({"success": True, "op": "price", "datas": [], "cost": _PRICE})
            return self.prices.pop(0) if self.prices else price
        if received.operation == "rent":
            number = int(json.loads(received.body)["parameters"]["interest"])
            self.wire[number] += 1
            self.balance -= Decimal("1.80")
            replies = self.rents.get(number)
            return replies.pop(0) if replies else rented(number)
        token = received.target.rpartition("token=")[2].partition("&")[0]
        if received.operation == "status":
            if token in self.unknown:
                return vendor_error(32, "Location introuvable")
            return json_reply({"success": True, "status": self.states.get(token, 2)})
        self.served[token] += 1
        self.states[token] = 5
        return good(FILE)


def client_of(server: FaultServer, **options: Any) -> SMSPartnerClient:
    """Make a client that does not wait for long."""
    options = {"retry": RetryPolicy(attempts=1), "request_timeout": 5, **options}
    quick = PollingPolicy(first_interval=0.02, max_interval=0.1)
    return SMSPartnerClient(KEY, base_url=server.base_url, polling=quick, **options)
