"""`smspartner explain`: every code and every error, from where they are defined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import smspartner_async
from smspartner_async._error_codes import CODE_MEANINGS
from smspartner_async.batch import JobSkippedError
from smspartner_async.cli import _explain

if TYPE_CHECKING:
    from shell import Shell


@pytest.mark.parametrize("code", [*CODE_MEANINGS, 429])
def test_every_code_says_what_it_means_and_what_to_do(shell: Shell, code: int) -> None:
    """Each code of the vendor's has its meaning, its class, and what to do next."""
    found = shell.json("explain", f"{code}")
    assert found["meaning"]
    assert found["error"] in smspartner_async.__all__
    assert found["what"]
    assert found["advice"]


@pytest.mark.parametrize("name", [n for n in smspartner_async.__all__ if n.endswith("Error")])
def test_every_error_is_explained_by_its_own_words(shell: Shell, name: str) -> None:
    """Each public error is explained by its docstring and its advice, and is found in any case."""
    found = _explain.explanation_of(name.lower())
    assert found["asked"] == name
    cls = getattr(smspartner_async, name)
    assert found["what"].split()[:3] == (cls.__doc__ or "").replace("`", "").split()[:3]
    assert found["advice"] or name == "SMSPartnerError"


def test_an_explanation_reads_well_on_a_terminal(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Explanations use the words of the command line."""
    result = shell.run("explain", "RentOutcomeUnknown")
    assert result.exit_code == 0
    assert "Error     RentOutcomeUnknownError" in result.stdout
    assert "may have been charged" in result.stdout
    assert "compare `smspartner credits` with the balance" in result.stdout
    result = shell.run("explain", "RentOutcomeUnknown", env={"FORCE_COLOR": "1"})
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_200_is_no_error(shell: Shell) -> None:
    """The vendor's code for success is explained as that."""
    assert "all went well" in shell.run("explain", "200").stdout


def test_a_class_names_its_codes(shell: Shell) -> None:
    """An error names which of the vendor's codes are raised as it."""
    assert shell.json("explain", "AuthenticationError")["codes"] == [1, 10]
    assert JobSkippedError.__name__ in _explain.names()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("37", "near it are 34, 35, 36"),
        ("0", "near it are 1, 3, 4"),
        ("WaitTimoutError", "Did you mean WaitTimeoutError"),
        ("zzzzzzzz", "neither a code of the vendor's nor an error of this package. All codes: "),
    ],
)
def test_what_nobody_knows_is_answered_helpfully(shell: Shell, asked: str, words: str) -> None:
    """An unknown code or name ends with 1, and says what is near it."""
    result = shell.run("explain", asked)
    assert result.exit_code == 1
    assert words in result.stderr


def test_without_a_code_all_are_listed(shell: Shell) -> None:
    """`explain` alone lists every code."""
    text = shell.run("explain").stdout
    for code, meaning in CODE_MEANINGS.items():
        assert f" {code} " in text
        assert meaning.split()[-1] in text
    assert [one["code"] for one in shell.json("explain")["codes"]] == [*CODE_MEANINGS]
