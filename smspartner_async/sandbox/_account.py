"""The account: its money, and rentals whose state follows from their age.

It knows no HTTP, and is passed the time.
"""

import math
import secrets
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import attrs

from . import _replies
from ._arguments import check
from ._rules import Order, RefusedError

REQUESTED_FOR: Final = 2.0
"""Seconds that a rental stays in state 0, at speed 1."""

GENERATING_FOR: Final = 6.0
"""Seconds that it then stays in state 1, at speed 1."""

_FILE_REFUSALS: Final = {
    _replies.REQUESTED: 33,
    _replies.GENERATING: 35,
    _replies.FAILED: 36,
    _replies.DOWNLOADED: 34,
}


@attrs.frozen(kw_only=True)
class SandboxRental:
    """What a sandbox knows of one rental, at the moment of asking.

    Attributes:
        token: The rental's identifier.
        price: What was paid for it. A rental that fails is not paid back.
        contacts: How many numbers its file holds.
        state: 0 requested, 1 generating, 2 ready, 3 failed, 5 downloaded.
        downloaded: Whether its file was served.
        parameters: The targeting as the request spelled it.
    """

    token: str
    price: Decimal
    contacts: int
    state: int
    downloaded: bool
    parameters: Mapping[str, Any]


@attrs.define(kw_only=True)
class Rental:
    """A rental as the account keeps it."""

    token: str
    order: Order
    rented_at: float
    end: int  # what it is once it has reached its age: ready, failed, or generating for good
    first_number: int
    downloaded: bool = False


class Account:
    """Sells rentals, and says how far they are."""

    def __init__(self, *, balance: Decimal, speed: float, fail_every: int | None) -> None:
        is_odd = isinstance(speed, bool) or not isinstance(speed, int | float)
        is_whole = fail_every is None or type(fail_every) is int
        check(isinstance(balance, Decimal), "balance", "a Decimal", balance, TypeError)
        check(not is_odd, "speed", "a number", speed, TypeError)
        check(is_whole, "fail_every", "a whole number", fail_every, TypeError)
        is_amount = balance.is_finite() and balance >= 0
        check(is_amount, "balance", "an amount of at least 0", balance)
        check(0 < speed < math.inf, "speed", "a number greater than 0", speed)
        check(fail_every is None or fail_every >= 1, "fail_every", "at least 1", fail_every)
        self.balance = balance
        self.paid = Decimal(0)
        self._speed = speed
        self._fail_every = fail_every
        self._ends_due: deque[int] = deque()
        self._contacts_rented = 0
        self._rentals: dict[str, Rental] = {}

    def end_next(self, end: int, count: int) -> None:
        """Say how the next `count` rentals end, beside those that fail anyway."""
        check(count >= 1, "count", "at least 1", count)
        self._ends_due.extend([end] * count)

    def move(self, token: str, state: int) -> None:
        """Put a rental into a state that lasts."""
        if token not in self._rentals:
            known = ", ".join(self._rentals) or "none"
            raise ValueError(
                f"No rental has the token {token!r}; the tokens of this sandbox: {known}."
            )
        rental = self._rentals[token]
        rental.rented_at, rental.end, rental.downloaded = -math.inf, state, False

    def rent(self, order: Order, now: float) -> Rental:
        """Take the money and open a rental, or refuse and take nothing."""
        if order.price > self.balance:
            raise RefusedError(11)
        self.balance -= order.price
        self.paid += order.price
        rental = Rental(
            token=secrets.token_hex(20),
            order=order,
            rented_at=now,
            end=self._next_end(),
            first_number=self._contacts_rented,
        )
        self._contacts_rented += order.contacts
        self._rentals[rental.token] = rental
        return rental

    def find(self, token: str) -> Rental:
        """Return the rental of a token, or refuse one that was never given."""
        if not token.strip():
            raise RefusedError(31)
        if token not in self._rentals:
            raise RefusedError(32)
        return self._rentals[token]

    def state(self, rental: Rental, now: float) -> int:
        """Return the vendor's code for the state of a rental."""
        if rental.downloaded:
            return _replies.DOWNLOADED
        age = (now - rental.rented_at) * self._speed
        if age < REQUESTED_FOR:
            return _replies.REQUESTED
        if age < REQUESTED_FOR + GENERATING_FOR:
            return _replies.GENERATING
        return rental.end

    def take_file(self, rental: Rental, now: float) -> bytes:
        """Return the file of a rental, once.

        It is used up from the first byte on, even if the transfer breaks: the worst case for a
        client, and the vendor promises nothing better.
        """
        code = _FILE_REFUSALS.get(self.state(rental, now))
        if code is not None:
            raise RefusedError(code)
        rental.downloaded = True
        return _replies.contact_file(rental.first_number, rental.order.contacts)

    def view(self, now: float) -> tuple[SandboxRental, ...]:
        """Show every rental, oldest first."""
        return tuple(
            SandboxRental(
                token=rental.token,
                price=rental.order.price,
                contacts=rental.order.contacts,
                state=self.state(rental, now),
                downloaded=rental.downloaded,
                parameters=rental.order.parameters,
            )
            for rental in list(self._rentals.values())  # another thread may be renting
        )

    def _next_end(self) -> int:
        if self._fail_every is not None and (len(self._rentals) + 1) % self._fail_every == 0:
            return _replies.FAILED
        return self._ends_due.popleft() if self._ends_due else _replies.READY
