"""`smspartner batch run`: one question, every token kept, nothing paid twice."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from shell import ESCAPE, NUMBER, Shell

from smspartner_async import PollingPolicy, SMSPartnerClient

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("dbos")

from smspartner_async.cli._batch import run as batch_run

HEADER = "id,gender,min_age,max_age,interest,zipcodes,volumes,max_total\n"
QUICKLY = ("--max-requests-per-minute", "60000")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick = PollingPolicy(first_interval=0.02, max_interval=0.02)
    monkeypatch.setattr(batch_run, "_POLLING", quick)
    monkeypatch.chdir(tmp_path)


def write_jobs(path: Path, *numbers: int, limit: str = "") -> None:
    """Write a file of jobs; the interest of each is its number, and it costs 1.80."""
    rows = [f"job{n},mixed,25,35,{n},60200,60200:20,{limit}\n" for n in numbers]
    (path / "jobs.csv").write_text(HEADER + "".join(rows))


def stand_of(shell: Shell) -> dict[str, Any]:
    """Return the rows of `batch status`, by the ids of their jobs."""
    return {row["id"]: row for row in shell.json("batch", "status", "--out", "out")["records"]}


def run(shell: Shell, *options: str, **more: Any) -> Any:
    return shell.run("batch", "run", "jobs.csv", "--out", "out", *QUICKLY, *options, **more)


# --- a run ----------------------------------------------------------------------------------


def test_every_job_is_rented_once_and_fetched(shell: Shell, tmp_path: Path) -> None:
    """With `--yes` each job is rented once, has its file, and the summary says what was paid."""
    write_jobs(tmp_path, *range(1, 13))
    result = run(shell, "--yes")
    assert result.exit_code == 0, result.output
    assert re.search(r"^Jobs +12: 12 done$", result.stdout, re.MULTILINE)
    assert re.search(r"^Paid +21\.60$", result.stdout, re.MULTILINE)
    assert shell.sandbox.requests["rent"] == 12
    assert shell.sandbox.paid == Decimal("21.60")
    for n in range(1, 13):
        assert (tmp_path / "out" / f"job{n}.csv").read_text().count(NUMBER) == 20
    assert ESCAPE not in result.output
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_the_price_of_all_is_shown_and_asked_once(
    shell: Shell, at_terminal: None, tmp_path: Path
) -> None:
    """Without `--yes` the price of all jobs is shown and asked for once; yes spends it."""
    write_jobs(tmp_path, 1, 2, 3)
    result = run(shell, typed="y\n")
    assert result.exit_code == 0
    assert "Price     5.40" in result.stderr
    assert "Contacts  60" in result.stderr
    assert "Balance   1,000.00 EUR" in result.stderr
    assert result.stderr.count("[y/N]") == 1
    assert "Rent 3 jobs for 5.40?" in result.stderr
    assert shell.sandbox.paid == Decimal("5.40")


@pytest.mark.parametrize("answer", ["n\n", "", "perhaps\n"])
def test_anything_but_yes_rents_nothing(
    shell: Shell, at_terminal: None, tmp_path: Path, answer: str
) -> None:
    """Any answer but yes ends with 1, and nothing is rented."""
    write_jobs(tmp_path, 1, 2)
    result = run(shell, typed=answer)
    assert result.exit_code == 1
    assert "Nothing was rented." in result.stderr
    assert shell.sandbox.requests["rent"] == 0


def test_without_a_terminal_and_a_yes_nothing_is_sent(shell: Shell, tmp_path: Path) -> None:
    """Piped and without `--yes`, the command asks the vendor for nothing at all."""
    write_jobs(tmp_path, 1)
    result = run(shell, typed="y\n")
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    assert not shell.sandbox.requests


def test_no_job_costs_more_than_what_was_agreed(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose price has risen since the question is not rented; the others are."""
    write_jobs(tmp_path, 1, 2)
    real = SMSPartnerClient.price
    asked: Counter[int] = Counter()

    async def rising(client: SMSPartnerClient, targeting: Any, volumes: Any = None) -> Any:
        asked[targeting.interest] += 1
        risen = targeting.interest == 2 and asked[2] > 1
        return await real(client, targeting, {"60200": 21} if risen else volumes)

    monkeypatch.setattr(SMSPartnerClient, "price", rising)
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "job2: The price is 1.89; the limit is 1.80" in result.stderr
    assert shell.sandbox.requests["rent"] == 1
    stand = stand_of(shell)
    assert (stand["job2"]["state"], stand["job2"]["token"]) == ("failed", None)


