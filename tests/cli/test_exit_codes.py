"""Exit codes, and the one document that `--json` writes, of errors too."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from shell import BEAUVAIS, COMMAND, WOMEN, Shell, spawn

from smspartner_async import (
    Rental,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    Targeting,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async.cli import _display
from smspartner_async.cli._exit_codes import MONEY, ExitCode, exit_code_of, gravest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNKNOWN = RentOutcomeUnknownError(
    targeting=Targeting(gender="mixed", min_age=25, max_age=35, interest=12),
    volumes=None,
    sent_at=datetime(2026, 1, 2, tzinfo=UTC),
    cause=TransportError("The connection broke.", maybe_sent=True),
)


def test_the_gravest_is_what_says_most_about_the_money() -> None:
    """Of several codes the order is 4, 3, 130, 2, 1, 0; each but 0 has a sentence."""
    order = [ExitCode(code) for code in (4, 3, 130, 2, 1, 0)]
    for graver, lighter in pairwise(order):
        assert gravest(lighter, graver) is gravest(graver, lighter) is graver
    assert {*MONEY} == {*order[:-1]}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UNKNOWN, 4),
        (WaitTimeoutError(token="tok", last_status=None, elapsed=1.0, attempts=1), 3),
        (TransportError("No route.", maybe_sent=False), 1),
        (FileNotFoundError("no"), 1),
    ],
)
def test_an_error_has_the_code_of_what_it_means_for_the_money(error: Exception, code: int) -> None:
    """4 may have been paid, 3 is paid and has no file, 1 is neither; a known token makes it 3."""
    assert exit_code_of(error) == code
    assert exit_code_of(error, "tok") == max(code, 3)


def document(shell: Shell, *arguments: str, code: int) -> Any:
    """Run a command with `--json`; return the one document on its stdout."""
    result = shell.run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "name"),
    [
        (("status", "no-such-token"), 1, "RentalNotFoundError"),
        (("wait", "no-such-token"), 1, "RentalNotFoundError"),
        (("rent", *WOMEN, "--max-age", "17", "--yes"), 1, "TargetingError"),
        (("rent", *BEAUVAIS, "--yes", "--max-total", "0.01"), 1, "PriceExceededError"),
        (("status",), 2, "MissingParameter"),
        (("credits", "--no-such-option"), 2, "NoSuchOption"),
        (("batch", "status"), 2, "BadParameter"),
        (("batch", "status", "--out", "nowhere"), 1, "SMSPartnerError"),
        (("batch", "run", "no.csv", "--out", "out"), 1, "FileNotFoundError"),
    ],
)
def test_an_error_is_one_document(
    shell: Shell, arguments: tuple[str, ...], code: int, name: str
) -> None:
    """With `--json` an error is a document: class, message, token, and what it means for money."""
    error = document(shell, *arguments, code=code)["error"]
    token = arguments[1] if arguments[0] == "wait" else None
    assert (error["class"], error["exit_code"], error["token"]) == (name, code, token)
    assert error["message"]
    assert error["money"] == MONEY[ExitCode(code)]


def test_a_paid_rental_without_a_file_is_named_in_the_document(
    make_shell: Callable[..., Shell],
) -> None:
    """A wait that ends without a file has the token in its document, and the code 3."""
    shell = make_shell(speed=0.001)
    token = shell.rent()
    error = document(shell, "wait", token, "--timeout", "0", code=3)["error"]
    assert (error["class"], error["token"]) == ("WaitTimeoutError", token)


@pytest.mark.parametrize("ended", [KeyboardInterrupt(), RuntimeError("a defect")])
def test_a_rent_that_ends_after_its_token_came_is_one_document(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, ended: BaseException
) -> None:
    """Interrupted, or stopped by a defect, the document of `rent` holds the token; code 3."""

    async def rent(*_: Any, on_rented: Callable[[Rental], None], **__: Any) -> None:
        on_rented(Rental(token="paid-for"))
        raise ended

    monkeypatch.setattr(SMSPartnerClient, "rent", rent)
    error = document(shell, "rent", *BEAUVAIS, "--yes", code=3)["error"]
    assert error["token"] == "paid-for"


def test_a_defect_during_a_rent_may_have_paid(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw is 4 once a rent may have been sent, and 1 where nothing can be paid."""

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(SMSPartnerClient, "rent", broken)
    monkeypatch.setattr(SMSPartnerClient, "credits", broken)
    assert document(shell, "rent", *BEAUVAIS, "--yes", code=4)["error"]["class"] == "RuntimeError"
    assert document(shell, "credits", code=1)["error"]["class"] == "RuntimeError"


@contextmanager
def taking_nothing(how: str) -> Iterator[int]:
    """Open what a process can write to, and what fails when it does."""
    if how == "disk full":
        ours = os.open("/dev/full", os.O_WRONLY)
    else:
        gone, ours = os.pipe()
        os.close(gone)
    yield ours
    os.close(ours)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")
@pytest.mark.parametrize("how", ["disk full", "reader gone"])
@pytest.mark.parametrize("json", [(), ("--json",)])
@pytest.mark.parametrize("both", [False, True])
def test_outputs_that_take_nothing_hide_no_payment(
    shell: Shell, tmp_path: Path, how: str, json: tuple[str, ...], *, both: bool
) -> None:
    """A rent whose output cannot be written ends with 3; its token is on stderr, or in a file."""
    with taking_nothing(how) as nowhere:
        stderr = nowhere if both else subprocess.PIPE
        words = ("-m", COMMAND, "rent", *BEAUVAIS, "--yes", *json)
        process = spawn(*words, env=shell.variables, stdout=nowhere, stderr=stderr, cwd=tmp_path)
        _, said = process.communicate(timeout=120)
    kept = said or next(tmp_path.glob("smspartner-rental-*.json")).read_text()
    [rental] = shell.sandbox.rentals
    assert rental.token in kept
    assert "Traceback" not in kept
    assert process.returncode == 3


def test_a_download_whose_output_takes_nothing_has_its_file(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is left of a download then is the end of the command: 1, since its file is here."""
    token = shell.rent()
    shell.run("wait", token)

    def gone(*_: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(_display.Display, "show", gone)
    result = shell.run("download", token, str(tmp_path / "contacts.csv"))
    assert (tmp_path / "contacts.csv").exists()
    assert (result.exit_code, result.stderr) == (1, "")
