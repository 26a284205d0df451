"""Every code block and every command in the READMEs is run: most by other tests, the rest here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from paths import PACKAGE, READMES, ROOT
from services import PAGE, SOURCES
from shell import clean_environment, posix_only

from .test_readme import is_service
from .test_readme_links import prose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CI = (ROOT / ".ci" / "run").read_text("utf-8")
BENCHMARKS = {"python -m benchmarks": "imports", "python -m benchmarks durability": "sqlite"}
COMPLETION = "smspartner --install-completion"
DRAWINGS = {"The operations", "How it is built"}


def blocks() -> Iterator[tuple[Path, str, str, str]]:
    """Each block of the READMEs: its file, its section, its language, its text."""
    for readme in READMES:
        for part in readme.read_text("utf-8").split("\n## "):
            section = part.partition("\n")[0]
            found = re.findall(r"^```(\w*)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
            for language, text in found:
                yield readme, section, language, text


def is_run(readme: Path, section: str, language: str, text: str) -> bool:
    """Whether something runs a block, judged by what that takes out of its README."""
    if language == "python":  # by test_readme.py, in order; services by tests/web
        return not is_service(text) or text in SOURCES.values()
    if language == "html":
        return text == PAGE
    if section in {"Install", "Try it"}:
        return is_run_by_ci(text)
    if section in DRAWINGS:
        return language == "text"
    # By test_readme_cli.py.
    is_shown = readme == PACKAGE / "cli" / "README.md" or section == "A first program"
    return is_shown and language in {"bash", "csv"}


def is_run_by_ci(command: str) -> bool:
    """Whether `.ci/run` picks this command by its end, and no other."""
    ends = re.findall(r"_command=\"\$\(command_of '(.+)'\)\"", CI)
    return sum(command.rstrip().endswith(end) for end in ends) == 1


def inline_commands() -> set[str]:
    """Each command that stands within a sentence; what tables name are spans and counters."""
    every = "\n".join(map(prose, READMES))
    sentences = re.sub(r"^\|.*$", "", every, flags=re.MULTILINE)
    code = {" ".join(found.split()) for found in re.findall(r"`([^`]+)`", sentences)}
    programs = r"smspartner|python3?|pip|pytest|uvicorn|git|docker|uv|psql|pg_dump|export|set"
    return {words for words in code if re.match(rf"(\.venv/bin/)?({programs}) ", words)}


def test_every_block_is_run() -> None:
    """There is no block that no test takes out of a README and runs, but for two drawings."""
    found = list(blocks())
    every = "\n".join(readme.read_text("utf-8") for readme in READMES)
    assert len(found) == len(re.findall(r"^ *```\w", every, re.MULTILINE))
    assert [block for block in found if not is_run(*block)] == []
    assert sum(language == "text" for *_, language, _ in found) == len(DRAWINGS)


def test_every_command_in_a_sentence_is_run() -> None:
    """It is one of those below, or the beginning of one in a block, which is run there."""
    lines = [
        line for *_, language, text in blocks() if language == "bash" for line in text.split("\n")
    ]
    in_blocks = " && ".join(lines) + " "
    here = {*BENCHMARKS, COMPLETION}
    assert here <= inline_commands(), "no README names it any more"
    for command in inline_commands() - here:
        assert re.search(rf"(^|[ /]){re.escape(command)} ", in_blocks), f"{command}: not run"


@posix_only
@pytest.mark.parametrize(("command", "first"), BENCHMARKS.items())
def test_the_benchmarks_begin(command: str, first: str, tmp_path: Path) -> None:
    """Each command of the benchmarks begins with its first part; its end takes too long here."""
    for module, extra in (("matplotlib", "bench"), ("dbos", "durable")):
        if find_spec(module) is None:
            pytest.skip(f"the extra {extra!r} is not installed; .ci/run runs it")
    program, *words = shlex.split(command)
    assert program == "python"
    with subprocess.Popen(  # noqa: S603 - README's own
        (sys.executable, "-u", *words, "--quick", "--out", str(tmp_path)),
        cwd=ROOT,
        env=clean_environment() | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        began = process.stdout.readline()
        time.sleep(1)
        os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        rest = process.stdout.read()
    assert began.strip(" ─\n") == first, began + rest
    assert "usage:" not in rest


@posix_only
def test_the_completion_is_installed_as_the_readme_says(tmp_path: Path) -> None:
    """The command finds out which shell it is typed into, and writes what that one reads."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    program = tmp_path / "bin" / "smspartner"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m smspartner_async.cli "$@"\n')
    program.chmod(0o700)
    environment = clean_environment() | {"HOME": str(tmp_path), "SHELL": bash}
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    # Two commands: bash would take the place of itself with a single one, and not be found.
    ended = subprocess.run(  # noqa: S603 - a shell
        (bash, "-c", f"{COMPLETION}; echo $?"),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split()[-1] == "0", ended.stderr
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert "_SMSPARTNER_COMPLETE=complete_bash" in script.read_text("utf-8")
    assert str(script) in (tmp_path / ".bashrc").read_text("utf-8")
