"""What the `smspartner` command promises to people, to programs, and to their money."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from smspartner_async import (
    AreaVolume,
    ContactFile,
    Cost,
    Credits,
    PollEvent,
    PollingPolicy,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    RentOutcomeUnknownError,
    SMSPartnerClient,
    SMSPartnerError,
    Targeting,
    TransportError,
    _display,
    cli,
)
from smspartner_async.sandbox import Sandbox

KEY = "key-that-nobody-may-see-0123456789"
WOMEN = ("--gender", "female", "--min-age", "25", "--max-age", "40", "--interest", "12")
BEAUVAIS = (*WOMEN, "--zipcode", "60200", "--volume", "60200=20")
TARGETING = Targeting(gender="female", min_age=25, max_age=40, interest=12)
ESCAPE = "\x1b"
NUMBER = "+3363998"

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")


class Shell:
    """A shell with an account on a sandbox: runs the command in this process."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.outputs: list[str] = []

    @property
    def environment(self) -> dict[str, str | None]:
        return {
            "SMSPARTNER_API_KEY": KEY,
            "SMSPARTNER_BASE_URL": self.sandbox.base_url,
            "COLUMNS": "80",
            **dict.fromkeys(("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")),
        }

    def run(
        self, *arguments: str, typed: str = "", env: Mapping[str, str | None] | None = None
    ) -> Result:
        result = CliRunner().invoke(
            cli.app, arguments, input=typed, env={**self.environment, **(env or {})}
        )
        self.outputs.append(result.output)
        return result

    def rent(self, *options: str) -> str:
        token: str = self.json("rent", *BEAUVAIS, "--yes", *options)["token"]
        return token

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def in_background() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def make_shell(
    in_background: Callable[[Coroutine[Any, Any, Any]], Any],
) -> Iterator[Callable[..., Shell]]:
    shells: list[Shell] = []

    def make(**options: Any) -> Shell:
        settings: dict[str, Any] = {"api_key": KEY, "speed": 1000.0, **options}
        sandbox = Sandbox(**settings)
        in_background(sandbox.start())
        shells.append(Shell(sandbox))
        return shells[-1]

    yield make
    for shell in shells:
        in_background(shell.sandbox.close())
        assert KEY not in "".join(shell.outputs)
        assert NUMBER not in "".join(shell.outputs)


