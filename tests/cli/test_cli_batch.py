"""`smspartner batch run` without a store: one question, every token kept, nothing paid twice."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from batches import jobs_of

from smspartner_async import PollingPolicy, Quote, SMSPartnerClient, _cli_batch
from smspartner_async._batch_run import BatchRun
from smspartner_async._results import Line, Results
from smspartner_async.batch import JobEvent, JobStep

from .shell import ESCAPE, NUMBER, Shell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "id,gender,min_age,max_age,interest,zipcodes,volumes,max_total\n"
QUICKLY = ("--max-requests-per-minute", "60000")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick = PollingPolicy(first_interval=0.02, max_interval=0.02)
    monkeypatch.setattr(_cli_batch, "_POLLING", quick)
    monkeypatch.setattr(_cli_batch, "has_durable", lambda: False)
    monkeypatch.chdir(tmp_path)


def write_jobs(path: Path, *numbers: int, limit: str = "") -> None:
    """Write a file of jobs; the interest of each is its number, and it costs 1.80."""
    rows = [f"job{n},mixed,25,35,{n},60200,60200:20,{limit}\n" for n in numbers]
    (path / "jobs.csv").write_text(HEADER + "".join(rows))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def states_of(folder: Path, job: str) -> list[str]:
    return [line["state"] for line in lines_of(folder) if line.get("id") == job]


def run(shell: Shell, *options: str, **more: Any) -> Any:
    return shell.run("batch", "run", "jobs.csv", "--out", "out", *QUICKLY, *options, **more)


# --- a run ----------------------------------------------------------------------------------


def test_every_job_is_rented_once_and_fetched(shell: Shell, tmp_path: Path) -> None:
    """With `--yes` each job is rented once, has its file, and the summary tells what was paid."""
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


def test_the_lines_of_a_job_tell_its_way(shell: Shell, tmp_path: Path) -> None:
    """`results.jsonl` has the intent before the token, the token before the file, and no number."""
    write_jobs(tmp_path, 1, 2, 3)
    assert run(shell, "--yes").exit_code == 0
    out = tmp_path / "out"
    for n in (1, 2, 3):
        assert states_of(out, f"job{n}") == ["renting", "paid", "done"]
    tokens = {line["token"] for line in lines_of(out) if line["state"] == "paid"}
    assert tokens == {rental.token for rental in shell.sandbox.rentals}
    assert NUMBER not in (out / "results.jsonl").read_text()


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
    assert states_of(tmp_path / "out", "job2") == ["not_rented"]


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
    """Jobs above their own limit, or that the vendor refuses, are told; the others are rented."""
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
    """The summary tells as many requests as the vendor received."""
    write_jobs(tmp_path, *range(1, 6))
    result = run(shell, "--yes", "--json")
    end = json.loads(result.stdout)
    assert Decimal(end.pop("paid")) == Decimal(9)  # the vendor spells it in two ways
    assert end == {
        "jobs": 5,
        "done": 5,
        "without_file": 0,
        "in_doubt": 0,
        "not_rented": 0,
        "requests": shell.sandbox.requests.total(),
        "results": "out/results.jsonl".replace("/", "\\" if "\\" in str(tmp_path) else "/"),
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


def test_a_file_that_is_in_the_way_is_told_before_anything_is_sent(
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


# --- going on -------------------------------------------------------------------------------


def test_a_finished_batch_sends_nothing(shell: Shell, tmp_path: Path) -> None:
    """Typed again when all is done, the command sends nothing and ends with 0."""
    write_jobs(tmp_path, 1, 2)
    run(shell, "--yes")
    before = shell.sandbox.requests.total()
    result = run(shell)
    assert result.exit_code == 0
    assert "nothing left to do" in result.stderr
    assert shell.sandbox.requests.total() == before


def test_new_rows_are_rented_and_old_ones_are_not(shell: Shell, tmp_path: Path) -> None:
    """Rows added to the file are rented by the next run, and no old one again."""
    write_jobs(tmp_path, 1, 2)
    run(shell, "--yes")
    write_jobs(tmp_path, 1, 2, 3)
    assert run(shell, "--yes").exit_code == 0
    assert shell.sandbox.requests["rent"] == 3


def test_a_paid_job_is_never_rented_again(shell: Shell, tmp_path: Path) -> None:
    """A job whose token is in `results.jsonl` goes on to its file without a question."""
    write_jobs(tmp_path, 1)
    token = shell.rent()
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.RENTING, "job1", price="1.80")
        results.add(Line.PAID, "job1", token=token)
    result = run(shell)
    assert result.exit_code == 0
    assert shell.sandbox.requests["rent"] == 1
    assert (tmp_path / "out" / "job1.csv").read_text().count(NUMBER) == 20


def test_a_paid_job_whose_file_is_there_is_done(shell: Shell, tmp_path: Path) -> None:
    """Killed after its file got its name, a job is done, and the vendor is not asked for it."""
    write_jobs(tmp_path, 1)
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.PAID, "job1", token="tok")
    (tmp_path / "out" / "job1.csv").write_text("numbers")
    assert run(shell).exit_code == 0
    assert not shell.sandbox.requests
    assert states_of(tmp_path / "out", "job1") == ["paid", "done"]


def test_a_rental_that_failed_is_not_rented_again(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """A job whose rental the vendor failed is told, ends with 1, and is never rented again."""
    shell = make_shell(fail_every=1)
    write_jobs(tmp_path, 1)
    for _ in range(2):
        result = run(shell, "--yes")
        assert result.exit_code == 1
        assert "job1: Rental " in result.stderr
        assert "1 paid for without a file" in result.stdout
    assert shell.sandbox.requests["rent"] == 1
    assert shell.run("batch", "resolve", "job1", "--give-up", "--out", "out").exit_code == 0
    assert run(shell).exit_code == 0


def test_a_job_that_changed_since_it_was_paid_is_refused(shell: Shell, tmp_path: Path) -> None:
    """Another targeting under the id of a paid job is refused before anything is sent."""
    write_jobs(tmp_path, 1)
    run(shell, "--yes")
    text = (tmp_path / "jobs.csv").read_text()
    (tmp_path / "jobs.csv").write_text(text.replace("60200:20", "60200:21"))
    before = shell.sandbox.requests.total()
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "Changed since they were rented: 'job1'" in result.stderr
    assert shell.sandbox.requests.total() == before


# --- doubt ----------------------------------------------------------------------------------


@pytest.fixture
def doubtful(shell: Shell, tmp_path: Path) -> Shell:
    """A batch of two jobs, one of which was stopped while it rented."""
    write_jobs(tmp_path, 1, 2)
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.BEGUN, balance="1000.000")
        results.add(Line.RENTING, "job1", price="1.80")
    return shell


def test_a_job_in_doubt_is_left_alone_and_told(doubtful: Shell) -> None:
    """A rent that nothing is told of is not repeated; it is told with what the balance says."""
    result = run(doubtful, "--yes")
    assert result.exit_code == 1
    assert doubtful.sandbox.requests["rent"] == 1
    for line in ("Job +job1", "Rent +begun 20.*UTC", "Price +1.80", "Journal +out/results.jsonl"):
        assert re.search(f"^{line}$", result.stderr, re.MULTILINE), line
    assert "So nothing else was charged" in result.stderr
    assert "smspartner batch resolve job1 --not-charged --out out" in result.stderr
    assert "2: 1 done, 1 perhaps paid for" in result.stdout


def test_a_balance_that_is_lower_is_told(doubtful: Shell) -> None:
    """Money that left the account and that no line knows of is told with a job in doubt."""
    doubtful.rent()
    assert "So 1.80 more is gone" in run(doubtful, "--yes").stderr


def test_a_person_may_settle_that_nothing_was_charged(doubtful: Shell) -> None:
    """After `batch resolve --not-charged` the next run rents the job."""
    assert resolve(doubtful, "job1", "--not-charged").exit_code == 0
    assert run(doubtful, "--yes").exit_code == 0
    assert doubtful.sandbox.requests["rent"] == 2


def test_a_person_may_tell_the_token(doubtful: Shell) -> None:
    """After `batch resolve --token` the next run fetches the file, and rents nothing for it."""
    token = doubtful.rent()
    assert resolve(doubtful, "job1", "--token", token).exit_code == 0
    assert run(doubtful, "--yes").exit_code == 0
    assert doubtful.sandbox.requests["rent"] == 2


def test_a_person_may_give_a_job_up(doubtful: Shell) -> None:
    """After `batch resolve --give-up` a job is left alone for good."""
    assert resolve(doubtful, "job1", "--give-up").exit_code == 0
    assert run(doubtful, "--yes").exit_code == 0
    assert doubtful.sandbox.requests["rent"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("job1",), 2, "exactly one of"),
        (("job1", "--give-up", "--not-charged"), 2, "exactly one of"),
        (("job1", "--token", " "), 2, "not blank"),
        (("job9", "--not-charged"), 1, "tells nothing of a job 'job9'"),
    ],
)
def test_what_cannot_be_settled_is_refused(
    doubtful: Shell, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """`resolve` settles one job in one way, and writes nothing otherwise."""
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    result = resolve(doubtful, *arguments)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.replace("│", "").split())
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


def test_what_is_not_in_doubt_cannot_be_unpaid(shell: Shell, tmp_path: Path) -> None:
    """`resolve --not-charged` does not take back a token: the job would be paid twice."""
    write_jobs(tmp_path, 1)
    with Results(tmp_path / "out" / "results.jsonl") as results:
        results.add(Line.PAID, "job1", token="tok")
    result = resolve(shell, "job1", "--not-charged")
    assert result.exit_code == 1
    assert "it is paid for, token tok" in result.stderr


def test_resolve_makes_no_batch(shell: Shell, tmp_path: Path) -> None:
    """`resolve` in a folder without a batch says so, and makes none."""
    result = resolve(shell, "job1", "--not-charged")
    assert result.exit_code == 1
    assert "No batch was run" in result.stderr
    assert not (tmp_path / "out").exists()


def resolve(shell: Shell, *arguments: str) -> Any:
    return shell.run("batch", "resolve", *arguments, "--out", "out")


# --- the disk -------------------------------------------------------------------------------


def test_nothing_is_rented_that_cannot_be_written_down(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `results.jsonl` takes no more lines, no further rent is sent."""
    write_jobs(tmp_path, *range(1, 9))
    fail_for(monkeypatch, Line.RENTING)
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "No space left" in result.stderr
    assert shell.sandbox.requests["rent"] == 0


