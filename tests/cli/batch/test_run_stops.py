"""`smspartner batch run`, stopped: by Ctrl-C, by SIGTERM, by kill -9, and continued."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from batches import Vendor, after, rented
from fault_server import FaultServer
from faults import close_within_body, json_reply, vendor_error
from shell import ESCAPE, KEY, NUMBER, Shell, on_terminal, posix_only, running
from sqlite_trouble import FULL, READ_ONLY, refusing

from .test_run import QUICKLY, run, stand_of, write_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from fault_server import Received, Reply

pytest.importorskip("dbos")

from smspartner_async.cli._batch import prompts
from smspartner_async.durable import JobState, Store

RUN = ("batch", "run", "jobs.csv", "--out", "out", *QUICKLY, "--yes")
pytestmark = posix_only


@pytest.fixture(autouse=True)
def _in_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def batch(url: str, *options: str) -> AbstractContextManager[Any]:
    """Run the batch in a separate process, which does not outlive the block."""
    environment = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": url}
    return running(*RUN, *options, env=environment)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def stop_when_paid(shell: Shell, rents: int) -> None:
    """Send Ctrl-C to this process when so many rentals are paid and polled."""
    until(lambda: shell.sandbox.requests["rent"] >= rents and shell.sandbox.requests["status"] > 1)
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_shows_every_token_and_how_to_continue(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """After Ctrl-C all tokens are on the screen, and the same line continues without paying.

    The exit code says that something is paid and has no file.
    """
    shell = make_shell(speed=0.001)
    write_jobs(tmp_path, *range(1, 9))
    code, screen = on_terminal(shell, *RUN, react={"14.40 of 14.40": b"\x03"})
    assert code == 3
    for rental in shell.sandbox.rentals:
        assert f"token {rental.token}" in screen
    assert "being made by the vendor" in screen
    plain = re.sub(rf"{ESCAPE}\[[0-9;?]*[A-Za-z]", "", screen)
    assert plain.rpartition("type again:")[2].partition("Jobs ")[0].split() == ["smspartner", *RUN]
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


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_rents_in_flight_are_allowed_to_finish(
    vendor: Callable[..., FaultServer], shell: Shell, tmp_path: Path, sign: signal.Signals
) -> None:
    """Stopped while a rent is answered, even twice, its token is on the screen and in the store."""
    write_jobs(tmp_path, 1)
    server = vendor(Vendor({1: after(0.5, rented(1))}, state=1))
    with batch(server.base_url) as process:
        until(lambda: server.count("rent") == 1)
        process.send_signal(sign)
        time.sleep(0.1)
        process.send_signal(sign)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "job1  token tok-1" in err
    assert stand_of(shell)["job1"]["token"] == "tok-1"
    assert KEY not in err


def test_what_was_not_sent_is_not_in_doubt(
    vendor: Callable[..., FaultServer], shell: Shell, tmp_path: Path
) -> None:
    """Jobs that Ctrl-C kept from being sent again after a refusal are neither paid nor in doubt."""
    write_jobs(tmp_path, 1, 2, 3)
    slow = Vendor({n: after(0.3, vendor_error(90, "", 429)) for n in (1, 2, 3)})
    server = vendor(slow)
    with batch(server.base_url) as process:
        until(lambda: server.count("rent") >= 3)
        time.sleep(0.45)  # refused, and waiting to be sent again
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130
    assert {row["state"] for row in stand_of(shell).values()} == {"given_up"}
    assert run(shell, "--yes").exit_code == 0


@pytest.mark.parametrize("how", ["ctrl-c", "kill -9"])
def test_only_what_is_in_the_list_is_rented(
    vendor: Callable[..., FaultServer], shell: Shell, tmp_path: Path, how: str
) -> None:
    """What an interrupted run agreed to ends with it: rows taken out later are not rented.

    Nor is anything without a new agreement, and a lower --max-total holds for all that is left.
    """
    write_jobs(tmp_path, *range(1, 7))
    server = vendor(Vendor({n: after(1, rented(n)) for n in range(1, 7)}, state=1))
    with batch(server.base_url, "--concurrency", "1") as process:
        until(lambda: server.count("rent") == 1)
        process.send_signal(signal.SIGINT if how == "ctrl-c" else signal.SIGKILL)
        process.communicate(timeout=120)
    assert server.count("rent") == 1
    write_jobs(tmp_path, 1, 2, 3)
    for refused in ((), ("--max-total", "3.59", "--yes")):
        assert run(shell, *refused).exit_code == (3 if how == "ctrl-c" else 4)
    assert shell.sandbox.requests["rent"] == 0
    run(shell, "--yes", "--max-total", "3.60")
    assert paid_for(shell) == [2, 3]
    stand = stand_of(shell)
    assert {row["state"] for id, row in stand.items() if id in {"job4", "job5", "job6"}} == {  # noqa: A001
        "given_up"
    }


def test_an_outcome_that_is_lost_is_reported_with_how_to_settle_it(
    vendor: Callable[..., FaultServer], shell: Shell, tmp_path: Path
) -> None:
    """A rent whose answer is lost ends with 4, and with what to type when it is known."""
    write_jobs(tmp_path, 1)
    server = vendor(Vendor({1: close_within_body(b"{}")}))
    with batch(server.base_url) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 4
    assert "1 perhaps paid for" in out
    assert "smspartner batch resolve job1 --not-charged --out out" in err
    assert "credits()" not in err, "what is advised is for a shell"
    assert stand_of(shell)["job1"]["state"] == "needs_attention"


def test_a_signal_while_the_end_is_shown_changes_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command: how it ended stays so, and with `--json` there is one document, and no more."""
    write_jobs(tmp_path, 1)
    shown = prompts.show_end

    def interrupted(*args: Any, **more: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        shown(*args, **more)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(prompts, "show_end", interrupted)
    before = signal.getsignal(signal.SIGINT)
    result = run(shell, "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout)["done"]) == (0, 1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("name", ["show_interrupted", "show_lost", "show_end"])
def test_a_signal_while_a_stop_is_shown_changes_nothing(
    make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Stopped, and stopped again while that is shown: all tokens, the document, and a 3."""
    shell = make_shell(speed=0.001)
    write_jobs(tmp_path, 1, 2)
    shown = getattr(prompts, name)

    def interrupted(*args: Any, **more: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        shown(*args, **more)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(prompts, name, interrupted)
    threading.Thread(target=stop_when_paid, args=(shell, 2)).start()
    result = run(shell, "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout)["without_file"]) == (3, 2)
    for rental in shell.sandbox.rentals:
        assert f"token {rental.token}" in result.stderr


def test_killed_while_it_rented_a_job_is_in_doubt(
    vendor: Callable[..., FaultServer], shell: Shell, tmp_path: Path
) -> None:
    """After kill -9 before the answer came, the job is not rented again; the others are.

    `batch status` says so before the next run finds it out, and not while the run lives.
    """
    write_jobs(tmp_path, 1)
    server = vendor(Vendor({1: after(30, rented(1))}))
    with batch(server.base_url) as process:
        until(lambda: server.count("rent") == 1)
        assert "paid for" not in shell.run("batch", "status", "--out", "out").stderr
        process.kill()
    killed = shell.run("batch", "status", "--out", "out").stderr
    assert "1 job may have been paid for: the run was killed while it rented. Type" in killed
    write_jobs(tmp_path, 1, 2)
    result = run(shell, "--yes")
    assert result.exit_code == 4
    assert "may have been paid for" in result.stderr
    assert shell.sandbox.requests["rent"] == 1


def test_killed_again_and_again_nothing_is_paid_twice(
    make_shell: Callable[..., Shell], tmp_path: Path
) -> None:
    """Killed at random moments and continued, each job is paid once, and ends with its file.

    Only a file that was on its way at that moment may be lost: then the vendor refuses it, and
    the job is reported as paid for.
    """
    shell = make_shell(speed=1e6)
    chance = random.Random(3)
    numbers = [*range(1, 9)]
    write_jobs(tmp_path, *numbers)
    out = tmp_path / "out"
    for _ in range(4):
        with batch(shell.sandbox.base_url) as process:
            rents, lines = len(shell.sandbox.rentals), count_lines(out)
            more = chance.randint(1, 4)
            until(
                lambda rents=rents, lines=lines, more=more, process=process: (  # type: ignore[misc]
                    process.poll() is not None
                    or len(shell.sandbox.rentals) >= rents + more
                    or count_lines(out) >= lines + 2 * more
                )
            )
            time.sleep(chance.random() * 0.02)
            process.kill()
        assert paid_for(shell) == sorted({*paid_for(shell)})
    run(shell, "--yes")  # finds out what is in doubt since the last kill
    settle_as_a_person(shell, out / "batch.db")
    result = run(shell, "--yes")
    assert paid_for(shell) == numbers
    stand = stand_of(shell)
    assert {row["token"] for row in stand.values()} == {r.token for r in shell.sandbox.rentals}
    for n in numbers:
        path = out / f"job{n}.csv"
        if path.exists():
            assert path.read_text().count(NUMBER) == 20
        else:  # on its way when the process was killed, and served only once
            assert result.exit_code == 3
            assert f"job{n}: " in result.stderr


def count_lines(folder: Path) -> int:
    """Count the lines of the journals of a batch."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("batch.db.journal/*.jsonl"))


def paid_for(shell: Shell) -> list[int]:
    """Return the number of the job of each rental that the vendor charged."""
    return sorted(int(rental.parameters["interest"]) for rental in shell.sandbox.rentals)


def settle_as_a_person(shell: Shell, path: Path) -> None:
    """Look at the vendor's list of rentals, and settle what needs attention."""
    charged = {f"job{r.parameters['interest']}": r.token for r in shell.sandbox.rentals}

    async def settle() -> None:
        async with Store(f"sqlite:///{path}") as store:
            for record in await store.records(JobState.NEEDS_ATTENTION):
                if token := charged.get(record.id):
                    await store.resolve(record.id, token=token)
                else:
                    await store.resolve(record.id, not_charged=True)

    asyncio.run(settle())


@pytest.mark.parametrize("how", [READ_ONLY, FULL])
def test_a_store_that_cannot_be_written_any_more_ends_the_run_with_one_sentence(
    make_shell: Callable[..., Shell], tmp_path: Path, how: str
) -> None:
    """The run ends by itself, and the exit code says what is paid; typed again, it continues."""
    shell = make_shell(speed=0.001)
    write_jobs(tmp_path, *range(1, 13))
    with refusing(how) as broken:
        watched = threading.Thread(target=break_after_a_rent, args=(shell, broken))
        watched.start()
        result = run(shell, "--yes", "--concurrency", "2")
        watched.join()
    assert result.exit_code in {3, 4}, result.output
    assert re.search(r"^Error: .*What was paid stays known", result.stderr, re.MULTILINE)
    assert result.stderr.count("stays known") == 1, "one sentence, however many requests it fails"
    assert not re.search("again in|attempt [0-9]|cannot be stored", result.stderr)
    shell.sandbox._account._speed = 1e6
    run(shell, "--yes")
    settle_as_a_person(shell, tmp_path / "out" / "batch.db")
    assert run(shell, "--yes").exit_code == 0
    assert paid_for(shell) == [*range(1, 13)]


def break_after_a_rent(shell: Shell, broken: threading.Event) -> None:
    """Let the disk refuse once something is paid."""
    until(lambda: len(shell.sandbox.rentals) >= 3)
    broken.set()
