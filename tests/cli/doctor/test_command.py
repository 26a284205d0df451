"""`smspartner doctor`: each way in which the vendor may differ is seen, and nothing is paid."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from shell import KEY, Shell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def facts(shell: Shell, *options: str, exit_code: int) -> dict[str, tuple[str, str]]:
    """What was found: verdict and what was seen, by what it is about."""
    result = shell.run("doctor", "--json", *options)
    document = json.loads(result.stdout)
    assert result.exit_code == exit_code, result.output
    assert document["as_expected"] is (exit_code == 0)
    return {one["about"]: (one["verdict"], one["seen"]) for one in document["findings"]}


def test_a_vendor_as_the_manual_has_it(shell: Shell) -> None:
    """Against the sandbox all is as expected, and nothing is rented or downloaded."""
    found = facts(shell, "--wrong-key", exit_code=0)
    assert {verdict for verdict, _ in found.values()} == {"as expected", "noted", "not seen"}
    assert found["name"] == ("as expected", "1 address")
    assert found["API key"] == ("as expected", "set")
    assert found["credits: balance is written as"] == ("as expected", "text")
    assert found["status of no rental"] == ("as expected", "code 32")
    assert found["a wrong key"] == ("as expected", "code 10")
    assert found["HTTP status of an error"] == ("as expected", "401, 404")
    assert shell.sandbox.requests == {"credits": 2, "calculate": 1, "price": 1, "status": 1}


def test_what_it_does_is_said_first(shell: Shell) -> None:
    """A person reads beforehand that nothing is rented, and at the end how it stands."""
    result = shell.run("doctor")
    assert result.exit_code == 0
    first, *_, last = result.stderr.splitlines()
    assert first == "Asking what is free, one request a second. Nothing is rented or downloaded."
    assert last == "All that was seen is as expected."
    assert "as expected  status of no rental: code 32\n" in result.stdout


def replacing(old: str, new: str) -> Callable[[bytes], bytes]:
    def rewrite(body: bytes) -> bytes:
        changed, times = re.subn(old.encode(), new.encode(), body)
        assert times
        return changed

    return rewrite


def test_a_report_is_fit_for_others(
    make_shell: Callable[..., Shell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret: the report holds no key, token, name, balance, proxy or host."""
    shell = make_shell(balance=Decimal("8642.975"))
    monkeypatch.setenv("HTTPS_PROXY", "http://somebody:password@proxy.example:3128")
    shell.sandbox.alter_next_reply("calculate", rewrite=lambda _: b"<h1>host.example</h1>")
    planted = {"X-RateLimit-somebody-33639981234": "1"}
    shell.sandbox.alter_next_reply("credits", media_type=f"text/{KEY}", headers=planted)
    file = tmp_path / "report.json"
    result = shell.run("doctor", "--report", str(file), "--wrong-key")
    assert result.exit_code == 1
    report = file.read_text("utf-8")
    seen = {one["about"]: one["seen"] for one in json.loads(report)["findings"]}
    assert seen["address"] == "(left out)"
    assert seen["proxy"] == "none is used, though set: HTTPS_PROXY"
    assert seen["calculate"] == "ResponseError, HTTP 200"
    hidden = [
        KEY,
        "127.0.0.1",
        "example",
        "somebody",
        "password",
        "8642",
        "Sand",
        "00000000",
        "33639981",
    ]
    assert [word for word in hidden if word in report] == []
    again = shell.run("doctor", "--report", str(file))
    assert again.exit_code == 1
    assert f"{file} exists" in again.stderr.replace("\n", "")
