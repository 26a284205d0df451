"""What a command writes where: the result on stdout, and all talk and every question on stderr."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pytest
import typer

from smspartner_async import Cost, Credits, Quote, SMSPartnerError
from smspartner_async.cli._display import Display
from smspartner_async.cli._exit_codes import ExitCode

QUOTE = Quote(operation="price", cost=Cost(quantity=20, total=Decimal("1.80")))


def typed(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))


def test_a_result_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """What a pipe reads is the result; notes and commands to type go beside it."""
    display = Display()
    display.facts([("Token", "tok")])
    display.note("Rented.")
    display.command("smspartner wait tok")
    display.facts([("Balance", "10.00")], beside=True)
    out, err = capsys.readouterr()
    assert out == "Token     tok\n"
    assert err == "Rented.\n  smspartner wait tok\nBalance   10.00\n"


def test_a_yes_pays_and_the_question_shows_price_and_balance(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The price, the balance, and the question: all on stderr."""
    typed(monkeypatch, " YES \n")
    Display().confirm(QUOTE, Credits(balance=Decimal("10.5"), currency="EUR"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "Price     1.80 for 20 contacts\nBalance   10.50 EUR\n" in err
    assert "Rent these contacts for 1.80? [y/N]" in err


@pytest.mark.parametrize("answer", ["n\n", "\n", "yes please\n", ""])
@pytest.mark.parametrize("is_last", [True, False])
def test_anything_but_yes_is_no(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, *,
    is_last: bool,
) -> None:  # fmt: skip
    """A no ends the command with 1, and says so; programs get one document, if it is the last."""
    typed(monkeypatch, answer)
    with pytest.raises(typer.Exit) as caught:
        Display(as_json=True).ask("Go?", no="Nothing was rented.", is_last=is_last)
    out, err = capsys.readouterr()
    assert caught.value.exit_code == 1
    assert "Nothing was rented." in err
    expected = {
        "class": "SMSPartnerError",
        "message": "Nothing was rented.",
        "token": None,
        "exit_code": 1,
        "money": "This command has paid for nothing without its file, and left nothing in doubt.",
    }
    assert (json.loads(out)["error"] if out else None) == (expected if is_last else None)


def test_an_error_is_shown_and_is_the_one_document_of_a_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The token of a paid rental stands in it, though the error has none."""
    error = SMSPartnerError("The disk is full.")
    error.add_note("What arrived is kept in a.csv.part.")
    Display(as_json=True).error(error, ExitCode.PAID_WITHOUT_FILE, "tok")
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["token"] == "tok"
    assert json.loads(out)["error"]["exit_code"] == 3
    assert err == "Error: The disk is full.\n  What arrived is kept in a.csv.part.\n"


def test_of_many_the_first_ten_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Jobs that failed, and lines to type: the rest is counted."""
    display = Display()
    display.jobs_failed([(f"job-{n}", SMSPartnerError("Refused.")) for n in range(1, 13)])
    display.listed([f"line {n}" for n in range(1, 12)])
    display.listed(["only one"])
    err = capsys.readouterr().err
    assert "job-10: Refused.\n" in err
    assert "job-11" not in err
    assert "… and 2 more" in err.replace("...", "…")
    assert "line 10\n" in err
    assert "line 11" not in err
    assert err.endswith("  only one\n")


def test_tables_of_states_and_of_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """Their sums are those of all rows."""
    display = Display()
    stands: dict[str, dict[str, Any]] = {
        "done": {"jobs": 1000, "paid": Decimal("1.80"), "paid_unknown": 2},
        "needs_attention": {"jobs": 1, "paid": Decimal(0), "paid_unknown": 0},
    }
    display.states(stands, {"jobs": 1001, "paid": Decimal("1.80"), "paid_unknown": 2})
    display.codes([(4, "may be paid", "RentOutcomeUnknownError")])
    display.doubt([("Job", "a")], "Look first.", ["smspartner credits"], beside=False)
    display.define([("Means", "a sentence")])
    out = " ".join(capsys.readouterr().out.split())
    assert "needs attention │ 1 │ 0.00" in out
    assert "done │ 1,000 │ at least 1.80, and not known for 2 │" in out
    assert "All │ 1,001 │ at least 1.80, and not known for 2 │" in out
    assert "4 │ may be paid │ RentOutcomeUnknownError" in out
    assert "Job a Look first. smspartner credits Means a sentence" in out


def test_without_a_terminal_nothing_moves(capsys: pytest.CaptureFixture[str]) -> None:
    """What is counted is said once; nobody can be asked."""
    display = Display()
    for number in (1, 1200):
        with display.counting("Pricing", number) as count:
            count()
    assert capsys.readouterr().err == "Pricing 1 job.\nPricing 1,200 jobs.\n"
    assert not display.can_ask
    assert not display.is_live


def test_a_demonstration_is_one_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps and what is said about them stand between the results, on stdout."""
    display = Display(together=True)
    display.step("price(women)", "What it costs.")
    display.say("Nothing was paid.")
    out, err = capsys.readouterr()
    assert err == ""
    assert "await client.price(women)" in out
    assert out.endswith("What it costs.\nNothing was paid.\n")
