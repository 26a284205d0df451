"""On a terminal: questions, live lines and bars, and the cursor given back."""

import io
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from rich.console import Console
from shell import BEAUVAIS, ESCAPE, Shell, on_terminal, posix_only

from smspartner_async import PollEvent, RentalState, RentalStatus, SMSPartnerError
from smspartner_async.cli import _display


@posix_only
def test_wait_on_a_terminal_is_live_until_interrupted(make_shell: Callable[..., Shell]) -> None:
    """On a terminal `wait` is live; Ctrl-C gives the cursor back and says how to continue."""
    shell = make_shell(speed=0.001)
    token = shell.rent()
    code, screen = on_terminal(shell, "wait", token, react={"next check in": b"\x03"})
    assert code == 3
    assert re.search(r"0 requested, 0:00 elapsed, next check in \d s", screen)
    assert f"smspartner wait {token}" in screen
    assert screen.rindex(f"{ESCAPE}[?25h") > screen.rindex(f"{ESCAPE}[?25l")


@posix_only
def test_rent_on_a_terminal_asks(shell: Shell) -> None:
    """On a terminal `rent` asks, and an answer of yes spends the money."""
    code, screen = on_terminal(shell, "rent", *BEAUVAIS, react={"[y/N]": b"y\n"})
    assert code == 0
    assert f"Token: {shell.sandbox.rentals[0].token}" in screen
    assert shell.sandbox.paid == Decimal("1.80")


@pytest.mark.parametrize(
    ("code_page", "frames"), [("utf-8", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"), ("cp437", "-\\|/"), ("cp850", "-\\|/")]
)
def test_a_live_line_is_made_of_what_the_terminal_can_show(code_page: str, frames: str) -> None:
    """A code page without braille, as Windows' consoles may have, sees a line that turns."""
    console = Console(file=io.TextIOWrapper(io.BytesIO(), code_page))
    assert "".join(_display._Wait(console)._spinner.frames) == frames
    frames.encode(code_page)


def event(
    state: RentalState | None, *, error: SMSPartnerError | None = None, delay: float | None = 7.5
) -> PollEvent:
    status = None if state is None else RentalStatus(token="token", state=state)
    return PollEvent(
        token="token", attempt=1, elapsed=0.0, status=status, error=error, next_delay=delay
    )


def test_live_line_shows_state_time_and_next_check(
    terminal: tuple[_display.Display, io.StringIO],
) -> None:
    """The live line shows state, time elapsed, and seconds to the next check, in 80 columns."""
    display, screen = terminal
    clock = [100.0]
    wait = _display._Wait(display._err, lambda: clock[0])
    assert line(wait) == "asking, 0:00 elapsed, checking now"
    clock[0] += 3725
    wait.heard(event(RentalState.GENERATING))
    clock[0] += 1
    assert line(wait) == "1 generating, 1:02:06 elapsed, next check in 7 s"
    clock[0] += 9
    assert line(wait) == "1 generating, 1:02:15 elapsed, checking now"
    wait.heard(event(RentalState.UNKNOWN, delay=None))
    assert line(wait) == "unknown, 1:02:15 elapsed, checking now"
    assert "1:02:05  1 generating" in screen.getvalue()


def line(wait: _display._Wait) -> str:
    text = wait.__rich__().text
    assert text is not None
    return str(text)


def test_trouble_of_a_wait_is_shown_once(terminal: tuple[_display.Display, io.StringIO]) -> None:
    """Checks that fail for one reason show it once; after a good check it is shown again."""
    display, screen = terminal
    trouble = SMSPartnerError("The line is down.")
    with display.waiting() as heard:
        for failed in (True, True, False, True):
            heard(event(None, error=trouble) if failed else event(RentalState.REQUESTED))
    assert screen.getvalue().count("check failed: The line is down.") == 2


def test_download_bar(terminal: tuple[_display.Display, io.StringIO]) -> None:
    """On a terminal a download shows a bar with what came and what will."""
    display, screen = terminal
    with display.downloading() as progress:
        progress(500, None)
        progress(1_000, 2_000)
    assert "Downloading" in screen.getvalue()
    assert "1.0/2.0 kB" in screen.getvalue()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_nothing_moves_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """NO_COLOR, or a terminal that cannot, gives plain lines instead of live ones."""
    monkeypatch.setenv(name, value)
    screen = io.StringIO()
    display = _display.Display()
    display._err = Console(file=screen, force_terminal=True, stderr=True)
    with display.waiting() as heard, display.downloading() as progress:
        heard(event(RentalState.REQUESTED))
        progress(1, None)
    assert screen.getvalue() == "   0:00  0 requested\n"


def test_errors_on_a_terminal_break_between_words(
    terminal: tuple[_display.Display, io.StringIO],
) -> None:
    """On a terminal a long error is broken between words."""
    display, screen = terminal
    display.error(SMSPartnerError("word " * 40))
    assert max(map(len, screen.getvalue().splitlines())) <= 80 + len(f"{ESCAPE}[1;31m{ESCAPE}[0m")
