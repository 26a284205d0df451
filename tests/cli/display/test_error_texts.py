"""What goes wrong: one clear line on stderr that says what to do, and the right exit code."""

import asyncio
import re
import shlex
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from shell import WOMEN, Shell

from smspartner_async import (
    FileNotReadyError,
    PollingPolicy,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    SMSPartnerError,
    Targeting,
    TransportError,
)
from smspartner_async._error_codes import CODE_ADVICE
from smspartner_async._operations.disk_errors import OVERWRITE_ADVICE
from smspartner_async._validation import KEY_ADVICE, RENT_ADVICE
from smspartner_async.cli import _app, _display, _explain
from smspartner_async.cli._error_texts import advice_to_type, explained


def test_every_problem_of_a_targeting_is_named(shell: Shell) -> None:
    """A wrong targeting names every wrong option at once, by its name on the command line."""
    result = shell.run(
        *("price", "--gender", "robot", "--min-age", "12", "--max-age", "120"),
        *("--category", "csp", "--department", "9,100", "--zipcode", "1", "--volume", "60200=0"),
    )
    assert result.exit_code == 1
    assert result.stdout == ""
    named = re.findall(r"^  (--[a-z-]+): ", result.stderr, re.MULTILINE)
    wrong = ("gender", "category", "min-age", "max-age", "interest", "zipcode", "volume")
    assert sorted(named) == sorted(f"--{name}" for name in (*wrong, "department", "department"))
    assert not shell.sandbox.requests


@pytest.mark.parametrize(
    ("volume", "problem"),
    [
        ("60200", "'60200' is not of the form 60200=20"),
        ("60200=many", "'60200=many' is not of the form 60200=20"),
        ("60200=1,60200=2", "60200 is given twice"),
        ("Lille=2", "'Lille' is neither a post code nor a department"),
    ],
)
def test_wrong_volumes_are_named(shell: Shell, volume: str, problem: str) -> None:
    """A volume that cannot be right is named, and nothing is sent."""
    result = shell.run("price", *WOMEN, "--volume", volume)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 2)
    assert f"--volume: {problem}" in result.stderr
    assert not shell.sandbox.requests


def test_wrong_key_is_one_line(shell: Shell) -> None:
    """A wrong key gives one line that names its variable and does not show it."""
    wrong = "wrong-key-that-nobody-may-see"
    result = shell.run("credits", env={"SMSPARTNER_API_KEY": wrong})
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "SMSPARTNER_API_KEY" in result.stderr
    assert wrong not in result.output


def test_missing_key_says_where_it_comes_from(shell: Shell) -> None:
    """Without a key, the error names the variable that it is read from."""
    result = shell.run("credits", env={"SMSPARTNER_API_KEY": None})
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: There is no API key. Set SMSPARTNER_API_KEY in the environment.\n"
    )


def test_key_cannot_be_an_argument(shell: Shell) -> None:
    """No option takes the key, and the help says why."""
    assert shell.run("--api-key", "key", "credits").exit_code == 2
    help_text = " ".join(shell.run("--help").output.split())
    assert "SMSPARTNER_API_KEY and nowhere else" in help_text
    assert "process list" in help_text


def test_unsafe_base_url_is_refused(shell: Shell) -> None:
    """`--base-url` without TLS to another machine is refused before the key goes there."""
    result = shell.run("--base-url", "http://example.com/v1", "credits")
    assert result.exit_code == 1
    assert "The base URL must begin with https://" in result.stderr


def test_base_url_option_goes_before_the_environment(shell: Shell) -> None:
    """`--base-url` on the command line wins over SMSPARTNER_BASE_URL."""
    result = shell.run(
        *("--base-url", shell.sandbox.base_url, "credits"),
        env={"SMSPARTNER_BASE_URL": "https://nowhere.invalid"},
    )
    assert result.exit_code == 0