@pytest.fixture
def shell(make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch) -> Shell:
    # Eight seconds of a rental's life last 8 ms: a second look finds what the first did not.
    monkeypatch.setattr(cli, "_POLLING", PollingPolicy(first_interval=0.02, max_interval=0.02))
    return make_shell()


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who can answer questions, whose answers are what the test types."""
    monkeypatch.setattr(_display.Display, "can_ask", True)


def spawn(*command: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
    return subprocess.Popen(  # noqa: S603 - the command is written in this file
        (sys.executable, *command),
        env={**clean_environment(), **(env or {})},
        text=True,
        **options,
    )


def finished(*command: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    process = spawn(*command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def clean_environment() -> dict[str, str]:
    ours = ("SMSPARTNER_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_")
    return {n: v for n, v in os.environ.items() if not n.startswith(ours)} | {"TERM": "xterm"}


# --- what people see, and what programs read --------------------------------------------------


def test_calculate_shows_areas_total_and_price(shell: Shell) -> None:
    """`calculate` shows every area, the total and the price in 80 columns without colours."""
    result = shell.run("calculate", *WOMEN, "--zipcode", "02200,60200", "--department", "2A")
    assert result.exit_code == 0
    for words in ("02200", "60200", "2A", "post code", "department", "Total", "1,376"):
        assert words in result.stdout
    assert "Price     123.84 for 1,376 contacts (0.09 each)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert ESCAPE not in result.output
    assert result.stderr == ""


def test_calculate_json_keeps_money_exact(shell: Shell) -> None:
    """`calculate --json` writes one document, with money as text."""
    quote = shell.json("calculate", *WOMEN, "--zipcode", "02200", "--zipcode", "60200")
    assert quote["operation"] == "calculate"
    assert [area["location"] for area in quote["areas"]] == ["02200", "60200"]
    assert quote["total_volume"] == 676
    assert Decimal(quote["cost"]["total"]) == Decimal("60.84")
    assert isinstance(quote["cost"]["unit"], str)
    assert "raw" not in quote


def test_price_takes_volumes_in_every_spelling(shell: Shell) -> None:
    """`--volume` takes = and :, may be repeated, and takes several with commas between."""
    areas = (*WOMEN, "--zipcode", "02200,60200", "--department", "75")
    quote = shell.json(
        "price", *areas, "--volume", "60200=20,", "--volume", "02200:30,75 = 40", "--volume", ""
    )
    volumes = {area["location"]: area["volume"] for area in quote["areas"]}
    assert volumes == {"60200": 20, "02200": 30, "75": 40}


def test_price_table(shell: Shell) -> None:
    """`price` shows what the wanted volumes cost."""
    result = shell.run("price", *BEAUVAIS, "--category", "csp+", "--sub-interest", "35")
    assert "Price     1.80 for 20 contacts (0.09 each)" in result.stdout


def test_calculate_has_no_volumes(shell: Shell) -> None:
    """`calculate` refuses `--volume`, which the vendor does not know there."""
    result = shell.run("calculate", *BEAUVAIS)
    assert result.exit_code == 2
    assert "--volume" in result.stderr


def test_rent_with_yes_prints_the_token_on_both_outputs(shell: Shell) -> None:
    """`rent --yes` rents without a question, and tells the token and what to do next."""
    result = shell.run("rent", *BEAUVAIS, "--yes")
    (rental,) = shell.sandbox.rentals
    assert result.exit_code == 0
    assert f"Token     {rental.token}" in result.stdout
    assert f"smspartner wait {rental.token}" in result.stdout
    assert result.stderr == f"Rented. Token: {rental.token}\n"


def test_rent_json_is_one_document(shell: Shell) -> None:
    """`rent --json` writes the rental and nothing else on stdout."""
    rental = shell.json("rent", *BEAUVAIS, "--yes")
    assert rental["token"] == shell.sandbox.rentals[0].token
    assert Decimal(rental["cost"]["total"]) == Decimal("1.80")


def test_wait_tells_every_state_in_plain_lines(
    make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wait` writes each change of state once on stderr when piped, and the result on stdout."""
    monkeypatch.setattr(cli, "_POLLING", PollingPolicy(first_interval=0.03, max_interval=0.03))
    shell = make_shell(speed=25.0)
    result = shell.run("wait", shell.rent())
    assert result.exit_code == 0
    assert re.findall(r"\d \w+$", result.stderr, re.MULTILINE) == [
        "0 requested",
        "1 generating",
        "2 ready",
    ]
    assert ESCAPE not in result.output
    assert "State     2 ready" in result.stdout
    assert "For       women, 25 to 40 years, interest 12, post codes 60200" in result.stdout
    assert f"smspartner download {shell.sandbox.rentals[0].token} contacts.csv" in result.stdout


def test_wait_json(shell: Shell) -> None:
    """`wait --json` writes the ready status, its state and gender by name."""
    status = shell.json("wait", shell.rent())
    assert (status["state"], status["phone_numbers"]) == ("READY", 20)
    assert status["targeting"]["gender"] == "female"


def test_status_says_what_to_do_next(make_shell: Callable[..., Shell]) -> None:
    """`status` of a rental under way shows its state and names `wait`."""
    shell = make_shell(speed=0.001)
    token = shell.rent()
    result = shell.run("status", token)
    assert "State     0 requested" in result.stdout
    assert f"Next      smspartner wait {token}" in result.stdout
    assert shell.json("status", token)["state"] == "REQUESTED"


def test_download_shows_the_file_and_never_its_numbers(shell: Shell, tmp_path: Path) -> None:
    """`download` writes the file, and tells where it is, its size and its hash."""
    token = shell.rent()
    shell.run("wait", token)
    result = shell.run("download", token, str(tmp_path / "contacts.csv"))
    assert (tmp_path / "contacts.csv").read_text().count(NUMBER) == 20
    assert f"File      {tmp_path / 'contacts.csv'}" in result.stdout
    assert "Size      260 bytes" in result.stdout
    assert "Whole     yes" in result.stdout
    assert result.stderr == ""


