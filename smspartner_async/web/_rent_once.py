"""One rent per order, however often it is requested."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

from attrs import define, evolve, field

from smspartner_async._completion import run_to_completion
from smspartner_async._errors import (
    ConfigurationError,
    RentOutcomeUnknownError,
    SMSPartnerError,
    TargetingError,
)
from smspartner_async._models import check_targeting
from smspartner_async._validation import (
    check_callback,
    check_methods,
    check_positive,
    check_whole,
    checked_limit,
    mismatch_of,
)
from smspartner_async._values.volumes import checked_volumes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping
    from decimal import Decimal

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async._models import Rental, Targeting

_DAY: Final = 24 * 60 * 60.0
_NO_KEY: Final = (
    "is missing: send one with each order, such as an Idempotency-Key header, and the same when "
    "it is sent again"
)


@define(eq=False)
class _Order:
    """The order of one key, and its rent."""

    bought: object
    rent: asyncio.Task[Rental] = field(init=False)


def _bought(targeting: Targeting, volumes: Mapping[str, int] | None) -> object:
    """Return what an order buys, equal for equal orders: areas may come in another order."""
    areas = frozenset(targeting.departments), frozenset(targeting.zipcodes)
    return evolve(targeting, departments=(), zipcodes=()), areas, volumes


@define(eq=False)
class RentOnce:
    """Rents once per key, however often it is called: a double-click pays once.

    All calls with one key get the same rental, or the same `RentOutcomeUnknownError`. After any
    other `SMSPartnerError` nothing was rented, and the key can be used again; an unforeseen error
    of another kind stays with its key. Cancelling a caller does not end a rent. Use it as
    `async with RentOnce(client) as rents:` inside of the client's block: its end waits for the
    rents in flight.

    Keys are kept in this object, in memory. A service of several processes, or one that restarts,
    needs a database table beside it: insert owner and key, under a unique constraint, before the
    rent, and add the token in `on_rented`. A key there without a token is an unknown outcome.

    >>> async with SMSPartnerClient() as client, RentOnce(client, max_total=10) as rents:
    ...     rental = await rents("order-17", women, {"06200": 20}, owner="alice")

    Args:
        client: the service's one client.
        max_total: as in `client.rent`, for every rent.
        on_rented: plain or async; called when `client.rent` would call it, with the key and the
            `Rental`, and with the owner behind them where the order has one. Store them.
        keep_for: seconds for which a key is kept after its rental was paid; above 0. A key whose
            rent is under way, or whose outcome is unknown, is kept until this object ends.
        max_keys: how many keys are kept; from 1 on. When there are as many, new ones are refused.

    Raises:
        TypeError: an argument of another type, or an `on_rented` that cannot be called so.
        ValueError: a number out of its range.
    """

    # Checkers other than mypy do not know that attrs takes the underscores away.
    _client: SMSPartnerClient = field(alias="client")
    _max_total: Decimal | int | None = field(default=None, kw_only=True, alias="max_total")
    _on_rented: Callable[..., Awaitable[object] | object] | None = field(
        default=None, kw_only=True, alias="on_rented"
    )
    _keep_for: float = field(default=_DAY, kw_only=True, alias="keep_for")
    _max_keys: int = field(default=10_000, kw_only=True, alias="max_keys")
    _orders: dict[tuple[Hashable, str], _Order] = field(factory=dict, init=False)
    _settled: dict[tuple[Hashable, str], float] = field(factory=dict, init=False)
    """When the keys of paid rentals are forgotten, in loop time, the earliest first."""

    def __attrs_post_init__(self) -> None:
        check_methods("client", self._client, "SMSPartnerClient", "rent")
        if self._max_total is not None:
            checked_limit(self._max_total)
        called_with: tuple[str, ...] = "the key", "the Rental"
        if callable(self._on_rented) and mismatch_of(self._on_rented, *called_with):
            called_with = (*called_with, "the owner")  # asked again at each order
        check_callback("on_rented", self._on_rented, *called_with)
        check_positive("keep_for", self._keep_for)
        check_whole("max_keys", self._max_keys)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        rents = asyncio.gather(
            *(order.rent for order in self._orders.values()), return_exceptions=True
        )
        # A cancellation ends those that are not sent yet; the others run to their answers.
        await run_to_completion(rents, on_cancelled=lambda work: work.cancel())

    async def __call__(
        self,
        key: str | None,
        targeting: Targeting,
        volumes: Mapping[str, int] | None = None,
        *,
        owner: Hashable = None,
    ) -> Rental:
        """Rent as `client.rent` does, or return what the same order with this key came to.

        Args:
            key: the caller's own name for this order, such as its `Idempotency-Key` header.
            targeting: whom to reach.
            volumes: as in `client.rent`.
            owner: whose key it is, such as the id of the user who is logged in: two owners may use
                the same key for two orders. `None` is one owner for all.

        Raises:
            TargetingError: volumes that cannot be right, a key or an owner that is missing or
                blank, or a key that came with another order. Nothing was sent.
            ConfigurationError: as many keys are kept as `max_keys` allows. Nothing was sent.
            TypeError: an argument of another type. Nothing was sent.
            SMSPartnerError: as `client.rent`.
        """
        if not isinstance(key, str) or not key.strip():
            raise TargetingError((("key", _NO_KEY),))
        if isinstance(owner, str) and not owner.strip():
            raise TargetingError((("owner", "is blank: say whose key it is"),))
        check_targeting(targeting)
        named = ("the owner",) if owner is not None else ()
        check_callback("on_rented", self._on_rented, "the key", "the Rental", *named)
        wanted = targeting, checked_volumes(volumes)
        bought = _bought(*wanted)
        self._forget_settled()
        order = self._orders.get((owner, key))
        if order is None:
            self._check_room()
            order = self._orders[owner, key] = _Order(bought)
            # An eager task runs at once, perhaps to its end: by then its order has to be known.
            order.rent = asyncio.create_task(self._rent(owner, key, *wanted))
        elif order.bought != bought:
            raise TargetingError((("key", "belongs to another order: send a new one"),))
        return await asyncio.shield(order.rent)

    async def _rent(
        self,
        owner: Hashable,
        key: str,
        targeting: Targeting,
        volumes: Mapping[str, int] | None,
    ) -> Rental:
        def rented(rental: Rental) -> Awaitable[object] | object:
            if self._on_rented is None:
                return None
            return self._on_rented(key, rental, *(() if owner is None else (owner,)))

        try:
            rental = await self._client.rent(
                targeting, volumes, max_total=self._max_total, on_rented=rented
            )
        except RentOutcomeUnknownError:
            raise  # it may be paid: the key is never used again
        except SMSPartnerError:
            del self._orders[owner, key]
            raise
        self._settled[owner, key] = asyncio.get_running_loop().time() + self._keep_for
        return rental

    def _forget_settled(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._settled:
            oldest = next(iter(self._settled))
            if self._settled[oldest] > now:
                return
            del self._settled[oldest], self._orders[oldest]

    def _check_room(self) -> None:
        if len(self._orders) >= self._max_keys:
            raise ConfigurationError(
                f"RentOnce keeps {len(self._orders)} keys, which is all that max_keys allows, so "
                "nothing was rented for a new one. Come back later; or let the service allow more "
                "keys, or keep them for a shorter time (keep_for)."
            )
