"""A status that was read from a reply differs from one made by hand in nothing but its cost."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from decimal import Decimal
from typing import TYPE_CHECKING
from unittest.mock import Mock

import attrs
import pytest
from multidict import CIMultiDict
from replies import WIRE

from smspartner_async import (
    Cost,
    RentalState,
    RentalStatus,
    RentedTargeting,
    ResponseError,
)
from smspartner_async._wire import codec
from smspartner_async._wire.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD = {
    "success": True,
    "status": "File is being generated",
    "location": {"minAge": 31, "cost": {"quantity": 10, "total": "0.900"}},
    "file": {"phoneNumbers": "10"},
}
REPLY = Reply(200, CIMultiDict(), json.dumps(PAYLOAD).encode())
BY_HAND = RentalStatus(
    token="tok",
    state=RentalState.GENERATING,
    message="File is being generated",
    targeting=RentedTargeting(min_age=31),
    cost=Cost(quantity=10, total=Decimal("0.900")),
    phone_numbers=10,
    raw=PAYLOAD,
)


def read() -> RentalStatus:
    return WIRE.status("tok", REPLY)


@pytest.mark.parametrize("name", [field.name for field in attrs.fields(RentalStatus)])
def test_each_field_can_be_the_first_that_is_looked_at(name: str) -> None:
    """Whichever field is asked for first, it holds what the reply says."""
    assert getattr(read(), name) == getattr(BY_HAND, name)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda status: status, id="equality"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda status: pickle.loads(pickle.dumps(status)), id="pickle"),  # noqa: S301
        pytest.param(attrs.evolve, id="evolve"),
        pytest.param(lambda status: RentalStatus(**attrs.asdict(status, recurse=False)), id="dict"),
    ],
)
def test_it_is_equal_to_one_made_by_hand(look: Callable[[RentalStatus], RentalStatus]) -> None:
    """Comparing, copying, pickling and evolving see all fields, read or not."""
    seen = look(read())
    assert type(seen) is RentalStatus
    assert seen == BY_HAND
    assert seen.raw == PAYLOAD
    assert (repr(seen), hash(seen)) == (repr(BY_HAND), hash(BY_HAND))


def test_it_is_frozen() -> None:
    """No field can be set, neither before it was read nor after."""
    status = read()
    for _ in range(2):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            status.cost = None  # type: ignore[misc]
        assert status.cost == BY_HAND.cost


@pytest.mark.parametrize("status", [BY_HAND, read()])
def test_a_wrong_name_is_an_attribute_error(status: RentalStatus) -> None:
    """A name that is no field raises what Python raises, and parses nothing."""
    with pytest.raises(AttributeError, match="'RentalStatus' object has no attribute 'price'"):
        status.price  # type: ignore[attr-defined]  # noqa: B018 - looked at is enough
    assert not hasattr(status, "__len__")


def test_nothing_is_read_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait looks at the state, and pays for no more; a second look at a field reads nothing."""
    looks = Mock(side_effect=WIRE._details)
    monkeypatch.setattr(codec.Wire, "_details", looks)
    status = read()
    assert (status.token, status.state) == ("tok", RentalState.GENERATING)
    assert status.message == "File is being generated"
    assert looks.call_count == 0
    assert status.phone_numbers == 10
    assert status.raw is status.raw
    assert looks.call_count == 1


@pytest.mark.parametrize("depth", [1, 99, 500, 900, 2000])
def test_it_can_be_read_wherever_it_is(depth: int) -> None:
    """Bad input: a reply nested as deep as can be read is refused at once, or read anywhere."""
    nested = b"[" * depth + b"]" * depth
    body = json.dumps(PAYLOAD).encode()[:-1] + b', "more": ' + nested + b"}"

    def far_below(frames: int) -> RentalStatus:
        return far_below(frames - 1) if frames else copy.copy(status)

    try:
        status = WIRE.status("tok", REPLY._replace(body=body))
    except ResponseError:
        assert depth > sys.getrecursionlimit() / 2
    else:
        assert far_below(300) == BY_HAND
