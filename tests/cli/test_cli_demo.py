"""The sandbox and the demonstration: what works without an account."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .shell import ESCAPE, KEY, NUMBER, Shell, finished, posix_only, spawn


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


def shown(picture: str) -> str:
    """Read the words of a picture, with times and space that differ from run to run left out."""
    words = " ".join(re.findall(r"<text[^>]*>(.*?)</text>", picture, re.DOTALL))
    plain = re.sub(r"\s+", " ", words.replace("&#160;", " "))
    return re.sub(r"\d:\d\d ", "", plain)


def test_the_recorded_demonstration_is_what_it_shows_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's picture of `demo` is renewed with the demonstration, and tells of no machine."""
    readme = Path(__file__).parent.parent.parent / "README.md"
    kept = readme.parent / ".assets" / "demo.svg"
    assert "](.assets/demo.svg)" in readme.read_text("utf-8")
    picture = tmp_path / "new" / "demo.svg"
    code, _, err = finished("-m", "smspartner_async.cli", "demo", "--record", str(picture))
    assert (code, err) == (0, "")
    now, then = picture.read_text("utf-8"), kept.read_text("utf-8")
    assert shown(now) == shown(then), "renew it: smspartner demo --record .assets/demo.svg"
    assert "Done. The file: contacts.csv" in shown(then)
    for trace in (str(tmp_path), "/tmp", "/home", "/root", "url(http", "127.0.0.1"):  # noqa: S108 - looked for
        assert trace not in now + then
