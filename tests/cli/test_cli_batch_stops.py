"""`smspartner batch run`, stopped: by Ctrl-C, by SIGTERM, by kill -9, and gone on with."""

from __future__ import annotations

import random
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from batches import Vendor, after, rented
from fault_server import FaultServer
from faults import close_within_body, json_reply, vendor_error

from smspartner_async._results import Line, Results

from .shell import ESCAPE, KEY, NUMBER, Shell, on_terminal, posix_only, running
from .test_cli_batch import QUICKLY, run, states_of, write_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fault_server import Received, Reply

RUN = ("batch", "run", "jobs.csv", "--out", "out", *QUICKLY, "--yes")


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    begin_without_store(tmp_path)


def begin_without_store(folder: Path) -> None:
    """Begin a batch as without the extra `durable`: it goes on so, also where that is there."""
    with Results(folder / "out" / "results.jsonl") as results:
        results.add(Line.NOT_RENTED, "earlier")


def batch(url: str) -> AbstractContextManager[Any]:
    """Run the batch as a process of its own, which does not outlive the block."""
    environment = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": url}
    return running("-m", "smspartner_async.cli", *RUN, env=environment)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@posix_only
def test_ctrl_c_tells_every_token_and_how_to_go_on(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """After Ctrl-C all tokens are on the screen, and the same line goes on without paying."""
    shell = make_shell(speed=0.001)
    write_jobs(tmp_path, *range(1, 9))
    code, screen = on_terminal(shell, *RUN, react={"14.40 of 14.40": b"\x03"})
    assert code == 130
    for rental in shell.sandbox.rentals:
        assert f"token {rental.token}" in screen
    assert "being made by the vendor" in screen
    plain = re.sub(rf"{ESCAPE}\[[0-9;?]*[A-Za-z]", "", screen)
    assert plain.rpartition("type again:")[2].split() == ["smspartner", *RUN]
    assert max(len(row.rpartition("\r")[2]) for row in plain.splitlines()) <= 80
    shell.sandbox._account._speed = 1e6
    result = run(shell)
    assert result.exit_code == 0, result.output
    assert shell.sandbox.requests["rent"] == 8


@pytest.fixture
def vendor(in_background: Callable[[Any], Any]) -> Iterator[Callable[..., FaultServer]]:
    """Serve what a test scripts, in the background."""
    servers = []

    def serve(script: Callable[[Received], Reply]) -> FaultServer:
        def answer(received: Received) -> Reply:
            if received.operation == "credits":
                return json_reply({"success": True, "credits": {"balance": "10.000"}})
            return script(received)

        servers.append(FaultServer(answer))
        in_background(servers[-1].__aenter__())
        return servers[-1]

    yield serve
    for server in servers:
        in_background(server.__aexit__(None, None, None))


@posix_only
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_rents_in_flight_are_seen_through(
    vendor: Callable[..., FaultServer], tmp_path: Path, sign: signal.Signals
) -> None:
    """Stopped while a rent is answered, even twice, its token is on the screen and written down."""
    write_jobs(tmp_path, 1)
    server = vendor(Vendor({1: after(0.5, rented(1))}, state=1))
    with batch(server.base_url) as process:
        until(lambda: server.count("rent") == 1)
        process.send_signal(sign)
        time.sleep(0.1)
        process.send_signal(sign)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "job1: rented. Token: tok-1" in err
    assert states_of(tmp_path / "out", "job1") == ["renting", "paid"]
    assert KEY not in err


@posix_only
def test_what_was_not_sent_is_not_in_doubt(
    vendor: Callable[..., FaultServer], tmp_path: Path
) -> None:
    """Jobs that Ctrl-C kept from being sent are written down as not rented."""
    write_jobs(tmp_path, 1, 2, 3)
    slow = Vendor({n: after(0.3, vendor_error(90, "", 429)) for n in (1, 2, 3)})
    server = vendor(slow)
    with batch(server.base_url) as process:
        until(lambda: server.count("rent") >= 3)
        time.sleep(0.45)  # refused, and waiting to be sent again
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert {states_of(tmp_path / "out", f"job{n}")[-1] for n in (1, 2, 3)} == {"not_rented"}


@posix_only
def test_an_outcome_that_is_lost_is_told_with_how_to_settle_it(
    vendor: Callable[..., FaultServer], tmp_path: Path
) -> None:
    """A rent whose answer is lost ends with 1, and with what to type when it is known."""
    write_jobs(tmp_path, 1)
    server = vendor(Vendor({1: close_within_body(b'{"success": true, "token": "tok-1"}')}))
    with batch(server.base_url) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "1 perhaps paid for" in out
    assert "smspartner batch resolve job1 --not-charged --out out" in err
    assert states_of(tmp_path / "out", "job1") == ["renting", "unknown"]


@posix_only
def test_killed_while_it_rented_a_job_is_in_doubt(
    vendor: Callable[..., FaultServer], shell: Shell, tmp_path: Path
) -> None:
    """After kill -9 before the answer came, the job is not rented again; the others are."""
    write_jobs(tmp_path, 1)
    server = vendor(Vendor({1: after(30, rented(1))}))
    with batch(server.base_url) as process:
        until(lambda: server.count("rent") == 1)
        process.kill()
    write_jobs(tmp_path, 1, 2)
    result = run(shell, "--yes")
    assert result.exit_code == 1
    assert "may have been paid for" in result.stderr
    assert shell.sandbox.requests["rent"] == 1
    assert states_of(tmp_path / "out", "job1") == ["renting"]


@posix_only
def test_killed_again_and_again_nothing_is_paid_twice(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """Killed at random moments and gone on with, each job is paid once, and ends with its file.

    Only a file that was on its way at that moment may be lost: then the vendor refuses it, and
    the job is told as paid for.
    """
    shell = make_shell(speed=1e6)
    chance = random.Random(3)
    numbers = range(1, 9)
    write_jobs(tmp_path, *numbers)
    out = tmp_path / "out"
    for _ in range(5):
        with batch(shell.sandbox.base_url) as process:
            end = count_lines(out) + chance.randint(1, 6)
            until(lambda end=end, p=process: p.poll() is not None or count_lines(out) >= end)  # type: ignore[misc]
            time.sleep(chance.random() * 0.01)
            process.kill()
        check_every_charge_is_known(shell, out)
        settle_as_a_person(shell, out, numbers)
    result = run(shell, "--yes")
    assert sorted(int(r.parameters["interest"]) for r in shell.sandbox.rentals) == [*numbers]
    for n in numbers:
        path = out / f"job{n}.csv"
        if path.exists():
            assert path.read_text().count(NUMBER) == 20
        else:
            assert f"job{n}: The file of rental " in result.stderr


def count_lines(folder: Path) -> int:
    path = folder / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def check_every_charge_is_known(shell: Shell, out: Path) -> None:
    """See that each charge has its token in the results, or that its job is in doubt."""
    with Results(out / "results.jsonl") as results:
        tokens = {known.token for known in results.known.values()}
        doubts = {job for job, known in results.known.items() if known.is_unknown}
    for rental in shell.sandbox.rentals:
        assert rental.token in tokens or f"job{rental.parameters['interest']}" in doubts


def settle_as_a_person(shell: Shell, out: Path, numbers: range) -> None:
    """Look at the vendor's list of rentals, and settle what is in doubt."""
    charged = {f"job{r.parameters['interest']}": r.token for r in shell.sandbox.rentals}
    with Results(out / "results.jsonl") as results:
        for job in (f"job{n}" for n in numbers):
            if results.of(job).is_unknown:
                found = charged.get(job)
                results.add(Line.PAID if found else Line.NOT_RENTED, job, token=found)
