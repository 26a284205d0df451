"""The demonstration: the whole path of a rental, and the picture of it."""

import asyncio
import re
from pathlib import Path

import pytest
from paths import README
from picture import FILE, recorded
from shell import ESCAPE, KEY, NUMBER, Shell, finished


def test_demo_runs_the_whole_path_on_its_own(tmp_path: Path) -> None:
    """`demo` goes the whole path, whatever the environment says."""
    path = tmp_path / "demo.csv"
    odd = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": "http://127.0.0.1:9"}
    code, out, err = finished("-m", "smspartner_async.cli", "demo", "--out", str(path), env=odd)
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


def test_demo_makes_a_new_folder(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo` without `--out` writes to a new temporary folder."""
    paths: list[Path] = []

    async def demonstrate(_: object, path: Path) -> None:
        paths.append(path)

    monkeypatch.setattr("smspartner_async.cli._demo.demonstrate", demonstrate)
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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """README's picture of `demo` is renewed with the demonstration, and names no machine."""
    front = README.parent / "smspartner_async" / "cli" / "README.md"
    assert "/.assets/demo.svg)" in front.read_text("utf-8")
    now, then = asyncio.run(recorded()), FILE.read_text("utf-8")
    assert capsys.readouterr() == ("", "")
    assert shown(now) == shown(then), "renew it: python tests/support/vendor/picture.py"
    assert "Done. The file: contacts.csv" in shown(then)
    for trace in ("/tmp", "/home", "/root", "url(http", "127.0.0.1"):  # noqa: S108 - looked for
        assert trace not in now + then