def test_the_limit_for_all_refuses_before_any_is_rented(shell: Shell, tmp_path: Path) -> None:
    """`--max-total` is for all jobs together, and refuses them all above it."""
    write_jobs(tmp_path, 1, 2, 3)
    result = run(shell, "--yes", "--max-total", "5.39")
    assert result.exit_code == 1
    assert "All jobs together cost 5.40; the limit is 5.39" in result.stderr
    assert shell.sandbox.requests["rent"] == 0
    assert run(shell, "--yes", "--max-total", "5.40").exit_code == 0


def test_a_balance_that_is_too_low_is_shown(
    make_shell: Callable[..., Shell], at_terminal: None, tmp_path: Path
) -> None:
    """The question says so when the balance does not cover all jobs."""
    shell = make_shell(balance=Decimal(3))
    write_jobs(tmp_path, 1, 2)
    assert "Balance   3.00 EUR: NOT ENOUGH for all" in run(shell, typed="n\n").stderr


def test_jobs_that_cannot_be_rented_leave_the_others_alone(shell: Shell, tmp_path: Path) -> None:
    """Jobs above their own limit, or that the vendor refuses, are named; the others are rented."""
    write_jobs(tmp_path, 1, 2)
    with (tmp_path / "jobs.csv").open("a") as file:
        file.write("dear,mixed,25,35,3,60200,60200:20,1.79\n")
        file.write("many,mixed,25,35,4,60200,60200:99999,\n")
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "Jobs      2 to rent, 2 that cannot be rented" in result.stderr
    # The sandbox writes money as the vendor does: now as a number, now as text with all its zeros.
    assert re.search(r"dear: The price is 1\.80; the limit is 1\.79", result.stderr)
    assert "many: SMS Partner refused" in result.stderr
    assert shell.sandbox.requests["rent"] == 2
    assert re.search(r"4: 2 done, 2 not rented", result.stdout)


def test_requests_are_counted(shell: Shell, tmp_path: Path) -> None:
    """The summary counts as many requests as the vendor received."""
    write_jobs(tmp_path, *range(1, 6))
    result = run(shell, "--yes", "--json")
    end = json.loads(result.stdout)
    assert Decimal(end.pop("paid")) == Decimal(9)  # the vendor spells it in two ways
    assert end == {
        "jobs": 5,
        "done": 5,
        "given_up": 0,
        "without_file": 0,
        "in_doubt": 0,
        "not_rented": 0,
        "paid_twice": 0,
        "paid_unknown": 0,
        "requests": shell.sandbox.requests.total(),
        "store": str(Path("out", "batch.db")),
    }


# --- what is wrong before anything is sent ---------------------------------------------------


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,robot,25,35,1,60200,,", "line 2, gender: "),
        ("a,mixed,25,35,1,602,,", "line 2, zipcodes: "),
        ("a,mixed,25,35,1,60200,60200:x,", "line 2, volumes: "),
        ("a,mixed,25,35,1,60200,,ten", "line 2, max_total: "),
        ("a,mixed,25", "line 2: has 3 fields"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_sent(
    shell: Shell, tmp_path: Path, row: str, problem: str
) -> None:
    """A bad row is named by its line and field; nothing is sent, and no folder is made."""
    (tmp_path / "jobs.csv").write_text(f"{HEADER}{row}\n")
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert problem in result.stderr
    assert not shell.sandbox.requests
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b'"', None])
def test_an_unreadable_file_is_one_error(
    shell: Shell, tmp_path: Path, content: bytes | None
) -> None:
    """A file of jobs that is missing, or is no text, gives an error and no traceback."""
    if content is not None:
        (tmp_path / "jobs.csv").write_bytes(content)
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    assert not shell.sandbox.requests


def test_jobs_may_be_json_lines(shell: Shell, tmp_path: Path) -> None:
    """A `.jsonl` file of jobs does as well as a CSV; `--suffix` names the files."""
    job = {"id": "a", "gender": "mixed", "min_age": 25, "max_age": 35, "interest": 1}
    job |= {"zipcodes": ["60200"], "volumes": {"60200": 20}}
    (tmp_path / "jobs.jsonl").write_text(json.dumps(job))
    result = shell.run(
        *("batch", "run", "jobs.jsonl", "--out", "out", "--yes", *QUICKLY, "--suffix", "txt")
    )
    assert result.exit_code == 0
    assert (tmp_path / "out" / "a.txt").exists()


