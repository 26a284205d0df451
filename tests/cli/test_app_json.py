"""With `--json` each command writes exactly one document, whatever it comes to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import typer
from shell import BEAUVAIS, Shell

from smspartner_async.cli._app import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTHING = "This command has paid for nothing without its file, and left nothing in doubt."


def commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, as its words, with its parameters."""
    if subcommands := getattr(command, "commands", None):
        for name, one in subcommands.items():
            yield from commands(one, *words, name)
    else:
        yield words, command.params


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_all_commands_are_looked_at() -> None:
    """No command is missing from these tests."""
    assert len(COMMANDS) >= 17
    assert ("batch", "resolve") in COMMANDS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_option_is_one_document(words: tuple[str, ...], shell: Shell) -> None:
    """A program reads what was wrong with its call, from whichever command it called."""
    assert "--json" in [name for one in COMMANDS[words] for name in one.opts]
    result = shell.run(*words, "--json", "--no-such-option")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["class"], error["exit_code"], error["token"]) == ("NoSuchOption", 2, None)
    assert error["money"] == "Nothing was sent, and nothing was charged."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rent", "--gender", "male"), "Missing option '--min-age'."),
        (("credits", "--no-such-option"), "No such option: --no-such-option"),
        (("wait", "token", "--timeout", "-1"), "Invalid value for '--timeout': "),
    ],
)
def test_a_wrong_command_line_is_described_as_people_read_it(
    words: tuple[str, ...], said: str, shell: Shell
) -> None:
    """The document names the option that is wrong, or is missing."""
    assert said in json.loads(shell.run(*words, "--json").stdout)["error"]["message"]


FAILING = [
    ("calculate", *BEAUVAIS[:-2]),
    ("rent", *BEAUVAIS),
    ("rent", *BEAUVAIS, "--yes"),
    ("credits",),
    ("explain", "1234"),
    ("demo", "--out", "there.csv"),
    ("doctor", "--report", "there.csv"),
    ("batch", "run", "missing.csv", "--out", "out", "--yes"),
    ("batch", "submit", "missing.csv", "--out", "out", "--store", "sqlite:///s.db", "--yes"),
    ("batch", "status", "--store", "sqlite:///missing.db"),
    ("batch", "status", "--out", "missing"),
    ("batch", "resume", "north", "--store", "sqlite:///missing.db"),
    ("batch", "resolve", "north", "--give-up", "--store", "sqlite:///missing.db"),
    ("worker", "--store", "nonsense"),
]


@pytest.mark.parametrize("words", FAILING, ids=" ".join)
def test_an_error_is_one_document(
    words: tuple[str, ...], shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure gives a program its class, its words, and what it means for the money."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("precious")
    result = shell.run(*words, "--json", env={"SMSPARTNER_BASE_URL": "http://127.0.0.1:1/v1"})
    assert result.exit_code == 1, result.output
    error = json.loads(result.stdout)["error"]
    assert error["class"].endswith("Error")
    assert error["message"]
    assert (error["exit_code"], error["token"], error["money"]) == (1, None, NOTHING)


@pytest.mark.usefixtures("at_terminal")
def test_a_no_is_one_document(shell: Shell) -> None:
    """Who answers no to the price has rented nothing, and a program reads that."""
    result = shell.run("rent", *BEAUVAIS, "--json", typed="n\n")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["message"] == "Nothing was rented."
    assert shell.sandbox.requests == {"price": 1, "credits": 1}
