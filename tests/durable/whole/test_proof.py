"""Short runs of `python -m benchmarks durability`: killed, frozen, cut off; never paid twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.durable_processes import MOMENTS
from benchmarks.durable_runs import (
    Postgres,
    PostgresMissingError,
    budget_run,
    postgres_run,
    sqlite_run,
)

pytestmark = pytest.mark.usefixtures("quick_processes")


@pytest.mark.parametrize("seed", range(len(MOMENTS)))
def test_a_killed_worker_pays_for_no_job_twice(seed: int, tmp_path: Path) -> None:
    """SQLite: killed at random times; every charge has its token, or is left to a person."""
    first, settled, run = sqlite_run(tmp_path, seed)
    assert run.kills > 0
    assert run.deaths == {MOMENTS[seed]: 1}
    assert first.holds, first
    assert settled.holds, settled
    assert (settled.charges, settled.attention) == (first.jobs, 0)


def test_workers_that_die_freeze_and_lose_their_database_pay_for_no_job_twice(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Postgres, three workers: killed and frozen at random, the database broken in the middle."""
    first, settled, run = postgres_run(postgres, tmp_path, 1, jobs=24, rounds=5)
    assert run.kills + run.freezes + run.deaths.total() >= 4
    assert first.holds, first
    assert settled.holds, settled
    assert (settled.charges, settled.attention) == (first.jobs, 0)


def test_workers_keep_one_budget_together(postgres: Postgres, tmp_path: Path) -> None:
    """Two workers with many waits send no more requests than the account is allowed."""
    result = budget_run(postgres.store("budget"), tmp_path, per_minute=600, seconds=6)
    assert result.requests > 30
    assert result.most <= result.allowed


def test_no_server_is_left_behind() -> None:
    """Postgres is gone when the tests are, with its folder."""
    try:
        with Postgres.running() as server:
            folder = Path(server.store("x").partition("host=")[2])
            assert folder.is_dir()
    except PostgresMissingError as missing:
        pytest.skip(f"{missing}")
    assert not folder.exists()
