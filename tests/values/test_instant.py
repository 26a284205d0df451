"""How old a point in time is, where a clock is set or a machine sleeps."""

from __future__ import annotations

import time

import pytest

from smspartner_async._values.instant import Instant


@pytest.mark.parametrize(
    ("monotonic", "wall", "older"),
    [(5, 5, False), (11, 5, True), (5, 11, True), (-1, 5, True), (5, -3600, True)],
)
def test_a_moment_is_old_by_either_clock(
    monotonic: float,
    wall: float,
    older: bool,  # noqa: FBT001 - a table
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After suspend the wall clock shows it, after a change of time the monotonic one."""
    moment = Instant(monotonic=100.0, wall=1000.0)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + monotonic)
    monkeypatch.setattr(time, "time", lambda: 1000.0 + wall)
    assert moment.is_older_than(10) is older
