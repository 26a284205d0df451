"""Volumes that cannot be right are named, all at once, before anything is sent."""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from smspartner_async import (
    TargetingError,
)
from smspartner_async._values.volumes import checked_volumes


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_volumes(kind: Any) -> None:
    """Volumes are any mapping; they are copied, so that a later change does not count."""
    wanted = {"60200": 20, " 2a ": 5, "971": 1, "02": 10**6}
    checked = checked_volumes(kind(wanted))
    assert checked == {"60200": 20, "2A": 5, "971": 1, "02": 10**6}
    wanted.clear()
    assert checked


def test_no_volumes() -> None:
    """None is every contact."""
    assert checked_volumes(None) is None


@pytest.mark.parametrize("volumes", [{}, MappingProxyType({})])
def test_empty_volumes(volumes: Any) -> None:
    """An empty mapping would rent every contact, which is surely not meant."""
    with pytest.raises(TargetingError, match="is empty; leave it out to take every contact"):
        checked_volumes(volumes)


@pytest.mark.parametrize("volumes", [[], [("60200", 20)], "60200", 20, 0, "", False])
def test_volumes_of_a_wrong_kind(volumes: Any) -> None:
    """What is no mapping is no volumes, not even where it is empty."""
    with pytest.raises(TargetingError, match="must map an area to a number"):
        checked_volumes(volumes)


@pytest.mark.parametrize("area", ["", "602", "total", 602000, None, True, ("60200",), b"60200"])
def test_a_volume_of_nowhere(area: Any) -> None:
    """A key that is neither a post code nor a department is named."""
    with pytest.raises(TargetingError) as caught:
        checked_volumes({area: 20})
    assert caught.value.problems == (
        ("volumes", f"{area!r} is neither a post code nor a department"),
    )


@pytest.mark.parametrize("number", [0, -1, 1.0, "x", True, None, Decimal(20)])
def test_a_volume_of_nothing(number: Any) -> None:
    """A volume that is no whole number above 0 is named with its area."""
    with pytest.raises(TargetingError) as caught:
        checked_volumes({"60200": number})
    assert caught.value.problems == (
        ("volumes", f"60200: must be a whole number above 0, not {number!r}"),
    )


def test_every_bad_volume_is_named_at_once() -> None:
    """All that is wrong with volumes is named in one error, an area given twice included."""
    with pytest.raises(TargetingError) as caught:
        checked_volumes({"2A": 1, "2a": 2, "x": 3, "60200": 0, "60300": 5})
    assert [problem for _, problem in caught.value.problems] == [
        "2A is given twice",
        "'x' is neither a post code nor a department",
        "60200: must be a whole number above 0, not 0",
    ]
