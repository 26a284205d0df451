"""Every operation: what people see, and what programs read."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from shell import BEAUVAIS, ESCAPE, NUMBER, WOMEN, Shell

from smspartner_async import PollingPolicy
from smspartner_async.cli import _app


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
    """`rent --yes` rents without a question, and prints the token and what to do next."""
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


def test_wait_reports_every_state_in_plain_lines(
    make_shell: Callable[..., Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wait` writes each change of state once on stderr when piped, and the result on stdout."""
    monkeypatch.setattr(_app, "_POLLING", PollingPolicy(first_interval=0.02, max_interval=0.02))
    shell = make_shell(speed=1.0)
    # Each check finds the rental three seconds older: 0, 1, 1 and 2, however busy the machine is.
    shell.sandbox._now = lambda: 3.0 * max(0, shell.sandbox.requests["status"] - 1)
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
    """`download` writes the file, and says where it is, its size and its hash."""
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
    assert refused.exit_code == 3  # the rental is paid, and its file is not here
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