def test_download_json_and_overwrite(shell: Shell, tmp_path: Path) -> None:
    """`download` replaces a file only with `--overwrite`; `--json` gives the path as text."""
    path = tmp_path / "contacts.csv"
    path.write_text("precious")
    token = shell.rent()
    shell.run("wait", token)
    refused = shell.run("download", token, str(path))
    assert refused.exit_code == 1
    assert refused.stderr == f"Error: {path} exists; give --overwrite to replace it.\n"
    assert path.read_text() == "precious"
    file = shell.json("download", token, str(path), "--overwrite")
    assert (file["path"], file["size"], file["verified"]) == (str(path), 260, True)


def test_credits(shell: Shell) -> None:
    """`credits` shows the balance for people and keeps it exact for programs."""
    result = shell.run("credits")
    assert "Balance   1,000.00 EUR" in result.stdout
    assert "Account   sandbox" in result.stdout
    assert shell.json("credits")["balance"] == "1000.000"


# --- money ------------------------------------------------------------------------------------


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
    assert "The price is 1.8; the limit is 1.00" in result.stderr
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
    nothing_told = Quote(operation="price")
    monkeypatch.setattr(SMSPartnerClient, "price", first_then(nothing_told, lambda: None))
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


def test_interrupted_rent_still_tells_the_token(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rent that is interrupted, even twice, tells its token on both outputs and ends with 130."""

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
    assert result.exit_code == 130
    assert "Rented. Token: paid-for" in result.stderr
    assert "Token     paid-for" in result.stdout
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
    assert result.exit_code == 1
    assert "2026-01-02 03:04:05 UTC may have been charged" in result.stderr
    assert "is the balance lower (smspartner credits)?" in result.stderr
    assert "web interface" in result.stderr
    assert "credits()" not in result.stderr


def test_interrupted_rent_tells_an_unknown_outcome(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rent that is interrupted and whose outcome is unknown says so before it ends with 130."""

    async def lost(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError from UNKNOWN_OUTCOME

    monkeypatch.setattr(SMSPartnerClient, "rent", lost)
    result = shell.run("rent", *BEAUVAIS, "--yes")
    assert result.exit_code == 130
    assert "may have been charged" in result.stderr


def test_interrupt_at_the_question_rents_nothing(
    shell: Shell, at_terminal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at the question says that nothing was rented, and ends with 130."""

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(_display.Display, "confirm", interrupted)
    result = shell.run("rent", *BEAUVAIS)
    assert result.exit_code == 130
    assert "Nothing was rented." in result.stderr
    assert shell.sandbox.requests["rent"] == 0


# --- what goes wrong --------------------------------------------------------------------------


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
    assert "--base-url must begin with https://" in result.stderr


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


def test_blank_token(shell: Shell) -> None:
    """A token that cannot be one gives one line instead of a traceback."""
    result = shell.run("status", " ")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The token is blank")


def test_second_download(shell: Shell, tmp_path: Path) -> None:
    """A second download says that the file was downloaded before, and ends with 1."""
    token = shell.rent()
    shell.run("wait", token)
    shell.run("download", token, str(tmp_path / "first.csv"))
    result = shell.run("download", token, str(tmp_path / "second.csv"))
    assert result.exit_code == 1
    assert "downloaded before" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["first.csv"]


def test_failed_rental(make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait` for a rental that fails ends with 1 and names the token."""
    monkeypatch.setattr(cli, "_POLLING", PollingPolicy(first_interval=0.02, max_interval=0.02))
    shell = make_shell(fail_every=1)
    token = shell.rent()
    result = shell.run("wait", token)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "3 failed" in result.stderr
    assert f"Rental {token} failed" in result.stderr


def test_wait_timeout_says_how_to_go_on(make_shell: Callable[..., Shell]) -> None:
    """A wait that runs out of time ends with 1, and prints the command that goes on."""
    shell = make_shell(speed=0.001)
    token = shell.rent()
    result = shell.run("wait", token, "--timeout", "0")
    assert result.exit_code == 1
    assert f"Rental {token} was not ready after" in result.stderr
    assert f"wait again with: smspartner wait {token}\n" in result.stderr
    assert "(last seen: 0 requested)" in result.stderr
    assert "wait_until_ready" not in result.stderr


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


def test_interrupted_download_tells_what_is_kept(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C in a download says where the part is that arrived, and ends with 130."""

    async def slow(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError as error:
            error.add_note("What arrived of the file is kept in contacts.csv.part.")
            raise

    monkeypatch.setattr(SMSPartnerClient, "download", slow)
    result = shell.run("download", "token", str(tmp_path / "contacts.csv"))
    assert result.exit_code == 130
    assert "kept in contacts.csv.part" in result.stderr
    assert "Interrupted." in result.stderr


def test_interrupted_wait_says_how_to_go_on(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in `wait` prints the command that goes on, quoted for a shell, and ends with 130."""

    async def slow(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(10)

    monkeypatch.setattr(SMSPartnerClient, "wait_until_ready", slow)
    result = shell.run("wait", "odd token")
    assert result.exit_code == 130
    assert "smspartner wait 'odd token'\n" in result.stderr


# --- the command itself -----------------------------------------------------------------------


def test_no_arguments_show_the_help(shell: Shell) -> None:
    """`smspartner` alone lists every command, within 80 columns."""
    text = shell.run().output
    commands = ("calculate", "price", "rent", "status", "wait", "download", "credits")
    for name in (*commands, "sandbox", "demo"):
        assert re.search(rf"^. {name} ", text, re.MULTILINE), name
    assert max(map(len, text.splitlines())) <= 80


def test_version(shell: Shell) -> None:
    """`--version` tells the version of the package."""
    assert re.fullmatch(r"smspartner \d+\.\d+\.\d+\S*\n", shell.run("--version").stdout)


@pytest.mark.parametrize("command", ["nope", "price --gender male", "wait --timeout -1 token"])
def test_usage_errors(shell: Shell, command: str) -> None:
    """A command line that is wrong ends with 2, and says so on stderr."""
    result = shell.run(*command.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_sandbox_refuses_a_wrong_option(shell: Shell) -> None:
    """`sandbox` takes what the sandbox refuses as a usage error."""
    result = shell.run("sandbox", "--speed", "0")
    assert result.exit_code == 2
    assert "speed must be a number greater than 0" in result.output


def test_without_the_extra() -> None:
    """Without typer, one line says what to install, and the exit code is 1."""
    program = "import sys; sys.modules['typer'] = None\nfrom smspartner_async.cli import main"
    code, out, err = finished("-c", program)
    assert (code, out) == (1, "")
    assert err == "Error: the command line needs the extra: pip install 'smspartner_async[cli]'\n"


def test_imports_are_lazy() -> None:
    """The package imports no command line, and the command line no sandbox until it is needed."""
    program = """if True:
        import sys, smspartner_async
        assert not {"typer", "rich", "smspartner_async.sandbox"} & set(sys.modules)
        import smspartner_async.cli
        assert "smspartner_async.sandbox" not in sys.modules
    """
    assert finished("-c", program) == (0, "", "")


@posix_only
def test_sandbox_serves_until_interrupted(shell: Shell) -> None:
    """`smspartner sandbox` prints what to export, answers, and ends with 0 on Ctrl-C."""
    process = spawn(
        *("-m", "smspartner_async.cli", "sandbox", "--speed", "4", "--balance", "7.5"),
        stdout=subprocess.PIPE,
    )
    with process:
        lines = iter(process.stdout.readline, "")
        exports = dict(re.findall(r"export (\w+)=(\S+)", line)[0] for line in lines_until(lines))
        result = shell.run("credits", env=exports)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert "7.50 EUR" in result.stdout


def lines_until(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if "export" in line:
            yield line
        if "API_KEY" in line:
            return


def test_demo_runs_the_whole_path_on_its_own(tmp_path: Path) -> None:
    """`demo` goes the whole path in under 15 seconds, whatever the environment says."""
    path = tmp_path / "demo.csv"
    odd = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": "http://127.0.0.1:9"}
    started = time.monotonic()
    code, out, err = finished("-m", "smspartner_async.cli", "demo", "--out", str(path), env=odd)
    assert time.monotonic() - started < 15
    assert (code, err) == (0, "")
    calls = re.findall(r"await client\.(\w+)", out)
    path_taken = ["calculate", "price", "rent", "wait_until_ready", "download"]
    assert calls == ["credits", *path_taken, "credits"]
    assert re.findall(r"\d:\d\d  (\d)", out) == ["0", "1", "2"]
    assert "1,000.00 EUR" in out
    assert "961.30 EUR" in out
    assert out.endswith(f"Done. The file: {path}\n")
    assert path.read_text().count(NUMBER) == 430
    assert NUMBER not in out
    assert KEY not in out
    assert ESCAPE not in out


def test_demo_never_replaces_a_file(shell: Shell, tmp_path: Path) -> None:
    """`demo --out` refuses a file that is there before it does anything."""
    path = tmp_path / "mine.csv"
    path.write_text("precious")
    result = shell.run("demo", "--out", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert path.read_text() == "precious"


def test_demo_makes_a_folder_of_its_own(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo` without `--out` writes to a new temporary folder."""
    paths: list[Path] = []

    async def demonstrate(_: object, path: Path) -> None:
        paths.append(path)

    monkeypatch.setattr("smspartner_async._demo.demonstrate", demonstrate)
    assert shell.run("demo").exit_code == 0
    assert paths[0].name == "smspartner-demo.csv"
    assert list(paths[0].parent.iterdir()) == []
    paths[0].parent.rmdir()


# --- a real terminal --------------------------------------------------------------------------


def on_terminal(shell: Shell, *command: str, react: Mapping[str, bytes]) -> tuple[int, str]:
    """Run the command on a terminal, and type when it has written something to react to."""
    import pty  # noqa: PLC0415 - Windows has none

    ours, theirs = pty.openpty()
    environment = {name: value for name, value in shell.environment.items() if value}
    process = spawn(
        *("-c", _TAKE_TERMINAL, *command),
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    screen, awaited = "", dict(react)
    with process:
        while True:
            try:
                read = os.read(ours, 4096)
            except OSError:  # Linux's way to say that nobody holds the other end
                read = b""
            if not read:
                break
            screen += read.decode()
            for seen in [words for words in awaited if words in screen]:
                os.write(ours, awaited.pop(seen))
    os.close(ours)
    shell.outputs.append(screen)
    return process.returncode, screen


# Only a session of its own gives a process the terminal whose Ctrl-C it hears.
_TAKE_TERMINAL = """if True:
    import fcntl, runpy, termios
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    runpy.run_module("smspartner_async.cli", run_name="__main__")
"""


@posix_only
def test_wait_on_a_terminal_is_live_until_interrupted(make_shell: Callable[..., Shell]) -> None:
    """On a terminal `wait` is live; Ctrl-C gives the cursor back and says how to go on."""
    shell = make_shell(speed=0.001)
    token = shell.rent()
    code, screen = on_terminal(shell, "wait", token, react={"next check in": b"\x03"})
    assert code == 130
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


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[_display.Display, io.StringIO]:
    """A display on a terminal of 80 columns, and what appears there."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    display = _display.Display(together=True)
    display._err = display._out = Console(file=screen, force_terminal=True, width=80)
    return display, screen


def event(
    state: RentalState | None, *, error: SMSPartnerError | None = None, delay: float | None = 7.5
) -> PollEvent:
    status = None if state is None else RentalStatus(token="token", state=state)
    return PollEvent(
        token="token", attempt=1, elapsed=0.0, status=status, error=error, next_delay=delay
    )


def test_live_line_tells_state_time_and_next_check(
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


def test_trouble_of_a_wait_is_told_once(terminal: tuple[_display.Display, io.StringIO]) -> None:
    """Checks that fail for one reason tell it once; after a good one they tell it again."""
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


# --- formatting -------------------------------------------------------------------------------


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
    assert _display.money(Decimal(amount)) == text


def test_money_with_a_currency() -> None:
    """A currency stands behind its amount."""
    assert _display.money(Decimal("1.5"), "EUR") == "1.50 EUR"


def test_nothing_of_the_vendor_reaches_the_terminal_raw(
    terminal: tuple[_display.Display, io.StringIO],
) -> None:
    """Escape sequences, markup and line ends in a reply are shown, and not obeyed."""
    display, screen = terminal
    evil = f"{ESCAPE}]0;evil\x07[red]:smile:\nnew line\x9b2J"
    results: tuple[_display.Result, ...] = (
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


def test_missing_facts_leave_no_holes(terminal: tuple[_display.Display, io.StringIO]) -> None:
    """Results of which the vendor tells little show what there is."""
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


def test_main_logs_nothing_on_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`main` ends with the exit code, and lets no log line stand beside the one error."""
    monkeypatch.setattr(sys, "argv", ["smspartner", "credits"])
    monkeypatch.setenv("SMSPARTNER_API_KEY", "")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Error: There is no API key.")
