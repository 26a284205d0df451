"""What commands share of their options: amounts, areas and volumes, as somebody types them."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
from shell import KEY, Shell
from typer.testing import CliRunner

from smspartner_async import Targeting, TargetingError
from smspartner_async.cli import _options

WHOM: dict[str, Any] = {"gender": "female", "min_age": 25, "max_age": 40, "interest": 12}


@pytest.mark.parametrize(
    ("text", "amount"), [("10", "10"), ("10.50", "10.50"), ("0", "0"), ("1e2", "100")]
)
def test_an_amount(text: str, amount: str) -> None:
    """An amount is exact, whatever it is written like."""
    assert _options.amount(text) == Decimal(amount)


@pytest.mark.parametrize("text", ["", "ten", "-1", "NaN", "Infinity", "1,50", "10 EUR"])
def test_no_amount(text: str) -> None:
    """Bad input: what is no amount of at least 0 is a usage error that shows one."""
    with pytest.raises(typer.BadParameter, match=r"is not an amount of at least 0, such as 10\.00"):
        _options.amount(text)


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("wait",),
        ("download", "numbers.csv"),
        ("batch", "resolve", "job1", "--out", "out", "--token"),
    ],
)
@pytest.mark.parametrize("given", [f" {KEY} ", KEY, " "])
def test_the_key_is_no_token(
    words: tuple[str, ...], given: str, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    """A secret: the key in a token's place is refused, and neither shown, stored nor sent."""
    monkeypatch.setenv("SMSPARTNER_API_KEY", KEY)
    place = 1 if words[0] == "download" else len(words)
    result = shell.run(*words[:place], given, *words[place:], "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["exit_code"]) == (2, 2), result.output
    assert "a token is not blank" in result.stderr or "this is the API key" in result.stderr
    assert KEY not in result.output
    assert shell.sandbox.requests.total() == 0


def test_areas_and_volumes_once_or_repeatedly() -> None:
    """Options that repeat, commas in one of them, and both together mean the same."""
    wish = _options._read_wish(
        **WHOM, department=["02, 2a", "2B"], zipcode=["60200"], volume=["60200=20,02=5", "2A=1"]
    )
    assert wish.targeting == Targeting(
        gender="female",
        min_age=25,
        max_age=40,
        interest=12,
        departments=("02", "2A", "2B"),
        zipcodes=("60200",),
    )
    assert wish.volumes == {"60200": 20, "02": 5, "2A": 1}


def test_without_areas_and_volumes() -> None:
    """What is not given is left out."""
    wish = _options._read_wish(**WHOM)
    assert (wish.targeting.departments, wish.targeting.zipcodes, wish.volumes) == ((), (), None)


@pytest.mark.parametrize("empty", [[""], [" , "]])
def test_an_empty_area_is_not_the_whole_country(empty: list[str]) -> None:
    """As an unset variable in a shell leaves it: taken for nothing it would rent everywhere."""
    with pytest.raises(TargetingError) as caught:
        _options._read_wish(**WHOM, zipcode=empty)
    assert caught.value.problems == (("zipcodes", "is empty; leave it out to reach every area"),)


def test_all_that_is_wrong_is_named_at_once() -> None:
    """The areas, the targeting and the volumes: one error for all three."""
    with pytest.raises(TargetingError) as caught:
        _options._read_wish(**WHOM | {"min_age": 12}, department=[""], volume=["60200=none"])
    assert [name for name, _ in caught.value.problems] == ["departments", "min_age", "volumes"]


def test_a_command_without_volumes_has_no_such_option(shell: Shell) -> None:
    """`with_wish("volume")` leaves the option out, so that nobody takes it for heeded."""
    assert "--volume" not in shell.run("calculate", "--help").output
    assert "--volume" in shell.run("price", "--help").output


def test_a_command_gets_the_options_of_a_wish_and_its_own() -> None:
    """Options are declared once; a command takes those it wants, and one `Wish` of them."""
    app, taken = typer.Typer(), list[Any]()

    @app.command()
    @_options.with_wish("volume")
    def search(*, ctx: typer.Context, wish: _options.Wish, path: Path) -> None:
        """Search for contacts.

        It costs
        nothing.
        """
        _options.keep_line(ctx, ["search", "a b"])
        _options.keep_token(ctx, " tok-1\n")
        taken.append((wish, str(path), _options.typed_line(ctx), _options.kept_token(ctx)))

    _options.unwrap_help(app)
    asked = ["--gender", "female", "--min-age", "25", "--max-age", "40", "--interest", "12"]
    result = CliRunner().invoke(app, [*asked, "--zipcode", "60200", "here"])
    assert result.exit_code == 0, result.output
    targeting = Targeting(gender="female", min_age=25, max_age=40, interest=12, zipcodes="60200")
    wish = _options.Wish(targeting, None)
    assert taken == [(wish, "here", "smspartner search 'a b'", "tok-1")]
    assert CliRunner().invoke(app, [*asked, "--volume", "60200=20", "here"]).exit_code == 2
    assert app.registered_commands[0].help == "Search for contacts.\n\nIt costs nothing."
