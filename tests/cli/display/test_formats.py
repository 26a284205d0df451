"""`smspartner rent`: nothing is spent without a yes, and nothing that was bought is lost."""

import asyncio
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console
from shell import BEAUVAIS, WOMEN, Shell

from smspartner_async import (
    Cost,
    Quote,
    Rental,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    Targeting,
    TransportError,
)

TARGETING = Targeting(gender="female", min_age=25, max_age=40, interest=12)


def test_rent_asks_and_rents_on_yes(shell: Shell, at_terminal: None) -> None:
    """`rent` shows the price, asks on stderr, and rents when the answer is yes."""
    result = shell.run("rent", *BEAUVAIS, typed="y\n")
    assert result.exit_code == 0
    assert "Rent these contacts for 1.80? [y/N]" in result.stderr
    assert "[y/N]" not in result.stdout
    assert shell.sandbox.paid == Decimal("1.80")


@pytest.mark.parametrize("answer", ["n\n", "\n", "perhaps\n", ""])
def test_rent_takes_anything_but_yes_as_no(shell: Shell, at_terminal: None, answer: str) -> None:
    """`rent` spends nothing, and ends with 1, unless the answer is yes."""
    result = shell.run("rent", *BEAUVAIS, typed=answer)
    assert result.exit_code == 1
    assert "Nothing was rented." in result.stderr
    assert shell.sandbox.requests["rent"] == 0


def test_rent_never_costs_more_than_what_was_agreed(
    shell: Shell, at_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A price that has risen since the question was answered is refused."""
    quote = Quote(operation="price", cost=Cost(total=Decimal("1.00")))
    real = SMSPartnerClient.price
    monkeypatch.setattr(SMSPartnerClient, "price", first_then(quote, real))
    result = shell.run("rent", *BEAUVAIS, typed="y\n")
    assert result.exit_code == 1
    assert "The price is 1.80; the limit is 1.00" in result.stderr
    assert shell.sandbox.requests["rent"] == 0


def first_then(quote: Quote, real: Callable[..., Any]) -> Callable[..., Any]:
    quotes = iter([quote])

    async def price(client: SMSPartnerClient, *arguments: Any) -> Quote:
        known = next(quotes, None)
        return known if known is not None else await real(client, *arguments)

    return price


def test_rent_asks_also_without_a_price(
    shell: Shell, at_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the vendor gives no price, the question says so."""
    empty_quote = Quote(operation="price")
    monkeypatch.setattr(SMSPartnerClient, "price", first_then(empty_quote, lambda: None))
    result = shell.run("rent", *BEAUVAIS, typed="yes\n")
    assert result.exit_code == 0
    assert "The vendor gave no price. Rent all the same?" in result.stderr


def test_rent_without_a_terminal_refuses(shell: Shell) -> None:
    """Without a terminal and without `--yes`, `rent` asks the vendor for nothing at all."""
    result = shell.run("rent", *BEAUVAIS, typed="y\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: renting costs money")
    assert "--yes" in result.stderr
    assert not shell.sandbox.requests


@pytest.mark.parametrize("options", [("--yes",), ()])
def test_max_total_refuses_a_higher_price(
    shell: Shell, at_terminal: None, options: tuple[str, ...]
) -> None:
    """`--max-total` refuses a higher price, with and without a question, before any is asked."""
    result = shell.run("rent", *BEAUVAIS, "--max-total", "1.79", *options, typed="y\n")
    assert result.exit_code == 1
    assert "the limit is 1.79" in result.stderr
    assert "[y/N]" not in result.stderr
    assert shell.sandbox.requests["rent"] == 0


def test_max_total_allows_the_price_itself(shell: Shell) -> None:
    """`--max-total` lets a price through that is not above it."""
    assert shell.run("rent", *BEAUVAIS, "--max-total", "1.80", "--yes").exit_code == 0


@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "ten"])
def test_max_total_must_be_an_amount(shell: Shell, amount: str) -> None:
    """A `--max-total` that is no amount is a usage error, and nothing is sent."""
    result = shell.run("rent", *BEAUVAIS, "--yes", f"--max-total={amount}")
    assert result.exit_code == 2
    assert not shell.sandbox.requests


@pytest.mark.parametrize("option", ["--volume", "--zipcode", "--department"])
def test_an_option_left_empty_does_not_mean_all(shell: Shell, option: str) -> None:
    """Bad input: an area or volume of an unset variable is refused, and never rents everything."""
    result = shell.run("rent", *WOMEN, option, ",", option, "", "--yes")
    assert result.exit_code == 1
    assert f"  {option}: is empty; leave it out to " in result.stderr
    assert not shell.sandbox.requests


def test_interrupted_rent_still_prints_the_token(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rent that is interrupted, even twice, prints its token on both outputs and ends with 3."""

    async def slow(*_: Any, on_rented: Callable[[Rental], None], **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            signal.raise_signal(signal.SIGINT)
            on_rented(Rental(token="paid-for"))
            raise

    monkeypatch.setattr(SMSPartnerClient, "rent", slow)
    before = signal.getsignal(signal.SIGINT)
    result = shell.run("rent", *BEAUVAIS, "--yes")
    assert result.exit_code == 3
    assert "Rented. Token: paid-for" in result.stderr
    assert "Token     paid-for" in result.stdout
    assert result.stderr.count("Stopping;") == 1
    assert signal.getsignal(signal.SIGINT) is before


UNKNOWN_OUTCOME = RentOutcomeUnknownError(
    targeting=TARGETING,
    volumes=None,
    sent_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    cause=TransportError("The connection broke.", maybe_sent=True),
)


def test_unknown_outcome_says_what_to_check(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rent whose outcome is unknown says when it was, and what to check before the next."""

    async def lost(*_: Any, **__: Any) -> None:
        raise UNKNOWN_OUTCOME

    monkeypatch.setattr(SMSPartnerClient, "rent", lost)
    result = shell.run("rent", *BEAUVAIS, "--yes")
    assert result.exit_code == 4
    assert "2026-01-02 03:04:05 UTC may have been charged" in result.stderr
    assert "is the balance lower (smspartner credits)?" in result.stderr
    assert "web interface" in result.stderr
    assert "credits()" not in result.stderr


def test_interrupted_rent_reports_an_unknown_outcome(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rent that is interrupted and whose outcome is unknown says so before it ends with 4."""

    async def lost(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError from UNKNOWN_OUTCOME

    monkeypatch.setattr(SMSPartnerClient, "rent", lost)
    result = shell.run("rent", *BEAUVAIS, "--yes")
    assert result.exit_code == 4
    assert "may have been charged" in result.stderr


def test_interrupt_at_the_question_rents_nothing(
    shell: Shell, at_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the question says that nothing was rented, and ends with 130."""

    def interrupted(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Console, "input", interrupted)
    result = shell.run("rent", *BEAUVAIS)
    assert result.exit_code == 130
    assert "Nothing was rented." in result.stderr
    assert shell.sandbox.requests["rent"] == 0


@pytest.mark.usefixtures("at_terminal")
def test_what_a_quote_leaves_open_is_noted_before_the_money_is_spent(shell: Shell) -> None:
    """`price`, and the question of `rent`, show that 20 contacts have become 9,000."""
    note = "Note      The volumes ask for 20 contacts, but the quote is for 9,000."
    assert note in shell.run("price", *WOMEN, "--volume", "60200=20").stdout
    result = shell.run("rent", *WOMEN, "--volume", "60200=20", typed="n\n")
    assert note in result.stderr
    assert "60200: not among the targeted areas." in result.stderr
    assert shell.sandbox.requests["rent"] == 0