def test_unreachable_server(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there gives one line, exit code 1, and nothing on stdout."""
    monkeypatch.setattr(asyncio, "sleep", lambda *_: real_sleep(0))
    result = shell.run("credits", env={"SMSPARTNER_BASE_URL": "http://127.0.0.1:9/v1"})
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: .+\n", result.stderr)


real_sleep = asyncio.sleep


@pytest.mark.parametrize("command", ["status", "wait", "download"])
def test_unknown_token(shell: Shell, tmp_path: Path, command: str) -> None:
    """A token that the vendor does not know gives one line that says to check it."""
    path = [str(tmp_path / "contacts.csv")] if command == "download" else []
    result = shell.run(command, "no-such-token", *path)
    assert result.exit_code == 1
    assert result.stderr.count("Check the token") == 1
    assert list(tmp_path.glob("*.csv")) == []


def test_second_download(shell: Shell, tmp_path: Path) -> None:
    """A second download says that the file was downloaded before, and ends with 3."""
    token = shell.rent()
    shell.run("wait", token)
    shell.run("download", token, str(tmp_path / "first.csv"))
    result = shell.run("download", token, str(tmp_path / "second.csv"))
    assert result.exit_code == 3
    assert "downloaded before" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["first.csv"]


def test_failed_rental(make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait` for a rental that fails ends with 1 and names the token."""
    monkeypatch.setattr(_app, "_POLLING", PollingPolicy(first_interval=0.02, max_interval=0.02))
    shell = make_shell(fail_every=1)
    token = shell.rent()
    result = shell.run("wait", token)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "3 failed" in result.stderr
    assert f"Rental {token} failed" in result.stderr


def test_wait_timeout_says_how_to_continue(make_shell: Callable[..., Shell]) -> None:
    """A wait that runs out of time ends with 3, and prints the command that continues it."""
    shell = make_shell(speed=0.001)
    token = shell.rent()
    result = shell.run("wait", token, "--timeout", "0")
    assert result.exit_code == 3
    assert f"Rental {token} was not ready after" in result.stderr
    assert f"wait again with: smspartner wait {token}\n" in result.stderr
    assert "(last seen: 0 requested)" in result.stderr
    assert "wait_until_ready" not in result.stderr


def test_the_advice_of_every_error_is_one_to_type() -> None:
    """No advice names what a program calls or passes: neither a class's, nor a code's."""
    advice = [
        *(cls.advice for cls in _explain.names().values()),
        *CODE_ADVICE.values(),
        KEY_ADVICE,
        RENT_ADVICE,
        OVERWRITE_ADVICE,
    ]
    typed = [advice_to_type(text) for text in advice]
    assert [text for text in typed if re.search(r"[a-z]\(|[a-z]_[a-z]|\w=", text)] == []


def test_what_an_error_quotes_is_left_as_it_is() -> None:
    """The vendor's words may be those of an advice; only the advice itself has a form to type."""
    words = "rent() pass overwrite=True download() base_url"
    error = FileNotReadyError(code=35, message=words, http_status=200, operation="download")
    (line,) = explained(error)
    assert words in line
    assert line.endswith("Wait with `smspartner wait`, and try again.")


@pytest.mark.parametrize("seen", [None, "odd token"])
def test_a_rent_in_doubt_says_what_to_check(seen: str | None) -> None:
    """With something like a token in the reply, that is asked about; else the balance is read."""
    error = RentOutcomeUnknownError(
        targeting=Targeting(gender="mixed", min_age=18, max_age=98, interest=12),
        volumes=None,
        sent_at=datetime(2026, 11, 29, 21, 30, tzinfo=UTC),
        cause=TransportError("It broke off.", maybe_sent=True),
        seen_token=seen,
    )
    what, *checks = explained(error)
    assert what.endswith("It broke off. It is not sent again.")
    if seen is None:
        assert ["smspartner credits" in checks[0], len(checks)] == [True, 2]
    else:
        (check,) = checks
        assert check.endswith("smspartner status 'odd token'")


def test_notes_of_an_error_are_shown(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note of an error, such as where a file is kept, is shown below it."""

    async def broken(*_: Any) -> None:
        error = SMSPartnerError()
        error.add_note("What came is kept in\ncontacts.csv.part.")
        raise error

    monkeypatch.setattr(SMSPartnerClient, "credits", broken)
    result = shell.run("credits")
    assert result.stderr == "Error: SMSPartnerError\n  What came is kept in contacts.csv.part.\n"


def test_error_of_the_system(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system is one line in its words, with the file that it is about."""

    async def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "contacts.csv")

    monkeypatch.setattr(SMSPartnerClient, "credits", full)
    assert shell.run("credits").stderr == "Error: No space left on device: contacts.csv\n"


def test_closed_pipe_is_silent(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who has gone ends the command without an error message."""

    def gone(*_: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(_display.Display, "show", gone)
    result = shell.run("credits")
    assert result.exit_code == 1
    assert result.stderr == ""


def test_interrupted_download_says_what_is_kept(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C in a download says where the part is that arrived, and ends with 3."""

    async def slow(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as error:
            error.add_note("What arrived of the file is kept in contacts.csv.part.")
            raise

    monkeypatch.setattr(SMSPartnerClient, "download", slow)
    result = shell.run("download", "token", str(tmp_path / "contacts.csv"))
    assert result.exit_code == 3
    assert "kept in contacts.csv.part" in result.stderr
    assert "Interrupted." in result.stderr


def test_interrupted_wait_says_how_to_continue(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in `wait` prints the command that continues it, quoted, and ends with 3."""

    async def slow(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(10)

    monkeypatch.setattr(SMSPartnerClient, "wait_until_ready", slow)
    result = shell.run("wait", "odd token")
    assert result.exit_code == 3
    assert "smspartner wait 'odd token'\n" in result.stderr
    elsewhere = ("--base-url", shell.sandbox.base_url, "wait", "odd token", "--timeout", "60")
    assert f"  {shlex.join(('smspartner', *elsewhere))}\n" in shell.run(*elsewhere).stderr
