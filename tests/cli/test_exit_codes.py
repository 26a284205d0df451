"""Exit codes, and the one document that `--json` writes, of errors too."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from shell import BEAUVAIS, WOMEN, Shell

from smspartner_async import (
    Rental,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    Targeting,
    TransportError,
    WaitTimeoutError,
)
from smspartner_async.cli._exit_codes import MONEY, ExitCode, exit_code_of, gravest

if TYPE_CHECKING:
    from collections.abc import Callable

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
