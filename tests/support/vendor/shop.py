"""A vendor that counts: what each rental costs, who paid for what, which files were served.

Prices move when a test says so. Something else can be done at the moment when a request comes.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, field, frozen
from fault_server import Close, Reply, Send, Stall
from faults import good, good_head, html, json_reply, vendor_error

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from fault_server import Received

FILE = b"+33639980001\n+33639980002\n"
Moment: TypeAlias = tuple[str, int]
"""An operation, and how many requests of it have come then: ("rent", 1) is the first rent."""


@frozen
class Charge:
    """One rental that was paid for.

    Attributes:
        number: of the job: its interest.
        price: what was taken for it.
        token: under which the vendor knows it.
    """

    number: int
    price: Decimal
    token: str


@define
class Shop:
    """What a FaultServer answers. A rental costs 1.00 unless `prices` says otherwise.

    Attributes:
        prices: by the number of the job.
        loses: numbers of jobs whose rent is charged once, and whose answer is lost.
        refuses: numbers of jobs that are refused once, and not charged.
        withholds: numbers of jobs whose file is answered with a page once, and not served.
        state: of all rentals that were not served: 1 is being made, 2 is ready.
        at: what to do at which moment, before the answer; it gets the number of the job, or 0.
        halves: whether files stop in their middle, where the connection ends a second later.
    """

    prices: MutableMapping[int, Decimal] = field(factory=dict)
    loses: set[int] = field(factory=set)
    refuses: set[int] = field(factory=set)
    withholds: set[int] = field(factory=set)
    state: int = 2
    halves: bool = False
    at: dict[Moment, Callable[[int], object]] = field(factory=dict)
    came: Counter[str] = field(factory=Counter)
    first_prices: dict[int, Decimal] = field(factory=dict)
    """The first price that was sent for each job, until a test clears it."""
    charges: list[Charge] = field(factory=list)
    served: Counter[str] = field(factory=Counter)

    def price_of(self, number: int) -> Decimal:
        return self.prices.get(number, Decimal("1.00"))

    @property
    def paid(self) -> Decimal:
        return sum((charge.price for charge in self.charges), Decimal(0))

    def __call__(self, received: Received) -> Reply:
        operation = received.operation
        self.came[operation] += 1
        act = self.at.pop((operation, self.came[operation]), None)
        if operation == "rent":
            return self._rent(received, act)
        if act is not None:
            act(self._number(received))
        if operation == "credits":
            balance = {"balance": str(100 - self.paid), "currency": "EUR"}
            return json_reply({"success": True, "user": {}, "credits": balance})
        if operation == "price":
            cost, number = self._cost(received), self._number(received)
            self.first_prices.setdefault(number, self.price_of(number))
            return json_reply({"success": True, "op": "price", "datas": [], "cost": cost})
        token = received.target.rpartition("token=")[2].partition("&")[0]
        if operation == "status":
            state = 5 if self.served[token] else self.state
            return json_reply({"success": True, "status": state})
        return self._file(token)

    def _rent(self, received: Received, act: Callable[[int], object] | None) -> Reply:
        number, cost = self._number(received), self._cost(received)
        if number in self.refuses:
            self.refuses.discard(number)
            return vendor_error(27, "trop")
        token = f"tok{len(self.charges) + 1:05}"
        self.charges.append(Charge(number, self.price_of(number), token))
        if act is not None:
            act(number)
        if number in self.loses:
            self.loses.discard(number)
            return Reply((Close(),))
        return json_reply({"success": True, "token": token, "cost": cost})

    def _file(self, token: str) -> Reply:
        number = next((one.number for one in self.charges if one.token == token), 0)
        if number in self.withholds:
            self.withholds.discard(number)
            return html(404)
        if self.served[token]:
            return vendor_error(34, "deja telecharge")
        self.served[token] += 1
        if self.halves:
            half = good_head(FILE) + FILE[: len(FILE) // 2]
            return Reply((Send(half), Stall(1.0), Close()))
        return good(FILE)

    def _number(self, received: Received) -> int:
        return int(json.loads(received.body)["parameters"]["interest"]) if received.body else 0

    def _cost(self, received: Received) -> dict[str, object]:
        total = str(self.price_of(self._number(received)))
        return {"quantity": 20, "total": total, "cost_unity": 0.05}