def test_a_token_that_cannot_be_written_down_is_told(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the line with the token cannot be written, the token is on the screen."""
    write_jobs(tmp_path, *range(1, 9))
    fail_for(monkeypatch, Line.PAID)
    result = run(shell, "--yes", "--concurrency", "1")
    assert result.exit_code == 1
    assert len(shell.sandbox.rentals) == 1
    assert f"Token, to be kept: {shell.sandbox.rentals[0].token}" in result.stderr


def fail_for(monkeypatch: pytest.MonkeyPatch, fatal: Line) -> None:
    real = Results.add

    def add(results: Results, line: Line, *job: str, **facts: Any) -> None:
        if line is fatal:
            raise OSError(28, "No space left on device")
        real(results, line, *job, **facts)

    monkeypatch.setattr(Results, "add", add)


async def test_a_job_that_cannot_be_written_down_gets_no_further(tmp_path: Path) -> None:
    """Where the line before a rent cannot be written, the job stays where it is, and is stopped."""
    (job,) = jobs_of(1, tmp_path)
    full = Mock(add=Mock(side_effect=OSError(28, "No space left on device")))
    work = BatchRun(Mock(), full, Mock(), Mock())
    work._task = Mock()
    event = JobEvent(job=job, step=JobStep.PRICED, quote=Quote(operation="price"))
    heard = asyncio.create_task(work._heard(event))
    await asyncio.wait((heard,), timeout=0.05)
    assert not heard.done()
    work._task.cancel.assert_called_once()
    heard.cancel()
