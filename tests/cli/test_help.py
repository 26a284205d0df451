"""Help and completion: what a newcomer finds by asking the command itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from shell import Shell, clean_environment, posix_only, running

from .test_app_json import COMMANDS as JSON_COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = (
    *("calculate", "price", "rent", "status", "wait", "download", "credits", "doctor", "explain"),
    *("batch run", "batch submit", "batch status", "batch resolve", "batch resume"),
    "batch clean",
    *("worker", "sandbox", "demo"),
)
PARAMETERS = {" ".join(words): parameters for words, parameters in JSON_COMMANDS.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_name_of_an_option_is_cut_at_80_columns(shell: Shell, command: str) -> None:
    """Whoever reads help on a narrow terminal can type each option as it stands there."""
    text = shell.run(*command.split(), "--help").output
    names = [name for one in PARAMETERS[command] for name in one.opts if name.startswith("--")]
    assert len(names) > 0
    for name in names:
        assert re.search(rf"^│[ *]+{name} ", text, re.MULTILINE), name
    assert not re.search(r"^│[ *]+-\S*…", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_paragraphs_of_help_are_wrapped_once(shell: Shell, command: str) -> None:
    """No line of a paragraph ends where the next word would still have fitted."""
    text = shell.run(*command.split(), "--help").output
    lines = [line.strip() for line in text.partition("╭─")[0].splitlines()]
    for line, following in pairwise(lines):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > 78, line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(shell: Shell, command: str) -> None:
    """`--help` of each command shows an example of it, within 80 columns."""
    text = shell.run(*command.split(), "--help").output
    example = " ".join(text.replace("│", "").split()).rpartition("Example")[2]
    assert f"smspartner {command}" in example
    assert max(map(len, text.splitlines())) <= 80


def test_the_list_of_commands_is_the_whole(shell: Shell) -> None:
    """No command is missing from the tests of help."""
    listed = re.findall(r"^│ ([a-z]+) ", shell.run("--help").output, re.MULTILINE)
    assert {*listed} == {name.split()[0] for name in COMMANDS}


def test_the_way_of_one_rental_is_listed_first(shell: Shell) -> None:
    """A newcomer reads the operations in the order in which they are used."""
    listed = re.findall(r"^│ ([a-z]+) ", shell.run("--help").output, re.MULTILINE)
    assert listed[:6] == ["calculate", "price", "rent", "status", "wait", "download"]


def completed(words: str, env: dict[str, str]) -> list[str]:
    asked = {"_SMSPARTNER_COMPLETE": "complete_bash", **env}
    with running(env=asked) as process:
        out, err = process.communicate()
    assert err == ""
    return out.split()


@posix_only
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("smspartner ba", {"batch"}),
        ("smspartner batch r", {"run", "resolve", "resume"}),
        ("smspartner explain 3", {"3", *(f"3{n}" for n in (0, 1, 2, 3, 4, 5, 6))}),
        ("smspartner explain WaitT", {"WaitTimeoutError"}),
        ("smspartner rent --max", {"--max-age", "--max-total"}),
    ],
)
def test_words_are_completed(words: str, expected: set[str]) -> None:
    """Commands, options, codes and names of errors are completed."""
    number = len(words.split()) - 1
    assert {*completed(words, {"COMP_WORDS": words, "COMP_CWORD": f"{number}"})} == expected


@posix_only
@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_the_completion_script_is_one(name: str) -> None:
    """What `--show-completion` installs is a script that the shell reads without complaint."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    with running(env={"_SMSPARTNER_COMPLETE": f"source_{name}"}) as process:
        script, _ = process.communicate()
    assert process.returncode == 0
    assert "_SMSPARTNER_COMPLETE=complete_" in script
    subprocess.run((program, "-n"), input=script, text=True, check=True)  # noqa: S603 - a shell


@posix_only
def test_bash_completes_after_an_installation(tmp_path: Path) -> None:
    """`--install-completion` makes a bash of the user's complete the command's words."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "smspartner"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m smspartner_async.cli "$@"\n')
    command.chmod(0o700)
    env = {**clean_environment(), "HOME": str(tmp_path), "SHELL": bash}
    env["PATH"] = f"{folder}{os.pathsep}{env['PATH']}"
    script = """
        smspartner --install-completion bash >/dev/null && . ~/.bashrc
        COMP_WORDS=(smspartner exp); COMP_CWORD=1
        _smspartner_completion smspartner && echo "${COMPREPLY[@]}"
    """
    answer = subprocess.run(  # noqa: S603 - a shell
        (bash, "-c", script), env=env, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "explain\n"
