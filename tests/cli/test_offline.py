"""What needs no account: the sandbox, and the demonstration as programs read it."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from shell import Shell, posix_only, spawn


def test_sandbox_refuses_a_wrong_option(shell: Shell) -> None:
    """`sandbox` takes what the sandbox refuses as a usage error."""
    result = shell.run("sandbox", "--speed", "0")
    assert result.exit_code == 2
    assert "speed must be a number greater than 0" in result.output


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


@posix_only
def test_sandbox_answers_programs_in_one_document(shell: Shell) -> None:
    """`sandbox --json` writes its address and key as one document, and nothing else."""
    process = spawn("-m", "smspartner_async.cli", "sandbox", "--json", stdout=subprocess.PIPE)
    with process:
        lines = [process.stdout.readline() for _ in range(4)]
        known = json.loads("".join(lines))
        env = {"SMSPARTNER_BASE_URL": known["base_url"], "SMSPARTNER_API_KEY": known["api_key"]}
        assert shell.run("credits", env=env).exit_code == 0
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
        assert process.wait(10) == 0


def test_a_port_that_is_taken_is_one_document(shell: Shell) -> None:
    """`sandbox --json` on a port of somebody else's says, for a program, why it did not start."""
    port = shell.sandbox.base_url.rpartition(":")[2].removesuffix("/v1")
    result = shell.run("sandbox", "--port", port, "--json")
    assert result.exit_code == 1
    assert "cannot listen on 127.0.0.1" in json.loads(result.stdout)["error"]["message"]


def test_demo_answers_programs_with_the_path_of_its_file(shell: Shell, tmp_path: Path) -> None:
    """`demo --json` writes its file as one document, and no story around it."""
    path = tmp_path / "demo.csv"
    result = shell.run("demo", "--out", str(path), "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    file = json.loads(result.stdout)
    assert (file["path"], file["size"]) == (str(path), path.stat().st_size)
    assert file["verified"] is True