def test_a_file_that_is_in_the_way_is_reported_before_anything_is_sent(
    shell: Shell, tmp_path: Path
) -> None:
    """A job whose file exists, and of which nothing is known, stops all before anything is sent."""
    write_jobs(tmp_path, 1, 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "job2.csv").write_text("precious")
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "job2.csv exists, so nothing was rented" in result.stderr
    assert not shell.sandbox.requests


def test_a_wrong_key_ends_it_at_once(shell: Shell, tmp_path: Path) -> None:
    """A wrong key is one error, and not one for each job."""
    write_jobs(tmp_path, *range(1, 30))
    result = run(shell, "--yes", env={"SMSPARTNER_API_KEY": "wrong"})
    assert result.exit_code == 1
    assert result.stderr.count("SMSPARTNER_API_KEY") == 1
    assert shell.sandbox.requests.total() == 1


# --- the disk and the account ---------------------------------------------------------------


def test_a_full_disk_is_one_sentence_before_any_money(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a disk could not take what is paid, nothing is sent."""
    write_jobs(tmp_path, 1)
    monkeypatch.setattr(batch_run, "_LEAST_SPACE", 2**62)
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The disk is nearly full, and nothing more is rented")
    assert not shell.sandbox.requests


def test_a_disk_that_fills_up_ends_the_run_in_order(
    make_shell: Callable[..., Shell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is rented; what is paid is in the store, and the exit code says so."""
    shell = make_shell(speed=0.001)
    write_jobs(tmp_path, *range(1, 21))
    usage = Mock(side_effect=lambda _: Mock(free=0 if shell.sandbox.rentals else 2**62))
    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(batch_run, "_POLL_EVERY", 0.01)
    shell.sandbox.delay_next_reply("rent", seconds=0.5)
    result = run(shell, "--yes", "--concurrency", "1")
    assert result.exit_code == 3
    assert "Error: The disk is nearly full" in result.stderr
    rented = len(shell.sandbox.rentals)
    assert 1 <= rented < 20
    states = Counter(row["state"] for row in stand_of(shell).values())
    assert states == {"waiting": rented, "given_up": 20 - rented}


def test_an_account_that_stops_paying_is_shown_and_fails_nothing(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """Renting pauses with the vendor's words on the screen, and continues when there is credit."""
    shell = make_shell(speed=1e6, balance=Decimal("2.00"))
    write_jobs(tmp_path, 1, 2)

    class Person(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "renting pauses" in record.getMessage():
                shell.sandbox._account.balance = Decimal(100)

    log, person = logging.getLogger("smspartner_async"), Person()
    log.addHandler(person)
    try:
        result = run(shell, "--yes")
    finally:
        log.removeHandler(person)
    assert result.exit_code == 0, result.output
    assert "NOT ENOUGH" in result.stderr
    assert "renting pauses until the vendor takes this account again" in result.stderr
    assert "renting continues" in result.stderr
    assert len(shell.sandbox.rentals) == 2


@pytest.mark.parametrize("number", [1, 2])
def test_a_dry_run_shows_what_would_be_rented_and_rents_nothing(
    shell: Shell, tmp_path: Path, number: int
) -> None:
    """`--dry-run` prices, needs nobody to ask, writes one document, and queues nothing."""
    write_jobs(tmp_path, *range(1, 1 + number))
    with (tmp_path / "jobs.csv").open("a") as file:
        file.write("many,mixed,25,35,4,60200,60200:99999,\n")
    result = run(shell, "--dry-run", "--json", "--max-total", "3.60")
    assert result.exit_code == 1  # one row would be refused
    shown = json.loads(result.stdout)
    assert [row["id"] for row in shown["to_rent"]] == [f"job{n}" for n in range(1, 1 + number)]
    assert [row["id"] for row in shown["refused"]] == ["many"]
    assert Decimal(shown["total"]) == Decimal("1.80") * number
    assert shell.sandbox.requests["rent"] == 0
    assert not (tmp_path / "out" / "batch.db").exists()
    dear = run(shell, "--dry-run", "--json", "--max-total", "0.10")
    assert json.loads(dear.stdout)["error"]["exit_code"] == dear.exit_code == 1
