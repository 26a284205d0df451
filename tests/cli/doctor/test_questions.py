"""What the doctor asks of machine, network and vendor, and when it asks no more."""

from __future__ import annotations

import asyncio
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from relay import unused_port

from smspartner_async.cli._doctor import questions

from .test_command import facts, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from shell import Shell


def test_a_wrong_key_is_asked_with_on_demand_alone(shell: Shell) -> None:
    """Without --wrong-key, no request carries a wrong key."""
    found = facts(shell, exit_code=0)
    assert found["a wrong key"] == ("not seen", "asked with --wrong-key alone")
    assert shell.sandbox.requests["credits"] == 1


def test_one_request_a_second(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of its requests a second passes."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(questions, "PAUSE", 1.0)
    monkeypatch.setattr(questions.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
    facts(shell, "--wrong-key", exit_code=0)
    assert pauses == [1.0, 1.0, 1.0, 1.0]


def test_a_wrong_key_that_is_taken(shell: Shell) -> None:
    """With --wrong-key, another answer than code 10 is a finding."""
    shell.sandbox.alter_next_reply("credits")
    shell.sandbox.alter_next_reply("credits", rewrite=replacing('"code": 10', '"code": 20'))
    assert facts(shell, "--wrong-key", exit_code=1)["a wrong key"] == (
        "different",
        "AccessDeniedError, code 20, HTTP 401",
    )


def test_a_key_that_is_not_taken_ends_the_questions(make_shell: Callable[..., Shell]) -> None:
    """After a refusal of the account nothing more is asked: it might get the address barred."""
    shell = make_shell(refuse_with=96)
    found = facts(shell, exit_code=1)
    assert found["credits"] == ("different", "AccessDeniedError, code 96, HTTP 403")
    assert shell.sandbox.requests == {"credits": 1}


@pytest.mark.parametrize("key", ["", "two words"])
def test_without_a_key(shell: Shell, key: str) -> None:
    """Without a usable key, the network is examined, and no request is sent."""
    result = shell.run("doctor", env={"SMSPARTNER_API_KEY": key})
    assert result.exit_code == 1
    assert "different    API key: ConfigurationError" in result.stdout
    assert "as expected  connection: open" in result.stdout
    assert shell.sandbox.requests == {}


def test_findings_on_a_terminal_break_between_words(shell: Shell) -> None:
    """A person reads what is different in lines of the terminal's width, and what to type."""
    environment = {"SMSPARTNER_API_KEY": "", "FORCE_COLOR": "1"}
    screen = re.sub(r"\x1b\[[\d;]*m", "", shell.run("doctor", env=environment).stdout)
    assert max(map(len, screen.splitlines())) <= 80
    said = " ".join(screen.split())
    assert "Set SMSPARTNER_API_KEY in the environment." in said
    assert "api_key" not in said


@pytest.mark.parametrize(
    ("url", "finding"),
    [
        ("https://no-such-host.invalid/v1", "different    name: gaierror"),
        ("http://127.0.0.1:{port}/v1", "different    connection: ConnectionRefusedError"),
    ],
)
def test_no_network(shell: Shell, url: str, finding: str) -> None:
    """Out of reach: the finding says where it ends, and the exit code is 1."""
    url = url.format(port=unused_port())
    result = shell.run("doctor", env={"SMSPARTNER_BASE_URL": url})
    assert result.exit_code == 1
    assert finding in result.stdout
    assert "not seen     latency" in result.stdout


def test_an_address_that_would_show_the_key(shell: Shell) -> None:
    """An address without TLS is a finding, and nothing is sent there."""
    result = shell.run("doctor", env={"SMSPARTNER_BASE_URL": "http://example.org/v1"})
    assert result.exit_code == 1
    assert "different    address: ConfigurationError (The base URL must begin" in result.stdout


async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer nothing, until the other side hangs up."""
    await reader.read()
    writer.close()


async def closed(server: asyncio.Server) -> None:
    """Close it on its own loop: it is not made for other threads."""
    server.close()


def test_how_long_a_certificate_is_valid_is_a_finding(
    shell: Shell,
    in_background: Callable[[Coroutine[Any, Any, Any]], Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Of a certificate that this machine trusts, the days for which it is valid are counted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ends = datetime.now(UTC) + timedelta(days=5, hours=1)
    authority.issue_cert("localhost", not_after=ends).configure_cert(context)
    server = in_background(asyncio.start_server(listen, "127.0.0.1", 0, ssl=context))
    port = server.sockets[0].getsockname()[1]
    url = f"https://localhost:{port}/v1"
    result = shell.run("doctor", env={"SMSPARTNER_BASE_URL": url, "SMSPARTNER_API_KEY": ""})
    in_background(closed(server))
    assert "different    certificate: valid for 5 more days; expected: " in result.stdout


def test_a_certificate_that_nobody_trusts(
    shell: Shell, in_background: Callable[[Coroutine[Any, Any, Any]], Any]
) -> None:
    """A certificate that this machine does not trust is a finding, and no key is sent."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = in_background(asyncio.start_server(listen, "127.0.0.1", 0, ssl=context))
    port = server.sockets[0].getsockname()[1]
    result = shell.run("doctor", env={"SMSPARTNER_BASE_URL": f"https://localhost:{port}/v1"})
    in_background(closed(server))
    assert result.exit_code == 1
    assert "different    TLS: SSLCertVerificationError: " in result.stdout
