"""What a batch writes down survives whatever stops it, and is never read as less than it was."""

from __future__ import annotations

import json
import os
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from batches import jobs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from smspartner_async._results import Known, Line, Results, ResultsError, order_of

LINES = st.lists(
    st.tuples(
        st.sampled_from([line for line in Line if line not in {Line.BEGUN, Line.CUT}]),
        st.sampled_from(["north", "süd", "a b"]),
        st.none() | st.text(min_size=1, max_size=4),
        st.none() | st.sampled_from(["1.80", "0", "12345.678"]),
    ),
    max_size=8,
)


@settings(deadline=None)  # it waits for the disk
@given(LINES, st.data())
def test_whatever_cuts_the_file_no_whole_line_is_lost(lines: Any, data: st.DataObject) -> None:
    """Cut at any byte, the file tells all of its whole lines, and goes on from there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.jsonl")
        with Results(path) as results:
            for line, job, token, price in lines:
                results.add(line, job, token=token, price=price)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        expected: dict[str, Known] = {}
        told = (
            whole[:cut]
            if whole[cut : cut + 1] == b"\n"
            else whole[: whole.rfind(b"\n", 0, cut) + 1]
        )
        for facts in map(json.loads, told.splitlines()):
            before = expected.get(facts["id"], Known())
            expected[facts["id"]] = before.and_then(Line(facts["state"]), facts)
        with Results(path) as results:
            assert results.known == expected
            results.add(Line.PAID, "new", token="tok")
        with Results(path) as results:
            assert results.known == {
                **expected,
                "new": expected.get("new", Known()).and_then(Line.PAID, {"token": "tok"}),
            }


@pytest.mark.parametrize(
    ("lines", "is_unknown", "is_paid", "is_settled"),
    [
        ([], False, False, False),
        ([Line.RENTING], True, False, False),
        ([Line.RENTING, Line.UNKNOWN], True, False, False),
        ([Line.RENTING, Line.NOT_RENTED], False, False, False),
        ([Line.RENTING, Line.PAID], False, True, False),
        ([Line.RENTING, Line.PAID, Line.FAILED], False, True, False),
        ([Line.RENTING, Line.PAID, Line.DONE], False, False, True),
        ([Line.RENTING, Line.GIVEN_UP], False, False, True),
        ([Line.RENTING, Line.NOT_RENTED, Line.RENTING], True, False, False),
    ],
)
def test_the_last_line_tells_where_a_job_stands(
    tmp_path: Path, lines: list[Line], *, is_unknown: bool, is_paid: bool, is_settled: bool
) -> None:
    """A rent that nothing is told of afterwards is in doubt; one with a token is paid for."""
    path = tmp_path / "results.jsonl"
    with Results(path) as results:
        for line in lines:
            results.add(line, "job", token="tok" if line is Line.PAID else None)
    with Results(path) as results:
        known = results.of("job")
    assert (known.is_unknown, known.is_paid, known.is_settled) == (is_unknown, is_paid, is_settled)


def test_what_was_told_of_a_paid_job_stays_known(tmp_path: Path) -> None:
    """The token and the price of a job stay known through its later lines."""
    path = tmp_path / "new" / "folder" / "results.jsonl"
    with Results(path) as results:
        results.add(Line.BEGUN, balance=Decimal("10.50"))
        results.add(Line.RENTING, "job", order="abc", price=Decimal("1.80"))
        results.add(Line.PAID, "job", token="tok")
        results.add(Line.FAILED, "job", error="WaitTimeoutError")
        results.add(Line.BEGUN, balance=Decimal("8.70"))
    with Results(path) as results:
        known = results.of("job")
        assert (known.token, known.price, known.order) == ("tok", Decimal("1.80"), "abc")
        assert known.at
        assert results.balance == Decimal("10.50")


@pytest.mark.parametrize(
    "damage",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"id": "job", "state": "lost"}',
        b'{"id": 1, "state": "paid"}',
        b'{"id": "job", "state": "paid", "price": "much"}',
        b'{"state": "begun", "balance": "much"}',
        b'{"id": "job", "state": "renting"}',
        b"\xff",
    ],
)
def test_a_damaged_line_is_never_passed_over(tmp_path: Path, damage: bytes) -> None:
    """A line that cannot be read may be a paid rental: it is named, and nothing is run."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"id": "a", "state": "not_rented"}\n' + damage + b'\n{"state": "begun"}\n')
    with pytest.raises(ResultsError, match=r"Line 2 of .* Nothing was sent"), Results(path):
        pass


def test_a_line_is_on_the_disk_before_anything_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`add` has written the line and synced the disk when it returns."""
    synced: list[bytes] = []
    path = tmp_path / "results.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    with Results(path) as results:
        synced.clear()
        results.add(Line.PAID, "job", token="tok")
        assert json.loads(synced[0])["token"] == "tok"


def test_a_full_disk_is_told_and_spoils_no_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that the disk takes in part is an error; later lines can be read all the same."""
    path = tmp_path / "results.jsonl"
    real = os.write
    with Results(path) as results:
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
        with pytest.raises(OSError, match="whole line"):
            results.add(Line.RENTING, "north")
        monkeypatch.undo()
        results.add(Line.PAID, "south", token="tok")
    with Results(path) as results:
        assert results.of("south").token == "tok"
        assert "north" not in results.known


def test_only_one_run_at_a_time_may_write(tmp_path: Path) -> None:
    """A second run of the same batch is refused: both would rent the same jobs."""
    path = tmp_path / "results.jsonl"
    with Results(path), pytest.raises(ResultsError, match="Another run"), Results(path):
        pass
    with Results(path):
        pass


def test_an_order_is_named_by_what_it_asks_for() -> None:
    """The same targeting and volumes have the same name, any others another."""
    one, two = jobs_of(2, volumes={"06200": 20, "60200": 5})
    (again,) = jobs_of(1, volumes={"60200": 5, "06200": 20}, max_total=Decimal(9))
    (more,) = jobs_of(1, volumes={"60200": 5, "06200": 21})
    assert order_of(one) == order_of(again)
    assert len({order_of(one), order_of(two), order_of(more)}) == 3
