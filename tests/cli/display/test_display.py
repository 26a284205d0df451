"""How results are written: money, text that nobody vouches for, and facts that are missing."""

import io
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from shell import ESCAPE

from smspartner_async import (
    AccessDeniedError,
    APIError,
    AreaVolume,
    AuthenticationError,
    ContactFile,
    Cost,
    Credits,
    DownloadInterruptedError,
    FileNotReadyError,
    InsufficientCreditError,
    InvalidRequestError,
    PriceExceededError,
    Quote,
    RateLimitError,
    Rental,
    RentalFailedError,
    RentalNotFoundError,
    RentalState,
    RentalStatus,
    ResponseError,
    SMSPartnerError,
    Targeting,
    WaitTimeoutError,
)
from smspartner_async._validation import checked_token
from smspartner_async.cli import _display, _formats


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("0.900", "0.90"),
        ("2.52", "2.52"),
        ("0.0905", "0.0905"),
        ("10225.119", "10,225.119"),
        ("-5", "-5.00"),
        ("1E+3", "1,000.00"),
        ("1E+999999", "1E+999999"),
        ("1E-999999", "1E-999999"),
        ("NaN", "NaN"),
    ],
)
def test_money(amount: str, text: str) -> None:
    """Money has two decimals at least, all that it has, and never fills the screen."""
    assert _formats.money(Decimal(amount)) == text


def test_money_with_a_currency() -> None:
    """A currency stands behind its amount."""
    assert _formats.money(Decimal("1.5"), "EUR") == "1.50 EUR"


def test_nothing_of_the_vendor_reaches_the_terminal_raw(
    terminal: tuple[_display.Display, io.StringIO],
) -> None:
    """Escape sequences, markup and line ends in a reply are shown, and not obeyed."""
    display, screen = terminal
    evil = f"{ESCAPE}]0;evil\x07[red]:smile:\nnew line\x9b2J"
    results: tuple[_formats.Result, ...] = (
        Credits(balance=Decimal(1), currency=evil, username=evil),
        Quote(operation=evil, areas=(AreaVolume(type=evil, location=evil, volume=1),)),
        Rental(token=evil),
        RentalStatus(token=evil, state=RentalState.FAILED, message=evil),
    )
    for result in results:
        display.show(result)
    display.error(SMSPartnerError(evil))
    shown = screen.getvalue()
    assert f"{ESCAPE}]" not in shown
    assert "\x07" not in shown
    assert "\x9b" not in shown
    assert "[red]:smile: new line" in shown


def refused(call: Callable[..., object], *arguments: Any, **named: Any) -> Exception:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - its words are what is tested
        call(*arguments, **named)
    return refusal.value


REFUSALS = (
    APIError,
    AuthenticationError,
    AccessDeniedError,
    InvalidRequestError,
    InsufficientCreditError,
    RentalNotFoundError,
    FileNotReadyError,
    RateLimitError,
)


@pytest.mark.parametrize(
    "error",
    [
        *(refusal(code=1, message="", http_status=400, operation="rent") for refusal in REFUSALS),
        refused(checked_token, " "),
        refused(Targeting, gender="male", min_age=40, max_age=18),
        RentalFailedError(token="token"),
        PriceExceededError(quote=None, max_total=Decimal(1)),
        ResponseError("HTML", operation="rent", http_status=502),
        DownloadInterruptedError("It broke.", path=Path("x.part"), received=1),
        WaitTimeoutError(token="token", last_status=None, elapsed=1.0, attempts=1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_speak_of_commands(
    terminal: tuple[_display.Display, io.StringIO], error: Exception
) -> None:
    """An error says what to type, and not what to call."""
    display, screen = terminal
    display.error(error)
    assert not re.search(r"[a-z]\(|[a-z]_[a-z]|\w=", screen.getvalue())


def test_missing_facts_leave_no_holes(terminal: tuple[_display.Display, io.StringIO]) -> None:
    """Results in which the vendor sends little show what there is."""
    display, screen = terminal
    areas = (
        AreaVolume(type="zipcode", location="02200", volume=1, desired_volume=3),
        AreaVolume(type="zipcode", location="60200", volume=2),
    )
    display.show(Quote(operation="price", areas=areas, cost=Cost(quantity=5)))
    display.show(Quote(operation="price", total_volume=9000, cost=Cost()))
    display.show(Credits(balance=Decimal(1), sms=1200))
    display.show(ContactFile(path=Path("x.csv"), size=1, sha256="00", verified=False))
    shown = screen.getvalue()
    assert "Total" not in shown
    assert "not given for 5 contacts" in shown
    assert "9,000" in shown
    assert "1,200" in shown
    assert "not proven" in shown


def test_the_path_of_a_kept_file_is_shown_as_it_is(
    terminal: tuple[_display.Display, io.StringIO],
) -> None:
    """What stands in a path is no word of the client's: the path is there to copy."""
    display, screen = terminal
    path = Path("/data/base_url/max_total.csv.part")
    display.error(DownloadInterruptedError("gone.", path=path, received=1))
    assert "/data/base_url/max_total.csv.part" in screen.getvalue().replace("\n", "")
